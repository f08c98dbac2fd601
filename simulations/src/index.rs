//! The index behind a network that takes time: heartbeats, commands, orders.

use std::time::Duration;

use embermesh_crypto::statement::{KeySet, Signed};
use embermesh_index_server::state::{Command, Effects, Outputs, Refused, Reply, TaskHeartbeat};
use embermesh_job::order::{Order, Report};

use crate::{
    Violation, World,
    world::{Happening, PeerIndex},
};

/// How often a node sends a heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);

impl World {
    pub(crate) fn heartbeat(&mut self, peer: PeerIndex, life: u32) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        if !node.alive || node.life != life {
            return Ok(());
        }
        let id = node.id();
        let news = node.advert.clone().filter(|_| !node.advert_told);
        node.advert_told = true;
        let command = if let (None, Some(advert)) = (&node.key_set, node.advert.clone()) {
            Command::Register { node: id, advert }
        } else {
            let running = node.tasks.values().map(|task| TaskHeartbeat {
                key: task.key,
                latest: None,
                paused: false,
            });
            Command::Heartbeat {
                node: id,
                advert: news,
                running: running.collect(),
                draining: false,
            }
        };
        self.send(Happening::Command(Some(peer), Box::new(command)));
        self.schedule(HEARTBEAT, Happening::Heartbeat(peer, life));
        Ok(())
    }

    /// The index takes a command, commits, and only then lets its effects out.
    pub(crate) fn command(
        &mut self,
        from: Option<PeerIndex>,
        command: Command,
    ) -> Result<(), Violation> {
        let key = match &command {
            Command::Report { key, .. } => Some(*key),
            _ => None,
        };
        let registered = matches!(command, Command::Register { .. });
        let Effects { reply, outputs } =
            self.index
                .handle(command, self.now, &mut self.index_entropy);
        drop(self.index.take_writes());
        self.let_out(outputs);
        match reply {
            Ok(Reply::Welcome(welcome)) => self.welcomed(from, &welcome.key_set)?,
            Ok(Reply::Pulse(pulse)) => {
                if let Some(peer) = from {
                    if pulse.register {
                        self.peers[peer].key_set = None;
                    }
                    for key in pulse.stop {
                        self.send(Happening::Order(peer, Box::new(Order::Cancel(key))));
                    }
                }
            }
            Ok(Reply::Orders(orders)) => {
                if let Some(peer) = from {
                    for order in orders {
                        self.send(Happening::Order(peer, Box::new(order)));
                    }
                }
            }
            Ok(Reply::Assigned(assigned)) => self.submitted(*assigned),
            Ok(Reply::Reported { accepted: false }) => self.counts.fenced += 1,
            Err(Refused::StaleEpoch { .. } | Refused::Lifecycle { .. }) if key.is_some() => {
                self.counts.fenced += 1;
            }
            Err(refused) => return Err(self.violation(format!("the index refused: {refused}"))),
            Ok(_) => {}
        }
        if registered && let Some(peer) = from {
            let node = self.peers[peer].id();
            self.send(Happening::Command(
                Some(peer),
                Box::new(Command::Orders { node }),
            ));
        }
        self.check_index(key.map(|key| key.job))?;
        self.wake_index_when_due();
        Ok(())
    }

    pub(crate) fn index_tick(&mut self) -> Result<(), Violation> {
        self.index_ticks = None;
        self.command(None, Command::Tick)
    }

    fn wake_index_when_due(&mut self) {
        let due = self
            .index
            .next_tick()
            .max(self.now.saturating_add(Duration::from_millis(1)));
        if self.index_ticks.is_none_or(|at| due < at) {
            self.index_ticks = Some(due);
            self.schedule(due.since(self.now), Happening::IndexTick);
        }
    }

    fn let_out(&mut self, outputs: Outputs) {
        for (node, order) in outputs.orders {
            if let Some(peer) = self.by_id.get(&node).copied() {
                self.send(Happening::Order(peer, Box::new(order)));
            }
        }
        for order in outputs.broadcast {
            for peer in 0..self.peers.len() {
                self.send(Happening::Order(peer, Box::new(order.clone())));
            }
        }
    }

    fn welcomed(&mut self, from: Option<PeerIndex>, key_set: &[u8]) -> Result<(), Violation> {
        let Some(peer) = from else {
            return Ok(());
        };
        let opened = Signed::<KeySet>::from_bytes(key_set.to_vec())
            .and_then(|signed| signed.open())
            .map_err(|error| self.violation(format!("the key set does not verify: {error}")))?;
        self.peers[peer].key_set = Some(opened);
        Ok(())
    }

    /// A node tells the index what became of an attempt.
    pub(crate) fn report(
        &mut self,
        peer: PeerIndex,
        key: embermesh_job::assignment::TaskKey,
        report: Report,
    ) {
        let command = Command::Report {
            node: self.peers[peer].id(),
            key,
            report,
        };
        self.send(Happening::Command(Some(peer), Box::new(command)));
    }
}
