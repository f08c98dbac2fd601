//! Events, notices, and the items of a task's stream.

use std::collections::BTreeMap;

use embermesh_crypto::UnixMillis;
use embermesh_proto::v1::{self, event::Kind, notice, run_update};

use super::{InvalidMessage, digest, digest_bytes, epoch, text};
use crate::event::{
    Artifact, Event, EventKind, FinishReason, Generated, LogStream, MAX_METRIC_NAME, MAX_METRICS,
    MAX_PIECE, Notice, Outcome, Progress, RunUpdate,
};

/// The largest receipt on the wire, in bytes; its kind's own bound is lower.
const MAX_RECEIPT: usize = 64 * 1024;

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        Self {
            seq: event.seq,
            epoch: event.epoch.0,
            at_ms: event.at.0,
            kind: Some(event.kind.into()),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = InvalidMessage;

    fn try_from(wire: v1::Event) -> Result<Self, Self::Error> {
        if wire.seq == 0 {
            return Err(InvalidMessage::new(
                "event.seq",
                "events are numbered from 1",
            ));
        }
        let kind = wire
            .kind
            .ok_or_else(|| InvalidMessage::missing("event.kind"))?;
        Ok(Self {
            seq: wire.seq,
            epoch: epoch(wire.epoch)?,
            at: UnixMillis(wire.at_ms),
            kind: kind.try_into()?,
        })
    }
}

impl From<EventKind> for Kind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Started {
                device,
                parameters,
                total_steps,
                samples,
            } => Self::Started(v1::event::Started {
                device,
                parameters,
                total_steps,
                samples,
            }),
            EventKind::Progress(progress) => Self::Progress(v1::event::Progress {
                step: progress.step,
                total_steps: progress.total_steps,
                pass: progress.pass,
                total_passes: progress.total_passes,
                loss: progress.loss,
                accuracy: progress.accuracy,
                samples_per_second: progress.samples_per_second,
                remaining_ms: progress.remaining_ms,
            }),
            EventKind::EpochEnded {
                pass,
                train_loss,
                train_accuracy,
                holdout_loss,
                holdout_accuracy,
            } => Self::EpochEnded(v1::event::EpochEnded {
                pass,
                train_loss,
                train_accuracy,
                holdout_loss,
                holdout_accuracy,
            }),
            EventKind::Checkpoint { step, digest, size } => {
                Self::Checkpoint(v1::event::CheckpointSaved {
                    step,
                    digest: digest_bytes(&digest),
                    size,
                })
            }
            EventKind::Artifact(artifact) => Self::Artifact(artifact.into()),
            EventKind::Evaluated {
                samples,
                loss,
                accuracy,
            } => Self::Evaluated(v1::event::Evaluated {
                samples,
                loss,
                accuracy,
            }),
            EventKind::Metrics { values } => Self::Metrics(v1::event::Metrics {
                metrics: values
                    .into_iter()
                    .map(|(name, value)| v1::event::Metric { name, value })
                    .collect(),
            }),
            EventKind::Generated(generated) => Self::Generated(generated.into()),
            EventKind::Adjusted {
                step,
                learning_rate,
                weight_decay,
            } => Self::Adjusted(v1::event::Adjusted {
                step,
                learning_rate,
                weight_decay,
            }),
            EventKind::Logged { stream, text } => Self::Logged(v1::event::Logged {
                stream: match stream {
                    LogStream::Stdout => v1::LogStream::Stdout,
                    LogStream::Stderr => v1::LogStream::Stderr,
                }
                .into(),
                text,
            }),
            EventKind::Stopped { step, reason } => {
                Self::Stopped(v1::event::Stopped { step, reason })
            }
            EventKind::Loaded(loaded) => Self::Loaded(loaded.into()),
            EventKind::Finished {
                outcome,
                receipt,
                message,
            } => Self::Finished(v1::event::Finished {
                outcome: outcome_to_wire(outcome).into(),
                receipt: receipt.into(),
                message,
            }),
        }
    }
}

impl TryFrom<Kind> for EventKind {
    type Error = InvalidMessage;

    fn try_from(wire: Kind) -> Result<Self, Self::Error> {
        Ok(match wire {
            Kind::Started(started) => Self::Started {
                device: text("device", started.device)?,
                parameters: started.parameters,
                total_steps: started.total_steps,
                samples: started.samples,
            },
            Kind::Progress(progress) => Self::Progress(Progress {
                step: progress.step,
                total_steps: progress.total_steps,
                pass: progress.pass,
                total_passes: progress.total_passes,
                loss: progress.loss,
                accuracy: progress.accuracy,
                samples_per_second: progress.samples_per_second,
                remaining_ms: progress.remaining_ms,
            }),
            Kind::EpochEnded(ended) => Self::EpochEnded {
                pass: ended.pass,
                train_loss: ended.train_loss,
                train_accuracy: ended.train_accuracy,
                holdout_loss: ended.holdout_loss,
                holdout_accuracy: ended.holdout_accuracy,
            },
            Kind::Checkpoint(saved) => Self::Checkpoint {
                step: saved.step,
                digest: digest("checkpoint.digest", &saved.digest)?,
                size: saved.size,
            },
            Kind::Artifact(artifact) => Self::Artifact(artifact.try_into()?),
            Kind::Evaluated(evaluated) => Self::Evaluated {
                samples: evaluated.samples,
                loss: evaluated.loss,
                accuracy: evaluated.accuracy,
            },
            Kind::Metrics(wire) => Self::Metrics {
                values: metrics(wire)?,
            },
            Kind::Generated(generated) => Self::Generated(generated.try_into()?),
            Kind::Adjusted(adjusted) => Self::Adjusted {
                step: adjusted.step,
                learning_rate: adjusted.learning_rate,
                weight_decay: adjusted.weight_decay,
            },
            Kind::Logged(logged) => logged_from_wire(logged)?,
            Kind::Stopped(stopped) => Self::Stopped {
                step: stopped.step,
                reason: text("stopped.reason", stopped.reason)?,
            },
            Kind::Loaded(loaded) => Self::Loaded(loaded.try_into()?),
            Kind::Finished(finished) => {
                if finished.receipt.len() > MAX_RECEIPT {
                    return Err(InvalidMessage::new("receipt", "it is too large"));
                }
                Self::Finished {
                    outcome: outcome_from_wire(finished.outcome())?,
                    receipt: finished.receipt.to_vec(),
                    message: text("message", finished.message)?,
                }
            }
        })
    }
}

fn metrics(wire: v1::event::Metrics) -> Result<BTreeMap<String, f64>, InvalidMessage> {
    if wire.metrics.len() > MAX_METRICS {
        return Err(InvalidMessage::new("metrics", "there are too many"));
    }
    let mut values = BTreeMap::new();
    for metric in wire.metrics {
        if metric.name.is_empty() || metric.name.len() > MAX_METRIC_NAME {
            return Err(InvalidMessage::new(
                "metric.name",
                "it is empty or too long",
            ));
        }
        let name = text("metric.name", metric.name)?;
        if values.insert(name, metric.value).is_some() {
            return Err(InvalidMessage::new("metric.name", "it is there twice"));
        }
    }
    Ok(values)
}

fn logged_from_wire(wire: v1::event::Logged) -> Result<EventKind, InvalidMessage> {
    let stream = match wire.stream() {
        v1::LogStream::Stdout => LogStream::Stdout,
        v1::LogStream::Stderr => LogStream::Stderr,
        v1::LogStream::Unspecified => return Err(InvalidMessage::missing("logged.stream")),
    };
    if wire.text.len() > MAX_PIECE {
        let reason = format!("longer than {MAX_PIECE} bytes");
        return Err(InvalidMessage::new("logged.text", reason));
    }
    let text = wire.text;
    Ok(EventKind::Logged { stream, text })
}

impl From<Artifact> for v1::event::Artifact {
    fn from(artifact: Artifact) -> Self {
        Self {
            name: artifact.name,
            digest: digest_bytes(&artifact.digest),
            size: artifact.size,
        }
    }
}

impl TryFrom<v1::event::Artifact> for Artifact {
    type Error = InvalidMessage;

    fn try_from(wire: v1::event::Artifact) -> Result<Self, Self::Error> {
        Ok(Self {
            name: text("artifact.name", wire.name)?,
            digest: digest("artifact.digest", &wire.digest)?,
            size: wire.size,
        })
    }
}

impl From<Generated> for v1::event::Generated {
    fn from(generated: Generated) -> Self {
        let finish = match generated.finish {
            None => v1::FinishReason::Unspecified,
            Some(FinishReason::Stop) => v1::FinishReason::Stop,
            Some(FinishReason::Length) => v1::FinishReason::Length,
            Some(FinishReason::Stopped) => v1::FinishReason::Stopped,
        };
        Self {
            request: generated.request,
            text: generated.text,
            tokens: generated.tokens,
            prompt_tokens: generated.prompt_tokens,
            tokens_per_second: generated.tokens_per_second,
            finish: finish.into(),
        }
    }
}

impl TryFrom<v1::event::Generated> for Generated {
    type Error = InvalidMessage;

    fn try_from(wire: v1::event::Generated) -> Result<Self, Self::Error> {
        if wire.text.len() > MAX_PIECE {
            return Err(InvalidMessage::new(
                "generated.text",
                format!("longer than {MAX_PIECE} bytes"),
            ));
        }
        let finish = match wire.finish() {
            v1::FinishReason::Unspecified => None,
            v1::FinishReason::Stop => Some(FinishReason::Stop),
            v1::FinishReason::Length => Some(FinishReason::Length),
            v1::FinishReason::Stopped => Some(FinishReason::Stopped),
        };
        Ok(Self {
            request: wire.request,
            text: wire.text,
            tokens: wire.tokens,
            prompt_tokens: wire.prompt_tokens,
            tokens_per_second: wire.tokens_per_second,
            finish,
        })
    }
}

fn outcome_to_wire(outcome: Outcome) -> v1::Outcome {
    match outcome {
        Outcome::Succeeded => v1::Outcome::Succeeded,
        Outcome::Failed => v1::Outcome::Failed,
        Outcome::Cancelled => v1::Outcome::Cancelled,
    }
}

fn outcome_from_wire(wire: v1::Outcome) -> Result<Outcome, InvalidMessage> {
    match wire {
        v1::Outcome::Succeeded => Ok(Outcome::Succeeded),
        v1::Outcome::Failed => Ok(Outcome::Failed),
        v1::Outcome::Cancelled => Ok(Outcome::Cancelled),
        v1::Outcome::Unspecified => Err(InvalidMessage::missing("outcome")),
    }
}

impl From<Notice> for v1::Notice {
    fn from(notice: Notice) -> Self {
        let kind = match notice {
            Notice::FetchingInput {
                digest,
                size,
                received,
            } => notice::Kind::FetchingInput(notice::FetchingInput {
                digest: digest_bytes(&digest),
                size,
                received,
            }),
            Notice::Paused(paused) => notice::Kind::Paused(paused),
            Notice::AttemptEnded { code, message } => {
                notice::Kind::AttemptEnded(notice::AttemptEnded { code, message })
            }
            Notice::Draining => notice::Kind::Draining(true),
            Notice::Idle => notice::Kind::Idle(true),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Notice> for Notice {
    type Error = InvalidMessage;

    fn try_from(wire: v1::Notice) -> Result<Self, Self::Error> {
        Ok(
            match wire
                .kind
                .ok_or_else(|| InvalidMessage::missing("notice.kind"))?
            {
                notice::Kind::FetchingInput(fetching) => Self::FetchingInput {
                    digest: digest("notice.digest", &fetching.digest)?,
                    size: fetching.size,
                    received: fetching.received,
                },
                notice::Kind::Paused(paused) => Self::Paused(paused),
                notice::Kind::AttemptEnded(ended) => Self::AttemptEnded {
                    code: text("code", ended.code)?,
                    message: text("message", ended.message)?,
                },
                notice::Kind::Draining(_) => Self::Draining,
                notice::Kind::Idle(_) => Self::Idle,
            },
        )
    }
}

impl From<RunUpdate> for v1::RunUpdate {
    fn from(update: RunUpdate) -> Self {
        Self {
            update: Some(match update {
                RunUpdate::Event(event) => run_update::Update::Event(event.into()),
                RunUpdate::Notice(notice) => run_update::Update::Notice(notice.into()),
            }),
        }
    }
}

impl TryFrom<v1::RunUpdate> for RunUpdate {
    type Error = InvalidMessage;

    fn try_from(wire: v1::RunUpdate) -> Result<Self, Self::Error> {
        match wire
            .update
            .ok_or_else(|| InvalidMessage::missing("update"))?
        {
            run_update::Update::Event(event) => event.try_into().map(Self::Event),
            run_update::Update::Notice(notice) => notice.try_into().map(Self::Notice),
        }
    }
}
