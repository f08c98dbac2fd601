//! The declarative forms in which other systems say a model, converted into
//! ours. What comes out is checked like any other model, and nothing of a
//! foreign form is kept: a spec's digest is over our own form alone.
//!
//! | form | how it is told |
//! |---|---|
//! | a list of layers | `{"layers": [{"type": "dense", "units": 128}, ...]}` |
//! | layers with named ends | the same, with `layer_type`, `parameters`, `input_names` (a `ModelArchitecture` in JSON) |
//! | nodes and links | `{"nodes": [{"id", "type", "parameters"}], "links": [{"from_node", "to_node"}]}` |
//! | sizes | `{"type": "mlp", "input_size", "hidden_layers", "output_size"}` |
//! | an architecture | `{"architecture": "MLP", "layers": [784, 256, 10]}` |
//!
//! Numbers may be texts. A type that is not known is refused by its name;
//! parameters that say nothing of the model (initialisers, places on a canvas)
//! are passed over. Our losses take logits, so a softmax at the end is left
//! out where it feeds a cross-entropy, said or understood, and so is a sigmoid
//! that feeds a binary one.

mod assemble;
mod chain;
mod links;
mod parameters;
mod shorthand;
#[cfg(test)]
mod tests;
mod words;

use serde_json::{Map, Value};

use self::parameters::Parameters;
use super::{InvalidModel, MAX_LAYERS, Model};
use crate::spec::Loss;

/// The longest definition, in bytes.
pub const MAX_DEFINITION: usize = 256 * 1024;
/// The most parts of a definition: layers, and inputs, outputs and losses.
const MAX_PARTS: usize = MAX_LAYERS + 64;

/// What a definition says.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The model, in our form.
    pub model: Model,
    /// What it is trained with, where the definition says so.
    pub loss: Option<Loss>,
}

/// A definition that cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    /// Too long.
    #[error("it has {0} bytes, of {MAX_DEFINITION} allowed")]
    TooLarge(usize),
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Syntax(String),
    /// JSON, but none of the forms.
    #[error(
        "it is in no form that is known: give `layers`, `nodes` and `links`, a `type` of \"mlp\", or an `architecture` of \"MLP\""
    )]
    UnknownForm,
    /// No layers, or too many.
    #[error("it has {0} layers or nodes, of 1 to {MAX_PARTS}")]
    Size(usize),
    /// A word that nothing is known by.
    #[error("{what} {word:?} is not known")]
    UnknownWord {
        /// What it names: "loss", "the type of layer 3".
        what: String,
        /// The word.
        word: String,
    },
    /// A part that does not say what it should.
    #[error("{part}: {reason}")]
    Part {
        /// Which: "layer 2", "node 7".
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing says what goes in.
    #[error(
        "it does not say the shape of a sample: give `input_shape` in it, or `input` beside it"
    )]
    NoInput,
    /// It is said twice, and not alike.
    #[error("it takes samples of the shape {said:?}, and `input` beside it says {given:?}")]
    OtherInput {
        /// In the definition.
        said: Vec<usize>,
        /// Beside it.
        given: Vec<usize>,
    },
    /// The layers do not fit together.
    #[error(transparent)]
    Model(#[from] InvalidModel),
}

/// Converts a definition. `input` is the shape of a sample, for definitions
/// that do not say it.
///
/// # Errors
/// [`InvalidDefinition`] for the first thing that is not known or does not fit.
pub fn read(text: &str, input: Option<&[usize]>) -> Result<Definition, InvalidDefinition> {
    if text.len() > MAX_DEFINITION {
        return Err(InvalidDefinition::TooLarge(text.len()));
    }
    let fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| InvalidDefinition::Syntax(error.to_string()))?;
    let fields = Parameters::new(fields);
    let definition = if fields.has("nodes") {
        links::read(&fields, input)?
    } else if fields.has("architecture") || fields.has("hidden_layers") {
        shorthand::read(&fields, input)?
    } else if fields.has("layers") {
        chain::read(&fields, input)?
    } else if fields.has("type") {
        shorthand::read(&fields, input)?
    } else {
        return Err(InvalidDefinition::UnknownForm);
    };
    definition.model.plan()?;
    Ok(definition)
}

fn part(label: &str) -> impl Fn(String) -> InvalidDefinition + '_ {
    move |reason| InvalidDefinition::Part {
        part: label.to_owned(),
        reason,
    }
}
