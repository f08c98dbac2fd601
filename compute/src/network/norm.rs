//! Normalisations.

use burn::tensor::Tensor;
use burn::tensor::module;
use embermesh_job::model::{BatchNorm, GroupNorm};

use super::flow::{Flow, each};
use super::pass::Pass;
use super::{Mode, Stage};
use crate::kernels;

/// Over the batch: by its own statistics in training, by the running ones else.
pub(super) fn batch(pass: &mut Pass<'_>, stage: &Stage, norm: &BatchNorm, flow: Flow) -> Flow {
    each!(flow, x => batch_norm(pass, stage, norm, x))
}

fn batch_norm<const D: usize>(
    pass: &mut Pass<'_>,
    stage: &Stage,
    norm: &BatchNorm,
    x: Tensor<D>,
) -> Tensor<D> {
    let (weight, bias) = (pass.value(stage, 0), pass.value(stage, 1));
    let (mean, variance) = (pass.state(stage, 0), pass.state(stage, 1));
    if let Mode::Infer = pass.mode {
        return module::batch_norm(x, weight, bias, mean, variance, norm.epsilon);
    }
    let dims = x.dims();
    let seen = (dims.iter().product::<usize>() / dims[1]) as f64;
    let trained = module::batch_norm_train(x, weight, bias, norm.epsilon);
    // As PyTorch: the running variance is of the unbiased estimate. One value a
    // channel has none, and counts as it is.
    let unbiased = if seen > 1.0 { seen / (seen - 1.0) } else { 1.0 };
    let mut mix = |place: usize, old: Tensor<1>, new: Tensor<1>, scale: f64| {
        let next = old
            .mul_scalar(1.0 - norm.momentum)
            .add(new.inner().mul_scalar(norm.momentum * scale));
        pass.state.push((stage.state.start + place, next));
    };
    mix(0, mean, trained.mean, 1.0);
    mix(1, variance, trained.variance, unbiased);
    trained.output
}

/// Over the last axis.
pub(super) fn layer<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    kernels::layer_norm(&x, &weight, &bias, epsilon)
        .unwrap_or_else(|| module::layer_norm(x, weight, Some(bias), epsilon))
}

/// Over each group of channels.
pub(super) fn group(pass: &Pass<'_>, stage: &Stage, norm: &GroupNorm, flow: Flow) -> Flow {
    let (weight, bias) = (pass.value(stage, 0), pass.value(stage, 1));
    each!(flow, x => group_norm(x, weight, bias, norm))
}

fn group_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm: &GroupNorm,
) -> Tensor<D> {
    let dims = x.dims();
    let in_group = dims[1..].iter().product::<usize>() / norm.groups;
    let grouped: Tensor<3> = x.reshape([dims[0], norm.groups, in_group]);
    let centered = grouped.clone().sub(grouped.mean_dim(2));
    let variance = centered.clone().mul(centered.clone()).mean_dim(2);
    let normalised = centered
        .div(variance.add_scalar(norm.epsilon).sqrt())
        .reshape(dims);
    let mut channels = [1; D];
    channels[1] = dims[1];
    normalised
        .mul(weight.reshape(channels))
        .add(bias.reshape(channels))
}
