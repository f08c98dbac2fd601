//! The learning rate's course: a factor on it as a function of the step alone.

use std::f64::consts::PI;

use embermesh_job::spec::{Schedule, Span, Train};

/// The course of a training's learning rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    schedule: Schedule,
    /// Steps in which the rate grows.
    warmup: u64,
    /// Steps after those.
    rest: u64,
    steps_per_pass: u64,
}

impl Course {
    /// The course of a training of so many steps.
    pub(crate) fn new(train: &Train, total_steps: u64, steps_per_pass: u64) -> Self {
        let warmup = train
            .warmup
            .map_or(0, |warmup| warmup.steps(steps_per_pass));
        Self {
            schedule: train.schedule.unwrap_or(Schedule::Constant),
            warmup,
            rest: total_steps.saturating_sub(warmup).max(1),
            steps_per_pass: steps_per_pass.max(1),
        }
    }

    /// What the learning rate is multiplied by in a step, from 1.
    pub(crate) fn factor(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return step as f64 / self.warmup as f64;
        }
        // PyTorch's schedulers count from 0.
        let done = (step - self.warmup - 1) as f64;
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Step { gamma, every } => gamma.powf((done / self.steps(every)).floor()),
            Schedule::Exponential { gamma, every } => gamma.powf(done / self.steps(every)),
            Schedule::Cosine { end_factor, over } => {
                let left = f64::midpoint(1.0, (PI * self.share(done, over)).cos());
                end_factor + (1.0 - end_factor) * left
            }
            Schedule::Linear { end_factor, over } => {
                1.0 + (end_factor - 1.0) * self.share(done, over)
            }
            Schedule::Polynomial {
                power,
                end_factor,
                over,
            } => {
                let left = (1.0 - self.share(done, over)).powf(power);
                end_factor + (1.0 - end_factor) * left
            }
            Schedule::OneCycle {
                pct_start,
                div_factor,
                final_div_factor,
            } => {
                let start = 1.0 / div_factor;
                let top = (pct_start * self.rest as f64 - 1.0).max(0.0);
                let last = (self.rest - 1) as f64;
                if done < top {
                    swing(start, 1.0, done / top)
                } else {
                    let share = (done - top) / (last - top).max(1.0);
                    swing(1.0, start / final_div_factor, share.min(1.0))
                }
            }
        }
    }

    fn steps(&self, span: Span) -> f64 {
        span.steps(self.steps_per_pass).max(1) as f64
    }

    /// How much of a course is done; by default it takes all the steps.
    fn share(&self, done: f64, over: Option<Span>) -> f64 {
        let steps = over.map_or(self.rest as f64, |over| self.steps(over));
        (done / steps).min(1.0)
    }
}

/// Half a cosine from one value to another.
fn swing(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) / 2.0 * (1.0 + (PI * share).cos())
}

#[cfg(test)]
mod tests;
