//! Places for blobs that are being sent: so many in all, and so many for one peer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use embermesh_crypto::ids::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Blobs that are being sent at one time.
pub(crate) const MAX_SENDING: usize = 64;
/// Of these, blobs that one peer takes at one time, and streams of blobs that it has
/// let stall and not closed: nobody crowds out the others alone.
pub(crate) const MAX_SENDING_TO_PEER: usize = 16;

/// The places of one service.
#[derive(Clone)]
pub(super) struct Places {
    pub(super) all: Arc<Semaphore>,
    /// What each peer has taken; only peers that have taken any.
    taken: Arc<Mutex<HashMap<PeerId, usize>>>,
}

/// A place among all. It goes with the reading of the blob.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A place among those of one peer. It goes with the stream of the blob, which may
/// outlive the reading: what a stalled stream still holds is its peer's to answer for.
#[derive(Debug)]
pub(super) struct Share {
    peer: PeerId,
    taken: Arc<Mutex<HashMap<PeerId, usize>>>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_SENDING)),
            taken: Arc::default(),
        }
    }

    /// Takes a place for a peer, if there is one for it.
    pub(super) fn take(&self, peer: PeerId) -> Option<(Place, Share)> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut all = lock(&self.taken);
        let taken = all.entry(peer).or_default();
        if *taken >= MAX_SENDING_TO_PEER {
            return None;
        }
        *taken += 1;
        let share = Share {
            peer,
            taken: Arc::clone(&self.taken),
        };
        Some((Place { _permit: permit }, share))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = lock(&self.taken);
        if let Some(taken) = all.get_mut(&self.peer) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                all.remove(&self.peer);
            }
        }
    }
}

/// A count is whole whatever became of the thread that changed it.
fn lock(taken: &Mutex<HashMap<PeerId, usize>>) -> MutexGuard<'_, HashMap<PeerId, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}
