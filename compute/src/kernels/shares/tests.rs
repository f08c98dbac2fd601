//! Beside burn's own softmax of scores to which a mask was added.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData, Tolerance};

use super::*;
use crate::kernels::{is_tracked, sampled};

type Way = fn(Tensor<3>, f32, Hidden) -> Result<Tensor<3>, Tensor<3>>;

fn burns(x: Tensor<3>, scale: f32, hidden: Hidden) -> Result<Tensor<3>, Tensor<3>> {
    let [_, rows, width] = x.dims();
    let mask: Vec<f32> = (0..rows * width)
        .map(|at| {
            let seen = hidden.seen(at / width, width);
            if at % width < seen { 0.0 } else { -1e30 }
        })
        .collect();
    let mask = Tensor::<3>::from_data(TensorData::new(mask, [1, rows, width]), &Device::flex());
    let mask = if is_tracked(&x) {
        mask.autodiff()
    } else {
        mask
    };
    Ok(softmax(x.mul_scalar(scale).add(mask), 2))
}

fn outcome(shape: [usize; 3], hides: bool, way: Way) -> Vec<TensorData> {
    let hidden = if hides {
        Hidden::StepsToCome { rows: shape[1] }
    } else {
        Hidden::Nothing
    };
    let x = sampled(shape, 1).mul_scalar(9.0).autodiff().require_grad();
    let out = way(x.clone(), 0.7, hidden).unwrap();
    let weighed = out.clone().mul(sampled(shape, 4).autodiff());
    let gradients = weighed.sum().backward();
    let plain = way(x.clone().inner(), 0.7, hidden).unwrap();
    vec![
        out.into_data(),
        plain.into_data(),
        x.grad(&gradients).unwrap().into_data(),
    ]
}

#[test]
fn it_is_burns_softmax() {
    for shape in [[1, 1, 1], [2, 3, 5], [3, 40, 40], [2, 90, 70]] {
        for hides in [false, true] {
            let (ours, theirs) = (outcome(shape, hides, shares), outcome(shape, hides, burns));
            for (ours, theirs) in ours.iter().zip(&theirs) {
                ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-4, 1e-6));
            }
        }
    }
}

#[test]
fn what_is_no_number_is_not_hidden() {
    let x = Tensor::<2>::from_floats([[1.0, f32::NAN, 2.0]], &Device::flex());
    let out = shares(x, 1.0, Hidden::Nothing).unwrap();
    let out = out.try_into_vec_as::<f32>().unwrap();
    assert!(out.iter().all(|share| share.is_nan()), "{out:?}");
}
