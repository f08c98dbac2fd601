//! The events of a task on their way to the client: written down by the node first,
//! sent in order on the stream that the client opened, all of them or none. A message
//! that is lost takes its stream with it, and the client opens another.

use embermesh_crypto::{JobId, PeerId, token::Bearer};
use embermesh_job::assignment::NodeAssignment;

use crate::{
    Violation, World,
    faults::Sabotage,
    happening::{Happening, Place},
    peer::{Listener, Log, Peer},
    tasks::Begun,
    world::PeerIndex,
};

impl Peer {
    /// An attempt begins behind event `after`: what the node has of the job up to there
    /// stays.
    pub(crate) fn begin_log(&mut self, job: JobId, after: u64) {
        let fresh = Log {
            first: after + 1,
            last: after,
        };
        let log = self.store.logs.entry(job).or_insert(fresh);
        if log.last < after || log.first > after + 1 {
            *log = fresh;
        }
        log.last = after;
    }

    /// Writes down that a task has come to event `seq`.
    pub(crate) fn log(&mut self, job: JobId, seq: u64) {
        if let Some(log) = self.store.logs.get_mut(&job) {
            log.last = log.last.max(seq);
        }
    }
}

impl World {
    /// Somebody holds out a token to a node.
    pub(crate) fn presented(
        &mut self,
        peer: PeerIndex,
        bearer: PeerId,
        assignment: &NodeAssignment,
        stream: u64,
    ) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        if !node.alive {
            return Ok(());
        }
        if node.lies {
            node.hoard_assignment(peer, assignment);
            return Ok(());
        }
        let honest = bearer == self.client.keypair.peer_id()
            && assignment.node.peer == self.peers[peer].id();
        let begun = self.begin(peer, Bearer::Peer(bearer), assignment, 0)?;
        match (honest, begun) {
            (true, Begun::Runs | Begun::Before) => {
                self.attach(peer, assignment.job, 0, stream);
                Ok(())
            }
            (true, Begun::Refused(_)) => Ok(()),
            (false, Begun::Refused(_)) => {
                self.counts.refused += 1;
                Ok(())
            }
            (false, _) => Err(self.violation(format!(
                "a node began job {} for {bearer}, whose it is not",
                assignment.job
            ))),
        }
    }

    /// The client hears of a task from now on, after the events that it has.
    pub(crate) fn attach(&mut self, peer: PeerIndex, job: JobId, after: u64, stream: u64) {
        let now = self.now;
        let node = &mut self.peers[peer];
        if !node.alive || !node.store.logs.contains_key(&job) {
            return;
        }
        // A request that was overtaken by a later one of the same client.
        if node
            .listeners
            .get(&job)
            .is_some_and(|listener| listener.stream > stream)
        {
            return;
        }
        let listener = Listener {
            stream,
            next: after + 1,
            arrives: now,
        };
        // The same request twice opens one stream.
        node.listeners
            .entry(job)
            .and_modify(|have| {
                if have.stream != stream {
                    *have = listener;
                }
            })
            .or_insert(listener);
        self.tell(peer, job);
    }

    /// Tells the client what it was not told of a task yet.
    pub(crate) fn tell(&mut self, peer: PeerIndex, job: JobId) {
        let skips = self.sabotage == Some(Sabotage::SkipEvent);
        let node = &self.peers[peer];
        let (Some(listener), Some(log)) = (
            node.listeners.get(&job).copied(),
            node.store.logs.get(&job).copied(),
        ) else {
            return;
        };
        let first = listener.next.max(log.first);
        let first = if skips && first == 17 { 18 } else { first };
        if !node.alive || first > log.last {
            return;
        }
        let events = first..=log.last;
        let sent = self.send_in_order(peer, job, listener, events);
        let node = &mut self.peers[peer];
        match sent {
            Some(arrives) => {
                let next = Listener {
                    next: log.last + 1,
                    arrives,
                    ..listener
                };
                node.listeners.insert(job, next);
            }
            None => {
                node.listeners.remove(&job);
            }
        }
    }

    /// Sends events down a stream; says when they arrive, if they do.
    fn send_in_order(
        &mut self,
        peer: PeerIndex,
        job: JobId,
        listener: Listener,
        events: std::ops::RangeInclusive<u64>,
    ) -> Option<embermesh_crypto::UnixMillis> {
        self.counts.messages += 1;
        if self.cut(Place::Node(peer), Place::Client) || self.chance(self.faults.loss) {
            self.counts.lost += 1;
            return None;
        }
        let delay = self.delay();
        let arrives = self.now.saturating_add(delay).max(listener.arrives);
        let seen = Happening::Seen {
            job,
            stream: listener.stream,
            events,
        };
        self.schedule_at(arrives, seen);
        Some(arrives)
    }
}
