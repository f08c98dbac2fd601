//! The optimisers of `torch.optim`, over flat tensors.
//!
//! The moments are ours rather than a library's so that a checkpoint can hold
//! them as plain tensors. What depends on the step alone is computed in `f64`
//! outside the tensors. Moments begin at zero. The CPU goes one way over all of it
//! ([`fused`]); a device takes the tensors as they are.

mod fused;

use burn::tensor::Tensor;
use embermesh_job::spec::Optimizer as Rule;

use crate::network::{Network, Parameter};

/// A rule and what it remembers between steps.
#[derive(Debug)]
pub(crate) struct Optimizer {
    rule: Rule,
    /// By kind, as [`Optimizer::kinds`] names them, then by parameter.
    moments: Vec<Vec<Tensor<1>>>,
}

impl Optimizer {
    /// Starts with moments of zero.
    pub(crate) fn new(rule: Rule, parameters: &[Parameter]) -> Self {
        let zeros = || {
            parameters
                .iter()
                .map(|parameter| parameter.value.zeros_like())
                .collect()
        };
        let moments = kinds(&rule).iter().map(|_| zeros()).collect();
        Self { rule, moments }
    }

    /// The rule, with what was adjusted in it.
    pub(crate) fn rule(&self) -> Rule {
        self.rule
    }

    /// Goes on by a rule of the same kind with other numbers.
    pub(crate) fn adjust(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// What is remembered per parameter.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        kinds(&self.rule)
    }

    /// The moments of a kind, by parameter.
    pub(crate) fn moments(&self, kind: usize) -> &[Tensor<1>] {
        &self.moments[kind]
    }

    /// Replaces a moment, on resuming.
    pub(crate) fn set(&mut self, kind: usize, parameter: usize, value: Tensor<1>) {
        self.moments[kind][parameter] = value;
    }

    /// Takes step number `step` (from 1) along the gradients, with the learning
    /// rate times `factor`.
    pub(crate) fn step(
        &mut self,
        network: &mut Network,
        gradients: Vec<Tensor<1>>,
        step: u64,
        factor: f64,
    ) {
        if fused::takes(&gradients) {
            let course = fused::Course::new(self.rule, step, factor);
            let moments = &mut self.moments;
            network.update(|values| fused::step(course, values, gradients, moments));
            return;
        }
        self.step_by_tensors(network, gradients, step, factor);
    }

    fn step_by_tensors(
        &mut self,
        network: &mut Network,
        gradients: Vec<Tensor<1>>,
        step: u64,
        factor: f64,
    ) {
        for (index, gradient) in gradients.into_iter().enumerate() {
            let value = network.parameters()[index].value.clone();
            let next = self.next(index, value, gradient, step, factor);
            network.set(index, next);
        }
    }

    fn next(
        &mut self,
        index: usize,
        value: Tensor<1>,
        gradient: Tensor<1>,
        step: u64,
        factor: f64,
    ) -> Tensor<1> {
        let rate = self.rule.lr() * factor;
        match self.rule {
            Rule::Sgd {
                momentum,
                nesterov,
                weight_decay,
                ..
            } => {
                let gradient = decayed(gradient, &value, weight_decay);
                let along = if momentum == 0.0 {
                    gradient
                } else {
                    let velocity = self.keep(0, index, |old| {
                        old.mul_scalar(momentum).add(gradient.clone())
                    });
                    if nesterov {
                        gradient.add(velocity.mul_scalar(momentum))
                    } else {
                        velocity
                    }
                };
                value.sub(along.mul_scalar(rate))
            }
            Rule::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
                ..
            } => {
                let gradient = decayed(gradient, &value, weight_decay);
                let along = self.adam(index, gradient, step, (beta1, beta2, epsilon));
                value.sub(along.mul_scalar(rate / (1.0 - power(beta1, step))))
            }
            Rule::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
                ..
            } => {
                let along = self.adam(index, gradient, step, (beta1, beta2, epsilon));
                value
                    .mul_scalar(1.0 - rate * weight_decay)
                    .sub(along.mul_scalar(rate / (1.0 - power(beta1, step))))
            }
            Rule::RmsProp {
                alpha,
                epsilon,
                weight_decay,
                momentum,
                centered,
                ..
            } => {
                let gradient = decayed(gradient, &value, weight_decay);
                let square = gradient.clone().mul(gradient.clone());
                let mut spread = self.keep(0, index, |old| mix(old, square, alpha));
                if centered {
                    let mean = self.keep(1, index, |old| mix(old, gradient.clone(), alpha));
                    spread = spread.sub(mean.clone().mul(mean));
                }
                let along = gradient.div(spread.sqrt().add_scalar(epsilon));
                let along = if momentum == 0.0 {
                    along
                } else {
                    let kind = 1 + usize::from(centered);
                    self.keep(kind, index, |old| old.mul_scalar(momentum).add(along))
                };
                value.sub(along.mul_scalar(rate))
            }
            Rule::Adagrad {
                lr_decay,
                weight_decay,
                epsilon,
                ..
            } => {
                let gradient = decayed(gradient, &value, weight_decay);
                let square = gradient.clone().mul(gradient.clone());
                let sum = self.keep(0, index, |old| old.add(square));
                let along = gradient.div(sum.sqrt().add_scalar(epsilon));
                let rate = rate / (1.0 + (step.saturating_sub(1)) as f64 * lr_decay);
                value.sub(along.mul_scalar(rate))
            }
        }
    }

    /// The direction of Adam, without the correction of its first moment.
    fn adam(
        &mut self,
        index: usize,
        gradient: Tensor<1>,
        step: u64,
        (beta1, beta2, epsilon): (f64, f64, f64),
    ) -> Tensor<1> {
        let square = gradient.clone().mul(gradient.clone());
        let first = self.keep(0, index, |old| mix(old, gradient, beta1));
        let second = self.keep(1, index, |old| mix(old, square, beta2));
        let root = second
            .div_scalar(1.0 - power(beta2, step))
            .sqrt()
            .add_scalar(epsilon);
        first.div(root)
    }

    /// Makes a new moment of the old one, keeps it and gives it.
    fn keep(
        &mut self,
        kind: usize,
        index: usize,
        next: impl FnOnce(Tensor<1>) -> Tensor<1>,
    ) -> Tensor<1> {
        let moment = &mut self.moments[kind][index];
        *moment = next(moment.clone());
        moment.clone()
    }
}

/// A gradient with its L2 penalty.
fn decayed(gradient: Tensor<1>, value: &Tensor<1>, decay: f64) -> Tensor<1> {
    if decay == 0.0 {
        return gradient;
    }
    gradient.add(value.clone().mul_scalar(decay))
}

/// A running mean: `share` of the old, the rest of the new.
fn mix(old: Tensor<1>, new: Tensor<1>, share: f64) -> Tensor<1> {
    old.mul_scalar(share).add(new.mul_scalar(1.0 - share))
}

fn power(base: f64, step: u64) -> f64 {
    base.powi(i32::try_from(step).unwrap_or(i32::MAX))
}

fn kinds(rule: &Rule) -> Vec<&'static str> {
    match *rule {
        Rule::Sgd { momentum: 0.0, .. } => vec![],
        Rule::Sgd { .. } => vec!["velocity"],
        Rule::Adam { .. } | Rule::AdamW { .. } => vec!["first", "second"],
        Rule::RmsProp {
            momentum, centered, ..
        } => {
            let mut kinds = vec!["square"];
            if centered {
                kinds.push("mean");
            }
            if momentum != 0.0 {
                kinds.push("velocity");
            }
            kinds
        }
        Rule::Adagrad { .. } => vec!["sum"],
    }
}

#[cfg(test)]
mod tests;
