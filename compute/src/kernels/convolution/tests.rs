//! Beside burn's own convolution, values and gradients, over shapes of all sorts.

use burn::tensor::{TensorData, Tolerance};
use proptest::prelude::*;

use super::*;
use crate::kernels::sampled;

/// A convolution: samples, channels, filters, input, kernel, and the options.
#[derive(Clone, Debug)]
struct Case {
    x: [usize; 4],
    weight: [usize; 4],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..12, 1_usize..4, 1_usize..5);
    let image = (1_usize..11, 1_usize..11);
    let taps = ((1_usize..4, 1_usize..4), (1_usize..4, 1_usize..4));
    let around = ((0_usize..3, 0_usize..3), (1_usize..3, 1_usize..3));
    (sizes, image, taps, around)
        .prop_map(
            |((n, c, f), (h, w), (kernel, stride), (padding, dilation))| Case {
                x: [n, c, h, w],
                weight: [f, c, kernel.0, kernel.1],
                stride: [stride.0, stride.1],
                padding: [padding.0, padding.1],
                dilation: [dilation.0, dilation.1],
            },
        )
        .prop_filter("a filter fits", |case| {
            (0..2).all(|axis| {
                case.x[axis + 2] + 2 * case.padding[axis]
                    > case.dilation[axis] * (case.weight[axis + 2] - 1)
            })
        })
}

type Way = fn(Tensor<4>, Tensor<4>, Tensor<1>, ConvOptions<2>) -> Tensor<4>;

/// What comes out, and the gradients of a sum that weighs every value differently.
fn outcome(case: &Case, way: Way) -> [TensorData; 4] {
    let x = sampled(case.x, 1).autodiff().require_grad();
    let weight = sampled(case.weight, 2).autodiff().require_grad();
    let bias = sampled([case.weight[0]], 3).autodiff().require_grad();
    let options = ConvOptions::new(case.stride, case.padding, case.dilation, 1);
    let out = way(x.clone(), weight.clone(), bias.clone(), options);
    let weighed = out.clone().mul(sampled(out.dims(), 4).autodiff());
    let gradients = weighed.sum().backward();
    [
        out.into_data(),
        x.grad(&gradients).unwrap().into_data(),
        weight.grad(&gradients).unwrap().into_data(),
        bias.grad(&gradients).unwrap().into_data(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_is_burns_convolution(case in cases()) {
        let ours = outcome(&case, conv2d);
        let theirs = outcome(&case, burns);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-4, 1e-5));
        }
    }
}

#[test]
fn it_is_taken_for_what_a_network_does() {
    // Without this the tests would compare burn with burn.
    let options = ConvOptions::new([1; 2], [1; 2], [1; 2], 1);
    let (x, weight, bias) = (
        sampled([2, 3, 5, 5], 1),
        sampled([4, 3, 3, 3], 2),
        sampled([4], 3),
    );
    let windows = Windows::new(x.dims(), weight.dims(), &options).unwrap();
    assert!(on_the_cpu(&x, &weight, &bias, windows).is_some());
    let weight = weight.autodiff().require_grad();
    assert!(on_the_cpu(&x, &weight, &bias.autodiff().require_grad(), windows).is_some());
}

#[test]
fn groups_and_lopsided_padding_are_left_to_burn() {
    let grouped = ConvOptions::new([1; 2], [0; 2], [1; 2], 2);
    assert_eq!(Windows::new([1, 4, 5, 5], [4, 2, 3, 3], &grouped), None);
    let lopsided = ConvOptions::new_with_padding([1; 2], [(1, 0), (0, 0)], [1; 2], 1);
    assert_eq!(Windows::new([1, 4, 5, 5], [4, 4, 3, 3], &lopsided), None);
    let out = conv2d(
        sampled([2, 4, 5, 5], 1),
        sampled([4, 2, 3, 3], 2),
        sampled([4], 3),
        grouped,
    );
    assert_eq!(out.dims(), [2, 4, 3, 3]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let case = Case {
        x: [37, 8, 14, 14],
        weight: [16, 8, 3, 3],
        stride: [1; 2],
        padding: [1; 2],
        dilation: [1; 2],
    };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| outcome(&case, conv2d))
    };
    assert_eq!(with(1), with(3));
}

/// Blocks of every size, more lines than a vector holds, and many channels.
#[test]
fn larger_ones_are_burns_too() {
    for (x, filters, kernel, padding) in [
        ([17, 5, 21, 19], 21, [3, 3], [1, 0]),
        ([3, 40, 9, 12], 15, [1, 1], [0, 0]),
        ([1, 3, 4, 150], 7, [2, 5], [0, 2]),
    ] {
        let case = Case {
            x,
            weight: [filters, x[1], kernel[0], kernel[1]],
            stride: [1; 2],
            padding,
            dilation: [1; 2],
        };
        let (ours, theirs) = (outcome(&case, conv2d), outcome(&case, burns));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            ours.assert_approx_eq::<f32>(theirs, Tolerance::rel_abs(1e-4, 5e-5));
        }
    }
}
