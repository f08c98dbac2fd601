//! The model of an evaluation or a prediction: declared in the spec, or a file in
//! the ONNX format.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::{Input, InvalidSpec, invalid::field};
use crate::model::{InvalidModel, Layer, MAX_ELEMENTS, Model, Plan, assemble};

/// The most axes of a sample.
const MAX_AXES: usize = 7;
/// The most inputs of a model, and the most sizes that are given.
const MAX_NAMED: usize = 64;
/// The longest name of an input, an output or a size, in bytes.
const MAX_NAME: usize = 256;

/// A model, however it is given.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written<I>", bound(deserialize = "I: Deserialize<'de>"))]
pub enum Network<I = Input> {
    /// Declared layers.
    Layers(Model),
    /// A file.
    Onnx(Onnx<I>),
}

/// A model in an ONNX file, which brings its weights along. Only the file says what
/// is in it: whoever has it checks the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Onnx<I = Input> {
    /// The file.
    pub file: I,
    /// What of a sample goes to which input, in the order of its numbers.
    pub feeds: Feeds,
    /// Inputs that are the same for every sample, filled with one number each.
    pub fixed: BTreeMap<String, f64>,
    /// Lengths of axes that the file only has names for, other than the batch.
    pub sizes: BTreeMap<String, usize>,
    /// The output that is taken; the first by default.
    pub output: Option<String>,
    /// Whether its outputs are probabilities of classes, where others give logits.
    pub probabilities: bool,
}

/// Which inputs samples go to.
#[derive(Clone, Debug, PartialEq)]
pub enum Feeds {
    /// To the one input that is not fixed, in this shape, without the batch.
    One(Vec<usize>),
    /// To several.
    Named(Vec<Feed>),
}

/// What of a sample goes to an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// The input.
    pub name: String,
    /// Its shape, without the batch.
    pub shape: Vec<usize>,
}

/// A model as files may have it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<I> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Vec<usize>>,
    #[serde(default, skip_serializing)]
    layers: Option<Vec<Layer>>,
    #[serde(default, skip_serializing)]
    definition: Option<String>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    onnx: Option<I>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<Feed>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fixed: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sizes: BTreeMap<String, usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    probabilities: bool,
}

fn none<I>() -> Option<I> {
    None
}

impl<I> TryFrom<Written<I>> for Network<I> {
    type Error = String;

    fn try_from(written: Written<I>) -> Result<Self, Self::Error> {
        let Some(file) = written.onnx else {
            let has_others = written.inputs.is_some()
                || written.output.is_some()
                || written.probabilities
                || !written.fixed.is_empty()
                || !written.sizes.is_empty();
            if has_others {
                return Err("`inputs`, `fixed`, `sizes`, `output` and `probabilities` are of an `onnx` file, and there is none".to_owned());
            }
            return assemble(written.input, written.layers, written.definition).map(Self::Layers);
        };
        if written.layers.is_some() || written.definition.is_some() {
            return Err("give `layers`, a `definition` or an `onnx` file, not two".to_owned());
        }
        let feeds = match (written.input, written.inputs) {
            (Some(shape), None) => Feeds::One(shape),
            (None, Some(feeds)) => Feeds::Named(feeds),
            _ => {
                return Err(
                    "say the shape of a sample: `input = [3, 224, 224]`, or `inputs` with a name and a shape each"
                        .to_owned(),
                );
            }
        };
        Ok(Self::Onnx(Onnx {
            file,
            feeds,
            fixed: written.fixed,
            sizes: written.sizes,
            output: written.output,
            probabilities: written.probabilities,
        }))
    }
}

impl<I: Serialize> Serialize for Network<I> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let onnx = match self {
            Self::Layers(model) => return model.serialize(s),
            Self::Onnx(onnx) => onnx,
        };
        let (input, inputs) = match &onnx.feeds {
            Feeds::One(shape) => (Some(shape.clone()), None),
            Feeds::Named(feeds) => (None, Some(feeds.clone())),
        };
        Written {
            input,
            layers: None,
            definition: None,
            onnx: Some(&onnx.file),
            inputs,
            fixed: onnx.fixed.clone(),
            sizes: onnx.sizes.clone(),
            output: onnx.output.clone(),
            probabilities: onnx.probabilities,
        }
        .serialize(s)
    }
}

impl<I> From<Model> for Network<I> {
    fn from(model: Model) -> Self {
        Self::Layers(model)
    }
}

impl<I> Network<I> {
    /// The declared layers, where it has them.
    #[must_use]
    pub const fn declared(&self) -> Option<&Model> {
        match self {
            Self::Layers(model) => Some(model),
            Self::Onnx(_) => None,
        }
    }

    /// The file, where it is one.
    #[must_use]
    pub const fn onnx(&self) -> Option<&Onnx<I>> {
        match self {
            Self::Layers(_) => None,
            Self::Onnx(onnx) => Some(onnx),
        }
    }

    /// What samples must fit: a model of this input, whose layers say nothing when it
    /// is a file.
    #[must_use]
    pub fn takes(&self) -> Model {
        match self {
            Self::Layers(model) => model.clone(),
            Self::Onnx(onnx) => Model {
                input: onnx.sample(),
                layers: Vec::new(),
            },
        }
    }

    /// The shapes and costs of declared layers; none of a file.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn plan(&self) -> Result<Option<Plan>, InvalidModel> {
        self.declared().map(Model::plan).transpose()
    }

    pub(super) fn validate(&self, weights: Option<&I>) -> Result<(), InvalidSpec> {
        match self {
            Self::Layers(_) if weights.is_none() => Err(field(
                "weights",
                "give the weights of the model as safetensors",
            )),
            Self::Layers(_) => Ok(()),
            Self::Onnx(_) if weights.is_some() => Err(field(
                "weights",
                "an ONNX file brings its own weights: leave them out",
            )),
            Self::Onnx(onnx) => onnx.validate(),
        }
    }

    pub(super) fn input_refs(&self) -> Option<&I> {
        self.onnx().map(|onnx| &onnx.file)
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Network<J>, E> {
        Ok(match self {
            Self::Layers(model) => Network::Layers(model),
            Self::Onnx(onnx) => Network::Onnx(Onnx {
                file: name(onnx.file)?,
                feeds: onnx.feeds,
                fixed: onnx.fixed,
                sizes: onnx.sizes,
                output: onnx.output,
                probabilities: onnx.probabilities,
            }),
        })
    }
}

impl<I> Onnx<I> {
    /// The shape of a sample: that of its one input, or a row of all.
    #[must_use]
    pub fn sample(&self) -> Vec<usize> {
        match &self.feeds {
            Feeds::One(shape) => shape.clone(),
            Feeds::Named(feeds) => {
                let count = |feed: &Feed| feed.shape.iter().product::<usize>();
                vec![feeds.iter().map(count).sum()]
            }
        }
    }

    fn validate(&self) -> Result<(), InvalidSpec> {
        let shapes: Vec<&[usize]> = match &self.feeds {
            Feeds::One(shape) => vec![&shape[..]],
            Feeds::Named(feeds) => feeds.iter().map(|feed| &feed.shape[..]).collect(),
        };
        let count = |shape: &[usize]| {
            shape
                .iter()
                .try_fold(1_u64, |count, &axis| count.checked_mul(axis as u64))
                .filter(|count| *count > 0 && shape.len() <= MAX_AXES)
        };
        let all = shapes
            .iter()
            .try_fold(0_u64, |sum, shape| sum.checked_add(count(shape)?));
        if shapes.is_empty() || !all.is_some_and(|all| all <= MAX_ELEMENTS) {
            return Err(field(
                "model.input",
                format!(
                    "{shapes:?} is not the shape of a sample: up to {MAX_AXES} axes, each at least 1, and {MAX_ELEMENTS} numbers"
                ),
            ));
        }
        let mut names: Vec<&str> = self
            .fixed
            .keys()
            .chain(self.sizes.keys())
            .chain(&self.output)
            .map(String::as_str)
            .collect();
        if let Feeds::Named(feeds) = &self.feeds {
            names.extend(feeds.iter().map(|feed| &feed.name[..]));
        }
        if names.len() > MAX_NAMED || names.iter().any(|name| name.len() > MAX_NAME) {
            return Err(field(
                "model",
                format!("it names at most {MAX_NAMED} things, in {MAX_NAME} bytes each"),
            ));
        }
        if self
            .fixed
            .values()
            .any(|value| !(*value as f32).is_finite())
        {
            return Err(field("model.fixed", "numbers are finite as 32-bit floats"));
        }
        if self.sizes.values().any(|&size| size == 0) {
            return Err(field("model.sizes", "an axis is at least 1 long"));
        }
        Ok(())
    }
}
