//! What a training is told while it runs: other hyperparameters, or to end now
//! with the weights as they are. Obeyed between two steps.

use embermesh_job::event::EventKind;

use super::Training;
use crate::failure::WorkFailed;
use crate::job::Job;

impl Training<'_> {
    /// Does what was asked since the last step.
    pub(super) fn obey(&mut self, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        let asked = job.asked();
        if let Some(adjustment) = asked.adjust {
            let rule = self.optimizer.rule();
            let rate = adjustment.learning_rate.unwrap_or(rule.lr());
            let decay = adjustment.weight_decay.unwrap_or(rule.weight_decay());
            // The daemon checks before it passes on; what is out of bounds
            // here changes nothing.
            if let Ok(rule) = rule.adjusted(rate, decay) {
                self.optimizer.adjust(rule);
                self.at.adjust(&rule);
                self.read_losses()?;
                // Saved at once: an attempt that goes on from an earlier point
                // would not know of it, and number its events otherwise.
                let step = self.at.step;
                self.save(
                    job,
                    Some(EventKind::Adjusted {
                        step,
                        learning_rate: rate,
                        weight_decay: decay,
                    }),
                )?;
            }
        }
        if asked.finish {
            self.read_losses()?;
            if !self.at.step.is_multiple_of(self.steps_per_pass) {
                self.end_pass(job)?;
            }
            self.stopped = Some(format!(
                "as asked, after step {} of {}",
                self.at.step, self.total_steps
            ));
        }
        Ok(())
    }
}
