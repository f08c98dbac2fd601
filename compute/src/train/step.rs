//! One step along the gradient of its batches.

use burn::tensor::Tensor;

use super::Training;
use crate::clip::clip;
use crate::dataset::Batch;
use crate::dataset::split::FORESIGHT;
use crate::failure::WorkFailed;
use crate::metrics::Outcome;
use crate::network::Mode;
use crate::precision::all_finite;

/// What a batch left on the device.
pub(super) struct Unread {
    pub(super) step: u64,
    pub(super) loss: Tensor<1>,
    pub(super) correct: Option<Tensor<1>>,
    /// What makes the batch's own mean of its share of the step's.
    pub(super) scale: f64,
    /// What is known without the device.
    pub(super) known: Outcome,
}

impl Training<'_> {
    /// Takes the next step.
    pub(super) fn advance(&mut self) -> Result<(), WorkFailed> {
        self.at.step += 1;
        let step = self.at.step;
        let within = (step - 1) % self.steps_per_pass;
        if within == 0 {
            self.order = self.order_of(step);
        }
        let size = self.train.batch as usize;
        let size_of_step = size * self.train.accumulate as usize;
        let start = within as usize * size_of_step;
        self.foresee(start);
        let places = &self.order[start..(start + size_of_step).min(self.order.len())];
        let batches: Vec<Batch> = places
            .chunks(size)
            .map(|places| self.samples.batch(places))
            .collect::<Result<_, _>>()?;
        let weight = batches
            .iter()
            .map(|batch| self.objective.weight(&batch.targets))
            .sum();

        let mut sums: Option<Vec<Tensor<1>>> = None;
        for (number, batch) in (1..).zip(batches) {
            let gradients = self.gradients(&batch, number, weight)?;
            sums = Some(match sums {
                None => gradients,
                Some(sums) => sums
                    .into_iter()
                    .zip(gradients)
                    .map(|(sum, gradient)| sum.add(gradient))
                    .collect(),
            });
        }
        let mut gradients = sums.unwrap_or_default();
        let Some(taken) = self.unscale(&mut gradients)? else {
            return Ok(());
        };
        if let Some(rule) = self.train.clip {
            gradients = clip(rule, gradients);
        }
        let factor = self.course.factor(step);
        self.optimizer
            .step(&mut self.network, gradients, taken, factor);
        Ok(())
    }

    /// Has the samples of this step and the next ones on their way, into the next
    /// pass too. `start` is where this step begins in the order of its pass.
    fn foresee(&mut self, start: usize) {
        let size = self.train.batch as usize;
        let mut left = FORESIGHT + self.train.accumulate as usize;
        for places in self.order[start..].chunks(size).take(left) {
            if !self.samples.foresee(places) {
                return;
            }
            left -= 1;
        }
        let pass = self.pass_of(self.at.step);
        if left == 0 || pass >= self.train.passes {
            return;
        }
        if self
            .next
            .as_ref()
            .is_none_or(|(drawn, _)| *drawn != pass + 1)
        {
            let first = u64::from(pass) * self.steps_per_pass + 1;
            self.next = Some((pass + 1, self.order_of(first)));
        }
        if let Some((_, order)) = &self.next {
            let _ = order
                .chunks(size)
                .take(left)
                .all(|places| self.samples.foresee(places));
        }
    }

    /// Undoes what the loss was multiplied by, and gives the number of the optimiser's
    /// step; none where a gradient overflowed and no step is taken.
    fn unscale(&mut self, gradients: &mut [Tensor<1>]) -> Result<Option<u64>, WorkFailed> {
        let step = self.at.step;
        let Some(scaling) = &mut self.at.scaling else {
            return Ok(Some(step));
        };
        let factor = 1.0 / scaling.factor();
        for gradient in gradients.iter_mut() {
            *gradient = gradient.clone().mul_scalar(factor);
        }
        match scaling.hear(all_finite(gradients)?) {
            Some(true) => Ok(Some(step - scaling.skipped)),
            Some(false) => Ok(None),
            None => Err(WorkFailed::NotFinite {
                step,
                loss: f32::NAN,
            }),
        }
    }

    /// The gradients of one batch of a step, whose samples weigh `weight` in
    /// all. `number` is the batch's within the step, from 1.
    fn gradients(
        &mut self,
        batch: &Batch,
        number: u64,
        weight: f64,
    ) -> Result<Vec<Tensor<1>>, WorkFailed> {
        let step = self.at.step;
        let mode = Mode::Train {
            seed: self.train.seed,
            // Batches of one step drop different values.
            step: (step - 1) * u64::from(self.train.accumulate) + number,
        };
        let answers = self
            .objective
            .answers(&batch.targets, self.network.device())?;
        let leaves = self.network.leaves();
        let passed = self.network.forward(&leaves, batch, mode)?;
        self.network.keep(passed.state);
        let outputs = passed.outputs;
        let correct = answers.correct(outputs.clone().inner());
        let loss = answers.loss(outputs, weight);
        let scaled = match &self.at.scaling {
            Some(scaling) => loss.clone().mul_scalar(scaling.factor()),
            None => loss.clone(),
        };
        let mut gradients = scaled.backward();
        let gradients = leaves
            .iter()
            .map(|leaf| {
                leaf.grad_remove(&mut gradients)
                    .unwrap_or_else(|| leaf.clone().inner().zeros_like())
            })
            .collect();

        let own = self.objective.weight(&batch.targets);
        let samples = batch.len() as u64;
        self.at.seen += samples;
        self.pace.step(samples);
        self.unread.push(Unread {
            step,
            loss: loss.inner(),
            correct,
            scale: weight / own,
            known: Outcome {
                weight: own,
                judged: answers.judged(),
                samples,
                ..Outcome::default()
            },
        });
        Ok(gradients)
    }
}
