//! Beside burn's own layer norm, values and gradients.

use burn::tensor::{Tensor, TensorData, Tolerance};

use super::*;
use crate::kernels::sampled;

type Way = fn(&Tensor<3>, &Tensor<1>, &Tensor<1>, f64) -> Option<Tensor<3>>;

fn burns(x: &Tensor<3>, weight: &Tensor<1>, bias: &Tensor<1>, epsilon: f64) -> Option<Tensor<3>> {
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
    Some(burn::tensor::module::layer_norm(
        x,
        weight,
        Some(bias),
        epsilon,
    ))
}

fn outcome(shape: [usize; 3], way: Way) -> Vec<TensorData> {
    let x = sampled(shape, 1).autodiff().require_grad();
    let weight = sampled([shape[2]], 2).autodiff().require_grad();
    let bias = sampled([shape[2]], 3).autodiff().require_grad();
    let out = way(&x, &weight, &bias, 1e-5).unwrap();
    let weighed = out.clone().mul(sampled(shape, 4).autodiff());
    let gradients = weighed.sum().backward();
    let inner = [&weight, &bias].map(|learnt| learnt.clone().inner());
    let plain = way(&x.clone().inner(), &inner[0], &inner[1], 1e-5).unwrap();
    vec![
        out.into_data(),
        plain.into_data(),
        x.grad(&gradients).unwrap().into_data(),
        weight.grad(&gradients).unwrap().into_data(),
        bias.grad(&gradients).unwrap().into_data(),
    ]
}

#[test]
fn it_is_burns_layer_norm() {
    for shape in [[1, 1, 8], [2, 3, 17], [40, 9, 64]] {
        let (ours, theirs) = (outcome(shape, layer_norm), outcome(shape, burns));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(2e-4, 2e-5));
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let run = || outcome([50, 20, 48], layer_norm);
        pool.build().unwrap().install(run)
    };
    assert_eq!(with(1), with(3));
}
