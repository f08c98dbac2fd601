//! Which job goes where: the queue is walked in order of submits, a pass at a
//! time, and each job is given to the best node that `job::place` finds for it.

use std::{ops::Bound, time::Duration};

use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    time::UnixMillis,
};
use embermesh_job::{
    lifecycle::Input,
    order::{Order, RunOrder},
    place::{Placement, Takes, Wanted, place_as},
};

use super::{
    Entropy, Outputs, State,
    settings::{LONGEST_PAUSE, PLACEMENTS_PER_PASS},
    tokens::token_id,
};

impl State {
    /// Lets a job wait for a node.
    pub(super) fn enqueue(&mut self, id: JobId) {
        self.queue.insert(id);
        if self.takes(id) == Takes::Residence {
            self.residences.insert(id);
        }
    }

    fn takes(&self, id: JobId) -> Takes {
        let open = self.jobs.get(&id).and_then(|record| record.open.as_ref());
        open.map_or(Takes::Slot, |open| open.takes)
    }

    /// Places the deployments that wait, in order of submits. There are few of them,
    /// as nodes have few places.
    fn place_residences(&mut self, now: UnixMillis, entropy: &mut Entropy, out: &mut Outputs) {
        for id in std::mem::take(&mut self.residences) {
            self.place(id, now, entropy, out);
            if self.queue.contains(&id) {
                self.residences.insert(id);
            }
        }
    }

    /// Begins a walk along the queue when something has become free. One that is
    /// under way comes to its end first: otherwise what becomes free all the time
    /// would keep it at the front, where there may be jobs that no node fits.
    pub(super) fn place_when_due(
        &mut self,
        now: UnixMillis,
        entropy: &mut Entropy,
        out: &mut Outputs,
    ) {
        if self.placing_due && self.walk.is_none() {
            self.placing_due = false;
            self.place_residences(now, entropy, out);
            self.pass(Bound::Unbounded, now, entropy, out);
        }
    }

    /// Takes the walk that is under way one pass further.
    pub(super) fn walk_on(&mut self, now: UnixMillis, entropy: &mut Entropy, out: &mut Outputs) {
        if let Some(next) = self.walk.take() {
            self.pass(Bound::Included(next), now, entropy, out);
        }
    }

    /// Places what waits, as far as there are slots for it and a pass reaches.
    /// Without slots the walk is over, and the next one begins with whoever has
    /// waited longest.
    fn pass(
        &mut self,
        from: Bound<JobId>,
        now: UnixMillis,
        entropy: &mut Entropy,
        out: &mut Outputs,
    ) {
        let mut turn: Vec<JobId> = self
            .queue
            .range((from, Bound::Unbounded))
            .take(PLACEMENTS_PER_PASS + 1)
            .copied()
            .collect();
        let next = if turn.len() > PLACEMENTS_PER_PASS {
            turn.pop()
        } else {
            None
        };
        for id in turn {
            if self.registry.free_slots() == 0 {
                return;
            }
            self.place(id, now, entropy, out);
        }
        if self.registry.free_slots() > 0 {
            self.walk = next;
        }
    }

    /// Gives a queued job to the best node, if there is one.
    pub(super) fn place(
        &mut self,
        id: JobId,
        now: UnixMillis,
        entropy: &mut Entropy,
        out: &mut Outputs,
    ) {
        if !self.queue.contains(&id) {
            return;
        }
        let tie_break = entropy.number();
        let Some(node) = self.choose(id, tie_break, now) else {
            return;
        };
        let pushed = self
            .jobs
            .get(&id)
            .is_some_and(|record| record.job.epoch >= Epoch::FIRST);
        let terms = self.agree(id, &node, now);
        let assign = Input::Assign {
            node,
            token_id: token_id(entropy),
            lease_until: now.saturating_add(self.first_lease(pushed)),
        };
        if let Err(error) = self.step(id, assign, now, out) {
            tracing::error!(job = %id, %error, "a queued job could not be assigned");
            self.queue.remove(&id);
            return;
        }
        self.queue.remove(&id);
        if let Some(record) = self.jobs.get_mut(&id) {
            record.terms = terms;
        }
        if self.takes(id) == Takes::Residence {
            self.registry.promise_residence(&node);
        }
        if let Some(order) = self.run_order(id, now) {
            out.orders.push((node, order));
        }
    }

    /// The best node; one that had the job before only when there is no other, and not at
    /// once: what was wrong with it may pass. With each attempt that came to nothing the
    /// wait doubles, so that nodes which take jobs and do not do them do not use up its
    /// attempts while the others are busy.
    fn choose(&mut self, id: JobId, tie_break: u64, now: UnixMillis) -> Option<PeerId> {
        let record = self.jobs.get(&id)?;
        let tried = record.tried();
        // An end that is still to come was written down under a clock that has
        // been set back since, and says nothing about how long ago it was.
        let again_at = record
            .last_ended()
            .filter(|at| *at <= now)
            .map(|at| at.saturating_add(self.pause_after(record.losses())));
        let fresh = self.best(id, &tried, tie_break);
        if fresh.is_some() || tried.is_empty() {
            return fresh;
        }
        match again_at {
            Some(at) if at > now => {
                self.retries.insert((at, id));
                None
            }
            _ => self.best(id, &[], tie_break),
        }
    }

    fn pause_after(&self, losses: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(losses.saturating_sub(1));
        let pause = self.settings.heartbeat_interval.saturating_mul(doubled);
        pause.min(LONGEST_PAUSE.max(self.settings.heartbeat_interval))
    }

    fn best(&self, id: JobId, avoid: &[PeerId], tie_break: u64) -> Option<PeerId> {
        let placement = self.placement(id, avoid, tie_break)?;
        placement.ranked.first().map(|ranked| ranked.peer)
    }

    /// What placement says of a job now.
    pub(super) fn placement(
        &self,
        id: JobId,
        avoid: &[PeerId],
        tie_break: u64,
    ) -> Option<Placement> {
        let record = self.jobs.get(&id)?;
        let open = record.open.as_ref()?;
        let wanted = Wanted {
            takes: open.takes,
            requires: &open.requires,
            limits: &open.limits,
            runtime: open.runtime,
            buyer: Some(Self::buyer(record)),
        };
        let nodes = self.registry.views();
        Some(place_as(&wanted, nodes, avoid, tie_break))
    }

    /// The order to run a job's current attempt, for every attempt but the first,
    /// which the client presents, as he does where he may have gone elsewhere.
    pub(super) fn run_order(&self, id: JobId, now: UnixMillis) -> Option<Order> {
        let record = self.jobs.get(&id)?;
        let attempt = record.running()?;
        if attempt.epoch <= Epoch::FIRST || record.unclaimed {
            return None;
        }
        let assignment = self
            .assignment(id, now)
            .inspect_err(
                |error| tracing::error!(job = %id, %error, "an attempt could not be ordered"),
            )
            .ok()?;
        Some(Order::Run(Box::new(RunOrder {
            assignment,
            spec: record.open.as_ref()?.canonical.to_vec(),
            resume: record.job.checkpoint.clone(),
            inputs: record.job.inputs_holders.clone(),
        })))
    }
}
