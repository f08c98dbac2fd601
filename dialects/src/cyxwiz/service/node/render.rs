//! What a task says, as this system's updates.

use std::collections::HashMap;

use embermesh_crypto::UnixMillis;
use embermesh_job::event::{Artifact, Event, EventKind, Notice, Outcome, RunUpdate};

use super::super::super::wire;
use crate::cyxwiz::{
    code,
    config::WEIGHTS,
    proof::{self, hex, place},
};
use wire::training_update::Update;

/// What has been said so far, as far as the rest is told by it.
pub(super) struct Said {
    job: String,
    began: Option<UnixMillis>,
    at: UnixMillis,
    pass: (u32, u32),
    step: (u64, u64),
    metrics: HashMap<String, f64>,
    made: Vec<Artifact>,
}

impl Said {
    pub(super) fn new(job: String) -> Self {
        Self {
            job,
            began: None,
            at: UnixMillis(0),
            pass: (0, 0),
            step: (0, 0),
            metrics: HashMap::new(),
            made: Vec::new(),
        }
    }

    /// The proof that the job has made, if it is one that its end carries.
    pub(super) fn proof(&self) -> Option<&Artifact> {
        proof::made(&self.made).filter(|made| proof::is_carried(made))
    }

    /// The updates that are said of one.
    pub(super) fn updates(&mut self, update: RunUpdate) -> Vec<wire::TrainingUpdate> {
        let said = match update {
            RunUpdate::Event(event) => self.event(event),
            RunUpdate::Notice(notice) => self.notice(notice),
        };
        said.into_iter().map(|update| self.say(update)).collect()
    }

    fn say(&self, update: Update) -> wire::TrainingUpdate {
        say(&self.job, code::int64(self.at.0), update)
    }

    fn event(&mut self, event: Event) -> Vec<Update> {
        self.at = event.at;
        match event.kind {
            EventKind::Started {
                device,
                total_steps,
                ..
            } => {
                self.began = Some(event.at);
                self.step.1 = total_steps;
                vec![info(format!("started on {device}"))]
            }
            EventKind::Progress(at) => {
                self.pass = (at.pass, at.total_passes);
                self.step = (at.step, at.total_steps);
                self.measure("loss", Some(at.loss));
                self.measure("accuracy", at.accuracy);
                vec![self.progress(at.samples_per_second, at.remaining_ms)]
            }
            EventKind::EpochEnded {
                pass,
                train_loss,
                train_accuracy,
                holdout_loss,
                holdout_accuracy,
            } => {
                self.pass = (pass, self.pass.1.max(pass));
                self.measure("loss", Some(train_loss));
                self.measure("accuracy", train_accuracy);
                self.measure("val_loss", holdout_loss);
                self.measure("val_accuracy", holdout_accuracy);
                vec![self.progress(0.0, 0)]
            }
            EventKind::Checkpoint { digest, size, .. } => {
                vec![Update::Checkpoint(wire::TrainingCheckpoint {
                    epoch: code::int32(self.pass.0.into()),
                    weights_size: code::int64(size),
                    checkpoint_hash: digest.to_string(),
                    metrics_at_checkpoint: self.metrics.clone(),
                    ..Default::default()
                })]
            }
            EventKind::Artifact(made) => {
                let text = format!("made {}: {}", made.name, place(&made));
                self.made.push(made);
                vec![info(text)]
            }
            EventKind::Evaluated { loss, accuracy, .. } => {
                self.measure("loss", Some(loss));
                self.measure("accuracy", accuracy);
                vec![self.progress(0.0, 0)]
            }
            EventKind::Metrics { values } => {
                self.metrics.extend(values);
                vec![self.progress(0.0, 0)]
            }
            EventKind::Adjusted {
                learning_rate,
                weight_decay,
                ..
            } => vec![info(format!(
                "learning rate {learning_rate}, weight decay {weight_decay} from here on"
            ))],
            EventKind::Generated(piece) => vec![info(piece.text)],
            EventKind::Logged { text, .. } => vec![info(text)],
            EventKind::Stopped { reason, .. } => vec![info(format!("stopped: {reason}"))],
            EventKind::Prepared { rows, .. } => vec![info(format!("prepared {rows:?} rows"))],
            EventKind::Loaded(_) => vec![info("the model is loaded".to_owned())],
            EventKind::Finished {
                outcome,
                receipt,
                message,
            } => self.finished(outcome, &receipt, message),
        }
    }

    fn notice(&self, notice: Notice) -> Vec<Update> {
        match notice {
            Notice::Paused(true) => vec![info("paused".to_owned())],
            Notice::Paused(false) => vec![info("goes on".to_owned())],
            Notice::DataAwaited(true) => vec![log(
                wire::log_message::Level::Warning,
                "waits for data".to_owned(),
            )],
            Notice::DataAwaited(false) => vec![info("data has come".to_owned())],
            Notice::FetchingInput { size, received, .. } => {
                vec![info(format!(
                    "{received} of {size} bytes of an input are here"
                ))]
            }
            Notice::AttemptEnded { code, message } => vec![self.error(code, message, true)],
            Notice::Draining => vec![log(
                wire::log_message::Level::Warning,
                "the node will stop soon, and the job will be moved".to_owned(),
            )],
            Notice::Idle => Vec::new(),
        }
    }

    fn finished(&self, outcome: Outcome, receipt: &[u8], message: String) -> Vec<Update> {
        let weights = self.made.iter().find(|made| made.name == WEIGHTS);
        let made = weights.or(self.made.first());
        let complete = Update::Complete(wire::TrainingComplete {
            success: outcome == Outcome::Succeeded,
            result_hash: made.map(|made| made.digest.to_string()).unwrap_or_default(),
            final_metrics: self.metrics.clone(),
            total_training_time: self.elapsed(),
            total_epochs_completed: self.pass.0.into(),
            weights_location: made.map(place).unwrap_or_default(),
            final_weights_size: made.map_or(0, |made| code::int64(made.size)),
            proof_of_compute: proof::made(&self.made).map_or_else(|| hex(receipt), place),
        });
        match outcome {
            Outcome::Succeeded => vec![complete],
            Outcome::Failed => vec![self.error("failed".to_owned(), message, false), complete],
            Outcome::Cancelled => {
                vec![self.error("cancelled".to_owned(), message, false), complete]
            }
        }
    }

    fn measure(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.metrics.insert(name.to_owned(), value);
        }
    }

    fn elapsed(&self) -> i64 {
        let began = self.began.unwrap_or(self.at);
        code::int64(self.at.0.saturating_sub(began.0) / 1000)
    }

    #[allow(clippy::cast_precision_loss, reason = "the wire has a percentage")]
    fn progress(&self, samples_per_second: f64, remaining_ms: u64) -> Update {
        let (step, steps) = self.step;
        let passes = u64::from(self.pass.1.max(1));
        let each = (steps / passes).max(1);
        Update::Progress(wire::TrainingProgress {
            current_epoch: code::int32(self.pass.0.into()),
            total_epochs: code::int32(self.pass.1.into()),
            current_batch: code::int32(step.saturating_sub(1) % each + step.min(1)),
            total_batches: code::int32(each),
            progress_percentage: 100.0 * step as f64 / steps.max(1) as f64,
            metrics: self.metrics.clone(),
            estimated_time_remaining: code::int64(remaining_ms / 1000),
            elapsed_time: self.elapsed(),
            samples_per_second,
            ..Default::default()
        })
    }

    fn error(&self, code: String, message: String, recoverable: bool) -> Update {
        Update::Error(wire::TrainingError {
            error_code: code,
            error_message: message,
            stack_trace: String::new(),
            epoch_at_error: code::int32(self.pass.0.into()),
            recoverable,
        })
    }
}

/// An update of a job.
pub(super) fn say(job: &str, timestamp: i64, update: Update) -> wire::TrainingUpdate {
    wire::TrainingUpdate {
        job_id: job.to_owned(),
        timestamp,
        update: Some(update),
    }
}

/// A line of a log.
pub(super) fn log(level: wire::log_message::Level, message: String) -> Update {
    Update::Log(wire::LogMessage {
        level: level.into(),
        message,
        source: "node".to_owned(),
    })
}

fn info(message: String) -> Update {
    log(wire::log_message::Level::Info, message)
}
