//! Operations over sequences `[steps, features]`.

use super::super::{
    MAX_STEPS,
    options::{Attention, Encoder, Position, Positions, Recurrent, Steps},
    shape::{at_least_one, elements, epsilon, product, show, times, within},
};
use super::{Effect, First, Weight};

/// The most layers of one recurrent operation.
const MAX_STACKED: usize = 16;
/// Numbers that training keeps of one recurrent unit and step, a gate: what is
/// projected, summed, and bent.
const KEPT_A_GATE: u64 = 6;
/// What learnt positions spread by at first, as in vision transformers.
const POSITION_SPREAD: f64 = 0.02;

/// A recurrent operation with so many gates a unit.
pub(super) fn recurrent(
    recurrent: &Recurrent,
    gates: usize,
    input: &[usize],
) -> Result<Effect, String> {
    let [steps, features] = sequence(input)?;
    let units = recurrent.units;
    at_least_one("units", units)?;
    if steps > MAX_STEPS {
        return Err(format!(
            "{steps} steps are more than the {MAX_STEPS} that are gone through one after the other: shorten the sequence first, with a convolution or a pooling"
        ));
    }
    if !(1..=MAX_STACKED).contains(&recurrent.layers) {
        return Err(format!(
            "layers is 1 to {MAX_STACKED}, this is {}",
            recurrent.layers
        ));
    }
    let rows = times(gates, units)?;
    let first = First::Even(1.0 / (units as f64).sqrt());
    let mut weights = Vec::with_capacity(4 * recurrent.layers);
    let mut flops = 0;
    for layer in 0..recurrent.layers {
        let width = if layer == 0 { features } else { units };
        let mut add = |name: &str, shape: Vec<usize>| {
            weights.push(Weight::new(format!("{name}_l{layer}"), shape, first));
        };
        add("weight_ih", vec![rows, width]);
        add("weight_hh", vec![rows, units]);
        if recurrent.bias {
            add("bias_ih", vec![rows]);
            add("bias_hh", vec![rows]);
        }
        let seen = (width as u64).saturating_add(units as u64);
        flops = product(&[2, steps as u64, rows as u64, seen])?.saturating_add(flops);
    }
    let kept = product(&[
        steps as u64,
        rows as u64,
        recurrent.layers as u64,
        KEPT_A_GATE,
    ])?;
    Ok(Effect {
        shape: match recurrent.output {
            Steps::Every => vec![steps, units],
            Steps::Last => vec![units],
        },
        weights,
        flops,
        kept,
    })
}

pub(super) fn attention(attention: &Attention, inputs: &[Vec<usize>]) -> Result<Effect, String> {
    within("dropout", attention.dropout, 0.0, 1.0)?;
    let [steps, features] = sequence(&inputs[0])?;
    let mut seen = steps;
    for other in &inputs[1..] {
        let [length, width] = sequence(other)?;
        if width != features {
            return Err(format!(
                "queries {} and what they look at, {}, must have the same features: put a dense layer before one",
                show(&inputs[0]),
                show(other)
            ));
        }
        seen = length;
    }
    if let [_, keys, values] = inputs
        && keys != values
    {
        return Err(format!(
            "keys {} and values {} must have the same shape",
            show(keys),
            show(values)
        ));
    }
    let looked = looks(attention.heads, steps, seen, features)?;
    Ok(Effect {
        shape: vec![steps, features],
        weights: projections("", features, attention.bias)?,
        flops: looked.flops,
        kept: looked.kept,
    })
}

pub(super) fn encoder(encoder: &Encoder, input: &[usize]) -> Result<Effect, String> {
    let [steps, features] = sequence(input)?;
    within("dropout", encoder.dropout, 0.0, 1.0)?;
    epsilon(encoder.epsilon)?;
    at_least_one("units", encoder.units)?;
    let looked = looks(encoder.heads, steps, steps, features)?;
    let mut weights = projections("self_attn.", features, true)?;
    let mut linear = |name: &str, units: usize, width: usize| {
        let first = First::Even(1.0 / (width as f64).sqrt());
        weights.push(Weight::new(format!("{name}.weight"), [units, width], first));
        weights.push(Weight::new(format!("{name}.bias"), [units], first));
    };
    linear("linear1", encoder.units, features);
    linear("linear2", features, encoder.units);
    for norm in ["norm1", "norm2"] {
        weights.push(Weight::new(
            format!("{norm}.weight"),
            [features],
            First::Ones,
        ));
        weights.push(Weight::new(
            format!("{norm}.bias"),
            [features],
            First::Zeros,
        ));
    }
    let (steps, width, units) = (steps as u64, features as u64, encoder.units as u64);
    let inner = product(&[4, steps, width, units])?;
    // Two norms, two residuals, two masks; and what is between the matrices.
    let kept = product(&[14, steps, width])?.saturating_add(product(&[5, steps, units])?);
    Ok(Effect {
        shape: input.to_vec(),
        weights,
        flops: looked.flops.saturating_add(inner),
        kept: looked.kept.saturating_add(kept),
    })
}

pub(super) fn position(position: Position, input: &[usize]) -> Result<Effect, String> {
    let [steps, features] = sequence(input)?;
    let mut effect = Effect::each(input, 1);
    if position.kind == Positions::Learnt {
        effect.weights.push(Weight::new(
            "weight",
            [steps, features],
            First::Normal(POSITION_SPREAD),
        ));
    }
    Ok(effect)
}

struct Looked {
    flops: u64,
    kept: u64,
}

/// What it costs that `steps` look at `seen`, projections included.
fn looks(heads: usize, steps: usize, seen: usize, features: usize) -> Result<Looked, String> {
    at_least_one("heads", heads)?;
    if !features.is_multiple_of(heads) {
        return Err(format!(
            "{features} features do not make {heads} heads of one size: give heads that divide them"
        ));
    }
    elements(&[heads, steps, seen]).ok_or_else(|| {
        format!("{heads} heads of {steps} steps that look at {seen} are too large")
    })?;
    let (steps, seen, width) = (steps as u64, seen as u64, features as u64);
    let scores = product(&[heads as u64, steps, seen])?;
    let both = steps.saturating_add(seen);
    let projected = product(&[4, width, width, both])?;
    let mixed = product(&[4, steps, seen, width])?;
    Ok(Looked {
        flops: projected.saturating_add(mixed),
        kept: product(&[4, scores])?.saturating_add(product(&[5, both, width])?),
    })
}

/// The matrices of `MultiheadAttention`.
fn projections(prefix: &str, features: usize, bias: bool) -> Result<Vec<Weight>, String> {
    let rows = times(3, features)?;
    let named = |name: &str| format!("{prefix}{name}");
    // Glorot and Bengio 2010, over all three at once, as PyTorch does.
    let spread = (6.0 / (features as f64 * 4.0)).sqrt();
    let plain = First::Even(1.0 / (features as f64).sqrt());
    let mut weights = vec![Weight::new(
        named("in_proj_weight"),
        [rows, features],
        First::Even(spread),
    )];
    if bias {
        weights.push(Weight::new(named("in_proj_bias"), [rows], First::Zeros));
    }
    weights.push(Weight::new(
        named("out_proj.weight"),
        [features, features],
        plain,
    ));
    if bias {
        weights.push(Weight::new(
            named("out_proj.bias"),
            [features],
            First::Zeros,
        ));
    }
    Ok(weights)
}

fn sequence(input: &[usize]) -> Result<[usize; 2], String> {
    input.try_into().map_err(|_| {
        format!(
            "needs a sequence [steps, features], and gets {}: put a reshape layer before it",
            show(input)
        )
    })
}
