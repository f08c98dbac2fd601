//! Beside burn's own pooling, values and gradients.

use burn::tensor::{Device, TensorData};
use proptest::prelude::*;

use super::*;

fn options(kernel: [usize; 2], stride: [usize; 2]) -> MaxPoolOptions<2> {
    MaxPoolOptions::new(kernel).with_stride(stride)
}

fn outcome(
    values: &TensorData,
    options: MaxPoolOptions<2>,
    way: fn(Tensor<4>, MaxPoolOptions<2>) -> Tensor<4>,
) -> [TensorData; 2] {
    let x = Tensor::<4>::from_data(values.clone(), &Device::flex());
    let x = x.autodiff().require_grad();
    let out = way(x.clone(), options);
    // Each place counts differently.
    let count = out.dims().iter().product::<usize>();
    let weights: Vec<f32> = (0..count).map(|at| at as f32 / 7.0 - 3.0).collect();
    let weights = Tensor::<4>::from_data(TensorData::new(weights, out.dims()), &Device::flex());
    let gradients = out.clone().mul(weights.autodiff()).sum().backward();
    [out.into_data(), x.grad(&gradients).unwrap().into_data()]
}

proptest! {
    #[test]
    fn it_is_burns_pooling(
        (shape, values) in ((1_usize..4, 1_usize..4), (3_usize..10, 3_usize..10))
            .prop_flat_map(|((n, c), (h, w))| {
                // Few different values, so that there are ties.
                let values = prop::collection::vec((-4_i8..5).prop_map(f32::from), n * c * h * w);
                (Just([n, c, h, w]), values)
            }),
        kernel in (1_usize..4, 1_usize..4),
        stride in (1_usize..4, 1_usize..4),
    ) {
        let options = options([kernel.0, kernel.1], [stride.0, stride.1]);
        let values = TensorData::new(values, shape);
        let ours = outcome(&values, options.clone(), max_pool2d);
        let theirs = outcome(&values, options, |x, options| {
            burn::tensor::module::max_pool2d(x, options)
        });
        prop_assert_eq!(&ours[0], &theirs[0]);
        prop_assert_eq!(&ours[1], &theirs[1]);
    }
}

#[test]
fn it_is_taken_for_what_a_network_does() {
    let x = Tensor::<4>::zeros([1, 2, 4, 4], &Device::flex());
    let windows = Windows::new(x.dims(), &options([2; 2], [2; 2])).unwrap();
    assert!(on_the_cpu(&x, windows).is_some());
    assert!(on_the_cpu(&x.autodiff().require_grad(), windows).is_some());
}

#[test]
fn what_is_no_number_is_not_lost() {
    let values = vec![1.0, f32::NAN, 3.0, f32::NEG_INFINITY];
    let x = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 2, 2]), &Device::flex());
    let out: Vec<f32> = max_pool2d(x, options([2; 2], [2; 2]))
        .into_data()
        .try_to_vec()
        .unwrap();
    assert!(out[0].is_nan());
}

#[test]
fn padding_is_left_to_burn() {
    let padded = options([2; 2], [2; 2]).with_padding([1; 2]);
    assert!(Windows::new([1, 1, 4, 4], &padded).is_none());
    let x = Tensor::<4>::ones([1, 1, 4, 4], &Device::flex());
    assert_eq!(max_pool2d(x, padded).dims(), [1, 1, 3, 3]);
}
