//! Beside the same of burn's operations, values and gradients.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData, Tolerance};

use super::*;
use crate::kernels::{is_tracked, sampled};

type Way = fn(Tensor<3>, usize, bool) -> Result<Tensor<3>, Tensor<3>>;

fn burns(projected: Tensor<3>, heads: usize, is_causal: bool) -> Result<Tensor<3>, Tensor<3>> {
    let [samples, steps, features] = projected.dims();
    let features = features / 3;
    let width = features / heads;
    let [query, key, value] = [0, 1, 2].map(|part| {
        let part = projected.clone().narrow(2, part * features, features);
        part.reshape([samples, steps, heads, width]).swap_dims(1, 2)
    });
    let mask: Vec<f32> = (0..steps * steps)
        .map(|at| {
            let is_hidden = is_causal && at % steps > at / steps;
            if is_hidden { -1e30 } else { 0.0 }
        })
        .collect();
    let mask = TensorData::new(mask, [1, 1, steps, steps]);
    let mask = Tensor::<4>::from_data(mask, &Device::flex());
    let mask = if is_tracked(&projected) {
        mask.autodiff()
    } else {
        mask
    };
    let scores = query.matmul(key.swap_dims(2, 3));
    let scores = scores.mul_scalar(1.0 / (width as f64).sqrt()).add(mask);
    let mixed = softmax(scores, 3).matmul(value).swap_dims(1, 2);
    Ok(mixed.reshape([samples, steps, features]))
}

fn outcome([samples, steps, heads, width]: [usize; 4], causal: bool, way: Way) -> [TensorData; 3] {
    let shape = [samples, steps, 3 * heads * width];
    let projected = sampled(shape, 1).mul_scalar(3.0).autodiff().require_grad();
    let out = way(projected.clone(), heads, causal).unwrap();
    let weighed = out.clone().mul(sampled(out.dims(), 4).autodiff());
    let gradients = weighed.sum().backward();
    let plain = way(projected.clone().inner(), heads, causal).unwrap();
    [
        out.into_data(),
        plain.into_data(),
        projected.grad(&gradients).unwrap().into_data(),
    ]
}

#[test]
fn it_is_what_burns_operations_come_to() {
    for shapes in [[1, 1, 1, 1], [2, 3, 2, 5], [3, 20, 4, 8], [9, 64, 4, 32]] {
        for causal in [false, true] {
            let ours = outcome(shapes, causal, attend);
            for (ours, theirs) in ours.iter().zip(&outcome(shapes, causal, burns)) {
                ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-4, 1e-5));
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let run = || outcome([5, 64, 4, 32], true, attend);
        pool.build().unwrap().install(run)
    };
    assert_eq!(with(1), with(3));
}
