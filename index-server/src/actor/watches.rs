//! Who waits for changes of which job. A watcher is only told that there was a
//! change; it asks for the job when it is ready for it, so that changes which
//! come faster than it reads are one.

use std::collections::BTreeMap;

use embermesh_crypto::ids::JobId;
use tokio::sync::watch;

/// How many watched jobs are kept before those that nobody watches any more are
/// swept out.
const SWEEP_AT: usize = 1_024;

/// The watched jobs.
#[derive(Default)]
pub(super) struct Watches {
    jobs: BTreeMap<JobId, watch::Sender<u64>>,
    swept: usize,
}

impl Watches {
    /// Watches a job from now on.
    pub(super) fn open(&mut self, job: JobId) -> watch::Receiver<u64> {
        if self.jobs.len() >= SWEEP_AT.max(2 * self.swept) {
            self.jobs.retain(|_, sender| !sender.is_closed());
            self.swept = self.jobs.len();
        }
        match self.jobs.entry(job) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.get().subscribe(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(watch::Sender::new(0)).subscribe()
            }
        }
    }

    /// Tells the watchers of a job that it changed.
    pub(super) fn changed(&mut self, job: &JobId) {
        if let Some(sender) = self.jobs.get(job) {
            if sender.is_closed() {
                self.jobs.remove(job);
            } else {
                sender.send_modify(|version| *version = version.wrapping_add(1));
            }
        }
    }
}
