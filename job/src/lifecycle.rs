//! How a job's state changes: a pure state machine with a numbered journal,
//! attempts, leases and epochs.
//!
//! Each assignment raises the epoch, and whatever an older epoch still says is
//! refused: that is the fence. A job that has ended never changes again, and
//! the report that ended it may come twice.

use embermesh_crypto::{Digest, Epoch, JobId, PeerId, TokenId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    address::{BlobRef, Checkpoint},
    event::{Artifact, Event, EventKind, Outcome},
};

/// The most journal entries that a job carries; the oldest go first.
pub const MAX_JOURNAL: usize = 256;
/// The most artifacts of one job.
pub const MAX_ARTIFACTS: usize = 128;

/// The most attempts of one job that are remembered and for which a node had no room;
/// the oldest go first.
pub const MAX_DECLINED: usize = 16;
/// The words of a node that has no room for an attempt now: it has begun nothing, and
/// another node, or the same a while later, may take the job.
pub const NO_ROOM: [&str; 8] = [
    "busy",
    "draining",
    "memory_taken",
    "no_residents",
    "too_long",
    "too_many_tasks",
    "too_much_memory",
    "time_spent",
];

/// The words for attempts that ended their job.
const FINISHED: &str = "finished";
const CANCELLED: &str = "cancelled";

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a node.
    Queued,
    /// Has a node that has not begun.
    Assigned,
    /// Runs.
    Running,
    /// Stands still by the client's wish.
    Paused,
    /// Did what was asked.
    Succeeded,
    /// Cannot be done.
    Failed,
    /// Was ended by its owner.
    Cancelled,
}

impl JobState {
    /// The word for it, in output and in flags.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether a node has the job.
    #[must_use]
    pub const fn is_placed(self) -> bool {
        matches!(self, Self::Assigned | Self::Running | Self::Paused)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One try at a job on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number.
    pub epoch: Epoch,
    /// Where.
    pub node: PeerId,
    /// The token that allows it.
    pub token_id: TokenId,
    /// Until when it counts as alive without another word.
    pub lease_until: UnixMillis,
    /// When its first sign of life came.
    pub started: Option<UnixMillis>,
    /// How it ended without ending the job, or with it.
    pub ended: Option<AttemptEnd>,
}

impl Attempt {
    /// Whether it was none: its node had no room and began nothing. It counts for
    /// nothing, because several indexes may send jobs to one node at once.
    #[must_use]
    pub fn was_declined(&self) -> bool {
        let no_room = |end: &AttemptEnd| NO_ROOM.contains(&end.code.as_str());
        self.started.is_none() && self.ended.as_ref().is_some_and(no_room)
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// When.
    pub at: UnixMillis,
    /// A stable word: "finished", "cancelled", "lease_lapsed", or the node's.
    pub code: String,
    /// What happened, for people.
    pub message: String,
}

impl AttemptEnd {
    /// Whether it brought the job to its end: done, impossible, or cancelled. What a
    /// node lost or gave up did not.
    #[must_use]
    pub fn ended_its_job(&self) -> bool {
        matches!(self.code.as_str(), FINISHED | CANCELLED)
    }
}

/// One change of a job's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When.
    pub at: UnixMillis,
    /// The state from then on.
    pub state: JobState,
    /// The attempt.
    pub epoch: Epoch,
    /// The node of the attempt.
    pub node: Option<PeerId>,
    /// Why.
    pub reason: String,
}

/// A job, as its authority keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: PeerId,
    /// The digest of its canonical spec.
    pub spec_digest: Digest,
    /// How many attempts it may have.
    pub attempts_allowed: u32,
    /// Where it stands.
    pub state: JobState,
    /// The newest attempt's number, 0 before the first.
    pub epoch: Epoch,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// Where the next attempt can go on from.
    pub checkpoint: Option<Checkpoint>,
    /// Who holds its inputs.
    pub inputs_holders: Vec<BlobRef>,
    /// What it made.
    pub artifacts: Vec<Artifact>,
    /// The newest event that was heard.
    pub latest: Option<Event>,
    /// The event that ended it.
    pub finished: Option<Event>,
    /// The newest changes of its state.
    pub journal: Vec<JournalEntry>,
}

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// It is given to a node.
    Assign {
        /// Which.
        node: PeerId,
        /// Under which token.
        token_id: TokenId,
        /// Until when without a sign of life.
        lease_until: UnixMillis,
    },
    /// The node has begun.
    Started {
        /// The attempt.
        epoch: Epoch,
    },
    /// The node told of an event that does not end the job.
    Heard(Event),
    /// The node is alive and has the task.
    Renew {
        /// The attempt.
        epoch: Epoch,
        /// Until when it counts as alive now.
        lease_until: UnixMillis,
        /// Whether it stands still.
        paused: bool,
    },
    /// There is a point to resume from.
    Checkpoint {
        /// The attempt.
        epoch: Epoch,
        /// The point.
        checkpoint: Checkpoint,
    },
    /// The node told of the event that ends the job.
    Finished {
        /// The attempt.
        epoch: Epoch,
        /// A `Finished` event.
        event: Event,
    },
    /// The attempt failed in a way that another node may not.
    AttemptFailed {
        /// The attempt.
        epoch: Epoch,
        /// A stable word.
        code: String,
        /// What happened.
        message: String,
    },
    /// The node has been silent too long.
    LeaseLapsed {
        /// The attempt.
        epoch: Epoch,
    },
    /// The index takes the task from its node: what allowed it there is over.
    Withdrawn {
        /// The attempt.
        epoch: Epoch,
        /// A stable word.
        code: &'static str,
        /// Why.
        message: String,
    },
    /// Nobody has come for an attempt that waited for its client, who said that he may
    /// have gone elsewhere with the job.
    NotClaimed {
        /// The attempt.
        epoch: Epoch,
    },
    /// The owner, or an administrator, ends it.
    Cancel {
        /// Who.
        by: PeerId,
    },
}

/// What the authority has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Keep this entry.
    Journal(JournalEntry),
    /// Find the job a node again.
    Requeue,
    /// Tell the node to stop.
    StopAttempt {
        /// The attempt.
        epoch: Epoch,
        /// The node.
        node: PeerId,
    },
    /// Let go of everything that the job held.
    Ended,
}

/// Why an input changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It comes from an attempt that is not the current one.
    #[error("attempt {asked} is not the current attempt {current}")]
    StaleEpoch {
        /// The attempt that it names.
        asked: Epoch,
        /// The attempt that counts.
        current: Epoch,
    },
    /// It cannot happen in this state.
    #[error("a job that is {state} cannot {action}")]
    IllegalIn {
        /// The state.
        state: JobState,
        /// What was asked.
        action: &'static str,
    },
    /// The event is not of the kind that the input says.
    #[error("the event does not fit the report")]
    WrongEvent,
}

impl Job {
    /// A new job, queued; its journal has entry 1.
    #[must_use]
    pub fn new(
        id: JobId,
        name: String,
        owner: PeerId,
        spec_digest: Digest,
        attempts_allowed: u32,
        now: UnixMillis,
    ) -> Self {
        let mut job = Self {
            id,
            name,
            owner,
            spec_digest,
            attempts_allowed,
            state: JobState::Queued,
            epoch: Epoch(0),
            attempts: Vec::new(),
            checkpoint: None,
            inputs_holders: Vec::new(),
            artifacts: Vec::new(),
            latest: None,
            finished: None,
            journal: Vec::new(),
        };
        job.enter(JobState::Queued, "submitted".to_owned(), now);
        job
    }

    /// The attempt that has a node now.
    #[must_use]
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|_| self.state.is_placed())
    }

    /// Takes an input.
    ///
    /// # Errors
    /// [`Refused`]; the job is then unchanged.
    pub fn handle(&mut self, input: Input, now: UnixMillis) -> Result<Vec<Effect>, Refused> {
        match input {
            Input::Assign {
                node,
                token_id,
                lease_until,
            } => self.assign(node, token_id, lease_until, now),
            Input::Started { epoch } => {
                self.fence(epoch, "start")?;
                Ok(self.begin(now))
            }
            Input::Heard(event) => self.heard(event, now),
            Input::Renew {
                epoch,
                lease_until,
                paused,
            } => self.renew(epoch, lease_until, paused, now),
            Input::Checkpoint { epoch, checkpoint } => {
                self.fence(epoch, "make a checkpoint")?;
                let newer = |have: &Checkpoint| checkpoint.step >= have.step;
                if self.checkpoint.as_ref().is_none_or(newer) {
                    self.checkpoint = Some(checkpoint);
                }
                Ok(self.begin(now))
            }
            Input::Finished { epoch, event } => self.finish(epoch, event, now),
            Input::AttemptFailed {
                epoch,
                code,
                message,
            } => {
                if self.has_ended_attempt(epoch) {
                    return Ok(Vec::new());
                }
                self.fence(epoch, "fail")?;
                // A node that gives up has ended no job, whatever it calls that.
                let code = match code.as_str() {
                    FINISHED | CANCELLED => "given_up".to_owned(),
                    _ => code,
                };
                Ok(self.give_up_attempt(code, message, false, now))
            }
            Input::LeaseLapsed { epoch } => {
                self.fence(epoch, "lapse")?;
                let began = self
                    .current()
                    .is_some_and(|attempt| attempt.started.is_some());
                let message = if began {
                    "the node has been silent too long"
                } else {
                    "nobody started the attempt in time"
                };
                Ok(self.give_up_attempt("lease_lapsed".into(), message.into(), true, now))
            }
            Input::Withdrawn {
                epoch,
                code,
                message,
            } => {
                self.fence(epoch, "be withdrawn")?;
                Ok(self.give_up_attempt(code.into(), message, true, now))
            }
            Input::NotClaimed { epoch } => {
                self.fence(epoch, "be left")?;
                Ok(self.leave(now))
            }
            Input::Cancel { by } => self.cancel(by, now),
        }
    }

    fn assign(
        &mut self,
        node: PeerId,
        token_id: TokenId,
        lease_until: UnixMillis,
        now: UnixMillis,
    ) -> Result<Vec<Effect>, Refused> {
        if self.state != JobState::Queued {
            return Err(self.illegal("be assigned"));
        }
        self.epoch = self.epoch.next();
        self.attempts.push(Attempt {
            epoch: self.epoch,
            node,
            token_id,
            lease_until,
            started: None,
            ended: None,
        });
        Ok(vec![self.enter(
            JobState::Assigned,
            "placed".to_owned(),
            now,
        )])
    }

    /// The first sign of life of the current attempt.
    fn begin(&mut self, now: UnixMillis) -> Vec<Effect> {
        if self.state != JobState::Assigned {
            return Vec::new();
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.started = Some(now);
        }
        vec![self.enter(JobState::Running, "started".to_owned(), now)]
    }

    fn heard(&mut self, event: Event, now: UnixMillis) -> Result<Vec<Effect>, Refused> {
        self.fence(event.epoch, "go on")?;
        if event.kind.is_final() {
            return Err(Refused::WrongEvent);
        }
        let effects = self.begin(now);
        if let EventKind::Artifact(artifact) = &event.kind
            && self.artifacts.len() < MAX_ARTIFACTS
        {
            self.artifacts.retain(|have| have.name != artifact.name);
            self.artifacts.push(artifact.clone());
        }
        let newer = |have: &Event| (event.epoch, event.seq) >= (have.epoch, have.seq);
        if self.latest.as_ref().is_none_or(newer) {
            self.latest = Some(event);
        }
        Ok(effects)
    }

    fn renew(
        &mut self,
        epoch: Epoch,
        lease_until: UnixMillis,
        paused: bool,
        now: UnixMillis,
    ) -> Result<Vec<Effect>, Refused> {
        self.fence(epoch, "be renewed")?;
        let mut effects = self.begin(now);
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.lease_until = attempt.lease_until.max(lease_until);
        }
        match (self.state, paused) {
            (JobState::Running, true) => {
                effects.push(self.enter(JobState::Paused, "paused".to_owned(), now));
            }
            (JobState::Paused, false) => {
                effects.push(self.enter(JobState::Running, "resumed".to_owned(), now));
            }
            _ => {}
        }
        Ok(effects)
    }

    fn finish(
        &mut self,
        epoch: Epoch,
        event: Event,
        now: UnixMillis,
    ) -> Result<Vec<Effect>, Refused> {
        let EventKind::Finished {
            outcome, message, ..
        } = &event.kind
        else {
            return Err(Refused::WrongEvent);
        };
        // The report that ended the job may come twice.
        if self
            .finished
            .as_ref()
            .is_some_and(|have| have.epoch == epoch)
            && self.epoch == epoch
        {
            return Ok(Vec::new());
        }
        self.fence(epoch, "finish")?;
        let state = match outcome {
            Outcome::Succeeded => JobState::Succeeded,
            Outcome::Failed => JobState::Failed,
            Outcome::Cancelled => JobState::Cancelled,
        };
        let reason = if message.is_empty() {
            state.as_str().to_owned()
        } else {
            message.clone()
        };
        let mut effects = self.begin(now);
        self.end_attempt(FINISHED.into(), reason.clone(), now);
        self.finished = Some(event);
        effects.push(self.enter(state, reason, now));
        effects.push(Effect::Ended);
        Ok(effects)
    }

    /// The attempt is over and the job is not, unless it was the last allowed.
    fn give_up_attempt(
        &mut self,
        code: String,
        message: String,
        stop: bool,
        now: UnixMillis,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if stop && let Some(attempt) = self.attempts.last() {
            effects.push(Effect::StopAttempt {
                epoch: attempt.epoch,
                node: attempt.node,
            });
        }
        let reason = format!("attempt {} ended ({code}): {message}", self.epoch);
        self.end_attempt(code, message, now);
        self.forget_declined();
        if self.attempts_had() >= self.attempts_allowed as usize {
            let reason = format!("no attempt is left of {}; {reason}", self.attempts_allowed);
            effects.push(self.enter(JobState::Failed, reason, now));
            effects.push(Effect::Ended);
        } else {
            effects.push(self.enter(JobState::Queued, reason, now));
            effects.push(Effect::Requeue);
        }
        effects
    }

    fn cancel(&mut self, by: PeerId, now: UnixMillis) -> Result<Vec<Effect>, Refused> {
        if self.state == JobState::Cancelled {
            return Ok(Vec::new());
        }
        if self.state.is_final() {
            return Err(self.illegal("be cancelled"));
        }
        let reason = if by == self.owner {
            "cancelled by its owner".to_owned()
        } else {
            format!("cancelled by {by}")
        };
        Ok(self.call_off(reason, now))
    }

    /// Its client has not come for it.
    fn leave(&mut self, now: UnixMillis) -> Vec<Effect> {
        let reason = "its client has not come for it, and may have submitted it elsewhere";
        self.call_off(reason.to_owned(), now)
    }

    fn call_off(&mut self, reason: String, now: UnixMillis) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(attempt) = self.current() {
            effects.push(Effect::StopAttempt {
                epoch: attempt.epoch,
                node: attempt.node,
            });
            self.end_attempt(CANCELLED.into(), CANCELLED.into(), now);
        }
        effects.push(self.enter(JobState::Cancelled, reason, now));
        effects.push(Effect::Ended);
        effects
    }

    /// Attempts that count.
    fn attempts_had(&self) -> usize {
        let had = |attempt: &&Attempt| !attempt.was_declined();
        self.attempts.iter().filter(had).count()
    }

    /// Keeps the newest of those for which there was no room.
    fn forget_declined(&mut self) {
        let declined = |attempts: &[Attempt]| attempts.iter().position(Attempt::was_declined);
        let many = |attempts: &[Attempt]| {
            attempts.iter().filter(|one| one.was_declined()).count() > MAX_DECLINED
        };
        while many(&self.attempts)
            && let Some(oldest) = declined(&self.attempts)
        {
            self.attempts.remove(oldest);
        }
    }

    /// Only the current attempt of a job that is placed may speak.
    fn fence(&self, epoch: Epoch, action: &'static str) -> Result<(), Refused> {
        if epoch != self.epoch {
            return Err(Refused::StaleEpoch {
                asked: epoch,
                current: self.epoch,
            });
        }
        if !self.state.is_placed() {
            return Err(self.illegal(action));
        }
        Ok(())
    }

    fn has_ended_attempt(&self, epoch: Epoch) -> bool {
        self.attempts
            .last()
            .is_some_and(|attempt| attempt.epoch == epoch && attempt.ended.is_some())
            && self.state == JobState::Queued
    }

    fn end_attempt(&mut self, code: String, message: String, now: UnixMillis) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended = Some(AttemptEnd {
                at: now,
                code,
                message,
            });
        }
    }

    fn illegal(&self, action: &'static str) -> Refused {
        Refused::IllegalIn {
            state: self.state,
            action,
        }
    }

    fn enter(&mut self, state: JobState, reason: String, now: UnixMillis) -> Effect {
        self.state = state;
        let entry = JournalEntry {
            number: self.journal.last().map_or(1, |last| last.number + 1),
            at: now,
            state,
            epoch: self.epoch,
            node: self.current().map(|attempt| attempt.node),
            reason,
        };
        if self.journal.len() >= MAX_JOURNAL {
            self.journal.remove(0);
        }
        self.journal.push(entry.clone());
        Effect::Journal(entry)
    }
}

#[cfg(test)]
mod tests;
