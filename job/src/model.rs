//! Networks as data: a graph of operations from a closed list, with shapes
//! checked and cost known before anything is allocated.
//!
//! | module | what it is |
//! |---|---|
//! | `op`, `options` | the closed list of operations, and what each is given |
//! | `layer`, `names` | one layer as files have it, and what it is called |
//! | `graph` | which layers read which |
//! | `rules`, `shape` | what comes out of an operation, what it learns, what it costs |
//! | `plan` | all of that, summed up |
//! | [`forms`] | the declarative forms of other systems, converted into this one |
//!
//! Nothing here computes: a [`Plan`] says what whoever does has to build.

pub mod forms;
mod graph;
mod layer;
mod names;
mod op;
mod options;
mod plan;
mod rules;
mod shape;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{
    graph::Source,
    layer::Layer,
    op::Op,
    options::{
        Attention, Bare, BatchNorm, Concat, Conv, Dense, Dropout, Elu, Embedding, Encoder,
        FeedForward, Gelu, GroupNorm, LayerNorm, LeakyRelu, Mean, Pair, Pool, Position, Positions,
        Recurrent, Reshape, Softmax, Softplus, Steps, Transpose,
    },
    plan::{LayerPlan, Plan},
    rules::{First, Weight},
};

/// The most layers of one model.
pub const MAX_LAYERS: usize = 256;
/// The most elements of one activation or one weight.
pub const MAX_ELEMENTS: u64 = 1 << 31;
/// The most layers that one layer reads.
pub const MAX_INPUTS: usize = 16;
/// The most axes of a sample.
pub const MAX_AXES: usize = 3;
/// The most steps that a recurrent layer goes through, one after the other.
pub const MAX_STEPS: usize = 4096;
/// The most entries of an embedding: every whole number up to here is an `f32`.
pub const MAX_ENTRIES: usize = 1 << 24;
/// The word that names the model's input in a layer's `from`.
pub const INPUT: &str = "input";

/// A network: what goes in, and the layers. The last layer is its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Model {
    /// The shape of one sample, without the batch: `[channels, height, width]`
    /// for images, `[steps, features]` for sequences, `[features]` for rows.
    pub input: Vec<usize>,
    /// The layers, each after those that it reads.
    pub layers: Vec<Layer>,
}

/// A model that cannot be built; it names the layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModel {
    /// The input's shape.
    #[error(
        "the model's input {0:?} is not a shape: give [channels, height, width], [steps, features] or [features], each at least 1"
    )]
    Input(Vec<usize>),
    /// No layers, or too many.
    #[error("a model has 1 to {MAX_LAYERS} layers, this one has {0}")]
    LayerCount(usize),
    /// A layer that does not fit.
    #[error("layer {number} \"{name}\": {reason}")]
    Layer {
        /// Its place, from 1.
        number: usize,
        /// Its name.
        name: String,
        /// What does not fit.
        reason: String,
    },
}

impl InvalidModel {
    fn layer(index: usize, name: &str, reason: String) -> Self {
        Self::Layer {
            number: index + 1,
            name: name.to_owned(),
            reason,
        }
    }
}

/// A model as files may have it: in our own form, or as another system's
/// definition. Only our own is ever written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    input: Option<Vec<usize>>,
    layers: Option<Vec<Layer>>,
    definition: Option<String>,
}

impl TryFrom<Written> for Model {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        assemble(written.input, written.layers, written.definition)
    }
}

/// A model of what files may have: layers, or another system's definition.
pub(crate) fn assemble(
    input: Option<Vec<usize>>,
    layers: Option<Vec<Layer>>,
    definition: Option<String>,
) -> Result<Model, String> {
    match (definition, layers, input) {
        (Some(text), None, input) => forms::read(&text, input.as_deref())
            .map(|definition| definition.model)
            .map_err(|error| format!("`definition`: {error}")),
        (Some(_), Some(_), _) => Err("give `layers` or a `definition`, not both".to_owned()),
        (None, Some(layers), Some(input)) => Ok(Model { input, layers }),
        (None, _, None) => Err("missing field `input`".to_owned()),
        (None, None, _) => Err("missing field `layers`".to_owned()),
    }
}
