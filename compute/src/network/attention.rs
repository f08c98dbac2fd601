//! Attention, the block of a transformer, and what tells steps apart.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use embermesh_job::model::{Attention, Encoder, FeedForward, Position, Positions};

use super::flow::Flow;
use super::half::Half;
use super::pass::{Pass, linear};
use super::{Mode, Stage};
use super::{activation, norm};
use crate::kernels::{self, Hidden};

/// What hides a step from those before it: as good as minus infinity, and a
/// number all the same.
const HIDDEN: f32 = -1e30;

/// Where the tensors of an attention are among those of its stage.
struct Heads {
    heads: usize,
    has_bias: bool,
    causal: bool,
    dropout: f64,
}

pub(super) fn attention(
    pass: &Pass<'_>,
    stage: &Stage,
    options: &Attention,
    reads: Vec<Flow>,
) -> Flow {
    let heads = Heads {
        heads: options.heads,
        has_bias: options.bias,
        causal: options.causal,
        dropout: options.dropout,
    };
    let mut reads = reads.into_iter().map(Flow::lines);
    let query = reads.next().expect("a layer reads something");
    let key = reads.next();
    let value = reads.next();
    Flow::Lines(heads.attend(pass, stage, query, key, value))
}

pub(super) fn encoder(pass: &Pass<'_>, stage: &Stage, options: &Encoder, flow: Flow) -> Flow {
    let heads = Heads {
        heads: options.heads,
        has_bias: true,
        causal: options.causal,
        dropout: options.dropout,
    };
    let drop = |place, x| pass.dropped(stage, place, options.dropout, x);
    let attend = |x| drop(2, heads.attend(pass, stage, x, None, None));
    let feed = |x: Tensor<3>| {
        let inner = affine(pass, stage, 4, x);
        let bent = match options.activation {
            FeedForward::Relu => activation::relu(inner),
            FeedForward::Gelu => activation::gelu(inner),
        };
        drop(4, affine(pass, stage, 6, drop(3, bent)))
    };
    let norm = |first: usize, x| {
        let (weight, bias) = (pass.value(stage, first), pass.value(stage, first + 1));
        norm::layer(x, weight, bias, options.epsilon)
    };
    let x = flow.lines();
    Flow::Lines(if options.norm_first {
        let x = x.clone().add(attend(norm(8, x)));
        x.clone().add(feed(norm(10, x)))
    } else {
        let x = norm(8, x.clone().add(attend(x)));
        norm(10, x.clone().add(feed(x)))
    })
}

impl Heads {
    /// Each step of `query` as a mean of the steps of `value`, weighted by how
    /// like it the steps of `key` are. Without keys it looks at itself; without
    /// values, the keys are the values.
    fn attend(
        &self,
        pass: &Pass<'_>,
        stage: &Stage,
        query: Tensor<3>,
        key: Option<Tensor<3>>,
        value: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let mixed = self.mix(pass, stage, query, key, value);
        affine_with(
            pass,
            stage,
            if self.has_bias { 2 } else { 1 },
            self.has_bias,
            mixed,
        )
    }

    /// The means, before they are projected.
    fn mix(
        &self,
        pass: &Pass<'_>,
        stage: &Stage,
        query: Tensor<3>,
        key: Option<Tensor<3>>,
        value: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let [samples, steps, features] = query.dims();
        let width = features / self.heads;
        let (q, k, v) = match key {
            Some(key) => self.project(pass, stage, query, key, value),
            None => {
                let weight = pass.value(stage, 0);
                let bias = self.has_bias.then(|| pass.value(stage, 1));
                let all = product(pass.half(), query, weight, bias);
                let all = match self.at_once(pass, all) {
                    Ok(mixed) => return mixed,
                    Err(all) => all,
                };
                let part = |index: usize| all.clone().narrow(2, index * features, features);
                (part(0), part(1), part(2))
            }
        };
        let split = |x: Tensor<3>| {
            let [_, length, _] = x.dims();
            x.reshape([samples, length, self.heads, width])
                .swap_dims(1, 2)
        };
        let (q, k, v) = (split(q), split(k), split(v));
        let seen = k.dims()[2];
        let scale = 1.0 / (width as f64).sqrt();
        let scores = pass.half().product(q, k.swap_dims(2, 3));
        let shares = self.shares(pass, scores, scale, [steps, seen]);
        let shares = pass.dropped(stage, 1, self.dropout, shares);
        pass.half()
            .product(shares, v)
            .swap_dims(1, 2)
            .reshape([samples, steps, features])
    }

    /// The means of a sequence that looks at itself, where they come in one step: on the
    /// CPU, when nothing is dropped.
    #[allow(
        clippy::result_large_err,
        reason = "what is not taken is given back, and the caller goes on with it"
    )]
    fn at_once(&self, pass: &Pass<'_>, projected: Tensor<3>) -> Result<Tensor<3>, Tensor<3>> {
        let drops = self.dropout > 0.0 && matches!(pass.mode, Mode::Train { .. });
        if drops || pass.half().is_on() {
            return Err(projected);
        }
        kernels::attend(projected, self.heads, self.causal)
    }

    /// How much each step is looked at, by how like it is.
    fn shares(
        &self,
        pass: &Pass<'_>,
        scores: Tensor<4>,
        scale: f64,
        [steps, seen]: [usize; 2],
    ) -> Tensor<4> {
        let hidden = if self.causal {
            Hidden::StepsToCome { rows: steps }
        } else {
            Hidden::Nothing
        };
        let scores = match kernels::shares(scores, scale as f32, hidden) {
            Ok(shares) => return shares,
            Err(scores) => scores,
        };
        let mut scores = scores.mul_scalar(scale);
        if self.causal {
            let mask = (0..steps)
                .flat_map(|step| {
                    (0..seen).map(move |other| if other > step { HIDDEN } else { 0.0 })
                })
                .collect();
            scores = scores.add(pass.constant(mask).reshape([1, 1, steps, seen]));
        }
        softmax(scores, 3)
    }

    /// Queries, keys and values, each of a sequence of its own.
    fn project(
        &self,
        pass: &Pass<'_>,
        stage: &Stage,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Option<Tensor<3>>,
    ) -> (Tensor<3>, Tensor<3>, Tensor<3>) {
        let features = query.dims()[2];
        let weight = pass.value(stage, 0);
        let bias = self.has_bias.then(|| pass.value(stage, 1));
        let part = |index: usize, x: Tensor<3>| {
            let start = index * features;
            let weight = weight
                .clone()
                .narrow(0, start * features, features * features);
            let bias = bias.clone().map(|bias| bias.narrow(0, start, features));
            product(pass.half(), x, weight, bias)
        };
        let value = value.unwrap_or_else(|| key.clone());
        (part(0, query), part(1, key), part(2, value))
    }
}

/// A matrix product of each step with the parameter `first`, and the next added.
fn affine(pass: &Pass<'_>, stage: &Stage, first: usize, x: Tensor<3>) -> Tensor<3> {
    affine_with(pass, stage, first, true, x)
}

fn affine_with(
    pass: &Pass<'_>,
    stage: &Stage,
    first: usize,
    has_bias: bool,
    x: Tensor<3>,
) -> Tensor<3> {
    let bias = has_bias.then(|| pass.value(stage, first + 1));
    product(pass.half(), x, pass.value(stage, first), bias)
}

fn product(half: Half, x: Tensor<3>, weight: Tensor<1>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [samples, steps, features] = x.dims();
    let rows = linear(half, x.reshape([samples * steps, features]), weight, bias);
    let units = rows.dims()[1];
    rows.reshape([samples, steps, units])
}

/// Adds to each step what tells where it is.
pub(super) fn position(pass: &Pass<'_>, stage: &Stage, position: Position, flow: Flow) -> Flow {
    let x = flow.lines();
    let [_, steps, features] = x.dims();
    let places = match position.kind {
        Positions::Learnt => pass.value(stage, 0),
        Positions::Sinusoidal => pass.constant(waves(steps, features)),
    };
    Flow::Lines(x.add(places.reshape([1, steps, features])))
}

/// Sines at even features and cosines at odd ones, of frequencies that fall from
/// 1 to 1/10000 (Vaswani and others 2017).
fn waves(steps: usize, features: usize) -> Vec<f32> {
    let mut waves = Vec::with_capacity(steps * features);
    for step in 0..steps {
        for feature in 0..features {
            let frequency = 10_000_f64.powf(-((feature / 2 * 2) as f64) / features as f64);
            let angle = step as f64 * frequency;
            let wave = if feature % 2 == 0 {
                angle.sin()
            } else {
                angle.cos()
            };
            waves.push(wave as f32);
        }
    }
    waves
}
