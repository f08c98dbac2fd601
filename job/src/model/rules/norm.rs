//! Normalisations: over the batch, over features, over groups of channels.

use super::super::{
    options::{BatchNorm, GroupNorm, LayerNorm},
    shape::{at_least_one, epsilon, output_elements, show, within},
};
use super::{Effect, First, Weight};

pub(super) fn batch(norm: &BatchNorm, input: &[usize]) -> Result<Effect, String> {
    epsilon(norm.epsilon)?;
    within("momentum", norm.momentum, 0.0, 1.0 + f64::EPSILON)?;
    let channels = [input[0]];
    let mut effect = normalised(input, input[0])?;
    effect
        .weights
        .push(Weight::state("running_mean", channels, First::Zeros));
    effect
        .weights
        .push(Weight::state("running_var", channels, First::Ones));
    Ok(effect)
}

pub(super) fn layer(norm: &LayerNorm, input: &[usize]) -> Result<Effect, String> {
    epsilon(norm.epsilon)?;
    normalised(input, input[input.len() - 1])
}

pub(super) fn group(norm: &GroupNorm, input: &[usize]) -> Result<Effect, String> {
    epsilon(norm.epsilon)?;
    at_least_one("groups", norm.groups)?;
    if !input[0].is_multiple_of(norm.groups) {
        return Err(format!(
            "{} channels of {} do not make {} groups of one size",
            input[0],
            show(input),
            norm.groups
        ));
    }
    normalised(input, input[0])
}

fn normalised(input: &[usize], features: usize) -> Result<Effect, String> {
    let size = output_elements(input)?;
    Ok(Effect {
        shape: input.to_vec(),
        weights: vec![
            Weight::new("weight", [features], First::Ones),
            Weight::new("bias", [features], First::Zeros),
        ],
        flops: size.saturating_mul(8),
        kept: size.saturating_mul(4),
    })
}
