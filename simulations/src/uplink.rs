//! A node's line to the index: it registers, says that it is alive, takes orders, and
//! reports until it is answered. As `node::uplink` does it.

use std::time::Duration;

use embermesh_crypto::statement::{KeySet, Signed};
use embermesh_index_server::state::{Command, Pulse, Reply, TaskHeartbeat, Welcome};
use embermesh_job::order::Order;

use crate::{
    Violation, World,
    happening::{About, Answer, Happening, Place},
    world::PeerIndex,
};

/// How often a node sends a heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);
/// Heartbeats in a row without an answer after which a line counts as broken.
const SILENCE: u32 = 3;
/// A report that was not answered is sent again after this.
const REPORT_AGAIN: Duration = Duration::from_secs(4);

impl World {
    pub(crate) fn heartbeat(&mut self, peer: PeerIndex, life: u32) {
        let node = &mut self.peers[peer];
        if !node.alive || node.life != life {
            return;
        }
        let id = node.id();
        node.unanswered += 1;
        if node.unanswered > SILENCE {
            node.linked = false;
        }
        let news = node.advert.clone().filter(|_| !node.advert_told);
        node.advert_told = true;
        let (about, command) = match (node.linked, node.advert.clone()) {
            (false, Some(advert)) => {
                let register = Command::Register { node: id, advert };
                (About::Register, register)
            }
            _ => {
                let running = node.tasks.values().map(|task| TaskHeartbeat {
                    key: task.key,
                    latest: None,
                    paused: false,
                });
                let heartbeat = Command::Heartbeat {
                    node: id,
                    advert: news,
                    running: running.collect(),
                    draining: false,
                };
                (About::Heartbeat, heartbeat)
            }
        };
        self.ask(Place::Node(peer), about, command);
        self.schedule(HEARTBEAT, Happening::Heartbeat(peer, life));
    }

    /// The index has answered a node.
    pub(crate) fn node_answered(
        &mut self,
        peer: PeerIndex,
        answer: Answer,
    ) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        if !node.alive || node.life != answer.life {
            return Ok(());
        }
        node.unanswered = 0;
        match (answer.about, answer.reply) {
            (About::Register, Ok(Reply::Welcome(welcome))) => self.welcomed(peer, &welcome),
            (About::Heartbeat, Ok(Reply::Pulse(pulse))) => self.pulse(peer, *pulse),
            (About::Orders, Ok(Reply::Orders(orders))) => {
                for order in orders {
                    self.ordered(peer, order)?;
                }
                Ok(())
            }
            // Whatever the answer, it would be the same the next time.
            (About::Report(number), _) => {
                let outbox = &mut node.store.outbox;
                if outbox.front().is_some_and(|(front, ..)| *front == number) {
                    outbox.pop_front();
                    let life = node.life;
                    self.send_oldest_now(peer, life);
                }
                Ok(())
            }
            (About::Register | About::Heartbeat | About::Orders, _) => {
                node.linked = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn welcomed(&mut self, peer: PeerIndex, welcome: &Welcome) -> Result<(), Violation> {
        self.take_key_set(peer, &welcome.key_set)?;
        let node = &mut self.peers[peer];
        node.linked = true;
        let (id, life) = (node.id(), node.life);
        self.ask(
            Place::Node(peer),
            About::Orders,
            Command::Orders { node: id },
        );
        self.send_oldest_now(peer, life);
        Ok(())
    }

    pub(crate) fn take_key_set(&mut self, peer: PeerIndex, bytes: &[u8]) -> Result<(), Violation> {
        let opened = Signed::<KeySet>::from_bytes(bytes.to_vec())
            .and_then(|signed| signed.open())
            .map_err(|error| self.violation(format!("the key set does not verify: {error}")))?;
        let kept = &mut self.peers[peer].store.key_set;
        if kept
            .as_ref()
            .is_none_or(|kept| kept.sequence <= opened.sequence)
        {
            *kept = Some(opened);
        }
        Ok(())
    }

    fn pulse(&mut self, peer: PeerIndex, pulse: Pulse) -> Result<(), Violation> {
        if pulse.register {
            self.peers[peer].linked = false;
        }
        for key in pulse.stop {
            self.ordered(peer, Order::Cancel(key))?;
        }
        Ok(())
    }

    /// Sends the oldest report of a node, and again later if that was not answered.
    pub(crate) fn send_oldest(&mut self, peer: PeerIndex, life: u32) {
        let node = &self.peers[peer];
        if node.life == life && !node.store.outbox.is_empty() {
            self.send_oldest_now(peer, life);
        }
    }

    fn send_oldest_now(&mut self, peer: PeerIndex, life: u32) {
        let node = &self.peers[peer];
        let Some((number, key, report)) = node.store.outbox.front().cloned() else {
            return;
        };
        if node.alive {
            let command = Command::Report {
                node: node.id(),
                key,
                report,
            };
            self.ask(Place::Node(peer), About::Report(number), command);
        }
        self.schedule(REPORT_AGAIN, Happening::Outbox(peer, life));
    }

    /// A node has something to report: at once where nothing else waits.
    pub(crate) fn posted(&mut self, peer: PeerIndex) {
        if self.peers[peer].store.outbox.len() == 1 {
            let life = self.peers[peer].life;
            self.send_oldest_now(peer, life);
        }
    }
}
