//! How nodes die and come back: cut off and working on, or dead with what they had
//! written down.

use std::time::Duration;

use rand::{Rng, seq::SliceRandom};

use crate::{Violation, World, happening::Happening, world::PeerIndex};

/// How long a node that comes back was away.
const AWAY: Duration = Duration::from_secs(60);
/// How long a process takes to start again after a crash, in milliseconds.
const STARTS_AFTER_MS: std::ops::RangeInclusive<u64> = 500..=20_000;
/// The word for an attempt that a crash interrupted.
const INTERRUPTED: &str = "node_restarted";

impl World {
    /// A third of the nodes falls silent.
    pub(crate) fn kill_a_third(&mut self) -> Result<(), Violation> {
        let mut chosen: Vec<usize> = (0..self.peers.len()).collect();
        chosen.shuffle(&mut self.rng);
        chosen.truncate(self.peers.len() / 3);
        for (n, peer) in chosen.into_iter().enumerate() {
            self.peers[peer].alive = false;
            self.peers[peer].listeners.clear();
            if n % 3 == 0 {
                // Cut off, not dead: it works on and comes back.
                self.schedule(AWAY, Happening::Revive(peer));
            } else {
                self.peers[peer].life += 1;
                self.peers[peer].tasks.clear();
            }
            self.disconnect(peer)?;
        }
        Ok(())
    }

    /// A node that was cut off is back, and reports at once what it finished
    /// meanwhile: attempts that others have taken over.
    pub(crate) fn revive(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        self.peers[peer].linked = false;
        self.join(peer)?;
        let life = self.peers[peer].life;
        self.schedule(Duration::ZERO, Happening::Wake(peer, life));
        self.send_oldest(peer, life);
        Ok(())
    }

    /// The process of a node dies, with all that it had in memory, and starts again a
    /// while later.
    pub(crate) fn crash(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        if !self.peers[peer].alive {
            return Ok(());
        }
        self.counts.crashes += 1;
        self.peers[peer].alive = false;
        self.disconnect(peer)?;
        self.peers[peer].forget();
        let interrupted = std::mem::take(&mut self.peers[peer].store.open);
        for key in interrupted.into_values() {
            // Written down at the next start, in production; nothing happens between.
            self.peers[peer].post(
                key,
                embermesh_job::order::Report::AttemptFailed {
                    code: INTERRUPTED.to_owned(),
                    message: String::new(),
                },
            );
        }
        let after = Duration::from_millis(self.rng.random_range(STARTS_AFTER_MS));
        self.schedule(after, Happening::Join(peer));
        Ok(())
    }
}
