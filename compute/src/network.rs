//! A declared model, executed over burn's tensors.
//!
//! The plan of a model says which tensors there are, what they are called and
//! what goes where; here is what computes. Parameters are flat tensors in the
//! order of the layers, named after them as PyTorch would (`conv1.weight`), and
//! take their shape where they are used. Flat ones need one optimiser and one
//! writer whatever the layer. State that is not learnt (the running statistics
//! of a batch norm) is kept in the same way beside them: a pass of training
//! gives its next values, and [`Network::keep`] takes them.
//!
//! | module | what it is |
//! |---|---|
//! | `file` | a model that is an ONNX file |
//! | `flow` | what goes from layer to layer: rows, sequences, maps |
//! | `parameter` | tensors and their first values |
//! | `pass`, `half` | one way through the graph; where it is in 16 bits |
//! | `activation`, `arrange`, `attention`, `norm`, `recurrent`, `window` | the operations |

pub(crate) mod activation;
mod arrange;
mod attention;
mod file;
mod flow;
#[cfg(test)]
mod golden;
mod half;
mod norm;
mod parameter;
#[cfg(test)]
mod parity;
mod pass;
mod recurrent;
#[cfg(test)]
mod tests;
mod window;

use std::ops::Range;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use embermesh_job::model::{InvalidModel, Model, Op, Plan, Source};

pub(crate) use self::parameter::Parameter;
use self::{file::FileModel, flow::Flow, pass::Pass};
use crate::dataset::Batch;
use crate::failure::InvalidData;

/// What a layer does, with everything settled.
#[derive(Debug)]
struct Stage {
    op: Op,
    /// What it reads, and whether it is the last to.
    reads: Vec<(Source, bool)>,
    /// The shape of a sample that comes out.
    output: Vec<usize>,
    /// Where its parameters are among those of the network.
    parameters: Range<usize>,
    /// Where its state is.
    state: Range<usize>,
    /// Its place; keys what it draws.
    layer: u64,
}

/// The layers and their tensors, on one device.
#[derive(Debug)]
pub(crate) struct Network {
    /// The shape of a sample.
    input: Vec<usize>,
    stages: Vec<Stage>,
    parameters: Vec<Parameter>,
    state: Vec<Parameter>,
    /// Where the input is ids: how many there are.
    entries: Option<usize>,
    /// What is done instead where the model is a file.
    file: Option<FileModel>,
    /// The 16-bit floats that training computes products in, if it does.
    half: Option<FloatDType>,
    device: Device,
}

/// Whether a pass is one of training, where dropout drops and statistics are
/// those of the batch.
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

/// What a pass came to.
pub(crate) struct Passed {
    /// The logits: one row per sample.
    pub(crate) outputs: Tensor<2>,
    /// The next state, by its place; none but from a pass of training.
    pub(crate) state: Vec<(usize, Tensor<1>)>,
}

impl Network {
    /// Builds the layers with first values drawn from `seed`.
    ///
    /// # Errors
    /// [`InvalidModel`] when the shapes do not fit.
    pub(crate) fn new(model: &Model, seed: u32, device: &Device) -> Result<Self, InvalidModel> {
        let plan = model.plan()?;
        let last = plan.layers.iter().rposition(|layer| layer.parameters > 0);
        let mut network = Self {
            input: model.input.clone(),
            stages: Vec::with_capacity(plan.layers.len()),
            parameters: Vec::new(),
            state: Vec::new(),
            entries: entries(model, &plan),
            file: None,
            half: None,
            device: device.clone(),
        };
        for (index, (layer, plan)) in model.layers.iter().zip(&plan.layers).enumerate() {
            let (learnt, kept) = (network.parameters.len(), network.state.len());
            for weight in &plan.weights {
                let (tensors, key) = if weight.learnt {
                    let key = network.parameters.len() as u64;
                    (&mut network.parameters, Some(key))
                } else {
                    (&mut network.state, None)
                };
                tensors.push(Parameter {
                    name: format!("{}.{}", plan.name, weight.name),
                    shape: weight.shape.clone(),
                    value: match key {
                        Some(key) => {
                            parameter::first_values(weight, last == Some(index), seed, key, device)
                        }
                        None => parameter::first_state(weight, device),
                    },
                });
            }
            network.stages.push(Stage {
                op: layer.op.clone(),
                reads: plan.sources.iter().map(|source| (*source, false)).collect(),
                output: plan.output_shape.clone(),
                parameters: learnt..network.parameters.len(),
                state: kept..network.state.len(),
                layer: index as u64,
            });
        }
        mark_last_reads(&mut network.stages);
        Ok(network)
    }

    /// What is learnt, in the order of the layers.
    pub(crate) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// What a file of weights holds: what is learnt, then the state.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().chain(&self.state)
    }

    /// How many numbers are learnt.
    pub(crate) fn count(&self) -> u64 {
        let sizes = self.parameters.iter().map(|parameter| &parameter.shape);
        sizes
            .map(|shape| shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Replaces the value of a tensor, by its place in [`Network::tensors`].
    pub(crate) fn set(&mut self, index: usize, value: Tensor<1>) {
        match index.checked_sub(self.parameters.len()) {
            None => self.parameters[index].value = value,
            Some(index) => self.state[index].value = value,
        }
    }

    /// Replaces all that is learnt by what `next` makes of it, which has it alone.
    pub(crate) fn update(&mut self, next: impl FnOnce(Vec<Tensor<1>>) -> Vec<Tensor<1>>) {
        let nothing = Tensor::zeros([1], &self.device);
        let values = self
            .parameters
            .iter_mut()
            .map(|parameter| std::mem::replace(&mut parameter.value, nothing.clone()))
            .collect();
        for (parameter, value) in self.parameters.iter_mut().zip(next(values)) {
            parameter.value = value;
        }
    }

    /// Takes the state that a pass of training gave.
    pub(crate) fn keep(&mut self, state: Vec<(usize, Tensor<1>)>) {
        for (index, value) in state {
            self.state[index].value = value;
        }
    }

    /// Makes training compute its products in 16-bit floats.
    pub(crate) fn halve(&mut self, half: Option<FloatDType>) {
        self.half = half;
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

    /// The values of all tensors, as [`Network::tensors`] has them.
    pub(crate) fn snapshot(&self) -> Vec<Tensor<1>> {
        self.tensors()
            .map(|parameter| parameter.value.clone())
            .collect()
    }

    /// What a batch comes to. `values` are the parameters, as leaves or
    /// constants.
    ///
    /// # Errors
    /// [`InvalidData`] when the input should be ids and is not.
    pub(crate) fn forward(
        &self,
        values: &[Tensor<1>],
        batch: &Batch,
        mode: Mode,
    ) -> Result<Passed, InvalidData> {
        if let Some(file) = &self.file {
            return file.forward(values, batch, &self.device);
        }
        self.check_ids(&batch.pixels)?;
        let pixels = self.constant(batch.pixels.clone());
        let input = Flow::of(pixels, batch.len(), &self.input);
        let mut pass = Pass::new(self, values, mode);
        Ok(Passed {
            outputs: pass.run(input).rows(),
            state: pass.state,
        })
    }

    fn constant(&self, values: Vec<f32>) -> Tensor<1> {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), &self.device)
    }

    /// A device takes what it is given, so ids are checked before they get there.
    fn check_ids(&self, values: &[f32]) -> Result<(), InvalidData> {
        let Some(entries) = self.entries else {
            return Ok(());
        };
        let is_id = |value: f32| value >= 0.0 && value < entries as f32 && value.fract() == 0.0;
        match values.iter().find(|value| !is_id(**value)) {
            None => Ok(()),
            Some(&value) => Err(InvalidData::Id { value, entries }),
        }
    }
}

/// The least number of entries of the embeddings that look up the input itself,
/// perhaps in another shape.
fn entries(model: &Model, plan: &Plan) -> Option<usize> {
    let mut is_input = Vec::with_capacity(plan.layers.len());
    let mut least = None;
    for (layer, plan) in model.layers.iter().zip(&plan.layers) {
        let reads_input = plan.sources.iter().any(|source| match source {
            Source::Input => true,
            Source::Layer(earlier) => is_input[*earlier],
        });
        if let (Op::Embedding(table), true) = (&layer.op, reads_input) {
            least = Some(least.unwrap_or(usize::MAX).min(table.entries));
        }
        let moves = matches!(
            layer.op,
            Op::Flatten(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Concat(_)
        );
        is_input.push(moves && reads_input);
    }
    least
}

/// Marks each value's last reader, who may have it rather than a copy.
fn mark_last_reads(stages: &mut [Stage]) {
    let mut is_read = std::collections::HashSet::new();
    for stage in stages.iter_mut().rev() {
        for (source, is_last) in stage.reads.iter_mut().rev() {
            let place = match *source {
                Source::Input => usize::MAX,
                Source::Layer(earlier) => earlier,
            };
            *is_last = is_read.insert(place);
        }
    }
}
