//! Connections between their acceptance and their proven identity: so many at one
//! time, and none that keeps the next one out.
//!
//! When every place is taken, the newcomer gets that of the connection which has been
//! at it the longest, among those of the address that has the most. So whoever opens
//! connections and says nothing pushes out its own, and a handshake that goes on is
//! only in danger where it shares an address with such a one, for the few
//! milliseconds that it takes.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::source::source_of;

/// The handshakes of one listener.
#[derive(Debug)]
pub(crate) struct Handshakes {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// The oldest first.
    all: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    source: IpAddr,
    evicted: CancellationToken,
}

/// A place among the handshakes, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Handshake {
    number: u64,
    evicted: CancellationToken,
    among: Arc<Handshakes>,
}

impl Handshakes {
    /// Places for `most` handshakes at one time.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            waiting: Mutex::default(),
        })
    }

    /// Takes a place for a connection, and another's if there is none.
    pub(crate) fn begin(self: &Arc<Self>, remote: IpAddr) -> Handshake {
        let mut waiting = self.lock();
        if waiting.all.len() >= self.most {
            waiting.evict();
        }
        let number = waiting.next;
        waiting.next += 1;
        let evicted = CancellationToken::new();
        waiting.all.push_back(Entry {
            number,
            source: source_of(remote),
            evicted: evicted.clone(),
        });
        Handshake {
            number,
            evicted,
            among: Arc::clone(self),
        }
    }

    /// The list is whole whatever became of the thread that changed it.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn evict(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for entry in &self.all {
            *counts.entry(entry.source).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let victim = self
            .all
            .iter()
            .position(|entry| counts.get(&entry.source) == Some(&most));
        if let Some(entry) = victim.and_then(|at| self.all.remove(at)) {
            entry.evicted.cancel();
        }
    }
}

impl Handshake {
    /// Waits until the place has been given to another.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.among
            .lock()
            .all
            .retain(|entry| entry.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(handshake: &Handshake) -> bool {
        handshake.evicted.is_cancelled()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_crowd_pushes_out_its_own_oldest() {
        let handshakes = Handshakes::new(4);
        let honest = handshakes.begin(ip("192.0.2.1"));
        let crowd: Vec<_> = (0..3).map(|_| handshakes.begin(ip("192.0.2.9"))).collect();
        let newcomer = handshakes.begin(ip("192.0.2.2"));
        assert!(!evicted(&honest) && !evicted(&newcomer));
        assert!(evicted(&crowd[0]) && !evicted(&crowd[1]) && !evicted(&crowd[2]));
        let more: Vec<_> = (0..9).map(|_| handshakes.begin(ip("192.0.2.9"))).collect();
        assert!(!evicted(&honest) && !evicted(&newcomer));
        assert_eq!(more.iter().filter(|one| evicted(one)).count(), 7);
    }

    #[test]
    fn where_all_are_alike_the_oldest_goes_and_a_finished_one_gives_its_place() {
        let handshakes = Handshakes::new(2);
        let first = handshakes.begin(ip("127.0.0.1"));
        let second = handshakes.begin(ip("127.0.0.1"));
        let third = handshakes.begin(ip("127.0.0.1"));
        assert!(evicted(&first) && !evicted(&second) && !evicted(&third));
        drop(second);
        let fourth = handshakes.begin(ip("127.0.0.1"));
        assert!(!evicted(&third) && !evicted(&fourth));
    }
}
