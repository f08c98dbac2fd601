//! Networks as data: a closed list of operations, with shapes checked and cost
//! known before anything is allocated.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most layers of one model.
pub const MAX_LAYERS: usize = 256;
/// The most elements of one activation or one weight.
pub const MAX_ELEMENTS: u64 = 1 << 31;
/// The longest name of a layer, in bytes.
const MAX_NAME: usize = 64;

/// A network: what goes in, and the layers in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The shape of one sample, without the batch: `[channels, height, width]`
    /// for images, `[features]` for rows.
    pub input: Vec<usize>,
    /// The layers.
    pub layers: Vec<Layer>,
}

/// One layer: an operation, and perhaps a name of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The name in messages and in the weights' file; without one it is the
    /// operation's word and a running number, such as `conv2d_1`.
    pub name: Option<String>,
    /// What it does.
    pub op: Op,
}

/// The closed list of operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// A convolution over `[channels, height, width]`.
    Conv2d {
        /// Output channels.
        channels: usize,
        /// Width and height of the kernel.
        kernel: usize,
        /// Step of the kernel.
        #[serde(default = "one")]
        stride: usize,
        /// Zeros around the input.
        #[serde(default)]
        padding: usize,
    },
    /// The largest of each window.
    MaxPool2d {
        /// Width and height of the window.
        kernel: usize,
        /// Step of the window; 0 means the kernel.
        #[serde(default)]
        stride: usize,
    },
    /// max(0, x).
    Relu,
    /// Zeroes values at random while training, and scales the rest.
    Dropout {
        /// The share that is zeroed, 0 to below 1.
        probability: f64,
    },
    /// Makes one axis of all.
    Flatten,
    /// A matrix product and a bias.
    Dense {
        /// Output features.
        units: usize,
    },
}

fn one() -> usize {
    1
}

impl Op {
    /// The word for it, as in files.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv2d",
            Self::MaxPool2d { .. } => "max_pool2d",
            Self::Relu => "relu",
            Self::Dropout { .. } => "dropout",
            Self::Flatten => "flatten",
            Self::Dense { .. } => "dense",
        }
    }
}

/// What a model costs and how its shapes run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One entry a layer.
    pub layers: Vec<LayerPlan>,
    /// All trainable numbers.
    pub parameters: u64,
    /// Floating-point operations of one forward pass of one sample.
    pub flops_per_sample: u64,
    /// The shape that comes out, without the batch.
    pub output_shape: Vec<usize>,
    /// Bytes of all activations of one sample.
    pub activation_bytes: u64,
}

/// What one layer costs and how its shape runs.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPlan {
    /// The name.
    pub name: String,
    /// What comes in, without the batch.
    pub input_shape: Vec<usize>,
    /// What goes out.
    pub output_shape: Vec<usize>,
    /// Trainable numbers.
    pub parameters: u64,
    /// Floating-point operations a sample.
    pub flops: u64,
    /// Bytes of its output, a sample.
    pub activation_bytes: u64,
}

impl Plan {
    /// An upper estimate of the memory that training takes, in bytes: weights,
    /// gradients and two moments, and activations with their gradients.
    #[must_use]
    pub fn peak_bytes(&self, batch: usize) -> u64 {
        let weights = self.parameters.saturating_mul(4 * 4);
        let activations = self
            .activation_bytes
            .saturating_mul(2)
            .saturating_mul(batch as u64);
        weights.saturating_add(activations)
    }
}

/// A model that cannot be built; it names the layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModel {
    /// The input's shape.
    #[error(
        "the model's input {0:?} is not a shape: give [channels, height, width] or [features], each at least 1"
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

impl Model {
    /// Checks every shape and counts every cost.
    ///
    /// # Errors
    /// [`InvalidModel`] for the first layer that does not fit.
    pub fn plan(&self) -> Result<Plan, InvalidModel> {
        if !matches!(self.input.len(), 1 | 3) || elements(&self.input).is_none() {
            return Err(InvalidModel::Input(self.input.clone()));
        }
        if !(1..=MAX_LAYERS).contains(&self.layers.len()) {
            return Err(InvalidModel::LayerCount(self.layers.len()));
        }
        let mut shape = self.input.clone();
        let mut layers = Vec::<LayerPlan>::with_capacity(self.layers.len());
        for (index, name) in self.names().into_iter().enumerate() {
            let fits =
                check_name(&name, &layers).and_then(|()| self.layers[index].op.apply(&shape));
            let step = fits.map_err(|reason| InvalidModel::Layer {
                number: index + 1,
                name: name.clone(),
                reason,
            })?;
            layers.push(LayerPlan {
                name,
                input_shape: shape,
                activation_bytes: 4 * elements(&step.shape).unwrap_or(0),
                output_shape: step.shape.clone(),
                parameters: step.parameters,
                flops: step.flops,
            });
            shape = step.shape;
        }
        let sum = |of: fn(&LayerPlan) -> u64| layers.iter().map(of).fold(0u64, u64::saturating_add);
        Ok(Plan {
            parameters: sum(|layer| layer.parameters),
            flops_per_sample: sum(|layer| layer.flops),
            activation_bytes: sum(|layer| layer.activation_bytes),
            output_shape: shape,
            layers,
        })
    }

    /// The layers' names: their own, or the operation's word and a number that
    /// counts that operation.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        self.layers
            .iter()
            .map(|layer| {
                let word = layer.op.word();
                let count = counts.entry(word).or_default();
                *count += 1;
                layer
                    .name
                    .clone()
                    .unwrap_or_else(|| format!("{word}_{count}"))
            })
            .collect()
    }
}

struct Step {
    shape: Vec<usize>,
    parameters: u64,
    flops: u64,
}

impl Step {
    fn free(shape: &[usize]) -> Self {
        Self {
            shape: shape.to_vec(),
            parameters: 0,
            flops: elements(shape).unwrap_or(0),
        }
    }
}

impl Op {
    /// What comes out of `input`, or why it does not fit.
    fn apply(&self, input: &[usize]) -> Result<Step, String> {
        match *self {
            Self::Conv2d {
                channels,
                kernel,
                stride,
                padding,
            } => conv2d(input, channels, kernel, stride, padding),
            Self::MaxPool2d { kernel, stride } => {
                let stride = if stride == 0 { kernel } else { stride };
                let [channels, height, width] = image(input)?;
                let shape = vec![
                    channels,
                    windows(height, kernel, stride, 0, input)?,
                    windows(width, kernel, stride, 0, input)?,
                ];
                let flops = product(&[elements_of(&shape)?, kernel as u64, kernel as u64])?;
                Ok(Step {
                    flops,
                    parameters: 0,
                    shape,
                })
            }
            Self::Relu => Ok(Step::free(input)),
            Self::Dropout { probability } if (0.0..1.0).contains(&probability) => {
                Ok(Step::free(input))
            }
            Self::Dropout { probability } => Err(format!(
                "probability {probability} is not at least 0 and below 1"
            )),
            Self::Flatten => Ok(Step {
                shape: vec![input.iter().product()],
                parameters: 0,
                flops: 0,
            }),
            Self::Dense { units } => {
                let [features] = input else {
                    return Err(format!(
                        "needs one axis, and gets {}: put a flatten layer before it",
                        show(input)
                    ));
                };
                at_least_one("units", units)?;
                let weights = product(&[*features as u64, units as u64])?;
                Ok(Step {
                    shape: vec![units],
                    parameters: weights + units as u64,
                    flops: 2 * weights,
                })
            }
        }
    }
}

fn conv2d(
    input: &[usize],
    channels: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<Step, String> {
    let [depth, height, width] = image(input)?;
    at_least_one("channels", channels)?;
    let shape = vec![
        channels,
        windows(height, kernel, stride, padding, input)?,
        windows(width, kernel, stride, padding, input)?,
    ];
    let area = product(&[kernel as u64, kernel as u64])?;
    let weights = product(&[depth as u64, channels as u64, area])?;
    let flops = product(&[2, elements_of(&shape)?, depth as u64, area])?;
    Ok(Step {
        shape,
        parameters: weights + channels as u64,
        flops,
    })
}

fn image(input: &[usize]) -> Result<[usize; 3], String> {
    input.try_into().map_err(|_| {
        format!(
            "needs an image [channels, height, width], and gets {}",
            show(input)
        )
    })
}

/// How often a window fits along one axis.
fn windows(
    length: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    input: &[usize],
) -> Result<usize, String> {
    at_least_one("kernel", kernel)?;
    at_least_one("stride", stride)?;
    let padded = padding
        .checked_mul(2)
        .and_then(|both| both.checked_add(length))
        .ok_or("padding is too large")?;
    if padding >= kernel {
        return Err(format!(
            "padding {padding} is not smaller than kernel {kernel}"
        ));
    }
    if kernel > padded {
        return Err(format!(
            "kernel {kernel} does not fit input {}",
            show(input)
        ));
    }
    Ok((padded - kernel) / stride + 1)
}

fn at_least_one(what: &str, value: usize) -> Result<(), String> {
    if value == 0 {
        return Err(format!("{what} must be at least 1"));
    }
    Ok(())
}

fn check_name(name: &str, before: &[LayerPlan]) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        return Err(format!(
            "a name has 1 to {MAX_NAME} letters, digits, - or _"
        ));
    }
    if before.iter().any(|layer| layer.name == name) {
        return Err("another layer has this name".to_owned());
    }
    Ok(())
}

/// The number of elements, if it is within bounds.
fn elements(shape: &[usize]) -> Option<u64> {
    let size = shape
        .iter()
        .try_fold(1u64, |size, axis| size.checked_mul(*axis as u64))?;
    (1..=MAX_ELEMENTS).contains(&size).then_some(size)
}

fn elements_of(shape: &[usize]) -> Result<u64, String> {
    elements(shape).ok_or_else(|| format!("its output {} is too large", show(shape)))
}

fn product(factors: &[u64]) -> Result<u64, String> {
    factors
        .iter()
        .try_fold(1u64, |size, factor| size.checked_mul(*factor))
        .filter(|size| *size <= MAX_ELEMENTS << 16)
        .ok_or_else(|| "it is too large".to_owned())
}

struct Show<'a>(&'a [usize]);

fn show(shape: &[usize]) -> Show<'_> {
    Show(shape)
}

impl fmt::Display for Show<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&axes.join("x"))
    }
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            #[serde(flatten)]
            op: &'a Op,
        }
        Form {
            name: self.name.as_deref(),
            op: &self.op,
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for Layer {
    /// By hand, because serde cannot both flatten and refuse unknown fields.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(d)?;
        let name = match fields.remove("name") {
            None => None,
            Some(serde_json::Value::String(name)) => Some(name),
            Some(_) => return Err(de::Error::custom("a layer's name is a text")),
        };
        let op = Op::deserialize(serde_json::Value::Object(fields)).map_err(de::Error::custom)?;
        Ok(Self { name, op })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(op: Op) -> Layer {
        Layer { name: None, op }
    }

    fn conv(channels: usize, kernel: usize, padding: usize) -> Layer {
        layer(Op::Conv2d {
            channels,
            kernel,
            stride: 1,
            padding,
        })
    }

    fn model(layers: Vec<Layer>) -> Model {
        Model {
            input: vec![1, 8, 8],
            layers,
        }
    }

    #[test]
    fn shapes_and_costs_are_known() {
        let plan = model(vec![
            conv(16, 3, 1),
            layer(Op::Relu),
            layer(Op::MaxPool2d {
                kernel: 2,
                stride: 0,
            }),
            layer(Op::Flatten),
            layer(Op::Dense { units: 10 }),
        ])
        .plan()
        .unwrap();
        assert_eq!(plan.layers[0].output_shape, [16, 8, 8]);
        assert_eq!(plan.layers[0].parameters, 16 * 9 + 16);
        assert_eq!(plan.layers[0].flops, 2 * 16 * 64 * 9);
        assert_eq!(plan.layers[2].output_shape, [16, 4, 4]);
        assert_eq!(plan.output_shape, [10]);
        assert_eq!(plan.parameters, 160 + 2570);
        assert!(plan.peak_bytes(64) > plan.peak_bytes(1));
        assert_eq!(plan.layers[4].name, "dense_1");
    }

    #[test]
    fn what_does_not_fit_names_its_layer() {
        let message = |layers| model(layers).plan().unwrap_err().to_string();
        let pool = layer(Op::MaxPool2d {
            kernel: 2,
            stride: 0,
        });
        assert_eq!(
            message(vec![conv(4, 3, 1), pool, conv(4, 5, 0)]),
            "layer 3 \"conv2d_2\": kernel 5 does not fit input 4x4x4"
        );
        let dense = layer(Op::Dense { units: 10 });
        assert!(message(vec![dense]).contains("put a flatten layer before it"));
        assert!(message(vec![layer(Op::Dropout { probability: 1.0 })]).contains("probability 1"));
        assert!(
            message(vec![layer(Op::Dropout {
                probability: f64::NAN
            })])
            .contains("layer 1")
        );
        assert!(message(vec![conv(0, 3, 1)]).contains("channels must be at least 1"));
        assert!(message(vec![conv(usize::MAX, 3, 1)]).contains("too large"));
        assert!(message(vec![conv(4, 3, usize::MAX)]).contains("padding"));
        assert!(message(vec![]).contains("1 to 256 layers"));
        let named = |name: &str| Layer {
            name: Some(name.to_owned()),
            op: Op::Relu,
        };
        assert!(message(vec![named("a"), named("a")]).contains("another layer"));
        assert!(message(vec![named("a/b")]).contains("letters"));
        let zero = Model {
            input: vec![0, 8, 8],
            layers: vec![layer(Op::Relu)],
        };
        assert!(zero.plan().is_err());
    }

    #[test]
    fn unknown_fields_of_a_layer_are_refused() {
        let parse = |json: &str| serde_json::from_str::<Layer>(json);
        let layer = parse(r#"{"op":"dense","units":3,"name":"head"}"#).unwrap();
        assert_eq!(layer.name.as_deref(), Some("head"));
        assert!(parse(r#"{"op":"dense","units":3,"bias":false}"#).is_err());
        assert!(parse(r#"{"op":"exec","path":"x"}"#).is_err());
        let text = serde_json::to_string(&layer).unwrap();
        assert_eq!(parse(&text).unwrap(), layer);
    }
}
