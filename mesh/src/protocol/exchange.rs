//! Which peers were asked for their tables, and whom to ask next.
//!
//! A joiner asks the first few peers it meets; after that one peer at random is
//! asked now and then, which repairs whatever gossip lost, and a peer that connects, which
//! may come from the other side of a cut. Who hears in that way what gossip should have
//! brought is likely to lack more, and asks another soon; and who is asked by one that knows
//! more asks back, at once or when enough time has passed since it last asked somebody. Every
//! wait ends.

use std::{collections::BTreeMap, time::Duration};

use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use rand::{Rng, RngCore};

use super::{
    MAX_ADVERTS, after,
    bucket::{Bucket, Rate},
    millis,
    roster::Lacked,
};

/// Tables a joiner asks for before it trusts to gossip.
pub const JOIN_EXCHANGES: u32 = 3;
/// Time between two exchanges once joined.
pub const EXCHANGE_INTERVAL: Duration = Duration::from_secs(60);
/// Up to this much sooner, at random.
pub const EXCHANGE_JITTER: Duration = Duration::from_secs(20);
/// A peer that connects is asked at once where nobody was asked for this long. One that knows
/// more is asked back then, or once that is so.
pub const MEETING_PAUSE: Duration = Duration::from_secs(10);
/// A joiner whose exchange failed asks again after this.
pub const EXCHANGE_RETRY: Duration = Duration::from_secs(2);
/// One that has joined asks another after this: while a mesh is cut in two, half of those it
/// could ask do not answer, and gossip has lost as many of its ways. The same where an
/// exchange brought what gossip should have, and where the one that was asked has not told
/// all by then.
pub const EXCHANGE_RETRY_JOINED: Duration = Duration::from_secs(5);
/// Exchanges that follow soon upon one that brought what gossip should have: the next peer may
/// lack the same.
pub const FOLLOW_UPS: u8 = 3;
/// An exchange that takes longer is given up.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Exchanges under way at once.
pub const MAX_IN_FLIGHT: usize = 3;
/// Peers kept track of: above any limit on connections that makes sense.
pub const MAX_PARTNERS: usize = 4096;
/// How much one peer is told, counted in adverts: four full tables at once, and another every
/// eight seconds. Each command of a client without an index joins anew under the same key, so
/// that in a small mesh, where a table costs nothing, it may ask several times a second.
pub const ANSWER_RATE: Rate = Rate {
    burst: 4 * MAX_ADVERTS as u32,
    every: Duration::from_millis(2),
};
/// What a question itself counts for.
pub const QUESTION_COST: u32 = 64;

/// Exchanges asked for and answered.
#[derive(Debug, Clone, Default)]
pub struct Exchanges {
    connected: BTreeMap<PeerId, bool>,
    in_flight: BTreeMap<PeerId, Flight>,
    completed: u32,
    next: Option<UnixMillis>,
    /// When somebody was last asked.
    asked_at: Option<UnixMillis>,
    /// Exchanges that are to follow soon, for one has brought what gossip should have.
    follow_ups: u8,
    /// Who is to be asked back once the pause is over.
    owed: Option<Owed>,
    /// What each asker may still ask. Outlives its connection, so that dialling
    /// again does not fill it.
    askers: BTreeMap<PeerId, Bucket>,
}

/// An exchange under way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    deadline: UnixMillis,
    /// The other side has brought it about: whatever comes of it, the next one of the own
    /// choice is not put off.
    is_back: bool,
}

/// A peer that has asked in a pause and knows more.
#[derive(Debug, Clone, Copy)]
struct Owed {
    peer: PeerId,
    lacked: Lacked,
    at: UnixMillis,
}

impl Exchanges {
    /// A peer of this network is connected. True when it should be asked at once.
    pub fn connected(&mut self, peer: PeerId, now: UnixMillis) -> bool {
        if self.connected.len() >= MAX_PARTNERS {
            return false;
        }
        if self.connected.is_empty() {
            // Alone until now: what was known may be old, so it counts as a join.
            self.completed = 0;
        }
        if self.connected.insert(peer, false).is_some() {
            return false;
        }
        let joining = self.completed as usize + self.in_flight.len() < JOIN_EXCHANGES as usize;
        let quiet = self
            .asked_at
            .is_some_and(|at| after(at, MEETING_PAUSE) <= now);
        // A peer that comes and goes does not put off what is chosen here.
        (joining || quiet) && self.begin(peer, !joining, now)
    }

    /// A peer has asked that knows what is lacking here. True when it should be asked back at
    /// once; else it is remembered until the pause is over.
    pub fn asks_back(&mut self, peer: PeerId, lacked: Lacked, now: UnixMillis) -> bool {
        if self.completed == 0 || !self.may_begin(&peer) {
            return false;
        }
        let pause = self.asked_at.map(|at| after(at, MEETING_PAUSE));
        if let Some(at) = pause.filter(|at| *at > now) {
            // After a cut many ask within a moment: any of them will do.
            self.owed = Some(Owed { peer, lacked, at });
            return false;
        }
        self.begin(peer, true, now)
    }

    /// A peer has gone, and with it any exchange under way.
    pub fn disconnected(&mut self, peer: &PeerId, now: UnixMillis, rng: &mut dyn RngCore) {
        self.connected.remove(peer);
        self.done(peer, false, now, rng);
        if self.connected.is_empty() {
            self.next = None;
        }
    }

    /// Whether this peer was asked and may answer.
    #[must_use]
    pub fn is_asked(&self, peer: &PeerId) -> bool {
        self.in_flight.contains_key(peer)
    }

    /// An exchange has brought what gossip should have.
    pub fn brought_late(&mut self) {
        self.follow_ups = FOLLOW_UPS;
    }

    /// The exchange with a peer is over.
    pub fn done(&mut self, peer: &PeerId, complete: bool, now: UnixMillis, rng: &mut dyn RngCore) {
        let Some(flight) = self.in_flight.remove(peer) else {
            return;
        };
        let is_behind = self.follow_ups > 0;
        if complete {
            self.completed = self.completed.saturating_add(1);
            self.follow_ups = self.follow_ups.saturating_sub(1);
        }
        let wait = if self.completed == 0 {
            EXCHANGE_RETRY
        } else if is_behind || !complete {
            EXCHANGE_RETRY_JOINED
        } else {
            let jitter = rng.random_range(0..=millis(EXCHANGE_JITTER));
            EXCHANGE_INTERVAL.saturating_sub(Duration::from_millis(jitter))
        };
        let at = after(now, wait);
        if flight.is_back && !is_behind {
            return;
        }
        // One that succeeded, such as with a peer that has just come, stands for the next.
        let keeps = !complete || flight.is_back;
        let earlier = self.next.filter(|next| keeps && *next < at);
        self.next = Some(earlier.unwrap_or(at));
    }

    /// Whom to ask now, if it is time: one that knows what is lacking still, or else one that
    /// was not asked before, or any.
    pub fn due(
        &mut self,
        now: UnixMillis,
        rng: &mut dyn RngCore,
        lacks: &dyn Fn(&Lacked) -> bool,
    ) -> Option<PeerId> {
        let late: Vec<PeerId> = self
            .in_flight
            .iter()
            .filter(|(_, flight)| flight.deadline <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in late {
            self.done(&peer, false, now, rng);
        }
        if let Some(owed) = self.owed.take_if(|owed| owed.at <= now)
            && self.may_begin(&owed.peer)
            && lacks(&owed.lacked)
            && self.begin(owed.peer, true, now)
        {
            return Some(owed.peer);
        }
        if self.next.is_none_or(|at| at > now) {
            return None;
        }
        self.next = None;
        let all: Vec<PeerId> = self.candidates(false);
        let fresh: Vec<PeerId> = self.candidates(true);
        let pool = if fresh.is_empty() { all } else { fresh };
        if pool.is_empty() || self.in_flight.len() >= MAX_IN_FLIGHT {
            // All who could be asked are being asked.
            let is_alone = self.connected.is_empty();
            self.next = (!is_alone).then(|| after(now, EXCHANGE_RETRY_JOINED));
            return None;
        }
        let peer = pool[rng.random_range(0..pool.len())];
        self.begin(peer, false, now).then_some(peer)
    }

    fn candidates(&self, fresh: bool) -> Vec<PeerId> {
        self.connected
            .iter()
            .filter(|(peer, asked)| (!fresh || !**asked) && !self.in_flight.contains_key(peer))
            .map(|(peer, _)| *peer)
            .collect()
    }

    fn may_begin(&self, peer: &PeerId) -> bool {
        self.connected.contains_key(peer) && !self.in_flight.contains_key(peer)
    }

    fn begin(&mut self, peer: PeerId, is_back: bool, now: UnixMillis) -> bool {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return false;
        }
        self.connected.insert(peer, true);
        self.asked_at = Some(now);
        if self.completed > 0 && !is_back {
            // Put off by the answer, unless it does not come.
            self.next = Some(after(now, EXCHANGE_RETRY_JOINED));
        }
        let deadline = after(now, EXCHANGE_TIMEOUT);
        self.in_flight.insert(peer, Flight { deadline, is_back });
        true
    }

    /// Whether a peer's question for our table is within its rate.
    pub fn may_ask(&mut self, peer: PeerId, now: UnixMillis) -> bool {
        self.may_have(peer, QUESTION_COST, now)
    }

    /// Whether a peer may be told so much.
    pub fn may_be_told(&mut self, peer: PeerId, adverts: usize, now: UnixMillis) -> bool {
        self.may_have(peer, u32::try_from(adverts).unwrap_or(u32::MAX), now)
    }

    fn may_have(&mut self, peer: PeerId, cost: u32, now: UnixMillis) -> bool {
        if self.askers.len() >= MAX_PARTNERS && !self.askers.contains_key(&peer) {
            self.forget_full(now);
            if self.askers.len() >= MAX_PARTNERS {
                return false;
            }
        }
        self.askers
            .entry(peer)
            .or_insert_with(|| Bucket::full(now))
            .take_many(cost, ANSWER_RATE, now)
    }

    /// Forgets askers that owe nothing.
    pub fn forget_full(&mut self, now: UnixMillis) {
        self.askers.retain(|_, bucket| !bucket.is_full(now));
    }

    /// The next moment at which [`Exchanges::due`] has something to do.
    #[must_use]
    pub fn next(&self) -> Option<UnixMillis> {
        let deadlines = self.in_flight.values().map(|flight| flight.deadline);
        let owed = self.owed.map(|owed| owed.at);
        deadlines.chain(self.next).chain(owed).min()
    }

    /// Exchanges that were completed since the last time this peer was alone.
    #[must_use]
    pub fn completed(&self) -> u32 {
        self.completed
    }
}
