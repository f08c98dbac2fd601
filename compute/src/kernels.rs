//! Operations that the CPU does in a way of its own, where burn's is slow.
//!
//! Each is a step of burn's graph of gradients, and each hands over to burn whatever
//! it does not take: another device, another element type, rare options. Results do not
//! depend on the number of threads.

mod convolution;
mod pooling;

use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend as _, Flex};
use burn::tensor::{Bytes, DType, Shape, Tensor};

pub(crate) use convolution::conv2d;
pub(crate) use pooling::max_pool2d;

/// The CPU with gradients.
type Tracked = Autodiff<Flex, NoCheckpointing>;

fn is_tracked<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device().is_autodiff()
}

/// The tensor within, if it is on the CPU, of 32-bit floats, and without gradients.
fn plain<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    let within = tensor.clone().try_into_primitive::<Flex>().ok()?;
    (within.dtype() == DType::F32).then_some(within)
}

/// The same as part of the graph; a tensor without gradients is a constant in it.
fn tracked<const D: usize>(tensor: &Tensor<D>) -> Option<FloatTensor<Tracked>> {
    if !is_tracked(tensor) {
        return plain(tensor).map(Tracked::from_inner);
    }
    let within = tensor.clone().try_into_primitive::<Tracked>().ok()?;
    (within.primitive().dtype() == DType::F32).then_some(within)
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(Shape::new(shape)),
        DType::F32,
    )
}
