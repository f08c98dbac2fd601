//! Decides what to do when the node or the index says something.

use std::time::Duration;

use embermesh_crypto::ids::{Epoch, JobId, PeerId};
use embermesh_job::{
    assignment::NodeAssignment,
    event::{Artifact, Event, EventKind, Notice, Outcome, RunUpdate},
    lifecycle::JobState,
};
use embermesh_mesh::road::RoadKind;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Ended, Side, Update,
    attempt::{Attempt, Gifts},
    authority::{Authority, Queued},
    better::Better,
    renewal::Renewal,
};
use crate::{
    ClientError, JobView, Ways,
    bounds::{GIVE_UP_AFTER, LAST_WORDS, LONGEST_WAIT, MAX_HEALS, NODE_GONE},
    direct::is_renewable,
    index::{Waits, waits},
    sequence::{Sequence, Verdict},
    view,
};

/// Why an attempt's stream is no longer read.
enum Stop {
    /// The last event has been shown, or nobody listens any more.
    Done,
    /// The index has news: another attempt, or the end.
    News,
    /// Numbers are missing: ask again.
    Hole,
    /// The stream broke.
    Broken(ClientError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Broken(error)
    }
}

/// What is followed.
pub(super) struct Subject {
    pub(super) job: JobId,
    pub(super) ways: Ways,
    pub(super) authority: Authority,
    pub(super) gifts: Gifts,
    /// The last event that the caller has; 0 for all.
    pub(super) after: u64,
}

pub(super) struct Follower {
    ways: Ways,
    job: JobId,
    gifts: Gifts,
    out: mpsc::Sender<Result<Update, ClientError>>,
    held: watch::Sender<Option<NodeAssignment>>,
    authority: Authority,
    sequence: Sequence,
    heals: u32,
    artifacts: Vec<Artifact>,
    /// The stream that was announced last.
    announced: Option<(PeerId, Epoch, RoadKind)>,
    node_lost: bool,
    /// Since when the node has not been reached.
    lost_since: Option<Instant>,
    /// The attempt of which its node has said that it is over.
    spent: Option<Epoch>,
    index_lost: bool,
    last_contact: Instant,
    /// When the index said that the job is over.
    over_since: Option<Instant>,
    told_queued: Option<Queued>,
    /// How the last attempt ended that had an end of its own.
    last_end: String,
    /// Whether anything was shown since the stream last broke.
    moved: bool,
}

impl Follower {
    pub(super) fn new(
        subject: Subject,
        out: mpsc::Sender<Result<Update, ClientError>>,
        held: watch::Sender<Option<NodeAssignment>>,
    ) -> Self {
        Self {
            authority: subject.authority,
            ways: subject.ways,
            job: subject.job,
            gifts: subject.gifts,
            out,
            held,
            sequence: Sequence::after(subject.after),
            heals: 0,
            artifacts: Vec::new(),
            announced: None,
            node_lost: false,
            lost_since: None,
            spent: None,
            index_lost: false,
            last_contact: Instant::now(),
            over_since: None,
            told_queued: None,
            last_end: String::new(),
            moved: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut next_wait = waits();
        loop {
            match self.turn(&mut next_wait).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // Nobody may be there to hear it any more.
                    let _ = self.out.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// One stream of the node, or one wait. False when there is nothing more to do.
    async fn turn(&mut self, next_wait: &mut Waits) -> Result<bool, ClientError> {
        if !self.hear_index().await {
            return Ok(false);
        }
        if let Some(job) = self.authority.job().filter(|job| job.state.is_final())
            && self.nothing_more_to_hear(&job)
        {
            self.end_by_index(job).await;
            return Ok(false);
        }
        let held = self.held.borrow().clone();
        let Some(assignment) = held.filter(|held| self.spent != Some(held.epoch)) else {
            return self.wait_for_index(None).await.map(|()| true);
        };
        let stop = match Box::pin(self.attempt(&assignment)).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        };
        match stop {
            Stop::Done => return Ok(false),
            Stop::News => {
                *next_wait = waits();
                let ended = self.spent == Some(assignment.epoch);
                if ended && self.authority.own().is_some() {
                    let why = format!("the last attempt ended ({})", self.last_end);
                    return Ok(self.place_again(&assignment, None, &why).await);
                }
            }
            Stop::Hole => {
                // A node that is just behind fills the hole a moment later.
                self.wait_for_index(next_wait.next()).await?;
            }
            Stop::Broken(error) => {
                if let Some(why) = self.is_gone(&error) {
                    let avoid = Some(assignment.node.peer);
                    return Ok(self.place_again(&assignment, avoid, &why).await);
                }
                let renewable = matches!(
                    error.refusal(),
                    Some("expired" | "revoked" | "not_yet_valid")
                );
                if !error.is_transient() {
                    self.abandon(&error).await;
                    return Err(error);
                }
                if std::mem::take(&mut self.moved) {
                    *next_wait = waits();
                }
                let renewer = self.authority.renewer();
                if renewable && let Ok(fresh) = renewer.renew_newest(&assignment).await {
                    self.authority.renewed(&fresh);
                    self.held.send_replace(Some(fresh));
                }
                if !self.node_lost {
                    self.node_lost = true;
                    let reason = error.to_string();
                    if !self
                        .say(Update::Reconnecting {
                            to: Side::Node,
                            reason,
                        })
                        .await
                    {
                        return Ok(false);
                    }
                }
                self.wait_for_index(next_wait.next()).await?;
            }
        }
        Ok(true)
    }

    /// Why the node of an attempt is not waited for any more, where the owner of the job
    /// may place it again.
    fn is_gone(&mut self, error: &ClientError) -> Option<String> {
        self.authority.own()?;
        let gone = match error {
            ClientError::Unreachable { .. } | ClientError::Timeout { .. } => {
                let since = *self.lost_since.get_or_insert_with(Instant::now);
                since.elapsed() >= NODE_GONE
            }
            // It does not let the attempt begin, or knows nothing of it.
            ClientError::Refused { .. } => !is_renewable(error),
            ClientError::Exhausted { .. }
            | ClientError::NotNow { .. }
            | ClientError::NotFound { .. } => true,
            _ => false,
        };
        gone.then(|| error.to_string())
    }

    /// Has the owner place the job again. False when the job has had all its attempts:
    /// that is told.
    async fn place_again(
        &mut self,
        lost: &NodeAssignment,
        avoid: Option<PeerId>,
        why: &str,
    ) -> bool {
        self.lost_since = None;
        let begun = self.gifts.started >= lost.epoch;
        let wished = match self.authority.own() {
            Some(own) => own.again(avoid, begun, why),
            None => Ok(()),
        };
        // Nothing more is asked of this attempt.
        self.spent = Some(lost.epoch);
        match wished {
            Ok(()) => true,
            Err((outcome, message)) => {
                self.say(Update::Ended(Box::new(Ended {
                    outcome,
                    message,
                    receipt: Vec::new(),
                    artifacts: self.artifacts.clone(),
                    node: Some(lost.node.clone()),
                    epoch: lost.epoch,
                    job: None,
                })))
                .await;
                false
            }
        }
    }

    /// Cancels a job whose inputs this side cannot give: nobody else can.
    async fn abandon(&self, error: &ClientError) {
        let held = self.held.borrow().clone();
        if matches!(error, ClientError::InputChanged(_) | ClientError::Io { .. })
            && let Err(error) = self.authority.cancel(self.job, held).await
        {
            tracing::debug!(%error, "a job without its inputs was not cancelled");
        }
    }

    /// Waits for news of the index, or for `bound`. Gives up when neither side has
    /// answered for too long, or the index refuses and there is no node.
    async fn wait_for_index(&mut self, bound: Option<Duration>) -> Result<(), ClientError> {
        if let Some(refusal) = self.authority.take_refusal() {
            return Err(refusal);
        }
        // Its owner waits for a node as long as he likes.
        let patient = self.authority.own().is_some();
        if !patient && self.last_contact.elapsed() > GIVE_UP_AFTER {
            return Err(ClientError::Unreachable {
                what: "the index and the node".to_owned(),
                reason: format!("neither has answered for {GIVE_UP_AFTER:?}"),
            });
        }
        tokio::select! {
            () = self.out.closed() => {}
            () = self.authority.changed() => {}
            () = sleep(bound.unwrap_or(LONGEST_WAIT)) => {}
        }
        Ok(())
    }

    /// Takes in what the index has said. False when nobody listens any more.
    async fn hear_index(&mut self) -> bool {
        if self.out.is_closed() {
            return false;
        }
        let lost = self.authority.lost();
        if lost.is_none() && self.authority.job().is_some() {
            self.last_contact = Instant::now();
        }
        if lost.is_some() != self.index_lost {
            self.index_lost = lost.is_some();
            let update = match lost {
                Some(reason) => Update::Reconnecting {
                    to: Side::Index,
                    reason,
                },
                None => Update::Back(Side::Index),
            };
            if !self.say(update).await {
                return false;
            }
        }
        if self.authority.is_over() && self.over_since.is_none() {
            self.over_since = Some(Instant::now());
        }
        if let Some(newer) = self.authority.newer_than(self.held_epoch()) {
            self.held.send_replace(Some(newer.assignment));
            self.heals = 0;
            if let Some((resume, holders)) = newer.begin {
                self.gifts.resume = resume;
                self.gifts.holders.extend(holders);
            }
        }
        let queued = self.authority.queued();
        if self.told_queued == queued {
            return true;
        }
        self.told_queued.clone_from(&queued);
        match queued {
            Some((reason, passed_over)) => {
                let update = Update::Queued {
                    reason,
                    passed_over,
                };
                self.say(update).await
            }
            None => true,
        }
    }

    fn held_epoch(&self) -> Epoch {
        self.held
            .borrow()
            .as_ref()
            .map_or(Epoch(0), |held| held.epoch)
    }

    /// Streams one attempt until something else is to be done.
    async fn attempt(
        &mut self,
        assignment: &NodeAssignment,
    ) -> Result<std::convert::Infallible, Stop> {
        let out = self.out.clone();
        let after = self.sequence.last();
        let before = self.gifts.started;
        let opening = Attempt::open(&self.ways, assignment, &mut self.gifts, after, &out);
        let mut opening = Box::pin(opening);
        let last_words = self.over_since.map(|since| since + LAST_WORDS);
        let mut attempt = loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                () = until(last_words) => return Err(Stop::News),
                () = self.authority.changed() => {
                    if self.authority.newer_than(assignment.epoch).is_some()
                        || self.authority.is_over()
                    {
                        return Err(Stop::News);
                    }
                }
            }
        };
        drop(opening);
        if self.gifts.started > before
            && let Some(own) = self.authority.own()
        {
            own.task().begun();
        }
        self.announce(assignment, attempt.road).await?;
        let mut renewal = Renewal::of(self.authority.renewer(), assignment);
        let ways = self.ways.clone();
        let mut better = Better::than(attempt.road, &ways, &assignment.node);
        loop {
            let last_words = self.over_since.map(|since| since + LAST_WORDS);
            let token = self.held.borrow().clone();
            let token = token.as_ref().unwrap_or(assignment);
            tokio::select! {
                biased;
                () = self.out.closed() => return Err(Stop::Done),
                moved = better.moved(&ways, token, self.sequence.last()) => {
                    attempt.take(moved);
                    self.announce(assignment, attempt.road).await?;
                }
                update = attempt.next() => self.show(update?).await?,
                () = self.authority.changed() => {
                    if !self.hear_index().await {
                        return Err(Stop::Done);
                    }
                    if self.held_epoch() > assignment.epoch {
                        return Err(Stop::News);
                    }
                }
                () = until(last_words) => return Err(Stop::News),
                fresh = renewal.due() => match fresh {
                    Ok(fresh) => {
                        renewal = Renewal::of(self.authority.renewer(), &fresh);
                        self.authority.renewed(&fresh);
                        self.held.send_replace(Some(fresh));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the token was not renewed");
                        renewal = Renewal::retry(self.authority.renewer(), assignment);
                    }
                },
            }
        }
    }

    async fn announce(&mut self, assignment: &NodeAssignment, road: RoadKind) -> Result<(), Stop> {
        let stands = (assignment.node.peer, assignment.epoch, road);
        if self.announced == Some(stands) {
            return Ok(());
        }
        self.announced = Some(stands);
        self.node_lost = false;
        self.lost_since = None;
        self.must_say(Update::Assigned {
            node: assignment.node.peer,
            epoch: assignment.epoch,
            road,
        })
        .await
    }

    async fn show(&mut self, update: RunUpdate) -> Result<(), Stop> {
        self.last_contact = Instant::now();
        self.lost_since = None;
        if std::mem::take(&mut self.node_lost) {
            self.must_say(Update::Back(Side::Node)).await?;
        }
        match update {
            RunUpdate::Notice(notice) => {
                let spent = matches!(notice, Notice::AttemptEnded { .. });
                if let Notice::AttemptEnded { code, message } = &notice {
                    self.last_end = format!("{code}: {message}");
                }
                self.must_say(Update::Notice(notice)).await?;
                if spent {
                    // Its stream has nothing more; the index has the next attempt.
                    self.spent = Some(self.held_epoch());
                    return Err(Stop::News);
                }
                Ok(())
            }
            RunUpdate::Event(event) => self.show_event(event).await,
        }
    }

    async fn show_event(&mut self, event: Event) -> Result<(), Stop> {
        let verdict = self.sequence.hear(event.seq);
        if verdict == Verdict::Repeat {
            return Ok(());
        }
        if let Verdict::Hole(from, to) = verdict {
            // An attempt that resumed from a checkpoint does not have what came
            // before it, so there is nothing to ask for again.
            let resumed = from == 1 && event.epoch > Epoch::FIRST;
            if !resumed && self.heals < MAX_HEALS {
                self.heals += 1;
                return Err(Stop::Hole);
            }
            self.sequence.skip(to);
            self.must_say(Update::Missed { from, to }).await?;
            return Box::pin(self.show_event(event)).await;
        }
        self.heals = 0;
        self.moved = true;
        if let EventKind::Artifact(artifact) = &event.kind
            && !self.artifacts.contains(artifact)
        {
            self.artifacts.push(artifact.clone());
        }
        self.authority.heard(&event);
        let end = self.end_of(&event);
        self.must_say(Update::Event(event)).await?;
        if let Some(end) = end {
            self.must_say(Update::Ended(Box::new(end))).await?;
            return Err(Stop::Done);
        }
        Ok(())
    }

    fn end_of(&self, event: &Event) -> Option<Ended> {
        let EventKind::Finished {
            outcome,
            receipt,
            message,
        } = &event.kind
        else {
            return None;
        };
        Some(Ended {
            outcome: *outcome,
            message: message.clone(),
            receipt: receipt.clone(),
            artifacts: self.artifacts.clone(),
            node: self.held.borrow().as_ref().map(|held| held.node.clone()),
            epoch: event.epoch,
            job: None,
        })
    }

    /// Whether the node need not be asked for what it said last.
    fn nothing_more_to_hear(&self, job: &JobView) -> bool {
        let late = self
            .over_since
            .is_some_and(|since| since.elapsed() >= LAST_WORDS);
        let complete = match &job.finished {
            Some(finished) => self.sequence.reaches(finished.seq),
            None => true,
        };
        late || complete || self.held.borrow().is_none()
    }

    async fn end_by_index(&mut self, job: JobView) {
        let last = self.sequence.last();
        if let Some(event) = job.finished.clone().filter(|event| event.seq > last) {
            if event.seq > last + 1 {
                let (from, to) = (last + 1, event.seq - 1);
                self.sequence.skip(to);
                if !self.say(Update::Missed { from, to }).await {
                    return;
                }
            }
            if !self.say(Update::Event(event)).await {
                return;
            }
        }
        let (outcome, receipt, message) = match view::end_of(&job) {
            Some((outcome, receipt, message)) => (outcome, receipt.to_vec(), message.to_owned()),
            None => (outcome_of(job.state), Vec::new(), job.reason.clone()),
        };
        let held = self.held.borrow().clone();
        self.say(Update::Ended(Box::new(Ended {
            outcome,
            message,
            receipt,
            artifacts: job.artifacts.clone(),
            node: held.map(|held| held.node),
            epoch: job.epoch,
            job: Some(job),
        })))
        .await;
    }

    /// False when nobody listens any more.
    async fn say(&self, update: Update) -> bool {
        self.out.send(Ok(update)).await.is_ok()
    }

    async fn must_say(&self, update: Update) -> Result<(), Stop> {
        if self.say(update).await {
            Ok(())
        } else {
            Err(Stop::Done)
        }
    }
}

/// Waits until then; forever without a time.
async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn outcome_of(state: JobState) -> Outcome {
    match state {
        JobState::Succeeded => Outcome::Succeeded,
        JobState::Cancelled => Outcome::Cancelled,
        _ => Outcome::Failed,
    }
}
