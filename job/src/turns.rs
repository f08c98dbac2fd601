//! Whose turn it is on a node that no index schedules: its owner's jobs first, then
//! those of clients whom the owner has allowed, then everybody's; among equals whoever
//! has had the least of it. Guests have quotas. What clients have here through indexes is
//! counted like the rest, because no index knows of the others.
//!
//! A client asks, is told to go or how many are before it, and asks again: it keeps its
//! place as long as it does. Who may go has the slot promised for a moment and starts the
//! task with it. What was used is counted by client over a window of time. Nothing here
//! is durable: the node tells of what it remembers when it starts ([`Turns::restore`]).
//!
//! `wait`: why an ask waits, and why it is not taken, each with its numbers.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use embermesh_crypto::{JobId, PeerId, UnixMillis, statement::DeviceKind};

use crate::{
    place::Takes,
    units::{Bytes, Millis},
};

mod wait;

pub use wait::{NotTaken, Waits};

/// How long a place is kept for a client that does not ask again.
pub const PLACE_KEPT: Duration = Duration::from_secs(20);

/// How long a slot is promised to a client that may go and does not come.
pub const PROMISE_KEPT: Duration = Duration::from_secs(10);

/// Spans of use that are remembered of one client; of more, the oldest two become one.
const MAX_SPANS: usize = 256;

/// Clients whose use is remembered; of more, the one that was heard of first is
/// forgotten.
const MAX_CLIENTS: usize = 4096;

/// How near a client is to a node's owner. The nearer goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The owner, or the node itself.
    Owner,
    /// A client whom the owner has allowed by its key.
    Allowed,
    /// Anybody, where the node is open.
    Guest,
}

/// What each guest may have of a node. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tasks at once.
    pub tasks: u32,
    /// Memory of one task.
    pub memory: Bytes,
    /// Time on the node, over all tasks within the window of [`Rules`].
    pub time: Millis,
}

/// The rules of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What each guest may have.
    pub guests: Quota,
    /// Over how long use is counted.
    pub window: Millis,
    /// Asks that wait, of all clients together.
    pub queue: usize,
    /// Asks that wait, of one client.
    pub queue_each: usize,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who.
    pub client: PeerId,
    /// How near to the owner.
    pub rank: Rank,
    /// For which job.
    pub job: JobId,
    /// What the job takes of the node.
    pub takes: Takes,
    /// The device that it must have; any without one.
    pub device: Option<DeviceKind>,
    /// Memory that it may use.
    pub memory: Bytes,
    /// Time that it may take.
    pub wall: Millis,
}

/// What an ask comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may start: a slot is promised for [`PROMISE_KEPT`].
    Go,
    /// It waits.
    Wait {
        /// Asks that go first.
        ahead: u32,
        /// Why.
        why: Waits,
    },
}

type Key = (PeerId, JobId);

#[derive(Clone, Copy, Debug)]
struct Entry {
    ask: Ask,
    since: UnixMillis,
    /// Until when it counts.
    until: UnixMillis,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    ask: Ask,
    since: UnixMillis,
}

/// Time that was used, and when that ended.
#[derive(Clone, Copy, Debug)]
struct Span {
    ended: UnixMillis,
    used: Duration,
}

/// Asks that wait, promises, tasks that run, and what was used.
#[derive(Clone, Debug)]
pub struct Turns {
    rules: Rules,
    waiting: BTreeMap<Key, Entry>,
    promised: BTreeMap<Key, Entry>,
    running: BTreeMap<Key, Running>,
    used: BTreeMap<PeerId, VecDeque<Span>>,
}

impl Turns {
    /// Nobody waits and nothing was used.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            waiting: BTreeMap::new(),
            promised: BTreeMap::new(),
            running: BTreeMap::new(),
            used: BTreeMap::new(),
        }
    }

    /// Takes time into account that a client had used by a moment.
    pub fn restore(&mut self, client: PeerId, ended: UnixMillis, used: Duration) {
        if !self.used.contains_key(&client) && self.used.len() >= MAX_CLIENTS {
            let ended = |spans: &VecDeque<Span>| spans.back().map(|span| span.ended);
            let oldest = self.used.iter().min_by_key(|(_, spans)| ended(spans));
            if let Some(client) = oldest.map(|(client, _)| *client) {
                self.used.remove(&client);
            }
        }
        let spans = self.used.entry(client).or_default();
        spans.push_back(Span { ended, used });
        if spans.len() > MAX_SPANS
            && let Some(oldest) = spans.pop_front()
            && let Some(next) = spans.front_mut()
        {
            next.used = next.used.saturating_add(oldest.used);
        }
    }

    /// Asks for a turn, or asks again. `free` is how many tasks more would fit the node
    /// where this one fits.
    ///
    /// # Errors
    /// When it will never be taken, or too many wait.
    pub fn ask(&mut self, ask: Ask, free: u32, now: UnixMillis) -> Result<Turn, NotTaken> {
        self.tidy(now);
        let key = (ask.client, ask.job);
        if let Some(promise) = self.promised.get_mut(&key) {
            promise.until = now.saturating_add(PROMISE_KEPT);
            return Ok(Turn::Go);
        }
        self.must_fit(&ask)?;
        let since = self.waiting.get(&key).map_or(now, |entry| entry.since);
        let turn = self.judge(ask, since, free, now);
        match turn {
            Turn::Go => {
                self.waiting.remove(&key);
                let until = now.saturating_add(PROMISE_KEPT);
                self.promised.insert(key, Entry { ask, since, until });
            }
            Turn::Wait { .. } => {
                if !self.waiting.contains_key(&key) {
                    self.must_have_room(&ask)?;
                }
                let until = now.saturating_add(PLACE_KEPT);
                self.waiting.insert(key, Entry { ask, since, until });
            }
        }
        Ok(turn)
    }

    /// Whether a task may start now: it was promised, or it would be. Takes no place in
    /// the queue.
    ///
    /// # Errors
    /// When it will never be taken.
    pub fn may_start(&mut self, ask: Ask, free: u32, now: UnixMillis) -> Result<Turn, NotTaken> {
        self.tidy(now);
        let key = (ask.client, ask.job);
        if self.promised.contains_key(&key) {
            return Ok(Turn::Go);
        }
        self.must_fit(&ask)?;
        let since = self.waiting.get(&key).map_or(now, |entry| entry.since);
        Ok(self.judge(ask, since, free, now))
    }

    /// What of its quota is in the way of a task whose turn somebody else decides on, as
    /// an index does: nothing, or why it has to go elsewhere.
    ///
    /// # Errors
    /// When no waiting helps.
    pub fn within_quota(&mut self, ask: &Ask, now: UnixMillis) -> Result<Option<Waits>, NotTaken> {
        self.tidy(now);
        self.must_fit(ask)?;
        Ok(self.over_quota(ask))
    }

    /// A task has started, whoever decided on its turn.
    pub fn started(&mut self, ask: Ask, now: UnixMillis) {
        let key = (ask.client, ask.job);
        self.promised.remove(&key);
        self.waiting.remove(&key);
        let since = now;
        // An attempt that follows another has had its time until now.
        if let Some(before) = self.running.insert(key, Running { ask, since }) {
            self.restore(ask.client, now, now.since(before.since));
        }
    }

    /// A task has ended.
    pub fn ended(&mut self, client: PeerId, job: JobId, now: UnixMillis) {
        if let Some(running) = self.running.remove(&(client, job)) {
            self.restore(client, now, now.since(running.since));
        }
    }

    /// Asks that wait now.
    #[must_use]
    pub fn waiting(&self, now: UnixMillis) -> usize {
        let kept = |entry: &&Entry| now < entry.until;
        self.waiting.values().filter(kept).count()
    }

    /// Whether quota and slots let an ask go that has waited since a moment.
    fn judge(&self, ask: Ask, since: UnixMillis, free: u32, now: UnixMillis) -> Turn {
        let entry = Entry {
            ask,
            since,
            until: now,
        };
        let mine = self.place(&entry);
        let before = self.waiting.values().filter(|other| {
            (other.ask.client, other.ask.job) != (ask.client, ask.job)
                && compete(&other.ask, &ask)
                && self.over_quota(&other.ask).is_none()
                && self.place(other) < mine
        });
        let ahead = u32::try_from(before.count()).unwrap_or(u32::MAX);
        if let Some(why) = self.over_quota(&ask) {
            return Turn::Wait { ahead, why };
        }
        let promised = self.promised.values();
        let promised = promised.filter(|other| compete(&other.ask, &ask)).count();
        let promised = u32::try_from(promised).unwrap_or(u32::MAX);
        if ahead.saturating_add(promised) < free {
            return Turn::Go;
        }
        let why = match free.saturating_sub(promised) {
            0 => Waits::Busy,
            _ => Waits::Behind,
        };
        Turn::Wait { ahead, why }
    }

    /// Where an ask stands among others: the least goes first.
    fn place(&self, entry: &Entry) -> impl Ord + use<> {
        let ask = &entry.ask;
        (
            ask.rank,
            self.tasks_of(&ask.client),
            self.used_by(&ask.client),
            entry.since,
            ask.client,
            ask.job,
        )
    }

    fn tasks_of(&self, client: &PeerId) -> u32 {
        let of_client = |key: &&Key| key.0 == *client;
        let running = self.running.keys().filter(of_client).count();
        let promised = self.promised.keys().filter(of_client).count();
        u32::try_from(running + promised).unwrap_or(u32::MAX)
    }

    /// Time that a client has used within the window, in tasks that have ended.
    fn used_by(&self, client: &PeerId) -> Duration {
        let spans = self.used.get(client).into_iter().flatten();
        spans.fold(Duration::ZERO, |sum, span| sum.saturating_add(span.used))
    }

    /// The quota of a guest that stands in the way now.
    fn over_quota(&self, ask: &Ask) -> Option<Waits> {
        if ask.rank != Rank::Guest {
            return None;
        }
        let quota = self.rules.guests;
        let tasks = self.tasks_of(&ask.client);
        if quota.tasks > 0 && tasks >= quota.tasks {
            let most = quota.tasks;
            return Some(Waits::TooMany { has: tasks, most });
        }
        if quota.time.0 == 0 {
            return None;
        }
        // What runs is counted with all that it may take.
        let of_client = |key: &&Key| key.0 == ask.client;
        let running = self.running.iter().filter(|(key, _)| of_client(key));
        let promised = self.promised.iter().filter(|(key, _)| of_client(key));
        let walls = running
            .map(|(_, running)| running.ask.wall.0)
            .chain(promised.map(|(_, entry)| entry.ask.wall.0));
        let taken = walls.fold(millis(self.used_by(&ask.client)), u64::saturating_add);
        let left = Millis(quota.time.0.saturating_sub(taken));
        (ask.wall > left).then_some(Waits::TimeSpent {
            asks: ask.wall,
            left,
            most: quota.time,
            window: self.rules.window,
        })
    }

    /// What no waiting helps.
    fn must_fit(&self, ask: &Ask) -> Result<(), NotTaken> {
        let quota = self.rules.guests;
        if ask.rank != Rank::Guest {
            return Ok(());
        }
        if quota.memory.0 > 0 && ask.memory > quota.memory {
            return Err(NotTaken::TooMuchMemory {
                asks: ask.memory,
                most: quota.memory,
            });
        }
        if quota.time.0 > 0 && ask.wall > quota.time {
            return Err(NotTaken::TooLong {
                asks: ask.wall,
                most: quota.time,
                window: self.rules.window,
            });
        }
        Ok(())
    }

    fn must_have_room(&self, ask: &Ask) -> Result<(), NotTaken> {
        let most = self.rules.queue;
        // The owner finds room whoever waits.
        if ask.rank != Rank::Owner && self.waiting.len() >= most {
            return Err(NotTaken::QueueFull { most });
        }
        let most = self.rules.queue_each;
        let own = self.waiting.keys().filter(|key| key.0 == ask.client);
        if own.count() >= most {
            return Err(NotTaken::YourQueueFull { most });
        }
        Ok(())
    }

    /// Forgets who did not come back, and use that is out of the window.
    fn tidy(&mut self, now: UnixMillis) {
        self.waiting.retain(|_, entry| now < entry.until);
        self.promised.retain(|_, entry| now < entry.until);
        let window = Duration::from_millis(self.rules.window.0);
        self.used.retain(|_, spans| {
            while spans
                .front()
                .is_some_and(|span| now.since(span.ended) >= window)
            {
                spans.pop_front();
            }
            !spans.is_empty()
        });
    }
}

/// Whether two asks could want the same slot.
fn compete(one: &Ask, other: &Ask) -> bool {
    let same = match (one.device, other.device) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    one.takes == other.takes && same
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
