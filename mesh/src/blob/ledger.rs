//! The account of a store: what it holds, what it has promised, what may go.
//!
//! It touches no disk. It says which blobs make room, and the store removes them
//! before it lets go of the ledger.

use std::collections::{BTreeMap, HashMap};

use embermesh_crypto::digest::Digest;

use super::geometry;

/// The least that a blob counts for, and what its size is rounded up to: a block of
/// the disk. It bounds how many there can be.
const BLOCK_BYTES: u64 = 4096;

/// What a blob of `size` bytes takes, with its outboard.
pub(crate) fn weight(size: u64) -> u64 {
    let blocks = |bytes: u64| bytes.next_multiple_of(BLOCK_BYTES);
    blocks(size).max(BLOCK_BYTES) + blocks(geometry::tree(size).outboard_size())
}

/// One blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) size: u64,
    pub(crate) pinned: bool,
    /// Readers in this process that must not lose it.
    pub(crate) holds: u32,
    used: u64,
}

/// One blob on its way.
#[derive(Debug, Clone, Copy)]
struct Arriving {
    size: u64,
    /// Whether a fetch is at it now.
    active: bool,
    used: u64,
}

/// What has to go from the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Blob(Digest),
    Partial(Digest, u64),
}

/// There is no room, and this much could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) free: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    quota: u64,
    used: u64,
    reserved: u64,
    clock: u64,
    blobs: HashMap<Digest, Entry>,
    partials: HashMap<Digest, Arriving>,
    /// Blobs and partials, the longest unused first.
    by_use: BTreeMap<u64, Victim>,
}

impl Ledger {
    pub(crate) fn new(quota: u64) -> Self {
        Self {
            quota,
            ..Self::default()
        }
    }

    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) const fn quota(&self) -> u64 {
        self.quota
    }

    pub(crate) const fn used(&self) -> u64 {
        self.used
    }

    pub(crate) const fn reserved(&self) -> u64 {
        self.reserved
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<Entry> {
        self.blobs.get(digest).copied()
    }

    pub(crate) fn blobs(&self) -> impl Iterator<Item = (&Digest, &Entry)> {
        self.blobs.iter()
    }

    /// Partials: digest, size, whether one is being fetched.
    pub(crate) fn partials(&self) -> impl Iterator<Item = (Digest, u64, bool)> + '_ {
        self.partials
            .iter()
            .map(|(digest, arriving)| (*digest, arriving.size, arriving.active))
    }

    pub(crate) fn partial(&self, digest: &Digest) -> Option<u64> {
        self.partials.get(digest).map(|arriving| arriving.size)
    }

    /// Enters a blob that is in its place.
    pub(crate) fn insert(&mut self, digest: Digest, size: u64, pinned: bool) {
        self.remove(&digest);
        let used = self.now();
        self.by_use.insert(used, Victim::Blob(digest));
        self.used += weight(size);
        self.blobs.insert(
            digest,
            Entry {
                size,
                pinned,
                holds: 0,
                used,
            },
        );
    }

    /// Strikes a blob out.
    pub(crate) fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let entry = self.blobs.remove(digest)?;
        self.by_use.remove(&entry.used);
        self.used -= weight(entry.size);
        Some(entry)
    }

    /// Notes that a blob was used just now.
    pub(crate) fn touch(&mut self, digest: &Digest) {
        let now = self.now();
        if let Some(entry) = self.blobs.get_mut(digest) {
            self.by_use.remove(&entry.used);
            entry.used = now;
            self.by_use.insert(now, Victim::Blob(*digest));
        }
    }

    pub(crate) fn hold(&mut self, digest: &Digest) -> Option<u64> {
        self.touch(digest);
        let entry = self.blobs.get_mut(digest)?;
        entry.holds += 1;
        Some(entry.size)
    }

    pub(crate) fn release(&mut self, digest: &Digest) {
        if let Some(entry) = self.blobs.get_mut(digest) {
            entry.holds = entry.holds.saturating_sub(1);
        }
    }

    pub(crate) fn set_pinned(&mut self, digest: &Digest, pinned: bool) -> bool {
        match self.blobs.get_mut(digest) {
            Some(entry) => {
                entry.pinned = pinned;
                true
            }
            None => false,
        }
    }

    /// Enters a partial, whole weight and all, so that it will have room to end.
    pub(crate) fn insert_partial(&mut self, digest: Digest, size: u64, active: bool) {
        self.remove_partial(&digest);
        let used = self.now();
        self.by_use.insert(used, Victim::Partial(digest, size));
        self.used += weight(size);
        self.partials
            .insert(digest, Arriving { size, active, used });
    }

    pub(crate) fn remove_partial(&mut self, digest: &Digest) {
        if let Some(arriving) = self.partials.remove(digest) {
            self.by_use.remove(&arriving.used);
            self.used -= weight(arriving.size);
        }
    }

    pub(crate) fn set_active(&mut self, digest: &Digest, active: bool) {
        if let Some(arriving) = self.partials.get_mut(digest) {
            arriving.active = active;
        }
    }

    /// Sets bytes aside and strikes out what has to go for them: the longest unused
    /// that nobody pinned, holds or fetches.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<Vec<Victim>, Full> {
        let taken = self.used + self.reserved;
        let mut short = bytes.saturating_add(taken).saturating_sub(self.quota);
        let mut victims = Vec::new();
        if short > 0 {
            let mut freed: u64 = 0;
            for victim in self.by_use.values() {
                let Some(weight) = self.weight_if_free(victim) else {
                    continue;
                };
                freed += weight;
                victims.push(*victim);
                short = short.saturating_sub(weight);
                if short == 0 {
                    break;
                }
            }
            if short > 0 {
                let free = self.quota.saturating_add(freed).saturating_sub(taken);
                return Err(Full { free });
            }
        }
        for victim in &victims {
            match victim {
                Victim::Blob(digest) => drop(self.remove(digest)),
                Victim::Partial(digest, _) => self.remove_partial(digest),
            }
        }
        self.reserved += bytes;
        Ok(victims)
    }

    pub(crate) fn unreserve(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    fn weight_if_free(&self, victim: &Victim) -> Option<u64> {
        match victim {
            Victim::Blob(digest) => {
                let entry = self.blobs.get(digest)?;
                (!entry.pinned && entry.holds == 0).then(|| weight(entry.size))
            }
            Victim::Partial(digest, size) => {
                let arriving = self.partials.get(digest)?;
                (!arriving.active).then(|| weight(*size))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn ledger(blobs: u8) -> Ledger {
        let mut ledger = Ledger::new(4 * BLOCK_BYTES);
        for n in 0..blobs {
            ledger.insert(digest(n), 1, false);
        }
        ledger
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let mut ledger = ledger(4);
        ledger.touch(&digest(0));
        let victims = ledger.reserve(2 * BLOCK_BYTES).unwrap();
        assert_eq!(victims, [Victim::Blob(digest(1)), Victim::Blob(digest(2))]);
        assert_eq!(ledger.used() + ledger.reserved(), 4 * BLOCK_BYTES);
    }

    #[test]
    fn pinned_held_and_active_ones_stay() {
        let mut ledger = ledger(2);
        assert!(ledger.set_pinned(&digest(0), true));
        ledger.hold(&digest(1)).unwrap();
        ledger.insert_partial(digest(2), 1, true);
        assert_eq!(
            ledger.reserve(2 * BLOCK_BYTES),
            Err(Full { free: BLOCK_BYTES })
        );
        assert_eq!(ledger.reserved(), 0, "a refusal sets nothing aside");
        ledger.set_active(&digest(2), false);
        assert_eq!(
            ledger.reserve(2 * BLOCK_BYTES).unwrap(),
            [Victim::Partial(digest(2), 1)]
        );
        ledger.release(&digest(1));
        assert_eq!(
            ledger.reserve(BLOCK_BYTES).unwrap(),
            [Victim::Blob(digest(1))]
        );
        assert!(ledger.reserve(BLOCK_BYTES).is_err());
    }

    #[test]
    fn the_account_adds_up() {
        let mut ledger = ledger(3);
        ledger.insert(digest(0), 5, false);
        ledger.insert_partial(digest(9), 7, false);
        ledger.insert_partial(digest(9), 8, false);
        assert_eq!(ledger.used(), 4 * BLOCK_BYTES);
        for n in 0..3 {
            ledger.remove(&digest(n));
        }
        ledger.remove_partial(&digest(9));
        assert_eq!(ledger.used(), 0);
        assert!(ledger.by_use.is_empty());
    }

    #[test]
    fn weights_count_the_outboard() {
        assert_eq!(weight(0), BLOCK_BYTES);
        assert_eq!(weight(16 * 1024), 4 * BLOCK_BYTES);
        assert_eq!(weight(16 * 1024 + 1), 6 * BLOCK_BYTES);
    }
}
