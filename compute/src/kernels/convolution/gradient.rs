//! The convolution as a step of the graph that gradients run back along.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;

use super::columns::Windows;
use super::product;

/// The step.
#[derive(Debug)]
pub(super) struct Convolution;

/// What it keeps of the forward pass.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) x: FlexTensor,
    pub(super) weight: FlexTensor,
    pub(super) windows: Windows,
}

impl Backward<Flex, 3> for Convolution {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let Saved { x, weight, windows } = &ops.state;
        let [to_x, to_weight, to_bias] = &ops.parents;
        if let Some(node) = to_x {
            let of = product::input_gradient(&gradient, weight, windows);
            gradients.register::<Flex>(node.id, of);
        }
        if let Some(node) = to_weight {
            let of = product::weight_gradient(&gradient, x, windows);
            gradients.register::<Flex>(node.id, of);
        }
        if let Some(node) = to_bias {
            let of = product::bias_gradient(&gradient, windows);
            gradients.register::<Flex>(node.id, of);
        }
    }
}
