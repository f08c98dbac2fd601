//! The network: which of its ports can talk with each other, and after what delay.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// A network in memory. Clones are the same network.
#[derive(Debug, Clone, Default)]
pub struct Fabric(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    delay: Duration,
    /// Somebody is cut off: looked at before the sides are.
    is_cut: AtomicBool,
    /// Connections over the cut break at once.
    breaks: AtomicBool,
    /// Ports whose cable was pulled for good.
    silent: RwLock<HashSet<u64>>,
    /// The side that each port is on; 0 for those that are not named.
    sides: RwLock<HashMap<u64, u32>>,
    /// Rises with each cut and each healing.
    epoch: AtomicU64,
    /// Connections to be woken when there is a cut, or when it heals.
    waiting: Mutex<HashMap<(u64, Way), Waker>>,
    lines: AtomicU64,
    bytes: AtomicU64,
}

/// What of a connection waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    In,
    Out,
}

impl Fabric {
    /// A network in which every byte takes this long.
    #[must_use]
    pub fn new(delay: Duration) -> Self {
        Self(Arc::new(Inner {
            delay,
            ..Inner::default()
        }))
    }

    /// Parts the network: ports of different sides cannot talk, and ports that are on no
    /// side make up one of their own. With `breaks` connections over the cut are reset; else
    /// what is under way waits as it would in a cable that was pulled: nobody is told, and it
    /// goes on if the cut heals before both give up.
    pub fn part<'a>(&self, sides: impl IntoIterator<Item = &'a [u64]>, breaks: bool) {
        let sides = sides.into_iter().zip(1..);
        let of_port = sides.flat_map(|(ports, side)| ports.iter().map(move |port| (*port, side)));
        *self.0.sides.write().unwrap_or_else(PoisonError::into_inner) = of_port.collect();
        self.0.breaks.store(breaks, Ordering::Release);
        self.0.is_cut.store(true, Ordering::Release);
        self.wake();
    }

    /// Pulls the cable of one port, for good: as when its machine loses power.
    pub fn silence(&self, port: u64) {
        let mut silent = self
            .0
            .silent
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        silent.insert(port);
        self.0.is_cut.store(true, Ordering::Release);
    }

    /// Makes it one network again, but for the ports that were silenced.
    pub fn heal(&self) {
        self.0.breaks.store(false, Ordering::Release);
        self.0
            .sides
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.wake();
    }

    /// Bytes that have gone through, of all connections, each once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn delay(&self) -> Duration {
        self.0.delay
    }

    pub(super) fn next_line(&self) -> u64 {
        self.0.lines.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn joins(&self, one: u64, other: u64) -> bool {
        if !self.0.is_cut.load(Ordering::Acquire) {
            return true;
        }
        let sides = self.0.sides.read().unwrap_or_else(PoisonError::into_inner);
        let silent = self.0.silent.read().unwrap_or_else(PoisonError::into_inner);
        sides.get(&one) == sides.get(&other) && !silent.contains(&one) && !silent.contains(&other)
    }

    pub(super) fn breaks(&self) -> bool {
        self.0.breaks.load(Ordering::Acquire)
    }

    /// How often there was a cut or a healing.
    pub(super) fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// Wakes this at the next cut or healing.
    pub(super) fn wait(&self, line: u64, way: Way, waker: &Waker) {
        self.waiting().insert((line, way), waker.clone());
    }

    pub(super) fn forget(&self, line: u64) {
        let mut waiting = self.waiting();
        for way in [Way::In, Way::Out] {
            waiting.remove(&(line, way));
        }
    }

    fn wake(&self) {
        self.0.epoch.fetch_add(1, Ordering::AcqRel);
        let waiting = std::mem::take(&mut *self.waiting());
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<(u64, Way), Waker>> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_talk_within_themselves_until_the_cut_heals() {
        let fabric = Fabric::default();
        assert!(fabric.joins(1, 2));
        fabric.part([&[1, 2][..], &[3]], false);
        assert!(fabric.joins(1, 2) && fabric.joins(4, 5));
        assert!(!fabric.joins(1, 3) && !fabric.joins(3, 4));
        fabric.heal();
        assert!(fabric.joins(1, 3));
        fabric.silence(2);
        fabric.heal();
        assert!(!fabric.joins(1, 2) && fabric.joins(1, 3));
    }
}
