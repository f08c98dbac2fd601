//! Time: leases that lapse, keys that age, clocks that leap.

use std::time::Duration;

use embermesh_crypto::time::UnixMillis;
use embermesh_job::{lifecycle::Input, order::Order};

use super::{Entropy, Outputs, Reply, State, settings::HOLDS_PER_PASS};

impl State {
    /// Lets lapse what is due.
    pub(super) fn tick(
        &mut self,
        now: UnixMillis,
        entropy: &mut Entropy,
        out: &mut Outputs,
    ) -> Reply {
        while let Some((at, id)) = self.leases.first().copied() {
            if at > now {
                break;
            }
            let epoch = self
                .jobs
                .get(&id)
                .and_then(|record| Some(record.running()?.epoch));
            let unclaimed = self.jobs.get(&id).is_some_and(|record| record.unclaimed);
            let lapsed = epoch.map(|epoch| {
                let input = if unclaimed {
                    Input::NotClaimed { epoch }
                } else {
                    Input::LeaseLapsed { epoch }
                };
                self.step(id, input, now, out)
            });
            // A lease whose job will not hear of it is gone all the same: the
            // loop must come to an end.
            if !matches!(lapsed, Some(Ok(()))) {
                self.leases.remove(&(at, id));
            }
        }
        self.ledger.expire(now, HOLDS_PER_PASS);
        self.tick_reservations(now, out);
        while let Some((at, id)) = self.retries.first().copied() {
            if at > now {
                break;
            }
            self.retries.remove(&(at, id));
            self.place(id, now, entropy, out);
        }
        self.walk_on(now, entropy, out);
        if self.issuer.tick(&self.settings, now, entropy) {
            self.publish_key_set(out);
        }
        Reply::Done
    }

    /// The clock leapt, forwards or back: the new time is the one to go on with.
    /// Nobody is punished, nothing waits for a time that has gone with the old
    /// clock, and nodes whose clocks are right can use what is signed from now on.
    pub(super) fn leap(&mut self, now: UnixMillis, out: &mut Outputs) -> Reply {
        self.grace(now);
        if self.issuer.set_back(&self.settings, now) {
            self.publish_key_set(out);
        }
        Reply::Done
    }

    /// Gives every node a full lease and the time to register again: the index
    /// was away, or the clock leapt, and that is no node's fault.
    pub(super) fn grace(&mut self, now: UnixMillis) {
        self.registry.grace(&self.settings, now);
        self.listening_since = now;
        self.silence_look_at = now;
        self.extend_leases(now);
        let again = now.saturating_add(self.settings.heartbeat_interval);
        let retries = std::mem::take(&mut self.retries).into_iter();
        self.retries = retries.map(|(at, id)| (at.min(again), id)).collect();
    }

    /// No lease ends before its node had the time to speak, and none is longer
    /// than the longest that is given now: that one is of a clock that was set back.
    fn extend_leases(&mut self, now: UnixMillis) {
        let until = |lease: Duration| {
            now.saturating_add(lease)
                .saturating_add(self.settings.reregistration_grace)
        };
        let (soonest, latest) = (until(self.settings.lease), until(self.first_lease(true)));
        for (_, id) in std::mem::take(&mut self.leases) {
            let attempt = self
                .jobs
                .get_mut(&id)
                .and_then(|record| record.job.attempts.last_mut());
            if let Some(attempt) = attempt {
                attempt.lease_until = attempt.lease_until.clamp(soonest, latest);
                self.leases.insert((attempt.lease_until, id));
            }
        }
    }

    /// The key set changed: keep it and tell every node.
    pub(super) fn publish_key_set(&mut self, out: &mut Outputs) {
        self.writes.keys = Some(self.issuer.keys_snapshot());
        out.broadcast
            .push(Order::KeySet(self.key_set_bytes().to_vec()));
    }

    /// How long the node of a new attempt has until its first sign of life.
    pub(super) fn first_lease(&self, pushed: bool) -> Duration {
        if pushed {
            self.settings.assign_grace.max(self.settings.lease)
        } else {
            self.settings.assign_grace
        }
    }
}
