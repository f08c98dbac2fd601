//! What a training says and saves after a step. What is due depends on the step
//! alone.

use embermesh_job::crypto::Digest;
use embermesh_job::event::{EventKind, Progress};
use embermesh_job::spec::Watch;

use super::Training;
use crate::checkpoint::{self, Record};
use crate::device::DeviceChoice;
use crate::evaluate::{Judged, judge, read};
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::weights;

/// Batches whose losses may stay unread on a GPU: reading one waits for the
/// device, and a queue without an end would deafen the job to a cancel.
const UNREAD_BATCHES: usize = 16;

impl Training<'_> {
    /// Says what is due after a step.
    pub(super) fn tell(&mut self, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        let step = self.at.step;
        let ends = step == self.total_steps;
        let pass_ends = step.is_multiple_of(self.steps_per_pass);
        let report_every = match self.train.report_every {
            0 => self.steps_per_pass,
            steps => u64::from(steps),
        };
        let reports = ends || step.is_multiple_of(report_every);
        let saves = !ends
            && self.train.checkpoint_every > 0
            && step.is_multiple_of(u64::from(self.train.checkpoint_every));
        let full = job.order.device == DeviceChoice::Cpu || self.unread.len() >= UNREAD_BATCHES;
        if full || reports || pass_ends || saves {
            self.read_losses()?;
        }
        if reports {
            self.report(job);
        }
        if pass_ends {
            self.end_pass(job)?;
        }
        if saves && self.stopped.is_none() {
            self.save(job, None)?;
        }
        Ok(())
    }

    /// Reads what the device has computed by now, and stops at a loss that is
    /// no number.
    pub(super) fn read_losses(&mut self) -> Result<(), WorkFailed> {
        for unread in std::mem::take(&mut self.unread) {
            let mut outcome = unread.known;
            let (loss, correct) = read(unread.loss, unread.correct)?;
            outcome.loss = (f64::from(loss) * unread.scale) as f32;
            outcome.correct = correct;
            if !outcome.loss.is_finite() {
                return Err(WorkFailed::NotFinite {
                    step: unread.step,
                    loss: outcome.loss,
                });
            }
            self.at.pass.add(outcome);
            self.at.window.add(outcome);
        }
        Ok(())
    }

    fn report(&mut self, job: &mut Job<'_>) {
        let window = std::mem::take(&mut self.at.window);
        job.log.plain(EventKind::Progress(Progress {
            step: self.at.step,
            total_steps: self.total_steps,
            pass: self.pass_of(self.at.step),
            total_passes: self.train.passes,
            loss: window.loss(),
            accuracy: window.accuracy(),
            samples_per_second: self.pace.samples_per_second(),
            remaining_ms: self.pace.remaining_ms(self.total_steps - self.at.step),
        }));
    }

    /// Sums up the pass under way, judges by what is held out, and says both.
    pub(super) fn end_pass(&mut self, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        let trained = std::mem::take(&mut self.at.pass);
        let held = (self.holdout.len() > 0)
            .then(|| {
                let size = self.train.batch as usize;
                let between = &mut |_: Judged<'_>| job.breathe(&mut self.pace);
                judge(&self.network, &self.holdout, &self.objective, size, between)
            })
            .transpose()?;
        self.at.last = held.unwrap_or(trained);
        let pass = self.pass_of(self.at.step);
        job.log.plain(EventKind::EpochEnded {
            pass,
            train_loss: trained.loss(),
            train_accuracy: trained.accuracy(),
            holdout_loss: held.map(|held| held.loss()),
            holdout_accuracy: held.and_then(|held| held.accuracy()),
        });
        self.watch(pass);
        Ok(())
    }

    /// Remembers the best pass, and ends the training when none is better for
    /// too long.
    fn watch(&mut self, pass: u32) {
        let Some(rule) = self.train.early_stopping else {
            return;
        };
        let value = match rule.watch {
            Watch::Loss => self.at.last.loss(),
            Watch::Accuracy => self.at.last.accuracy().unwrap_or(0.0),
        };
        let patience = &mut self.at.patience;
        if patience.hear(&rule, pass, value)
            && let Some(best) = &mut self.best
        {
            *best = self.network.snapshot();
            self.at.best = self.at.last;
        }
        if patience.is_over(&rule) && self.at.step < self.total_steps {
            let kept = if rule.restore_best { "best" } else { "last" };
            self.stopped = Some(format!(
                "early, after pass {pass} of {}: none was better than pass {} for {} passes; \
                 the weights are those of the {kept} pass",
                self.train.passes, patience.best_pass, patience.waited
            ));
        }
    }

    /// Writes a checkpoint and says so. What is `said` belongs to it: it is said
    /// once the file is there, so that an attempt that goes on knows of it.
    pub(super) fn save(
        &mut self,
        job: &mut Job<'_>,
        said: Option<EventKind>,
    ) -> Result<(), WorkFailed> {
        let mut history: Vec<_> = job.log.history().cloned().collect();
        // After the event that announces it, and what is said before that.
        let mut next_seq = job.log.next() + 1;
        if let Some(kind) = &said {
            history.push((job.log.next(), kind.clone()));
            next_seq += 1;
        }
        let record = Record::new(job.digest, next_seq, self.at, history);
        let best = self.best.as_deref();
        let bytes = checkpoint::encode(&self.network, &self.optimizer, best, &record)?;
        let path = job.order.workdir.join(checkpoint::file_name(self.at.step));
        weights::write_atomically(&path, &bytes)?;
        if let Some(kind) = said {
            job.log.plain(kind);
        }
        job.log
            .checkpoint(self.at.step, path, Digest::of(&bytes), bytes.len() as u64);
        Ok(())
    }
}
