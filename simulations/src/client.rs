//! Who submits, and what it sees of its jobs: numbered events, from whichever
//! node has the job, each once and in order. What the client of `embermesh_client` does,
//! in short: submit again what was not answered, follow the index to the node that has
//! the job, join its stream after the last event that was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use embermesh_crypto::{Digest, Epoch, JobId, Keypair, UnixMillis};
use embermesh_index_server::state::{Assigned, Command, Entry, Reply, Submit};
use embermesh_job::{
    assignment::NodeAssignment,
    ledger::{Ask, Key, Seen as KeySeen, Subject},
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
    units::MicroUnits,
};

use crate::{
    Violation, World,
    happening::{About, Answer, Happening, Place},
    tasks::LAST_EVENT,
};

/// Attempts that each job may have.
const ATTEMPTS: u32 = embermesh_job::spec::MAX_ATTEMPTS;
/// What was not answered is asked again after this.
const AGAIN: Duration = Duration::from_secs(3);
/// How often the client looks whether it still hears of a job.
const LOOK: Duration = Duration::from_secs(2);
/// Looks without an event after the index has said that the job is over: what is missing
/// then is with a node that is gone.
const LAST_WORDS: u32 = 3;
/// The number of the payment that the administrator makes to the client.
pub(crate) const DEPOSIT_PAYMENT: u64 = 0;
/// What one payment is, in millionths of a unit.
pub(crate) const PAYMENT: MicroUnits = MicroUnits(1_000);

/// A client and its jobs.
pub struct Client {
    /// Its key.
    pub keypair: Keypair,
    /// What it saw of each job.
    pub seen: BTreeMap<JobId, Seen>,
    /// What it submitted, by number from 1: the budget, and the job once there is one.
    pub submits: Vec<(Option<MicroUnits>, Option<JobId>)>,
    /// The payments that were not answered.
    unpaid: BTreeSet<u64>,
    /// Those that were.
    paid: BTreeSet<u64>,
    streams: u64,
}

/// The events of one job that a client saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last event before which none is missing, but for those given up.
    last: u64,
    /// Events that were with a node that is gone.
    missed: u64,
    /// The stream that stands, and the number that it goes on with: none until it has
    /// brought something.
    stream: u64,
    next: Option<u64>,
    /// What was seen at the last look, and looks since without anything new.
    looked: u64,
    quiet: u32,
    /// The attempt that was last heard of.
    epoch: Epoch,
    /// Whether the first attempt has begun, as far as the client knows.
    over: bool,
}

impl Seen {
    /// The last event before which none is missing.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Events that it never got: they were with a node that is gone.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Takes an event of the stream that stands, or says what is wrong with it. Only the
    /// first one of a stream may leave a gap before it: an attempt that goes on from a
    /// checkpoint does not have what came before.
    pub(crate) fn take(&mut self, seq: u64) -> Result<(), String> {
        if let Some(next) = self.next
            && seq != next
        {
            return Err(format!("event {seq} came in the place of {next}"));
        }
        if seq > self.last + 1 {
            if self.next.is_some() || self.epoch <= Epoch::FIRST {
                return Err(format!("event {seq} after {}", self.last));
            }
            self.missed += seq - self.last - 1;
        }
        self.next = Some(seq + 1);
        self.last = self.last.max(seq);
        Ok(())
    }

    fn open(&mut self, stream: u64, epoch: Epoch) {
        self.stream = stream;
        self.next = None;
        self.epoch = epoch;
    }
}

impl Client {
    pub(crate) fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            seen: BTreeMap::new(),
            submits: Vec::new(),
            unpaid: BTreeSet::new(),
            paid: BTreeSet::new(),
            streams: 0,
        }
    }

    /// Events of one stream arrive, in order. A gap, or one that came before on the same
    /// stream, breaks the promise of the stream. What another stream had brought before
    /// is passed over.
    ///
    /// # Errors
    /// [`Violation`] on a gap or a repeat.
    pub fn saw(
        &mut self,
        now: UnixMillis,
        job: JobId,
        events: RangeInclusive<u64>,
    ) -> Result<(), Violation> {
        let seen = self.seen.entry(job).or_default();
        for seq in events {
            seen.take(seq)
                .map_err(|what| Violation::new(now, format!("job {job}: {what}")))?;
        }
        Ok(())
    }

    /// What a job may cost, by its budget.
    pub(crate) fn budget(&self, job: JobId) -> Option<MicroUnits> {
        let submit = self.submits.iter().find(|(_, of)| *of == Some(job));
        submit.and_then(|(budget, _)| *budget)
    }

    /// Whether a payment is still to be answered.
    pub(crate) fn owes(&self) -> bool {
        !self.unpaid.is_empty()
    }

    fn next_stream(&mut self) -> u64 {
        self.streams += 1;
        self.streams
    }
}

fn spec(number: u64) -> JobSpec {
    JobSpec {
        name: format!("simulated-{number}"),
        work: Work::Train(Train {
            optimizer: Optimizer::default(),
            passes: 1,
            batch: 32,
            seed: 0,
            holdout: 0.0,
            report_every: 0,
            checkpoint_every: 0,
            ..Train::new(
                Model {
                    input: vec![64],
                    layers: vec![Layer::new(Op::dense(10))],
                },
                Dataset::DigitsCsv {
                    file: Input {
                        digest: Digest::of(b"digits"),
                        size: 6,
                    },
                    classes: 10,
                },
            )
        }),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: ATTEMPTS,
    }
}

impl World {
    /// The client submits its next job.
    pub(crate) fn submit(&mut self, budget: Option<MicroUnits>) {
        self.client.submits.push((budget, None));
        let number = self.client.submits.len() as u64;
        self.submit_again(number);
    }

    /// The client submits, until it is answered.
    pub(crate) fn submit_again(&mut self, number: u64) {
        let Some((budget, None)) = self.client.submits.get(number as usize - 1).copied() else {
            return;
        };
        if budget.is_some() && !self.has_money() {
            self.schedule(AGAIN, Happening::SubmitAgain(number));
            return;
        }
        let spec = spec(number);
        let canonical = spec.canonical();
        let mut idempotency = [0; 16];
        idempotency[..8].copy_from_slice(&number.to_le_bytes());
        let command = Command::Submit(Box::new(Submit {
            client: self.client.keypair.peer_id(),
            digest: Digest::of(&canonical),
            spec,
            canonical: canonical.into(),
            idempotency,
            budget,
            tentative: false,
        }));
        self.ask(Place::Client, About::Submit(number), command);
        self.schedule(AGAIN, Happening::SubmitAgain(number));
    }

    /// Whether the deposit has been answered: before that there is nothing to spend.
    fn has_money(&self) -> bool {
        self.client.paid.contains(&DEPOSIT_PAYMENT)
    }

    /// The client pays the node of this number, or is paid in by the administrator: the
    /// first payment. Until it is answered.
    pub(crate) fn pay(&mut self, number: u64) {
        if self.client.paid.contains(&number) {
            return;
        }
        self.client.unpaid.insert(number);
        if number != DEPOSIT_PAYMENT && !self.has_money() {
            self.schedule(AGAIN, Happening::Pay(number));
            return;
        }
        let (caller, ask) = if number == DEPOSIT_PAYMENT {
            let ask = Ask::Deposit {
                to: self.client.keypair.peer_id(),
                amount: crate::money::DEPOSIT,
                subject: Subject::default(),
            };
            (self.administrator, ask)
        } else {
            let to = self.peers[number as usize % self.peers.len()].id();
            let from = self.client.keypair.peer_id();
            let (amount, subject) = (PAYMENT, Subject::default());
            (
                from,
                Ask::Transfer {
                    from,
                    to,
                    amount,
                    subject,
                },
            )
        };
        let mut key = [1; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let command = Command::Enter(Box::new(Entry {
            caller,
            key: Key::from(key),
            ask,
            seen: KeySeen::NotUpTo(0),
        }));
        self.ask(Place::Client, About::Payment(number), command);
        self.schedule(AGAIN, Happening::Pay(number));
    }

    /// The index has answered the client.
    pub(crate) fn client_answered(&mut self, answer: Answer) -> Result<(), Violation> {
        match (answer.about, answer.reply) {
            (About::Submit(number), Ok(Reply::Assigned(assigned))) => {
                self.submitted(number, *assigned)
            }
            (About::Watch(job), Ok(Reply::Assigned(assigned))) => {
                self.watched(job, &assigned);
                Ok(())
            }
            (About::Payment(number), Ok(_)) => {
                self.client.unpaid.remove(&number);
                self.client.paid.insert(number);
                Ok(())
            }
            (about, reply) => {
                Err(self.violation(format!("the client is answered {reply:?} to {about:?}")))
            }
        }
    }

    /// The index has taken a job on; its first attempt is the client's to start.
    fn submitted(&mut self, number: u64, assigned: Assigned) -> Result<(), Violation> {
        let id = assigned.job.job.id;
        let submit = &mut self.client.submits[number as usize - 1];
        match submit.1.replace(id) {
            None => {}
            Some(before) if before == id => return Ok(()),
            Some(before) => {
                return Err(
                    self.violation(format!("submit {number} made two jobs, {before} and {id}"))
                );
            }
        }
        self.client.seen.entry(id).or_default();
        if let Some(assignment) = assigned.assignment {
            self.go_to(assignment);
        }
        self.schedule(LOOK, Happening::Follow(id));
        Ok(())
    }

    /// The client goes to the node of an attempt: it begins the first one, and joins the
    /// others.
    fn go_to(&mut self, assignment: NodeAssignment) {
        let Some(to) = self.by_id.get(&assignment.node.peer).copied() else {
            return;
        };
        let stream = self.client.next_stream();
        let seen = self.client.seen.entry(assignment.job).or_default();
        seen.open(stream, assignment.epoch);
        let (job, after) = (assignment.job, seen.last);
        let what = if assignment.epoch == Epoch::FIRST && after == 0 {
            Happening::Present {
                to,
                bearer: self.client.keypair.peer_id(),
                assignment: Box::new(assignment),
                stream,
            }
        } else {
            Happening::Attach {
                to,
                job,
                after,
                stream,
            }
        };
        self.send(Place::Client, Place::Node(to), what);
    }

    /// The client looks whether it still hears of a job, and asks the index if not.
    pub(crate) fn follow(&mut self, job: JobId) {
        let caller = self.client.keypair.peer_id();
        let Some(seen) = self.client.seen.get_mut(&job) else {
            return;
        };
        if seen.last >= LAST_EVENT {
            return;
        }
        let quiet = seen.looked == seen.last;
        seen.looked = seen.last;
        if quiet {
            seen.quiet += 1;
            let watch = Command::Watch {
                job,
                caller,
                known: None,
            };
            self.ask(Place::Client, About::Watch(job), watch);
        } else {
            seen.quiet = 0;
        }
        self.schedule(LOOK, Happening::Follow(job));
    }

    /// The index has said how a job stands.
    fn watched(&mut self, job: JobId, assigned: &Assigned) {
        let Some(seen) = self.client.seen.get_mut(&job) else {
            return;
        };
        if let Some(end) = &assigned.job.job.finished {
            // The node may still say its last words.
            if std::mem::replace(&mut seen.over, true) && seen.quiet >= LAST_WORDS {
                seen.missed += end.seq.saturating_sub(seen.last + 1);
                self.counts.missed += end.seq.saturating_sub(seen.last + 1);
                seen.last = seen.last.max(end.seq);
                return;
            }
            let last = assigned.job.job.attempts.last();
            if let Some((attempt, to)) =
                last.and_then(|last| Some((last.epoch, *self.by_id.get(&last.node)?)))
            {
                let stream = self.client.next_stream();
                let Some(seen) = self.client.seen.get_mut(&job) else {
                    return;
                };
                seen.open(stream, attempt);
                let attach = Happening::Attach {
                    to,
                    job,
                    after: seen.last,
                    stream,
                };
                self.send(Place::Client, Place::Node(to), attach);
            }
        } else if let Some(assignment) = assigned.assignment.clone() {
            self.go_to(assignment);
        }
    }

    /// Events of a stream arrive. Those of a stream that the client has left are not
    /// looked at.
    pub(crate) fn seen(
        &mut self,
        job: JobId,
        stream: u64,
        events: RangeInclusive<u64>,
    ) -> Result<(), Violation> {
        let stands = self.client.seen.get(&job).map_or(0, |seen| seen.stream);
        if stands != stream {
            return Ok(());
        }
        let before = self.client.seen.get(&job).map_or(0, Seen::missed);
        self.client.saw(self.now, job, events)?;
        let after = self.client.seen.get(&job).map_or(0, Seen::missed);
        self.counts.missed += after - before;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_no_gap_and_says_nothing_twice() {
        let mut seen = Seen::default();
        for seq in 1..=3 {
            seen.take(seq).unwrap();
        }
        assert!(seen.take(5).unwrap_err().contains("5"), "a gap");
        assert!(seen.take(3).unwrap_err().contains("3"), "a repeat");
        assert_eq!(seen.last(), 3);
        seen.open(2, Epoch(1));
        assert!(seen.take(6).is_err(), "the first attempt has all events");
        seen.take(2).unwrap();
        assert_eq!(seen.last(), 3, "another stream may say it again");
    }

    #[test]
    fn what_was_with_a_lost_node_is_counted() {
        let mut seen = Seen::default();
        seen.take(1).unwrap();
        seen.open(2, Epoch(2));
        seen.take(11).unwrap();
        assert_eq!((seen.last(), seen.missed()), (11, 9));
        seen.take(12).unwrap();
        assert!(seen.take(14).is_err(), "only the first may leave a gap");
    }
}
