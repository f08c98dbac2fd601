//! One way through the graph.

use burn::tensor::Tensor;
use embermesh_job::model::{Op, Source};

use super::flow::{Flow, each};
use super::half::Half;
use super::{Mode, Network, Stage, activation, arrange, attention, norm, recurrent, window};
use crate::kernels;
use crate::randomness::{Purpose, stream, unit};

/// A pass under way.
pub(super) struct Pass<'a> {
    network: &'a Network,
    /// The parameters, as leaves or constants.
    values: &'a [Tensor<1>],
    pub(super) mode: Mode,
    /// The next state, by its place.
    pub(super) state: Vec<(usize, Tensor<1>)>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(network: &'a Network, values: &'a [Tensor<1>], mode: Mode) -> Self {
        Self {
            network,
            values,
            mode,
            state: Vec::new(),
        }
    }

    pub(super) fn network(&self) -> &'a Network {
        self.network
    }

    /// What the last layer makes of an input.
    pub(super) fn run(&mut self, input: Flow) -> Flow {
        self.run_watched(input, &mut |_, _| ())
    }

    /// The same; `watch` sees what each layer gives.
    pub(super) fn run_watched(
        &mut self,
        input: Flow,
        watch: &mut dyn FnMut(&Stage, &Flow),
    ) -> Flow {
        let network = self.network;
        let mut input = Some(input);
        let mut made: Vec<Option<Flow>> = Vec::with_capacity(network.stages.len());
        for stage in &network.stages {
            let reads = stage
                .reads
                .iter()
                .filter_map(|(source, is_last)| {
                    let slot = match source {
                        Source::Input => &mut input,
                        Source::Layer(earlier) => &mut made[*earlier],
                    };
                    // A value that nobody else holds may be changed in place.
                    if *is_last { slot.take() } else { slot.clone() }
                })
                .collect();
            let given = self.apply(stage, reads);
            watch(stage, &given);
            made.push(Some(given));
        }
        made.pop().flatten().expect("a model has a layer")
    }

    fn apply(&mut self, stage: &Stage, mut reads: Vec<Flow>) -> Flow {
        match &stage.op {
            Op::Add(_) => {
                return arrange::join(reads, |a, b| a.add(b), |a, b| a.add(b), |a, b| a.add(b));
            }
            Op::Multiply(_) => {
                return arrange::join(reads, |a, b| a.mul(b), |a, b| a.mul(b), |a, b| a.mul(b));
            }
            Op::Concat(concat) => return arrange::concat(reads, concat.axis),
            Op::Attention(attention) => return attention::attention(self, stage, attention, reads),
            _ => {}
        }
        let flow = reads.pop().expect("a layer reads something");
        match &stage.op {
            Op::Conv1d(conv) => window::conv1d(self, stage, conv, flow),
            Op::Conv2d(conv) => window::conv2d(self, stage, conv, flow),
            Op::MaxPool1d(pool) => window::max_pool(window::flat(pool), flow).shaped(&stage.output),
            Op::MaxPool2d(pool) => window::max_pool(*pool, flow),
            Op::AvgPool1d(pool) => window::avg_pool(window::flat(pool), flow).shaped(&stage.output),
            Op::AvgPool2d(pool) => window::avg_pool(*pool, flow),
            Op::GlobalAvgPool(_) => window::global_avg_pool(flow),
            Op::GlobalMaxPool(_) => window::global_max_pool(flow),
            Op::BatchNorm(options) => norm::batch(self, stage, options, flow),
            Op::LayerNorm(options) => {
                let (weight, bias) = (self.value(stage, 0), self.value(stage, 1));
                each!(flow, x => norm::layer(x, weight, bias, options.epsilon))
            }
            Op::GroupNorm(options) => norm::group(self, stage, options, flow),
            Op::Dropout(dropout) => self.drop_some(stage, 0, dropout.probability, flow),
            Op::Embedding(table) => arrange::embedding(self, stage, table, flow),
            Op::Lstm(options) => recurrent::lstm(self, stage, options, flow),
            Op::Gru(options) => recurrent::gru(self, stage, options, flow),
            Op::TransformerEncoder(encoder) => attention::encoder(self, stage, encoder, flow),
            Op::Position(position) => attention::position(self, stage, *position, flow),
            Op::Flatten(_) => Flow::Rows(flow.rows()),
            Op::Reshape(_) => flow.shaped(&stage.output),
            Op::Transpose(transpose) => arrange::transpose(flow, &transpose.axes),
            Op::Mean(mean) => {
                let axis = mean.axis + 1;
                each!(flow, x => x.mean_dim(axis)).shaped(&stage.output)
            }
            Op::Last(_) => each!(flow, x => { let steps = x.dims()[1]; x.narrow(1, steps - 1, 1) })
                .shaped(&stage.output),
            Op::Dense(_) => self.dense(stage, flow),
            op => activation::apply(op, flow),
        }
    }

    /// A parameter of a stage, flat.
    pub(super) fn value(&self, stage: &Stage, index: usize) -> Tensor<1> {
        self.values[stage.parameters.start + index].clone()
    }

    /// A parameter of a stage in its shape, which has two axes.
    pub(super) fn matrix(&self, stage: &Stage, index: usize) -> Tensor<2> {
        let shape = &self.network.parameters[stage.parameters.start + index].shape;
        self.value(stage, index).reshape([shape[0], shape[1]])
    }

    /// A state of a stage.
    pub(super) fn state(&self, stage: &Stage, index: usize) -> Tensor<1> {
        self.network.state[stage.state.start + index].value.clone()
    }

    /// Values on the device, without gradients.
    pub(super) fn constant(&self, values: Vec<f32>) -> Tensor<1> {
        self.network.constant(values)
    }

    /// Zeros on the device, without gradients.
    pub(super) fn zeros<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        Tensor::zeros(shape, &self.network.device)
    }

    fn dense(&self, stage: &Stage, flow: Flow) -> Flow {
        let weight = self.value(stage, 0);
        let bias = (stage.parameters.len() > 1).then(|| self.value(stage, 1));
        match flow {
            Flow::Lines(lines) => {
                let [samples, steps, features] = lines.dims();
                let rows = lines.reshape([samples * steps, features]);
                let rows = linear(self.half(), rows, weight, bias);
                let units = rows.dims()[1];
                Flow::Lines(rows.reshape([samples, steps, units]))
            }
            other => Flow::Rows(linear(self.half(), other.rows(), weight, bias)),
        }
    }

    /// Dropout, in training. `place` tells apart what drops within one layer.
    pub(super) fn drop_some(
        &self,
        stage: &Stage,
        place: u64,
        probability: f64,
        flow: Flow,
    ) -> Flow {
        each!(flow, x => self.dropped(stage, place, probability, x))
    }

    /// The same for values of any rank.
    pub(super) fn dropped<const D: usize>(
        &self,
        stage: &Stage,
        place: u64,
        probability: f64,
        x: Tensor<D>,
    ) -> Tensor<D> {
        match self.mode {
            Mode::Train { seed, step } if probability > 0.0 => {
                let dims = x.dims();
                let key = stage.layer | (place << 32);
                let mask = mask(dims.iter().product(), probability, seed, step, key);
                x.mul(self.constant(mask).reshape(dims))
            }
            _ => x,
        }
    }
}

/// Rows times the transpose of a flat matrix, and a bias for each row.
pub(super) fn linear(
    half: Half,
    rows: Tensor<2>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
) -> Tensor<2> {
    if !half.is_on()
        && let Some(out) = kernels::linear(&rows, &weight, bias.as_ref())
    {
        return out;
    }
    let features = rows.dims()[1];
    let units = weight.dims()[0] / features;
    let matrix: Tensor<2> = weight.reshape([units, features]);
    let product = half.product(rows, matrix.transpose());
    match bias {
        Some(bias) => product.add(bias.reshape([1, units])),
        None => product,
    }
}

/// A mask that drops with a probability and scales what it keeps, so that the
/// mean stays. A function of its key: a resumed step drops the same.
fn mask(count: usize, probability: f64, seed: u32, step: u64, key: u64) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Mask, step, key);
    let dropped = probability as f32;
    let kept = (1.0 / (1.0 - probability)) as f32;
    (0..count)
        .map(|_| if unit(&mut rng) < dropped { 0.0 } else { kept })
        .collect()
}
