//! Operations that the CPU does in a way of its own, where burn's is slow.
//!
//! Each is a step of burn's graph of gradients, and each hands over to burn whatever
//! it does not take: another device, another element type, rare options. Results do not
//! depend on the number of threads.

pub(crate) mod activation;
mod attention;
mod convolution;
mod exponential;
mod linear;
mod normal;
mod pooling;
mod shares;
mod strands;
mod values;

use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend as _, Flex};
use burn::tensor::{Bytes, DType, Shape, Tensor};

pub(crate) use attention::attend;
pub(crate) use convolution::conv2d;
pub(crate) use linear::linear;
pub(crate) use normal::layer_norm;
pub(crate) use pooling::max_pool2d;
pub(crate) use shares::{Hidden, shares};

/// The CPU with gradients.
type Tracked = Autodiff<Flex, NoCheckpointing>;

fn is_tracked<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device().is_autodiff()
}

/// The tensor within, if it is on the CPU, of 32-bit floats, and without gradients.
pub(crate) fn plain<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
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

/// What is within a tensor that is on the CPU, of 32-bit floats.
enum Held {
    Plain(FlexTensor),
    Tracked(FloatTensor<Tracked>),
}

/// Takes what is within, so that it can be changed in place; gives back a tensor that
/// is elsewhere.
fn held<const D: usize>(tensor: Tensor<D>) -> Result<Held, Tensor<D>> {
    const CHECKED: &str = "a tensor that was seen to be on the CPU";
    if is_tracked(&tensor) {
        if tracked(&tensor).is_none() {
            return Err(tensor);
        }
        let within = tensor.try_into_primitive::<Tracked>().ok();
        return Ok(Held::Tracked(within.expect(CHECKED)));
    }
    if plain(&tensor).is_none() {
        return Err(tensor);
    }
    let within = tensor.try_into_primitive::<Flex>().ok();
    Ok(Held::Plain(within.expect(CHECKED)))
}

/// Values side by side from the first on, of which nobody else has a view if nobody
/// else had one before.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(Shape::new(shape)),
        DType::F32,
    )
}

/// Values between -1 and 1 that differ from place to place, for the tests.
#[cfg(test)]
fn sampled<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let mut state = seed;
    let values: Vec<f32> = (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    let values = burn::tensor::TensorData::new(values, shape);
    Tensor::from_data(values, &burn::tensor::Device::flex())
}
