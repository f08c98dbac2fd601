//! What nodes tell the index, and what it tells them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use embermesh_crypto::{
    ids::PeerId,
    statement::{Advert, Role, Signed, Verified},
    time::UnixMillis,
};
use embermesh_job::{address::PeerAddress, assignment::TaskKey, lifecycle::Input, order::Order};

use super::{
    NodeEntry, Outputs, Pulse, Refused, Reply, State, StoredNode, TaskHeartbeat, Welcome,
    record::Record, settings::TASKS_PER_HEARTBEAT,
};

impl State {
    /// A node introduces itself; from now on jobs may be placed on it.
    pub(super) fn register(
        &mut self,
        node: PeerId,
        advert: Signed<Advert>,
        now: UnixMillis,
    ) -> Result<Reply, Refused> {
        let kept = StoredNode {
            advert: advert.clone(),
            peer: node,
            seen_at: now,
        };
        self.hear_advert(node, advert, 0, now)?;
        self.writes.nodes.insert(node, Some(kept));
        self.placing_due = true;
        Ok(Reply::Welcome(Box::new(Welcome {
            key_set: self.key_set_bytes(),
            revocation: self.revocation_bytes(),
            heartbeat_interval_ms: millis(self.settings.heartbeat_interval),
            lease_ms: millis(self.settings.lease),
        })))
    }

    /// A node is alive, and so are the tasks that it names. Costs no durable
    /// write unless a job changes its state or the node its address.
    pub(super) fn heartbeat(
        &mut self,
        node: PeerId,
        advert: Option<Signed<Advert>>,
        running: Vec<TaskHeartbeat>,
        draining: bool,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        if running.len() > TASKS_PER_HEARTBEAT {
            return Err(Refused::TooMany {
                what: "the list of running tasks",
                most: TASKS_PER_HEARTBEAT,
            });
        }
        let known = self
            .registry
            .node(&node)
            .is_some_and(|node| node.registered);
        let ours = running
            .iter()
            .filter(|task| self.runs(&node, &task.key))
            .count();
        let said: BTreeSet<TaskKey> = running.iter().map(|task| task.key).collect();
        self.placing_due |= self.registry.left(&node, |key| !said.contains(key));
        if known {
            if let Some(advert) = advert {
                self.hear_advert(node, advert, u32::try_from(ours).unwrap_or(u32::MAX), now)?;
            }
            if self
                .registry
                .touch(&node, Some(draining), &self.settings, now)
            {
                self.placing_due = true;
            }
        }
        let mut pulse = Pulse {
            register: !known,
            key_set_sequence: self.issuer.key_set_sequence(),
            revocation_sequence: self.issuer.revocation_sequence(),
            stop: Vec::new(),
        };
        // Leases hang on the key that spoke, not on its registration: a node that
        // outlived the index keeps its tasks while it registers anew.
        for task in running {
            let key = task.key;
            if self.runs(&node, &key) {
                self.task_lives(task, now, out)?;
            } else if self.jobs.contains_key(&key.job) {
                pulse.stop.push(key);
            }
        }
        Ok(Reply::Pulse(Box::new(pulse)))
    }

    /// What a node that opens its stream of orders has not taken up yet: attempts
    /// to stop, and attempts to run.
    pub(super) fn pending_orders(&self, node: PeerId, now: UnixMillis) -> Result<Reply, Refused> {
        let known = self.registry.node(&node).filter(|node| node.registered);
        let known = known.ok_or(Refused::NotRegistered(node))?;
        let mut orders = vec![Order::KeySet(self.key_set_bytes().to_vec())];
        orders.extend(
            self.revocation_bytes()
                .map(|bytes| Order::Revocation(bytes.to_vec())),
        );
        // What it was told to stop comes first: it frees the slots for the rest.
        orders.extend(known.stopping().map(|key| Order::Cancel(*key)));
        let waiting = known.tasks.iter().filter(|id| {
            let attempt = self.jobs.get(id).and_then(Record::running);
            attempt.is_some_and(|attempt| attempt.started.is_none())
        });
        orders.extend(waiting.filter_map(|id| self.run_order(*id, now)));
        Ok(Reply::Orders(orders))
    }

    /// Adverts that came by gossip.
    pub(super) fn gossip(&mut self, adverts: &[Verified<Advert>], now: UnixMillis) -> Reply {
        for advert in adverts {
            let ours = advert.network == self.settings.network && advert.role == Role::Node;
            if ours && advert.expires_at > now {
                self.registry.gossip(advert, &self.settings, now);
            }
        }
        Reply::Done
    }

    /// Round trips to nodes, as they were measured elsewhere.
    pub(super) fn measured(&mut self, round_trips: &BTreeMap<PeerId, Duration>) -> Reply {
        self.registry.measured(round_trips);
        Reply::Done
    }

    /// At most so many of the nodes whose keys follow `after`, by key.
    pub(super) fn list_nodes(&self, after: Option<PeerId>, most: usize, now: UnixMillis) -> Reply {
        let nodes = self.registry.nodes_after(after).take(most).map(|node| {
            let peer = node.content.peer;
            let heard_of = !node.registered && node.content.expires_at > now;
            NodeEntry {
                address: PeerAddress {
                    peer,
                    tls: node.content.tls_addresses.clone(),
                    mesh: node.content.mesh_addresses.clone(),
                },
                live: heard_of || self.registry.is_live(&peer),
                last_seen_ms: node.last_seen.0,
                advert: Bytes::copy_from_slice(node.advert.bytes()),
                running: u32::try_from(node.tasks.len()).unwrap_or(u32::MAX),
                registered: node.registered,
            }
        });
        Reply::Nodes(nodes.collect())
    }

    /// Whether a node runs an attempt that counts.
    pub(super) fn runs(&self, node: &PeerId, key: &TaskKey) -> bool {
        let attempt = self.jobs.get(&key.job).and_then(Record::running);
        attempt.is_some_and(|attempt| {
            attempt.epoch == key.epoch && attempt.node == *node && key.task == super::record::TASK
        })
    }

    fn task_lives(
        &mut self,
        task: TaskHeartbeat,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let TaskKey { job, epoch, .. } = task.key;
        let renew = Input::Renew {
            epoch,
            lease_until: now.saturating_add(self.settings.lease),
            paused: task.paused,
        };
        self.step(job, renew, now, out)?;
        // The last event is reported by itself, with its receipt.
        if let Some(event) = task
            .latest
            .filter(|event| event.epoch == epoch && !event.kind.is_final())
        {
            self.step(job, Input::Heard(event), now, out)?;
        }
        Ok(())
    }

    fn hear_advert(
        &mut self,
        node: PeerId,
        advert: Signed<Advert>,
        running: u32,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        let before = self
            .registry
            .node(&node)
            .filter(|node| node.registered)
            .map(where_to);
        let stored = advert.clone();
        if self
            .registry
            .heard(&node, advert, running, &self.settings, now)?
        {
            self.placing_due = true;
        }
        if self.registry.node(&node).map(where_to) != before {
            let kept = StoredNode {
                advert: stored,
                peer: node,
                seen_at: now,
            };
            self.writes.nodes.insert(node, Some(kept));
        }
        Ok(())
    }
}

/// What the store keeps of a node: where it is, not how busy.
pub(super) fn where_to(node: &super::registry::Node) -> (Vec<String>, Vec<String>) {
    (
        node.content.tls_addresses.clone(),
        node.content.mesh_addresses.clone(),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
