//! A step on the CPU: one way over each parameter, its gradient and its moments, in
//! place and on all cores. The arithmetic is that of the parent, number by number.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use embermesh_job::spec::Optimizer as Rule;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::power;
use crate::kernels::plain;
use crate::lm::vectors::widest;

/// Numbers of a parameter that one task takes.
const CHUNK: usize = 16 << 10;
/// A rule remembers so many numbers for each of a parameter, at most.
const MOMENTS: usize = 3;

/// A rule with what depends on the step alone.
#[derive(Clone, Copy)]
pub(super) struct Course {
    rule: Rule,
    /// The learning rate times the schedule's factor.
    rate: f64,
    step: u64,
}

impl Course {
    pub(super) fn new(rule: Rule, step: u64, factor: f64) -> Self {
        let rate = rule.lr() * factor;
        Self { rule, rate, step }
    }
}

/// Whether all of these are on the CPU.
pub(super) fn takes(tensors: &[Tensor<1>]) -> bool {
    tensors.iter().all(|tensor| plain(tensor).is_some())
}

/// Takes a step with each of `values` by the gradient at its place. `moments` are by
/// kind, then by parameter. What nobody else holds is changed where it is.
pub(super) fn step(
    course: Course,
    values: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
    moments: &mut [Vec<Tensor<1>>],
) -> Vec<Tensor<1>> {
    let mut values = all(values);
    let gradients = all(gradients);
    let mut held: Vec<Vec<FlexTensor>> = moments
        .iter_mut()
        .map(|kind| all(std::mem::take(kind)))
        .collect();
    let mut tasks = Vec::new();
    let mut kinds: Vec<_> = held.iter_mut().map(|kind| kind.iter_mut()).collect();
    for (value, gradient) in values.iter_mut().zip(&gradients) {
        let mut chunks: Vec<_> = kinds
            .iter_mut()
            .filter_map(|kind| kind.next())
            .map(|moment| moment.storage_mut::<f32>().chunks_mut(CHUNK))
            .collect();
        let value = value.storage_mut::<f32>().chunks_mut(CHUNK);
        for (value, gradient) in value.zip(gradient.storage::<f32>().chunks(CHUNK)) {
            let mut moments: [&mut [f32]; MOMENTS] = Default::default();
            for (moment, chunks) in moments.iter_mut().zip(&mut chunks) {
                *moment = chunks.next().unwrap_or_default();
            }
            tasks.push(Task {
                course,
                value,
                gradient,
                moments,
            });
        }
    }
    tasks.into_par_iter().for_each(widest);
    for (kind, held) in moments.iter_mut().zip(held) {
        *kind = held
            .into_iter()
            .map(Tensor::from_primitive::<Flex>)
            .collect();
    }
    values
        .into_iter()
        .map(Tensor::from_primitive::<Flex>)
        .collect()
}

/// What is within tensors that [`takes`] has seen.
fn all(tensors: Vec<Tensor<1>>) -> Vec<FlexTensor> {
    tensors
        .into_iter()
        .filter_map(|tensor| tensor.try_into_primitive::<Flex>().ok())
        // A view of a part would be changed as a whole.
        .map(|within| within.to_contiguous())
        .collect()
}

struct Task<'a> {
    course: Course,
    value: &'a mut [f32],
    gradient: &'a [f32],
    moments: [&'a mut [f32]; MOMENTS],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            course: Course { rule, rate, step },
            value,
            gradient,
            moments,
        } = self;
        match rule {
            Rule::Sgd {
                momentum,
                nesterov,
                weight_decay,
                ..
            } => {
                let descent = Descent {
                    rate: rate as f32,
                    momentum: momentum as f32,
                    decay: weight_decay as f32,
                };
                if momentum == 0.0 {
                    descent.plain(value, gradient);
                } else {
                    descent.with_velocity(nesterov, value, gradient, moments);
                }
            }
            Rule::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
                ..
            } => Adaptive {
                betas: [beta1, beta2],
                epsilon: epsilon as f32,
                corrections: [beta1, beta2].map(|beta| 1.0 - power(beta, step)),
                rate,
                kept: 1.0,
                decay: weight_decay as f32,
            }
            .update(value, gradient, moments),
            Rule::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
                ..
            } => Adaptive {
                betas: [beta1, beta2],
                epsilon: epsilon as f32,
                corrections: [beta1, beta2].map(|beta| 1.0 - power(beta, step)),
                rate,
                kept: (1.0 - rate * weight_decay) as f32,
                decay: 0.0,
            }
            .update(value, gradient, moments),
            Rule::RmsProp {
                alpha,
                epsilon,
                weight_decay,
                momentum,
                centered,
                ..
            } => Squares {
                share: [alpha as f32, (1.0 - alpha) as f32],
                epsilon: epsilon as f32,
                decay: weight_decay as f32,
                momentum: momentum as f32,
                centered,
                rate: rate as f32,
            }
            .update(value, gradient, moments),
            Rule::Adagrad {
                lr_decay,
                weight_decay,
                epsilon,
                ..
            } => {
                let rate = rate / (1.0 + (step.saturating_sub(1)) as f64 * lr_decay);
                let (rate, epsilon, decay) = (rate as f32, epsilon as f32, weight_decay as f32);
                let [sum, ..] = moments;
                for ((value, gradient), sum) in value.iter_mut().zip(gradient).zip(sum) {
                    let gradient = decayed(*gradient, *value, decay);
                    *sum += gradient * gradient;
                    *value -= gradient / (sum.sqrt() + epsilon) * rate;
                }
            }
        }
    }
}

/// A gradient with its L2 penalty. Without a penalty it is the gradient to the bit,
/// but for the sign of a zero.
#[inline(always)]
fn decayed(gradient: f32, value: f32, decay: f32) -> f32 {
    gradient + value * decay
}

struct Descent {
    rate: f32,
    momentum: f32,
    decay: f32,
}

impl Descent {
    #[inline(always)]
    fn plain(&self, value: &mut [f32], gradient: &[f32]) {
        for (value, gradient) in value.iter_mut().zip(gradient) {
            *value -= decayed(*gradient, *value, self.decay) * self.rate;
        }
    }

    #[inline(always)]
    fn with_velocity(
        &self,
        nesterov: bool,
        value: &mut [f32],
        gradient: &[f32],
        [velocity, ..]: [&mut [f32]; MOMENTS],
    ) {
        // How much of the gradient and of the velocity is followed.
        let (own, along) = if nesterov {
            (1.0, self.momentum)
        } else {
            (0.0, 1.0)
        };
        for ((value, gradient), velocity) in value.iter_mut().zip(gradient).zip(velocity) {
            let gradient = decayed(*gradient, *value, self.decay);
            *velocity = *velocity * self.momentum + gradient;
            *value -= (gradient * own + *velocity * along) * self.rate;
        }
    }
}

struct Adaptive {
    betas: [f64; 2],
    epsilon: f32,
    /// What makes up for moments that begin at zero.
    corrections: [f64; 2],
    rate: f64,
    /// What decoupled decay leaves of a value.
    kept: f32,
    decay: f32,
}

impl Adaptive {
    #[inline(always)]
    fn update(
        &self,
        value: &mut [f32],
        gradient: &[f32],
        [first, second, _]: [&mut [f32]; MOMENTS],
    ) {
        let [old1, old2] = self.betas.map(|beta| beta as f32);
        let [new1, new2] = self.betas.map(|beta| (1.0 - beta) as f32);
        let rate = (self.rate / self.corrections[0]) as f32;
        let correction = self.corrections[1] as f32;
        let moments = first.iter_mut().zip(second);
        for ((value, gradient), (first, second)) in value.iter_mut().zip(gradient).zip(moments) {
            let gradient = decayed(*gradient, *value, self.decay);
            *first = *first * old1 + gradient * new1;
            *second = *second * old2 + gradient * gradient * new2;
            let root = (*second / correction).sqrt() + self.epsilon;
            *value = *value * self.kept - *first / root * rate;
        }
    }
}

struct Squares {
    /// Of the old mean and of the new value.
    share: [f32; 2],
    epsilon: f32,
    decay: f32,
    momentum: f32,
    centered: bool,
    rate: f32,
}

impl Squares {
    #[inline(always)]
    fn update(
        &self,
        value: &mut [f32],
        gradient: &[f32],
        [square, second, third]: [&mut [f32]; MOMENTS],
    ) {
        let [old, new] = self.share;
        let (mean, velocity) = if self.centered {
            (second, third)
        } else {
            (third, second)
        };
        for (at, ((value, gradient), square)) in
            value.iter_mut().zip(gradient).zip(square).enumerate()
        {
            let gradient = decayed(*gradient, *value, self.decay);
            *square = *square * old + gradient * gradient * new;
            let mut spread = *square;
            if let (true, Some(mean)) = (self.centered, mean.get_mut(at)) {
                *mean = *mean * old + gradient * new;
                spread -= *mean * *mean;
            }
            let mut along = gradient / (spread.sqrt() + self.epsilon);
            if let Some(velocity) = velocity.get_mut(at) {
                *velocity = *velocity * self.momentum + along;
                along = *velocity;
            }
            *value -= along * self.rate;
        }
    }
}
