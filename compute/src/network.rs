//! A declared model, executed over burn's tensors.
//!
//! Parameters are flat tensors in the order of the layers, named after them as
//! PyTorch would (`conv1.weight`), and take their shape where they are used.
//! Flat ones need one optimiser and one writer whatever the layer.

use burn::tensor::activation::relu;
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};
use embermesh_job::model::{InvalidModel, Model, Op};

use crate::dataset::Batch;
use crate::kernels::{conv2d, max_pool2d};
use crate::randomness::{Purpose, stream, unit};

/// A parameter of the network.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// The layer's name and what it is of it: "conv1.weight".
    pub(crate) name: String,
    /// Its shape, as PyTorch lays it out.
    pub(crate) shape: Vec<usize>,
    /// Its values in row-major order, without a gradient.
    pub(crate) value: Tensor<1>,
}

/// What a layer does, with its shapes settled.
#[derive(Debug)]
enum Stage {
    Convolution {
        /// Where its weight is among the parameters; its bias is the next.
        weight: usize,
        shape: [usize; 4],
        stride: usize,
        padding: usize,
    },
    MaxPool {
        kernel: usize,
        stride: usize,
    },
    Relu,
    Dropout {
        /// Keys its masks.
        layer: u64,
        probability: f64,
    },
    Flatten,
    Dense {
        weight: usize,
        shape: [usize; 2],
    },
}

/// The layers and their parameters, on one device.
#[derive(Debug)]
pub(crate) struct Network {
    /// The shape of a sample: an image, or a row.
    input: Vec<usize>,
    stages: Vec<Stage>,
    parameters: Vec<Parameter>,
    device: Device,
}

/// What flows from layer to layer.
enum Flow {
    /// Samples, channels, height, width.
    Maps(Tensor<4>),
    /// Samples, features.
    Rows(Tensor<2>),
}

/// Whether a pass is one of training, where dropout drops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// A step of training; both numbers key the masks.
    Train {
        /// Seed of the job.
        seed: u32,
        /// The step, from 1.
        step: u64,
    },
    /// Inference.
    Infer,
}

impl Network {
    /// Builds the layers with first values drawn from `seed`.
    ///
    /// # Errors
    /// [`InvalidModel`] when the shapes do not fit.
    pub(crate) fn new(model: &Model, seed: u32, device: &Device) -> Result<Self, InvalidModel> {
        let plan = model.plan()?;
        let last = plan.layers.iter().rposition(|layer| layer.parameters > 0);
        let mut stages = Vec::with_capacity(model.layers.len());
        let mut parameters = Vec::new();
        for (index, (layer, plan)) in model.layers.iter().zip(&plan.layers).enumerate() {
            let weight = parameters.len();
            // He's first values for layers that a ReLU follows; the last layer
            // feeds a softmax and starts smaller.
            let gain = if last == Some(index) { 3.0 } else { 6.0 };
            let mut add = |shape: &[usize]| {
                let fan_in: usize = shape[1..].iter().product();
                let bound = (gain / fan_in.max(1) as f64).sqrt() as f32;
                for (what, shape) in [("weight", shape), ("bias", &shape[..1])] {
                    let key = parameters.len() as u64;
                    let bound = if what == "bias" { 0.0 } else { bound };
                    parameters.push(Parameter {
                        name: format!("{}.{what}", plan.name),
                        shape: shape.to_vec(),
                        value: first_values(shape, bound, seed, key, device),
                    });
                }
            };
            stages.push(match layer.op {
                Op::Conv2d {
                    channels,
                    kernel,
                    stride,
                    padding,
                } => {
                    let shape = [channels, plan.input_shape[0], kernel, kernel];
                    add(&shape);
                    Stage::Convolution {
                        weight,
                        shape,
                        stride,
                        padding,
                    }
                }
                Op::MaxPool2d { kernel, stride } => Stage::MaxPool {
                    kernel,
                    stride: if stride == 0 { kernel } else { stride },
                },
                Op::Relu => Stage::Relu,
                Op::Dropout { probability } => Stage::Dropout {
                    layer: index as u64,
                    probability,
                },
                Op::Flatten => Stage::Flatten,
                Op::Dense { units } => {
                    let shape = [units, plan.input_shape.iter().product()];
                    add(&shape);
                    Stage::Dense { weight, shape }
                }
            });
        }
        Ok(Self {
            input: model.input.clone(),
            stages,
            parameters,
            device: device.clone(),
        })
    }

    /// The parameters, in the order of the layers.
    pub(crate) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// How many numbers are learnt.
    pub(crate) fn count(&self) -> u64 {
        let sizes = self.parameters.iter().map(|parameter| &parameter.shape);
        sizes
            .map(|shape| shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Replaces the value of a parameter.
    pub(crate) fn set(&mut self, index: usize, value: Tensor<1>) {
        self.parameters[index].value = value;
    }

    /// The device that it lives on.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters as leaves of a new graph, whose gradients are kept.
    pub(crate) fn leaves(&self) -> Vec<Tensor<1>> {
        self.parameters
            .iter()
            .map(|parameter| parameter.value.clone().autodiff().require_grad())
            .collect()
    }

    /// The parameters as constants.
    pub(crate) fn constants(&self) -> Vec<Tensor<1>> {
        self.parameters
            .iter()
            .map(|parameter| parameter.value.clone())
            .collect()
    }

    /// The logits of a batch: one row per sample. `values` are the parameters,
    /// as leaves or constants.
    pub(crate) fn forward(&self, values: &[Tensor<1>], batch: &Batch, mode: Mode) -> Tensor<2> {
        let samples = batch.len();
        let pixels = self.constant(batch.pixels.clone());
        let mut flow = match self.input[..] {
            [channels, height, width] => {
                Flow::Maps(pixels.reshape([samples, channels, height, width]))
            }
            _ => Flow::Rows(pixels.reshape([samples, self.input.iter().product()])),
        };
        for stage in &self.stages {
            flow = self.apply(stage, values, flow, mode);
        }
        flow.rows()
    }

    fn apply(&self, stage: &Stage, values: &[Tensor<1>], flow: Flow, mode: Mode) -> Flow {
        match *stage {
            Stage::Convolution {
                weight,
                shape,
                stride,
                padding,
            } => Flow::Maps(conv2d(
                flow.maps(),
                values[weight].clone().reshape(shape),
                values[weight + 1].clone(),
                ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1),
            )),
            Stage::MaxPool { kernel, stride } => Flow::Maps(max_pool2d(
                flow.maps(),
                MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]),
            )),
            Stage::Relu => match flow {
                Flow::Maps(maps) => Flow::Maps(relu(maps)),
                Flow::Rows(rows) => Flow::Rows(relu(rows)),
            },
            Stage::Dropout { layer, probability } => match mode {
                Mode::Infer => flow,
                Mode::Train { seed, step } => {
                    let mask = |count| mask(count, probability, seed, step, layer);
                    match flow {
                        Flow::Maps(maps) => {
                            let dims = maps.dims();
                            let mask = self.constant(mask(dims.iter().product())).reshape(dims);
                            Flow::Maps(maps.mul(mask))
                        }
                        Flow::Rows(rows) => {
                            let dims = rows.dims();
                            let mask = self.constant(mask(dims.iter().product())).reshape(dims);
                            Flow::Rows(rows.mul(mask))
                        }
                    }
                }
            },
            Stage::Flatten => Flow::Rows(flow.rows()),
            Stage::Dense { weight, shape } => {
                let matrix = values[weight].clone().reshape(shape).transpose();
                let bias = values[weight + 1].clone().reshape([1, shape[0]]);
                Flow::Rows(flow.rows().matmul(matrix).add(bias))
            }
        }
    }

    fn constant(&self, values: Vec<f32>) -> Tensor<1> {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &self.device)
    }
}

impl Flow {
    /// As maps; rows become maps of one pixel, which a checked plan never asks.
    fn maps(self) -> Tensor<4> {
        match self {
            Self::Maps(maps) => maps,
            Self::Rows(rows) => {
                let [samples, features] = rows.dims();
                rows.reshape([samples, features, 1, 1])
            }
        }
    }

    /// As rows, flattened when they are maps.
    fn rows(self) -> Tensor<2> {
        match self {
            Self::Maps(maps) => {
                let [samples, channels, height, width] = maps.dims();
                maps.reshape([samples, channels * height * width])
            }
            Self::Rows(rows) => rows,
        }
    }
}

/// Values evenly between `-bound` and `bound`, keyed by the parameter's place.
fn first_values(shape: &[usize], bound: f32, seed: u32, key: u64, device: &Device) -> Tensor<1> {
    let count = shape.iter().product();
    let mut rng = stream(seed, Purpose::Weights, key, 0);
    let values: Vec<f32> = (0..count)
        .map(|_| (unit(&mut rng) * 2.0 - 1.0) * bound)
        .collect();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// A mask that drops with a probability and scales what it keeps, so that the
/// mean stays. A function of its key: a resumed step drops the same.
fn mask(count: usize, probability: f64, seed: u32, step: u64, layer: u64) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Mask, step, layer);
    let dropped = probability as f32;
    let kept = (1.0 / (1.0 - probability)) as f32;
    (0..count)
        .map(|_| if unit(&mut rng) < dropped { 0.0 } else { kept })
        .collect()
}
