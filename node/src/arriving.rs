//! Blobs that clients are sending to this node now, and when each last grew: a task
//! that needs one waits as long as it comes on.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use embermesh_crypto::digest::Digest;
use tokio::time::Instant;

/// The uploads under way. As many as the service takes at once, so it is bounded by
/// that.
#[derive(Default)]
pub(crate) struct Arriving {
    uploads: Mutex<HashMap<Digest, Arrival>>,
}

struct Arrival {
    /// Uploads of the same blob.
    count: usize,
    grew: Instant,
}

impl Arriving {
    /// An upload begins; it is over when the guard is dropped.
    pub(crate) fn begin(&self, digest: Digest) -> Upload<'_> {
        let grew = Instant::now();
        let mut uploads = self.uploads();
        let arrival = uploads.entry(digest).or_insert(Arrival { count: 0, grew });
        arrival.count += 1;
        arrival.grew = grew;
        drop(uploads);
        Upload {
            arriving: self,
            digest,
        }
    }

    /// When a blob last grew, if it is on its way.
    pub(crate) fn last(&self, digest: &Digest) -> Option<Instant> {
        self.uploads().get(digest).map(|arrival| arrival.grew)
    }

    fn uploads(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arrival>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upload under way.
pub(crate) struct Upload<'a> {
    arriving: &'a Arriving,
    digest: Digest,
}

impl Upload<'_> {
    /// Some of it has come.
    pub(crate) fn grew(&self) {
        if let Some(arrival) = self.arriving.uploads().get_mut(&self.digest) {
            arrival.grew = Instant::now();
        }
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let mut uploads = self.arriving.uploads();
        if let Some(arrival) = uploads.get_mut(&self.digest) {
            arrival.count -= 1;
            if arrival.count == 0 {
                uploads.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_on_its_way_until_its_last_upload_ends() {
        let arriving = Arriving::default();
        let digest = Digest::of(b"data");
        assert_eq!(arriving.last(&digest), None);
        let first = arriving.begin(digest);
        let second = arriving.begin(digest);
        let begun = arriving.last(&digest).unwrap();
        first.grew();
        let grown = arriving.last(&digest).unwrap();
        assert!(grown >= begun);
        drop(first);
        assert_eq!(arriving.last(&digest), Some(grown));
        drop(second);
        assert_eq!(arriving.last(&digest), None);
    }
}
