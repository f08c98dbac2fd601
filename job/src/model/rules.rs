//! What comes out of an operation, the tensors that it has, and what it costs.

mod arrange;
mod norm;
mod sequence;
mod window;

use super::{
    MAX_AXES, MAX_ENTRIES, Op,
    options::{Dense, Embedding, Softmax},
    shape::{at_least_one, elements, output_elements, product, show, within},
};

/// A tensor of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// What it is called within its layer, as in PyTorch.
    pub name: String,
    /// Its shape, as PyTorch lays it out.
    pub shape: Vec<usize>,
    /// What its values are at first.
    pub first: First,
    /// Whether it is learnt; if not, it is state that training keeps.
    pub learnt: bool,
}

/// What the values of a tensor are at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Evenly between bounds that follow from the fan-in and the place in the
    /// model (He and others 2015).
    FanIn,
    /// Evenly between this and its negative.
    Even(f64),
    /// Normal about zero with this standard deviation.
    Normal(f64),
}

impl Weight {
    fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, first: First) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            first,
            learnt: true,
        }
    }

    fn state(name: &str, shape: impl Into<Vec<usize>>, first: First) -> Self {
        Self {
            learnt: false,
            ..Self::new(name, shape, first)
        }
    }
}

/// What an operation does to shapes.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) shape: Vec<usize>,
    pub(super) weights: Vec<Weight>,
    /// Floating-point operations a sample.
    pub(super) flops: u64,
    /// Numbers that training keeps beside the output, a sample.
    pub(super) kept: u64,
}

impl Effect {
    /// Of an operation on each element by itself that costs this much.
    fn each(shape: &[usize], cost: u64) -> Self {
        let size = elements(shape).unwrap_or(0);
        Self {
            shape: shape.to_vec(),
            weights: Vec::new(),
            flops: size.saturating_mul(cost),
            kept: size.saturating_mul(cost - 1),
        }
    }

    /// Of an operation that computes nothing.
    fn moves(shape: Vec<usize>) -> Self {
        Self {
            shape,
            weights: Vec::new(),
            flops: 0,
            kept: 0,
        }
    }

    /// Refuses what is too large, output and weights.
    fn bounded(self) -> Result<Self, String> {
        output_elements(&self.shape)?;
        for weight in &self.weights {
            elements(&weight.shape).ok_or_else(|| {
                format!("its {} {} is too large", weight.name, show(&weight.shape))
            })?;
        }
        Ok(self)
    }
}

/// What comes out of these inputs, or why they do not fit.
pub(super) fn apply(op: &Op, inputs: &[Vec<usize>]) -> Result<Effect, String> {
    let arity = op.arity();
    if !arity.contains(&inputs.len()) {
        return Err(if *arity.start() > 1 {
            format!(
                "joins {} or more layers, and reads {}: name them in its `from`",
                arity.start(),
                inputs.len()
            )
        } else {
            format!(
                "reads {} layers, and {} may read {}: join them first",
                inputs.len(),
                op.word(),
                arity.end()
            )
        });
    }
    let input = &inputs[0][..];
    match op {
        Op::Conv1d(conv) => window::conv1d(conv, input),
        Op::Conv2d(conv) => window::conv2d(conv, input),
        Op::MaxPool1d(pool) | Op::AvgPool1d(pool) => window::pool1d(pool, input),
        Op::MaxPool2d(pool) | Op::AvgPool2d(pool) => window::pool2d(pool, input),
        Op::GlobalAvgPool(_) | Op::GlobalMaxPool(_) => window::global_pool(input),
        Op::BatchNorm(norm) => norm::batch(norm, input),
        Op::LayerNorm(norm) => norm::layer(norm, input),
        Op::GroupNorm(norm) => norm::group(norm, input),
        Op::Dropout(dropout) => {
            within("probability", dropout.probability, 0.0, 1.0)?;
            Ok(Effect::each(input, 1))
        }
        Op::Embedding(table) => embedding(*table, input),
        Op::Lstm(recurrent) => sequence::recurrent(recurrent, 4, input),
        Op::Gru(recurrent) => sequence::recurrent(recurrent, 3, input),
        Op::Attention(attention) => sequence::attention(attention, inputs),
        Op::TransformerEncoder(encoder) => sequence::encoder(encoder, input),
        Op::Position(position) => sequence::position(*position, input),
        Op::Flatten(_) => Ok(Effect::moves(vec![input.iter().product()])),
        Op::Reshape(reshape) => arrange::reshape(reshape, input),
        Op::Transpose(transpose) => arrange::transpose(transpose, input),
        Op::Concat(concat) => arrange::concat(*concat, inputs),
        Op::Add(_) | Op::Multiply(_) => arrange::join(inputs),
        Op::Mean(mean) => arrange::mean(*mean, input),
        Op::Last(_) => arrange::last(input),
        Op::Dense(dense) => self::dense(*dense, input),
        Op::Relu(_) => Ok(Effect::each(input, 1)),
        Op::LeakyRelu(leaky) => {
            within("negative_slope", leaky.negative_slope, 0.0, 1e3)?;
            Ok(Effect::each(input, 2))
        }
        Op::Elu(elu) => {
            within("alpha", elu.alpha, 0.0, 1e3)?;
            Ok(Effect::each(input, 4))
        }
        Op::Softplus(softplus) => {
            within("beta", softplus.beta, 1e-3, 1e3)?;
            Ok(Effect::each(input, 4))
        }
        Op::Tanh(_) | Op::Sigmoid(_) => Ok(Effect::each(input, 1)),
        Op::Silu(_) => Ok(Effect::each(input, 2)),
        Op::Gelu(_) => Ok(Effect::each(input, 4)),
        Op::Mish(_) => Ok(Effect::each(input, 6)),
        Op::Softmax(softmax) | Op::LogSoftmax(softmax) => self::softmax(*softmax, input),
    }
    .and_then(Effect::bounded)
}

fn dense(dense: Dense, input: &[usize]) -> Result<Effect, String> {
    let (Some(features), 1..=2) = (input.last(), input.len()) else {
        return Err(format!(
            "needs one axis, or steps of features, and gets {}: put a flatten layer before it",
            show(input)
        ));
    };
    at_least_one("units", dense.units)?;
    let mut shape = input.to_vec();
    shape.pop();
    let steps = shape.iter().product::<usize>() as u64;
    shape.push(dense.units);
    let mut weights = vec![Weight::new(
        "weight",
        [dense.units, *features],
        First::FanIn,
    )];
    if dense.bias {
        weights.push(Weight::new("bias", [dense.units], First::Zeros));
    }
    let flops = product(&[2, *features as u64, dense.units as u64, steps])?;
    Ok(Effect {
        shape,
        weights,
        flops,
        kept: 0,
    })
}

fn embedding(table: Embedding, input: &[usize]) -> Result<Effect, String> {
    at_least_one("entries", table.entries)?;
    at_least_one("features", table.features)?;
    if table.entries > MAX_ENTRIES {
        return Err(format!(
            "{} entries are more than {MAX_ENTRIES}, and ids beyond that are no exact numbers",
            table.entries
        ));
    }
    if input.len() >= MAX_AXES {
        return Err(format!(
            "adds an axis of features, and gets {}: put a flatten layer before it",
            show(input)
        ));
    }
    let mut shape = input.to_vec();
    shape.push(table.features);
    Ok(Effect {
        weights: vec![Weight::new(
            "weight",
            [table.entries, table.features],
            First::Normal(1.0),
        )],
        ..Effect::moves(shape)
    })
}

fn softmax(softmax: Softmax, input: &[usize]) -> Result<Effect, String> {
    let axis = softmax.axis.unwrap_or(input.len() - 1);
    arrange::length_of(axis, input)?;
    Ok(Effect::each(input, 3))
}
