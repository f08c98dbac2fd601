//! The adverts themselves: at most one per peer, the highest number wins.
//!
//! Merging is commutative, associative and idempotent: any order of the same
//! adverts gives the same roster, so that two peers that have heard the same
//! agree without talking about it. Where two different adverts carry one number,
//! the peer has cheated (or its key runs twice): neither is shown until a higher
//! number comes, and both bytes together are the evidence. Two are enough: any more
//! under the same number say nothing new.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use embermesh_crypto::{
    digest::Digest,
    ids::PeerId,
    statement::{Advert, Verified},
    time::UnixMillis,
};

use super::wire::Summary;

/// An advert whose signature has been checked, shared without copying.
pub type Known = Arc<Verified<Advert>>;

/// Two different adverts of one peer under one number: proof of a cheat, or of a
/// key that runs on two machines.
#[derive(Debug, Clone)]
pub struct Equivocation {
    /// Whose signature both carry.
    pub peer: PeerId,
    /// The number both carry.
    pub sequence: u64,
    /// The one that was known.
    pub first: Known,
    /// The one that came.
    pub second: Known,
}

/// What merging one advert did.
#[derive(Debug)]
pub enum Merged {
    /// It is the newest of its peer and now held. The second field is the peer
    /// that had to make room, if one had to.
    Newer(Option<PeerId>),
    /// Exactly these bytes were held already.
    Same,
    /// A higher number of the same peer is held.
    Stale,
    /// It contradicts what is held under the same number, and is the first to do so.
    Contradicts(Box<Equivocation>),
    /// It is one more advert under a number that is disputed already.
    Disputed,
    /// The roster is full of adverts that live longer.
    Full,
}

/// What somebody knows, as his summary says, and this roster does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacked {
    /// The raw key of whoever is said to have said it.
    author: [u8; 32],
    /// Under which number.
    sequence: u64,
}

/// One peer's line.
#[derive(Debug, Clone)]
struct Line {
    advert: Known,
    digest: Digest,
    /// Two different adverts carry this number.
    disputed: bool,
}

/// The newest advert of each peer, at most `capacity` of them.
#[derive(Debug, Clone)]
pub struct Roster {
    lines: BTreeMap<PeerId, Line>,
    by_expiry: BTreeSet<(UnixMillis, PeerId)>,
    by_digest: BTreeMap<Digest, PeerId>,
    capacity: usize,
}

impl Roster {
    /// An empty roster that holds at most `capacity` adverts.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            lines: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            by_digest: BTreeMap::new(),
            capacity,
        }
    }

    /// Takes an advert in if it is the newest of its peer.
    pub fn merge(&mut self, advert: Known) -> Merged {
        let peer = advert.peer;
        let Some(line) = self.lines.get_mut(&peer) else {
            return self.add(advert);
        };
        if advert.sequence < line.advert.sequence {
            return Merged::Stale;
        }
        if advert.sequence == line.advert.sequence {
            if advert.bytes() == line.advert.bytes() {
                return Merged::Same;
            }
            let merged = if line.disputed {
                Merged::Disputed
            } else {
                Merged::Contradicts(Box::new(Equivocation {
                    peer,
                    sequence: advert.sequence,
                    first: Arc::clone(&line.advert),
                    second: Arc::clone(&advert),
                }))
            };
            line.disputed = true;
            // Which of them stays must not depend on which came first.
            if advert.bytes() > line.advert.bytes() {
                self.replace(advert, true);
            }
            return merged;
        }
        self.replace(advert, false);
        Merged::Newer(None)
    }

    fn add(&mut self, advert: Known) -> Merged {
        let key = (advert.expires_at, advert.peer);
        let mut evicted = None;
        if self.lines.len() >= self.capacity {
            match self.by_expiry.first().copied() {
                Some(soonest) if soonest < key => {
                    self.remove(&soonest.1);
                    evicted = Some(soonest.1);
                }
                _ => return Merged::Full,
            }
        }
        self.hold(advert, false);
        Merged::Newer(evicted)
    }

    fn hold(&mut self, advert: Known, disputed: bool) {
        let (peer, digest) = (advert.peer, Digest::of(advert.bytes()));
        self.by_expiry.insert((advert.expires_at, peer));
        self.by_digest.insert(digest, peer);
        let line = Line {
            advert,
            digest,
            disputed,
        };
        self.lines.insert(peer, line);
    }

    fn replace(&mut self, advert: Known, disputed: bool) {
        self.remove(&advert.peer);
        self.hold(advert, disputed);
    }

    fn remove(&mut self, peer: &PeerId) {
        if let Some(line) = self.lines.remove(peer) {
            self.by_expiry.remove(&(line.advert.expires_at, *peer));
            self.by_digest.remove(&line.digest);
        }
    }

    /// The advert with exactly these bytes, if it is held: its signature was checked then.
    #[must_use]
    pub fn identical(&self, bytes: &[u8]) -> Option<&Known> {
        let peer = self.by_digest.get(&Digest::of(bytes))?;
        self.lines.get(peer).map(|line| &line.advert)
    }

    /// Removes every advert that expired at or before `horizon`, and names its peer.
    pub fn expire(&mut self, horizon: UnixMillis) -> Vec<PeerId> {
        let mut gone = Vec::new();
        while let Some((at, peer)) = self.by_expiry.first().copied() {
            if at > horizon {
                break;
            }
            self.remove(&peer);
            gone.push(peer);
        }
        gone
    }

    /// When the next advert expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    /// The advert of a peer, unless it is disputed.
    #[must_use]
    pub fn of(&self, peer: &PeerId) -> Option<&Known> {
        self.lines
            .get(peer)
            .filter(|line| !line.disputed)
            .map(|line| &line.advert)
    }

    /// The highest number seen of a peer, disputed or not.
    #[must_use]
    pub fn sequence_of(&self, peer: &PeerId) -> Option<u64> {
        self.lines.get(peer).map(|line| line.advert.sequence)
    }

    /// Every undisputed advert, in the order of peer ids.
    pub fn adverts(&self) -> impl Iterator<Item = &Known> {
        self.lines
            .values()
            .filter(|line| !line.disputed)
            .map(|line| &line.advert)
    }

    /// The number of lines, disputed ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What is held, as (peer, number).
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.lines
            .values()
            .map(|line| (*line.advert.peer.as_bytes(), line.advert.sequence))
            .collect()
    }

    /// Something with a number up to `by` that a summary names, of anybody but `me`, and that
    /// is newer than what is held here.
    #[must_use]
    pub fn lacks(&self, summary: &Summary, me: &PeerId, by: u64) -> Option<Lacked> {
        let mut own = self
            .lines
            .iter()
            .map(|(peer, line)| (peer, line.advert.sequence));
        let mut next = own.next();
        // Both are in the order of the keys.
        let mut lacked = summary.iter().filter(|(peer, theirs)| {
            while next.is_some_and(|(own, _)| own.as_bytes() < peer) {
                next = own.next();
            }
            let held = next.filter(|(own, _)| own.as_bytes() == *peer);
            *peer != me.as_bytes() && *theirs <= by && held.is_none_or(|(_, ours)| ours < *theirs)
        });
        let (author, sequence) = lacked.next()?;
        Some(Lacked {
            author: *author,
            sequence,
        })
    }

    /// Whether that, or anything newer of its author, has not come yet.
    #[must_use]
    pub fn still_lacks(&self, lacked: &Lacked) -> bool {
        // Whatever is no key has nothing to say.
        PeerId::from_public_key(&lacked.author).is_ok_and(|author| {
            let held = self.sequence_of(&author);
            held.is_none_or(|held| held < lacked.sequence)
        })
    }

    /// The adverts that a peer with this summary does not have.
    #[must_use]
    pub fn missing_from(&self, summary: &Summary) -> Vec<Known> {
        self.adverts()
            .filter(|advert| {
                summary
                    .sequence_of(advert.peer.as_bytes())
                    .is_none_or(|known| known < advert.sequence)
            })
            .cloned()
            .collect()
    }
}
