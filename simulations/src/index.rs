//! The index behind a network that takes time: it takes a command, commits, and only
//! then answers; it dies in between, and goes on from what it had committed.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{Epoch, JobId};
use embermesh_index_server::state::{Command, Effects, Outputs, Refused, Reply, State, Writes};
use embermesh_job::{
    lifecycle::JobState,
    order::{Order, Report},
};
use rand::Rng;

use crate::{
    Violation, World,
    faults::Sabotage,
    happening::{About, Answer, Happening, Place, Question},
    world::PeerIndex,
};

/// How long a commit takes, in milliseconds.
const COMMIT_MS: std::ops::RangeInclusive<u64> = 0..=8;

/// How long the index is away after a crash, in milliseconds.
const AWAY_MS: std::ops::RangeInclusive<u64> = 300..=12_000;

/// A command that was applied, until what it changed is durable.
#[derive(Debug)]
pub(crate) struct Pending {
    writes: Writes,
    effects: Let,
}

/// What is let out once a commit is durable.
#[derive(Debug)]
struct Let {
    to: Place,
    answer: Answer,
    outputs: Outputs,
    /// What this tells somebody of jobs.
    told: Vec<(JobId, Epoch, JobState)>,
    /// Whether it is the end of a job that a node reported, of which attempt.
    ended_by: Option<(JobId, Epoch)>,
}

impl World {
    /// Asks the index something.
    pub(crate) fn ask(&mut self, from: Place, about: About, command: Command) {
        let life = match from {
            Place::Node(peer) => self.peers[peer].life,
            Place::Index | Place::Client => 0,
        };
        let question = Question {
            from,
            life,
            about,
            command,
        };
        self.send(from, Place::Index, Happening::Command(Box::new(question)));
    }

    /// A command reaches the index.
    pub(crate) fn command(&mut self, question: Question) -> Result<(), Violation> {
        if self.index_up {
            self.apply(question)?;
        }
        Ok(())
    }

    fn apply(&mut self, question: Question) -> Result<(), Violation> {
        let Question {
            from,
            life,
            about,
            mut command,
        } = question;
        if let Command::Enter(entry) = &mut command {
            entry.seen = self.disk.seen(entry.caller, &entry.key);
        }
        let ends = ends(&command);
        let reported = match &command {
            Command::Report { key, .. } => Some(key.job),
            _ => None,
        };
        self.touched.index = true;
        self.touched.jobs.extend(reported);
        let Effects { reply, outputs } =
            self.index
                .handle(command, self.now, &mut self.index_entropy);
        self.touched.jobs.extend(outputs.changed.iter().copied());
        self.weigh(about, from, reported, &reply)?;
        let accepted = matches!(reply, Ok(Reply::Reported { accepted: true }));
        let about_job = match &reply {
            Ok(Reply::Assigned(assigned)) => Some(assigned.job.job.id),
            _ => None,
        };
        let told = outputs
            .changed
            .iter()
            .copied()
            .chain(about_job)
            .filter_map(|id| self.index.job(&id))
            .map(|job| (job.id, job.epoch, job.state))
            .collect();
        let answer = Answer {
            life,
            about,
            reply: reply.map_err(|refused| refused.to_string()),
        };
        let effects = Let {
            to: from,
            answer,
            outputs,
            told,
            ended_by: ends.filter(|_| accepted),
        };
        let writes = self.index.take_writes();
        let dies = self.index_doomed && !writes.is_empty();
        if self.sabotage == Some(Sabotage::AnswerEarly) {
            self.let_out(effects)?;
            let nothing = Let::nothing();
            self.begin_commit(writes, nothing);
        } else {
            self.begin_commit(writes, effects);
        }
        self.wake_index_when_due();
        if dies {
            self.index_dies();
        }
        Ok(())
    }

    /// What an honest peer asks is granted, but where a later attempt has taken over;
    /// what a liar asks is not.
    fn weigh(
        &mut self,
        about: About,
        from: Place,
        job: Option<JobId>,
        reply: &Result<Reply, Refused>,
    ) -> Result<(), Violation> {
        match (about, reply) {
            (About::Lie, Err(_) | Ok(Reply::Reported { accepted: false })) => {
                self.counts.refused += 1;
            }
            // The job was given to the liar meanwhile: whose result it is, the receipt says.
            (About::Lie, Ok(Reply::Reported { accepted: true })) if self.is_its_own(from, job) => {}
            (About::Lie, Ok(reply)) => {
                return Err(self.violation(format!("the index grants a lie: {reply:?}")));
            }
            (About::Report(_), Ok(Reply::Reported { accepted: false })) => {
                self.counts.fenced += 1;
            }
            (About::Report(_), Err(Refused::StaleEpoch { .. } | Refused::Lifecycle { .. })) => {
                self.counts.fenced += 1
            }
            // Asked over a line that broke, and heard late.
            (About::Orders, Err(Refused::NotRegistered(_))) => {}
            (_, Err(refused)) => {
                let odd = match from {
                    Place::Node(peer) => !self.peers[peer].is_sound(),
                    Place::Index | Place::Client => false,
                };
                if !odd {
                    return Err(self.violation(format!("the index refused {about:?}: {refused}")));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the newest attempt of a job is that node's.
    fn is_its_own(&self, from: Place, job: Option<JobId>) -> bool {
        let (Place::Node(peer), Some(job)) = (from, job.and_then(|job| self.index.job(&job)))
        else {
            return false;
        };
        let newest = job.attempts.last();
        newest.is_some_and(|attempt| attempt.node == self.peers[peer].id())
    }

    fn begin_commit(&mut self, writes: Writes, effects: Let) {
        let took = self.rng.random_range(COMMIT_MS);
        let at = self.now.saturating_add(Duration::from_millis(took));
        self.last_commit = self.last_commit.max(at);
        self.commits.push_back(Pending { writes, effects });
        let life = self.index_life;
        self.schedule_at(self.last_commit, Happening::Commit(life));
    }

    /// The oldest commit is durable: what waits for it is let out.
    pub(crate) fn committed(&mut self, life: u32) -> Result<(), Violation> {
        if life != self.index_life {
            return Ok(());
        }
        let Some(Pending { writes, effects }) = self.commits.pop_front() else {
            return Ok(());
        };
        self.disk.commit(writes);
        self.let_out(effects)
    }

    fn let_out(&mut self, effects: Let) -> Result<(), Violation> {
        let Let {
            to,
            answer,
            outputs,
            told,
            ended_by,
        } = effects;
        for (job, epoch, state) in told {
            self.must(|audit| audit.told(job, epoch, state))?;
        }
        for (job, _) in &outputs.ended {
            self.must(|audit| audit.ended(*job))?;
        }
        if let Some((job, epoch)) = ended_by {
            self.must(|audit| audit.accepted(job, epoch))?;
        }
        if let (About::Payment(number), Ok(Reply::Entered(transaction))) =
            (answer.about, &answer.reply)
        {
            let done = transaction.number;
            self.must(|audit| audit.entered(number, done))?;
        }
        for (node, order) in outputs.orders {
            if let Some(peer) = self.by_id.get(&node).copied() {
                self.order(peer, order);
            }
        }
        for order in outputs.broadcast {
            for peer in 0..self.peers.len() {
                self.order(peer, order.clone());
            }
        }
        if to != Place::Index {
            self.send(Place::Index, to, Happening::Answer(to, Box::new(answer)));
        }
        Ok(())
    }

    /// An order goes down a node's line. One that is lost takes the line with it: the
    /// node registers anew, and asks what it has to do.
    fn order(&mut self, peer: PeerIndex, order: Order) {
        if !self.peers[peer].linked {
            return;
        }
        let arrives = Happening::Order(peer, Box::new(order));
        if !self.send(Place::Index, Place::Node(peer), arrives) {
            self.peers[peer].linked = false;
        }
    }

    pub(crate) fn index_tick(&mut self, life: u32) -> Result<(), Violation> {
        if life != self.index_life || !self.index_up {
            return Ok(());
        }
        self.index_ticks = None;
        self.apply(Question {
            from: Place::Index,
            life: 0,
            about: About::Tick,
            command: Command::Tick,
        })
    }

    fn wake_index_when_due(&mut self) {
        let due = self
            .index
            .next_tick()
            .max(self.now.saturating_add(Duration::from_millis(1)));
        if self.index_ticks.is_none_or(|at| due < at) {
            self.index_ticks = Some(due);
            let life = self.index_life;
            self.schedule(due.since(self.now), Happening::IndexTick(life));
        }
    }

    /// The index dies: at once, or in the middle of what it does next.
    pub(crate) fn index_crash(&mut self) {
        if !self.index_up {
            return;
        }
        if self.rng.random_bool(0.3) {
            self.index_dies();
        } else {
            self.index_doomed = true;
        }
    }

    /// The index dies. Of the commits under way some are durable by then, and nobody is
    /// told; the others have never been.
    fn index_dies(&mut self) {
        self.counts.crashes += 1;
        let away = Duration::from_millis(self.rng.random_range(AWAY_MS));
        self.schedule(away, Happening::IndexRestart);
        self.index_up = false;
        self.index_doomed = false;
        self.index_life += 1;
        let durable = self.rng.random_range(0..=self.commits.len());
        let lost = self.sabotage == Some(Sabotage::AnswerEarly);
        for (n, pending) in std::mem::take(&mut self.commits).into_iter().enumerate() {
            if n < durable && !lost {
                self.counts.unanswered += 1;
                self.disk.commit(pending.writes);
            } else {
                self.counts.undone += 1;
            }
        }
        for peer in &mut self.peers {
            peer.linked = false;
        }
    }

    /// The index goes on from what it had committed.
    pub(crate) fn index_restart(&mut self) -> Result<(), Violation> {
        if self.sabotage == Some(Sabotage::LoseHold) {
            self.disk.ledger.holds.pop_first();
        }
        let restored = State::restore(
            self.index_settings.clone(),
            Arc::clone(&self.index_identity),
            self.disk.load(),
            self.now,
            &mut self.index_entropy,
        );
        self.index = restored
            .map_err(|error| self.violation(format!("the index does not start again: {error}")))?;
        self.index_up = true;
        self.index_ticks = None;
        self.last_commit = self.now;
        self.check_nothing_forgotten()?;
        let writes = self.index.take_writes();
        self.disk.commit(writes);
        self.touched.index = true;
        self.wake_index_when_due();
        Ok(())
    }

    /// Notes what was told; a contradiction is a violation.
    fn must(
        &mut self,
        note: impl FnOnce(&mut crate::audit::Audit) -> Result<(), String>,
    ) -> Result<(), Violation> {
        note(&mut self.audit).map_err(|what| self.violation(what))
    }
}

impl Let {
    fn nothing() -> Self {
        Self {
            to: Place::Index,
            answer: Answer {
                life: 0,
                about: About::Tick,
                reply: Ok(Reply::Done),
            },
            outputs: Outputs::default(),
            told: Vec::new(),
            ended_by: None,
        }
    }
}

/// The attempt whose end a command reports.
fn ends(command: &Command) -> Option<(JobId, Epoch)> {
    match command {
        Command::Report {
            key,
            report: Report::Event(event),
            ..
        } if event.kind.is_final() => Some((key.job, key.epoch)),
        _ => None,
    }
}
