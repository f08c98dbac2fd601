//! The table of the mesh: one state machine over the roster, the own schedule and
//! the exchanges.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    statement::{Advert, Signed, StatementError},
    time::UnixMillis,
};
use rand::RngCore;

use super::{
    CLOCK_SKEW, MAX_ADVERT_BYTES, MAX_ADVERTS, after,
    bucket::{Bucket, Rate},
    exchange::Exchanges,
    forwarders::{BRINGING_RATE, Forwarders},
    millis,
    own::{Schedule, Ticket},
    roster::{Equivocation, Known, Lacked, Merged, Roster},
    wire::Summary,
};

/// How often one peer's new adverts are passed on. What comes faster is still
/// learned, so that the table stays a function of the adverts alone.
pub const RELAY_RATE: Rate = Rate {
    burst: 8,
    every: std::time::Duration::from_millis(500),
};

/// An advert of which so much life is left can be renewed at leisure. Whoever gossip does not
/// reach with the new one has asked another peer for its table by the end.
pub const RENEWAL_TIME: std::time::Duration = std::time::Duration::from_secs(60);

/// By then gossip has brought an advert that says something new to everybody whom it reaches.
pub const GOSSIP_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// An advert of that age which an asker has, and the asked has not, did not come by gossip.
pub const LATE: std::time::Duration = std::time::Duration::from_secs(20);

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Gossip brought these bytes; `from` passed them on and need not be their author.
    Gossip {
        /// The peer that passed it on.
        from: PeerId,
        /// The signed advert, unchecked.
        bytes: Vec<u8>,
    },
    /// A peer of this network is connected.
    Connected(PeerId),
    /// The last connection with a peer has closed.
    Disconnected(PeerId),
    /// A peer asks for what it does not have.
    TableRequest {
        /// The asker.
        from: PeerId,
        /// What it has.
        summary: Summary,
    },
    /// Some adverts of the table that a peer was asked for. May come several times.
    TableResponse {
        /// The peer that was asked.
        from: PeerId,
        /// Signed adverts, unchecked.
        adverts: Vec<Vec<u8>>,
    },
    /// The exchange with a peer that was asked has ended.
    TableDone {
        /// The peer that was asked.
        from: PeerId,
        /// Whether it sent all that it meant to send.
        complete: bool,
    },
    /// What the own advert says has changed: it wants a number and a signature.
    Change,
    /// The own advert, signed as the last [`Output::Sign`] asked.
    Local(Signed<Advert>),
    /// This peer leaves: one last advert, at once.
    Farewell,
    /// A moment asked for by [`Output::WakeAt`] has come.
    Tick,
}

/// What gossip is to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Pass it on in good time: it says that what is known of its author still holds.
    Renew,
    /// Do not pass it on, though it is good: this peer has passed on too much of its kind.
    Keep,
    /// Do not pass it on; nobody is to blame, unless it happens too often.
    Ignore(Reason),
    /// Do not pass it on, and hold it against the peer that did.
    Reject(Reason),
}

/// Why a message is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Larger than an advert may be.
    #[error("the advert is larger than {MAX_ADVERT_BYTES} bytes")]
    Oversized,
    /// The bytes are no advert, or the signature is not the named peer's.
    #[error("the advert is malformed or its signature does not hold")]
    Forged,
    /// It belongs to another network.
    #[error("the advert belongs to another network")]
    OtherNetwork,
    /// Its author is not on our list of members. Lists may differ for a while.
    #[error("the advert is of a peer that is not a member")]
    NotMember,
    /// It is signed, and breaks a rule of adverts, such as the longest life.
    #[error("the advert breaks a rule of adverts")]
    Invalid,
    /// It is over.
    #[error("the advert has expired")]
    Expired,
    /// It was issued later than our clock and the skew allow.
    #[error("the advert was issued in the future")]
    FromFuture,
    /// A higher number of that peer is known.
    #[error("a newer advert of that peer is known")]
    Stale,
    /// It contradicts another advert with the same number.
    #[error("another advert of that peer carries the same number")]
    Contradiction,
    /// Its author publishes faster than is passed on.
    #[error("its author publishes too often")]
    TooOften,
    /// The table is full of adverts that live longer.
    #[error("the table is full")]
    Full,
    /// Whoever passed it on has brought too many authors that were not known.
    #[error("it comes from a peer that brings too many new authors")]
    Crowd,
    /// It is our own, come back.
    #[error("it is our own advert")]
    Own,
    /// Too much of what a peer passes on is ignored.
    #[error("it passes on too much that is of no use")]
    Useless,
}

impl From<StatementError> for Reason {
    fn from(error: StatementError) -> Self {
        match error {
            StatementError::Size { len, max } if len > max => Self::Oversized,
            StatementError::Invalid(_) => Self::Invalid,
            _ => Self::Forged,
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// The answer to [`Input::Gossip`].
    Verdict(Verdict),
    /// Sign the own advert with this number and these times, and hand it in as
    /// [`Input::Local`].
    Sign(Ticket),
    /// Publish these bytes by gossip.
    Publish(Vec<u8>),
    /// Publish these bytes of another peer by gossip, [`GOSSIP_TIME`] from now or some
    /// seconds later, unless gossip brings them before that.
    Repeat(Vec<u8>),
    /// Ask a peer for the adverts that this summary lacks.
    RequestTable {
        /// Whom to ask.
        to: PeerId,
        /// What is known here.
        summary: Summary,
    },
    /// Answer a request with these adverts, in order.
    SendTable {
        /// The asker.
        to: PeerId,
        /// What it lacks.
        adverts: Vec<Known>,
    },
    /// Refuse a request: the peer asks too often.
    RefuseTable {
        /// The asker.
        to: PeerId,
    },
    /// The advert of this peer is new.
    Changed(PeerId),
    /// There is no advert of this peer any more: expired, crowded out or disputed.
    Gone(PeerId),
    /// A peer has signed two different adverts with one number.
    Equivocation(Box<Equivocation>),
    /// Another process publishes adverts with this key: it was copied.
    KeyElsewhere {
        /// The number that the other process used.
        sequence: u64,
    },
    /// A peer sent what no honest peer sends.
    Distrust {
        /// Who sent it.
        peer: PeerId,
        /// What it was.
        reason: Reason,
    },
    /// Hand in [`Input::Tick`] at this moment, or a little later. Replaces the
    /// moment named before.
    WakeAt(UnixMillis),
}

/// The table of the mesh as one peer knows it.
#[derive(Debug, Clone)]
pub struct Table {
    me: PeerId,
    network: NetworkName,
    /// Whose adverts are taken; none: everybody's.
    members: Option<Arc<BTreeSet<PeerId>>>,
    roster: Roster,
    own: Schedule,
    exchanges: Exchanges,
    /// What each author may still have passed on, for twice as many authors as the
    /// roster has lines; full buckets are forgotten.
    authors: BTreeMap<PeerId, Bucket>,
    forwarders: Forwarders,
    /// How many more new authors this peer may bring to others.
    brings: Bucket,
    wake_at: Option<UnixMillis>,
}

impl Table {
    /// An empty table of `network`, kept by `me`.
    #[must_use]
    pub fn new(me: PeerId, network: NetworkName) -> Self {
        Self::with_capacity(me, network, MAX_ADVERTS)
    }

    /// An empty table that holds at most `capacity` adverts.
    #[must_use]
    pub fn with_capacity(me: PeerId, network: NetworkName, capacity: usize) -> Self {
        Self {
            me,
            network,
            members: None,
            roster: Roster::new(capacity.min(MAX_ADVERTS)),
            own: Schedule::default(),
            exchanges: Exchanges::default(),
            authors: BTreeMap::new(),
            forwarders: Forwarders::default(),
            brings: Bucket::full(UnixMillis(0)),
            wake_at: None,
        }
    }

    /// The same table, which takes adverts of these peers only, and its own.
    #[must_use]
    pub fn of_members(self, members: Arc<BTreeSet<PeerId>>) -> Self {
        Self {
            members: Some(members),
            ..self
        }
    }

    /// The adverts known, checked and undisputed. Some may have expired since the
    /// last tick.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Tables that were received in full since this peer was last alone.
    #[must_use]
    pub fn exchanges_completed(&self) -> u32 {
        self.exchanges.completed()
    }

    /// Takes in what happened at `now` and says what is to be done.
    pub fn handle(&mut self, input: Input, now: UnixMillis, rng: &mut dyn RngCore) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Gossip { from, bytes } => {
                let verdict = self.gossip(from, bytes, now, &mut out);
                out.push(Output::Verdict(verdict));
                if matches!(verdict, Verdict::Ignore(_)) && self.forwarders.ignored(from, now) {
                    out.push(Output::Distrust {
                        peer: from,
                        reason: Reason::Useless,
                    });
                }
            }
            Input::Connected(peer) => {
                if self.exchanges.connected(peer, now) {
                    out.push(self.ask(peer));
                }
            }
            Input::Disconnected(peer) => self.exchanges.disconnected(&peer, now, rng),
            Input::TableRequest { from, summary } => {
                out.push(self.answer(from, &summary, now));
                // Numbers come from the clock, and this was said long enough ago that gossip
                // should have brought it here.
                let by = now.0.saturating_sub(millis(LATE));
                if let Some(lacked) = self.roster.lacks(&summary, &self.me, by)
                    && self.exchanges.asks_back(from, lacked, now)
                {
                    out.push(self.ask(from));
                }
            }
            Input::TableResponse { from, adverts } => self.response(from, adverts, now, &mut out),
            Input::TableDone { from, complete } => self.exchanges.done(&from, complete, now, rng),
            Input::Change => self.own.change(),
            Input::Local(signed) => self.local(&signed, &mut out),
            Input::Farewell => out.extend(self.own.farewell(now).map(Output::Sign)),
            Input::Tick => self.tick(now, rng, &mut out),
        }
        out.extend(self.own.due(now, rng).map(Output::Sign));
        self.wake(now, &mut out);
        out
    }

    /// Every check of an advert that needs no knowledge of other adverts.
    fn check(&self, bytes: Vec<u8>, now: UnixMillis) -> Result<Known, Verdict> {
        let advert = self.opened(bytes)?;
        if advert.network != self.network {
            return Err(Verdict::Reject(Reason::OtherNetwork));
        }
        let listed = |members: &Arc<BTreeSet<PeerId>>| members.contains(&advert.peer);
        if advert.peer != self.me && !self.members.as_ref().is_none_or(listed) {
            return Err(Verdict::Ignore(Reason::NotMember));
        }
        if advert.issued_at > after(now, CLOCK_SKEW) {
            return Err(Verdict::Ignore(Reason::FromFuture));
        }
        if advert.expires_at <= horizon(now) {
            return Err(Verdict::Ignore(Reason::Expired));
        }
        Ok(advert)
    }

    /// An advert whose signature holds. A joiner hears each several times, from the peers it
    /// asks and by gossip, and checks it once.
    fn opened(&self, bytes: Vec<u8>) -> Result<Known, Verdict> {
        if let Some(known) = self.roster.identical(&bytes) {
            return Ok(Arc::clone(known));
        }
        Signed::<Advert>::from_bytes(bytes)
            .and_then(|signed| signed.open())
            .map(Arc::new)
            .map_err(|error| Verdict::Reject(Reason::from(error)))
    }

    fn gossip(
        &mut self,
        from: PeerId,
        bytes: Vec<u8>,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) -> Verdict {
        let advert = match self.check(bytes, now) {
            Ok(advert) => advert,
            Err(verdict) => return verdict,
        };
        let author = advert.peer;
        if !self.may_introduce(from, author, now) {
            return Verdict::Ignore(Reason::Crowd);
        }
        let is_known = self.roster.sequence_of(&author).is_some();
        let (verdict, is_new) = self.learn(advert, now, out);
        if !is_new {
            return verdict;
        }
        if !self.may_relay(author, now) {
            return Verdict::Ignore(Reason::TooOften);
        }
        // What a crowd of keys brings here must not use up the patience that the
        // neighbours have with this peer.
        if !is_known && !self.brings.take(BRINGING_RATE, now) {
            return Verdict::Keep;
        }
        verdict
    }

    /// Whether an advert of this author may be learned of that peer: of those known
    /// already always, of others as many as one peer may bring.
    fn may_introduce(&mut self, from: PeerId, author: PeerId, now: UnixMillis) -> bool {
        author == self.me
            || author == from
            || self.roster.sequence_of(&author).is_some()
            || self.forwarders.may_introduce(from, now)
    }

    fn may_relay(&mut self, author: PeerId, now: UnixMillis) -> bool {
        if self.authors.len() >= 2 * MAX_ADVERTS {
            self.authors.retain(|_, bucket| !bucket.is_full(now));
            if self.authors.len() >= 2 * MAX_ADVERTS {
                return false;
            }
        }
        self.authors
            .entry(author)
            .or_insert_with(|| Bucket::full(now))
            .take(RELAY_RATE, now)
    }

    /// Merges a checked advert, and says whether it was news.
    fn learn(&mut self, advert: Known, now: UnixMillis, out: &mut Vec<Output>) -> (Verdict, bool) {
        let peer = advert.peer;
        if peer == self.me {
            // Before the first own advert it is what a former run of this process
            // left behind; after that nobody else can have signed it.
            let (sequence, began) = (advert.sequence, self.own.has_begun());
            if self.own.seen(sequence, now) && began {
                out.push(Output::KeyElsewhere { sequence });
            }
            return (Verdict::Ignore(Reason::Own), false);
        }
        let renews = self.roster.of(&peer).is_some_and(|held| {
            // A farewell ends sooner.
            advert.expires_at >= held.expires_at
                && held.expires_at > after(now, RENEWAL_TIME)
                && says_the_same(held, &advert)
        });
        match self.roster.merge(advert) {
            Merged::Newer(_) if renews => {
                out.push(Output::Changed(peer));
                (Verdict::Renew, true)
            }
            Merged::Newer(evicted) => {
                out.push(Output::Changed(peer));
                out.extend(evicted.map(Output::Gone));
                (Verdict::Accept, true)
            }
            // Known from a table exchange, perhaps: others may not have it yet.
            Merged::Same => (Verdict::Renew, false),
            Merged::Stale => (Verdict::Ignore(Reason::Stale), false),
            Merged::Full => (Verdict::Ignore(Reason::Full), false),
            // The first contradiction is news that everybody must hear, or half the
            // mesh would go on to believe the one advert and half the other. The peer
            // that passes it on is not the one that signed it.
            Merged::Contradicts(evidence) => {
                out.push(Output::Gone(peer));
                out.push(Output::Equivocation(evidence));
                (Verdict::Accept, true)
            }
            // A cheat can sign any number of them.
            Merged::Disputed => (Verdict::Ignore(Reason::Contradiction), false),
        }
    }

    fn ask(&self, to: PeerId) -> Output {
        Output::RequestTable {
            to,
            summary: self.roster.summary(),
        }
    }

    fn answer(&mut self, from: PeerId, summary: &Summary, now: UnixMillis) -> Output {
        if !self.exchanges.may_ask(from, now) {
            return Output::RefuseTable { to: from };
        }
        let mut adverts = self.roster.missing_from(summary);
        adverts.retain(|advert| advert.expires_at > now);
        if !self.exchanges.may_be_told(from, adverts.len(), now) {
            return Output::RefuseTable { to: from };
        }
        Output::SendTable { to: from, adverts }
    }

    fn response(
        &mut self,
        from: PeerId,
        adverts: Vec<Vec<u8>>,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) {
        if !self.exchanges.is_asked(&from) {
            return;
        }
        let joined = self.exchanges.completed() > 0;
        for bytes in adverts {
            match self.check(bytes, now) {
                Ok(advert) => {
                    if self.may_introduce(from, advert.peer, now) {
                        let (author, bytes) = (advert.peer, advert.bytes().to_vec());
                        let is_late = after(advert.issued_at, GOSSIP_TIME) < now;
                        let (verdict, is_new) = self.learn(advert, now, out);
                        // Gossip should have brought it, or is about to. If it does not,
                        // the mesh was cut in two, and those behind this peer have not
                        // heard of it either. What is only renewed can wait for their own
                        // exchanges.
                        let is_urgent = is_new && verdict == Verdict::Accept;
                        if is_urgent && joined && is_late {
                            self.exchanges.brought_late();
                        }
                        if is_urgent && joined && self.may_relay(author, now) {
                            out.push(Output::Repeat(bytes));
                        }
                    }
                }
                Err(Verdict::Reject(reason)) => {
                    // One forged advert is enough: the rest is not worth checking.
                    out.push(Output::Distrust { peer: from, reason });
                    return;
                }
                Err(_) => {}
            }
        }
    }

    fn local(&mut self, signed: &Signed<Advert>, out: &mut Vec<Output>) {
        let Ok(advert) = signed.open() else {
            return;
        };
        if advert.peer != self.me || advert.network != self.network {
            return;
        }
        let advert = Arc::new(advert);
        let bytes = advert.bytes().to_vec();
        if matches!(self.roster.merge(advert), Merged::Newer(_)) {
            out.push(Output::Changed(self.me));
            out.push(Output::Publish(bytes));
        }
    }

    fn tick(&mut self, now: UnixMillis, rng: &mut dyn RngCore, out: &mut Vec<Output>) {
        self.wake_at = None;
        out.extend(
            self.roster
                .expire(horizon(now))
                .into_iter()
                .map(Output::Gone),
        );
        self.authors.retain(|_, bucket| !bucket.is_full(now));
        self.forwarders.forget_full(now);
        self.exchanges.forget_full(now);
        let lacks = |lacked: &Lacked| self.roster.still_lacks(lacked);
        if let Some(peer) = self.exchanges.due(now, rng, &lacks) {
            out.push(self.ask(peer));
        }
    }

    fn wake(&mut self, now: UnixMillis, out: &mut Vec<Output>) {
        let expiry = self.roster.next_expiry().map(|at| after(at, CLOCK_SKEW));
        let next = [expiry, self.own.next(), self.exchanges.next()]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(now));
        if let Some(at) = next
            && self.wake_at != next
        {
            out.push(Output::WakeAt(at));
        }
        self.wake_at = next;
    }
}

/// Whether two adverts of a peer differ in nothing but number and time.
fn says_the_same(one: &Advert, other: &Advert) -> bool {
    let at_another_time = Advert {
        sequence: one.sequence,
        issued_at: one.issued_at,
        expires_at: one.expires_at,
        ..other.clone()
    };
    *one == at_another_time
}

/// What expired at or before this moment is over, whoever's clock is right.
fn horizon(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(millis(CLOCK_SKEW)))
}
