//! Who is there and who works on what. It reads no clock and waits for nothing.

use std::{collections::HashMap, sync::Arc};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::provers::{Hello, Order, ProverView},
};
use embermesh_job::plan::{
    NodeName,
    gang::{Gang, MAX_CAPACITY, MAX_GANG, NoGang, Worker},
    proving::Phase,
};
use tokio::sync::mpsc;

use super::{Note, ProvingSettings, Said, Share};

/// The most provers at once.
pub(super) const MAX_PROVERS: usize = 16 * 1024;
/// Orders that wait for one prover: an aggregator is told of every other one.
const ORDERS: usize = MAX_GANG + 8;

/// What a prover works on.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// The round, by the name that its orders have.
    pub(super) round: Arc<str>,
    /// The phase that it is told to be in.
    pub(super) phase: Phase,
    /// The proof.
    pub(super) said: mpsc::Sender<Said>,
}

/// Orders on their way to a prover.
#[derive(Debug)]
enum Line {
    /// Its stream is open.
    Open(mpsc::Sender<Box<Order>>),
    /// Its connection broke: what it has to be told when it comes back.
    Broken {
        since: UnixMillis,
        waiting: Vec<Order>,
    },
}

#[derive(Debug)]
struct Entry {
    /// Who it is of.
    holder: String,
    capacity: u32,
    /// Tells this stay from one before it under the same id.
    stay: u64,
    since: UnixMillis,
    heard_at: UnixMillis,
    asked_at: UnixMillis,
    line: Line,
    work: Option<Work>,
}

/// A place that was given.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) stay: u64,
    pub(super) orders: mpsc::Receiver<Box<Order>>,
    /// The proof that has lost what this prover did before.
    pub(super) lost: Option<Note>,
}

/// Every prover, by its id.
#[derive(Debug)]
pub(super) struct Roster {
    settings: ProvingSettings,
    provers: HashMap<NodeName, Entry>,
    stays: u64,
}

impl Roster {
    pub(super) fn new(settings: ProvingSettings) -> Self {
        Self {
            settings,
            provers: HashMap::new(),
            stays: 0,
        }
    }

    /// Gives a place to a prover that comes, or comes back.
    pub(super) fn enter(
        &mut self,
        id: &NodeName,
        holder: &str,
        hello: &Hello,
        now: UnixMillis,
    ) -> Result<Place, Failure> {
        let before = match self.provers.get(id) {
            Some(entry) if matches!(entry.line, Line::Open(_)) => {
                let message = format!("prover {id} is connected already: choose another id");
                return Err(Failure::new(ErrorCode::Exists, message));
            }
            Some(_) => self.provers.remove(id),
            None if self.provers.len() >= MAX_PROVERS => {
                let message = "every place for a prover is taken: try again later";
                return Err(Failure::new(ErrorCode::Exhausted, message));
            }
            None => None,
        };
        let (line, orders) = mpsc::channel(ORDERS);
        let (work, waiting, lost) = match before {
            Some(Entry {
                work: Some(work),
                line: Line::Broken { waiting, .. },
                ..
            }) if hello.last_job.as_deref() == Some(&*work.round) => (Some(work), waiting, None),
            before => {
                let work = before.and_then(|entry| entry.work);
                (None, Vec::new(), work.map(|work| lost(id, work)))
            }
        };
        if work.is_none()
            && let Some(job) = &hello.last_job
        {
            // It still works on what nobody waits for.
            let reason = "this job has been given to others, or has ended".to_owned();
            let job = job.as_str().into();
            // The channel is new, so there is room.
            let _ = line.try_send(Box::new(Order::Cancelled { job, reason }));
        }
        for order in waiting {
            let _ = line.try_send(Box::new(order));
        }
        self.stays += 1;
        let entry = Entry {
            holder: holder.to_owned(),
            capacity: hello.capacity.min(MAX_CAPACITY),
            stay: self.stays,
            since: now,
            heard_at: now,
            asked_at: now,
            line: Line::Open(line),
            work,
        };
        self.provers.insert(id.clone(), entry);
        let stay = self.stays;
        Ok(Place { stay, orders, lost })
    }

    /// Hears a prover; what it works on, if it does.
    pub(super) fn hear(&mut self, id: &NodeName, stay: u64, now: UnixMillis) -> Option<Work> {
        let entry = self.staying(id, stay)?;
        entry.heard_at = now;
        entry.work.clone()
    }

    /// A prover goes.
    pub(super) fn leave(&mut self, id: &NodeName, stay: u64) -> Option<Note> {
        self.staying(id, stay)?;
        let entry = self.provers.remove(id)?;
        entry.work.map(|work| lost(id, work))
    }

    /// A prover's connection broke. It may come back to its work; without work there is
    /// nothing to come back to.
    pub(super) fn cut(&mut self, id: &NodeName, stay: u64, now: UnixMillis) {
        let Some(entry) = self.staying(id, stay) else {
            return;
        };
        if entry.work.is_none() {
            self.provers.remove(id);
            return;
        }
        entry.line = Line::Broken {
            since: now,
            waiting: Vec::new(),
        };
    }

    fn staying(&mut self, id: &NodeName, stay: u64) -> Option<&mut Entry> {
        self.provers.get_mut(id).filter(|entry| entry.stay == stay)
    }

    /// Takes a gang of free provers for a round, or nobody.
    pub(super) fn take(
        &mut self,
        units: u32,
        without: &[NodeName],
        round: &Arc<str>,
        said: &mpsc::Sender<Said>,
    ) -> Result<(Gang, Vec<Share>), NoGang> {
        let free: Vec<Worker> = self
            .provers
            .iter()
            .filter(|(id, entry)| {
                let open = matches!(entry.line, Line::Open(_));
                open && entry.work.is_none() && !without.contains(id)
            })
            .map(|(id, entry)| Worker {
                name: id.clone(),
                capacity: entry.capacity,
            })
            .collect();
        let gang = Gang::deal(&free, units)?;
        let mut shares = Vec::with_capacity(gang.members().len());
        for member in gang.members() {
            let Some(entry) = self.provers.get_mut(&member.name) else {
                continue;
            };
            entry.work = Some(Work {
                round: Arc::clone(round),
                phase: Phase::Contribute,
                said: said.clone(),
            });
            shares.push(Share {
                prover: member.name.to_string(),
                holder: entry.holder.clone(),
                units: member.units.len(),
            });
        }
        Ok((gang, shares))
    }

    /// Tells a prover of a round something; whether it will hear it.
    pub(super) fn order(&mut self, id: &NodeName, round: &str, order: Order) -> bool {
        let Some(entry) = self.provers.get_mut(id) else {
            return false;
        };
        if entry.work.as_ref().is_none_or(|work| &*work.round != round) {
            return false;
        }
        match &mut entry.line {
            Line::Open(line) => line.try_send(Box::new(order)).is_ok(),
            Line::Broken { waiting, .. } => {
                let room = waiting.len() < ORDERS - 1;
                if room {
                    waiting.push(order);
                }
                room
            }
        }
    }

    /// The phase that the provers of a round are in.
    pub(super) fn set_phase<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a NodeName>,
        round: &str,
        phase: Phase,
    ) {
        for id in ids {
            let work = self.provers.get_mut(id).and_then(|it| it.work.as_mut());
            if let Some(work) = work.filter(|work| &*work.round == round) {
                work.phase = phase;
            }
        }
    }

    /// Provers of a round have nothing to do any more.
    pub(super) fn release(&mut self, ids: &[NodeName], round: &str) {
        for id in ids {
            let Some(entry) = self.provers.get_mut(id) else {
                continue;
            };
            if entry
                .work
                .as_ref()
                .is_some_and(|work| &*work.round == round)
            {
                entry.work = None;
                if matches!(entry.line, Line::Broken { .. }) {
                    self.provers.remove(id);
                }
            }
        }
    }

    /// Asks those that were not asked for long whether they are there, and gives up those
    /// that have been silent, or away, for too long.
    pub(super) fn sweep(&mut self, now: UnixMillis) -> Vec<Note> {
        let settings = self.settings;
        let mut notes = Vec::new();
        self.provers.retain(|id, entry| {
            let gone = match &entry.line {
                Line::Open(_) => now >= entry.heard_at.saturating_add(settings.silence),
                Line::Broken { since, .. } => now >= since.saturating_add(settings.grace),
            };
            if gone {
                notes.extend(entry.work.take().map(|work| lost(id, work)));
                return false;
            }
            if let Line::Open(line) = &entry.line
                && now >= entry.asked_at.saturating_add(settings.heartbeat)
            {
                entry.asked_at = now;
                // A prover that reads nothing is silent soon.
                let _ = line.try_send(Box::new(Order::Beat(now)));
            }
            true
        });
        notes
    }

    /// Tells everybody that this side goes away, and forgets them.
    pub(super) fn close(&mut self, reason: &str) {
        for (_, entry) in self.provers.drain() {
            if let Line::Open(line) = entry.line {
                let order = Order::Leave {
                    reason: reason.to_owned(),
                    grace: self.settings.grace,
                };
                let _ = line.try_send(Box::new(order));
            }
        }
    }

    /// Every prover, by id.
    pub(super) fn views(&self) -> Vec<ProverView> {
        let mut views: Vec<ProverView> = self
            .provers
            .iter()
            .map(|(id, entry)| ProverView {
                id: id.to_string(),
                capacity: entry.capacity,
                busy: entry.work.as_ref().map(|work| work.phase),
                here: matches!(entry.line, Line::Open(_)),
                since: entry.since,
                heard_at: entry.heard_at,
            })
            .collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        views
    }
}

fn lost(id: &NodeName, work: Work) -> Note {
    let prover = id.clone();
    let round = work.round;
    (work.said, Said::Lost { prover, round })
}
