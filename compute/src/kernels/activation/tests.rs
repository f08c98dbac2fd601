//! Beside burn's own activations, values and gradients.

use burn::tensor::activation as burns;
use burn::tensor::{Device, Tensor, TensorData, Tolerance};

use super::*;
use crate::kernels::sampled;

fn outcome(way: impl Fn(Tensor<2>) -> Tensor<2>) -> Vec<TensorData> {
    let x = sampled([41, 307], 1)
        .mul_scalar(6.0)
        .autodiff()
        .require_grad();
    // What went in is held elsewhere, and again where it is not.
    let out = way(x.clone());
    let alone = way(x.clone().mul_scalar(1.0));
    let weighed = out.clone().mul(sampled(out.dims(), 4).autodiff());
    let gradients = weighed.add(alone.clone()).sum().backward();
    vec![
        out.into_data(),
        alone.into_data(),
        way(x.clone().inner()).into_data(),
        x.grad(&gradients).unwrap().into_data(),
    ]
}

fn check<C: Curve>(curve: C, theirs: impl Fn(Tensor<2>) -> Tensor<2>) {
    let ours = outcome(|x| bend(curve, x).unwrap());
    for (ours, theirs) in ours.iter().zip(&outcome(theirs)) {
        ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-5, 3e-6));
    }
}

#[test]
fn curves_are_those_of_burn() {
    check(Relu, burns::relu);
    check(Gelu, burns::gelu);
    check(Silu, burns::silu);
    check(Sigmoid, burns::sigmoid);
    check(ApproximateGelu, |x| {
        let cube = x.clone().powi_scalar(3);
        let inner = x.clone().add(cube.mul_scalar(0.044_715));
        let bent = inner.mul_scalar(0.797_884_6).tanh().add_scalar(1.0);
        x.mul(bent).mul_scalar(0.5)
    });
}

#[test]
fn what_is_no_number_stays_so() {
    let broken = Tensor::<1>::from_floats([f32::NAN, 1.0], &Device::flex());
    let values = |out: Result<Tensor<1>, Tensor<1>>| out.unwrap().try_into_vec_as::<f32>().unwrap();
    assert!(values(bend(Relu, broken.clone()))[0].is_nan());
    assert!(values(bend(Gelu, broken.clone()))[0].is_nan());
    assert!(values(bend(Sigmoid, broken))[0].is_nan());
}
