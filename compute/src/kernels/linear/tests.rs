//! Beside burn's own products, values and gradients.

use burn::tensor::{Tensor, TensorData, Tolerance};

use super::*;
use crate::kernels::sampled;

fn burns(rows: &Tensor<2>, weight: &Tensor<1>, bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
    let features = rows.dims()[1];
    let units = weight.dims()[0] / features;
    let weight: Tensor<2> = weight.clone().reshape([units, features]);
    let out = rows.clone().matmul(weight.transpose());
    Some(match bias {
        Some(bias) => out.add(bias.clone().reshape([1, units])),
        None => out,
    })
}

type Way = fn(&Tensor<2>, &Tensor<1>, Option<&Tensor<1>>) -> Option<Tensor<2>>;

fn outcome([samples, features, units]: [usize; 3], way: Way) -> Vec<TensorData> {
    let rows = sampled([samples, features], 1).autodiff().require_grad();
    let weight = sampled([units * features], 2).autodiff().require_grad();
    let bias = sampled([units], 3).autodiff().require_grad();
    let out = way(&rows, &weight, Some(&bias)).unwrap();
    let weighed = out.clone().mul(sampled(out.dims(), 4).autodiff());
    let gradients = weighed.sum().backward();
    let without = way(&rows.clone().inner(), &weight.clone().inner(), None).unwrap();
    vec![
        out.into_data(),
        without.into_data(),
        rows.grad(&gradients).unwrap().into_data(),
        weight.grad(&gradients).unwrap().into_data(),
        bias.grad(&gradients).unwrap().into_data(),
    ]
}

#[test]
fn it_is_burns_product_and_sum() {
    for shape in [[1, 1, 1], [3, 7, 5], [130, 40, 150], [300, 17, 10]] {
        let (ours, theirs) = (outcome(shape, linear), outcome(shape, burns));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-4, 1e-5));
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let run = || outcome([700, 300, 200], linear);
        pool.build().unwrap().install(run)
    };
    assert_eq!(with(1), with(3));
}
