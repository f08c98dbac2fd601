//! Two-dimensional convolution, with a way of its own through the CPU.
//!
//! burn's gradients of a convolution are convolutions again: that of the weights
//! has a kernel as large as the image, which on the CPU costs several times the
//! forward pass. Here filters that move one place at a time are computed straight from
//! the samples ([`slide`]); the others are matrix products over the unrolled windows
//! ([`columns`]), a few samples at a time so that what is unrolled stays in the
//! caches (Chellapilla, Puri and Simard 2006, "High Performance Convolutional Neural
//! Networks for Document Processing").
//!
//! Whatever this way does not take (a GPU, groups, lopsided padding) goes to burn.
//! Sums run in an order that does not depend on the number of threads.

mod columns;
mod gradient;
mod product;
mod slide;
#[cfg(test)]
mod tests;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

use self::columns::Windows;
use self::gradient::{Convolution, Saved};
use super::{Tracked, is_tracked, plain, tracked};

/// The convolution of `x` (samples, channels, height, width) with `weight` (filters,
/// channels, height, width) and a bias of each filter.
pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    Windows::new(x.dims(), weight.dims(), &options)
        .and_then(|windows| on_the_cpu(&x, &weight, &bias, windows))
        .unwrap_or_else(|| burns(x, weight, bias, options))
}

fn burns(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, options: ConvOptions<2>) -> Tensor<4> {
    burn::tensor::module::conv2d(x, weight, Some(bias), options)
}

/// `None` when a tensor is elsewhere.
fn on_the_cpu(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: &Tensor<1>,
    windows: Windows,
) -> Option<Tensor<4>> {
    if !(is_tracked(x) || is_tracked(weight) || is_tracked(bias)) {
        let product = product::forward(&plain(x)?, &plain(weight)?, &plain(bias)?, &windows);
        return Some(Tensor::from_primitive::<Flex>(product));
    }
    let (x, weight, bias) = (tracked(x)?, tracked(weight)?, tracked(bias)?);
    let nodes = [x.node(), weight.node(), bias.node()];
    let (x, weight) = (x.into_primitive(), weight.into_primitive());
    let product = product::forward(&x, &weight, bias.primitive(), &windows);
    let prepared = Convolution
        .prepare::<NoCheckpointing>(nodes)
        .compute_bound()
        .stateful();
    let product = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(Saved { x, weight, windows }, product),
        OpsKind::UnTracked(prepared) => prepared.finish(product),
    };
    Some(Tensor::from_primitive::<Tracked>(product))
}
