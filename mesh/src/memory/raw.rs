//! A peer that speaks gossip and identify alone: by libp2p's own settings, for comparison,
//! or by ours with whatever it is given to publish, for trials with peers that do not keep
//! to the rules.

use std::{error::Error, time::Duration};

use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    keys::Keypair,
};
use futures::StreamExt as _;
use libp2p::{
    Swarm,
    gossipsub::{
        self, AllowAllSubscriptionFilter, ConfigBuilder, IdentTopic, MessageAuthenticity,
        ValidationMode, Version,
    },
    identify, identity,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Fabric, transport};
use crate::{
    MeshError,
    net::{GossipTraffic, address, behaviour::identify_protocol, gossip, traffic::Traffic},
};

/// When the mesh of gossip is first made.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(100);
/// Publications that wait.
const MAX_WAITING: usize = 4096;
/// Messages that wait for one peer: as many as it can be made to publish at once.
const MAX_QUEUED_PER_PEER: usize = 16 * 1024;

/// Messages that whoever listens may be behind.
const MAX_HEARD: usize = 4096;

/// How a raw peer behaves.
#[derive(Debug, Clone)]
pub enum Manners {
    /// Gossip as libp2p sets it up when nothing is set, but for the first heartbeat, which
    /// does not wait for five seconds.
    Stock,
    /// The gossip of this network, passing on nothing of what it hears.
    Hostile(NetworkName),
}

/// A peer that speaks gossip and identify alone. Gone when it is dropped.
#[derive(Debug)]
pub struct RawPeer {
    id: PeerId,
    send: mpsc::Sender<Publication>,
    connected: watch::Receiver<usize>,
    listeners: watch::Receiver<u64>,
    heard: broadcast::Sender<Vec<u8>>,
    delivered: watch::Receiver<u64>,
    traffic: Traffic,
    _guard: DropGuard,
}

struct Publication {
    bytes: Vec<u8>,
    reply: oneshot::Sender<bool>,
}

#[derive(NetworkBehaviour)]
struct Raw {
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour<Traffic, AllowAllSubscriptionFilter>,
}

impl RawPeer {
    /// Brings a peer up at `/memory/<port>` and lets it dial others.
    ///
    /// # Errors
    /// When an address is malformed or the port is taken.
    pub fn start(
        keypair: &Keypair,
        manners: &Manners,
        fabric: &Fabric,
        port: u64,
        dial: &[String],
    ) -> Result<Self, MeshError> {
        let key = identity::Keypair::from_protobuf_encoding(&keypair.to_libp2p_protobuf())
            .map_err(|error| MeshError::Transport(error.to_string()))?;
        let traffic = Traffic::default();
        let counted = traffic.clone();
        let mut swarm = transport::swarm(key, fabric, port, |key, _| raw(key, manners, counted))?;
        let here = address::parse(&format!("/memory/{port}"))?;
        swarm
            .listen_on(here.clone())
            .map_err(|error| MeshError::Listen {
                address: here.to_string(),
                reason: error.to_string(),
            })?;
        for text in dial {
            // One that cannot be reached is not dialled again.
            let _ = swarm.dial(address::parse(text)?);
        }
        let (send, wanted) = mpsc::channel(MAX_WAITING);
        let (connected_now, connected) = watch::channel(0);
        let (listeners_now, listeners) = watch::channel(0);
        let heard = broadcast::Sender::new(MAX_HEARD);
        let (delivered_now, delivered) = watch::channel(0);
        let cancel = CancellationToken::new();
        let life = Life {
            swarm,
            topic: topic(manners),
            connected: connected_now,
            listeners: listeners_now,
            heard: heard.clone(),
            delivered: delivered_now,
        };
        tokio::spawn(cancel.clone().run_until_cancelled_owned(life.run(wanted)));
        Ok(Self {
            id: keypair.peer_id(),
            send,
            connected,
            listeners,
            heard,
            delivered,
            traffic,
            _guard: cancel.drop_guard(),
        })
    }

    /// Who it is.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.id
    }

    /// Publishes these bytes. False when there is nobody to hear them, or no room for them.
    pub async fn publish(&self, bytes: Vec<u8>) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send.send(Publication { bytes, reply }).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Peers that are connected, now and as it changes.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<usize> {
        self.connected.clone()
    }

    /// How often a peer has said that it listens, now and as it changes.
    #[must_use]
    pub fn listeners(&self) -> watch::Receiver<u64> {
        self.listeners.clone()
    }

    /// What it hears from now on.
    #[must_use]
    pub fn heard(&self) -> broadcast::Receiver<Vec<u8>> {
        self.heard.subscribe()
    }

    /// Messages that it has heard, each once, now and as it changes.
    #[must_use]
    pub fn delivered(&self) -> watch::Receiver<u64> {
        self.delivered.clone()
    }

    /// What gossip has brought it.
    #[must_use]
    pub fn traffic(&self) -> GossipTraffic {
        self.traffic.now()
    }
}

struct Life {
    swarm: Swarm<Raw>,
    topic: IdentTopic,
    connected: watch::Sender<usize>,
    listeners: watch::Sender<u64>,
    heard: broadcast::Sender<Vec<u8>>,
    delivered: watch::Sender<u64>,
}

impl Life {
    async fn run(mut self, mut wanted: mpsc::Receiver<Publication>) {
        loop {
            tokio::select! {
                publication = wanted.recv() => match publication {
                    Some(Publication { bytes, reply }) => {
                        let gossip = &mut self.swarm.behaviour_mut().gossip;
                        let _ = reply.send(gossip.publish(self.topic.clone(), bytes).is_ok());
                    }
                    None => return,
                },
                event = self.swarm.select_next_some() => self.event(event),
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<RawEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { .. } | SwarmEvent::ConnectionClosed { .. } => {
                let connected = self.swarm.connected_peers().count();
                self.connected.send_replace(connected);
            }
            SwarmEvent::Behaviour(RawEvent::Gossip(gossipsub::Event::Message {
                message, ..
            })) => {
                // Nobody has to listen.
                let _ = self.heard.send(message.data);
                self.delivered.send_modify(|delivered| *delivered += 1);
            }
            SwarmEvent::Behaviour(RawEvent::Gossip(gossipsub::Event::Subscribed { .. })) => {
                self.listeners.send_modify(|listeners| *listeners += 1);
            }
            _ => {}
        }
    }
}

fn topic(manners: &Manners) -> IdentTopic {
    match manners {
        Manners::Stock => IdentTopic::new("stock"),
        Manners::Hostile(network) => gossip::topic(network),
    }
}

fn raw(
    key: &identity::Keypair,
    manners: &Manners,
    traffic: Traffic,
) -> Result<Raw, Box<dyn Error + Send + Sync>> {
    let (authenticity, config, protocol) = match manners {
        Manners::Stock => (
            MessageAuthenticity::Signed(key.clone()),
            ConfigBuilder::default()
                .heartbeat_initial_delay(FIRST_HEARTBEAT)
                .build()?,
            "/stock/1".to_owned(),
        ),
        Manners::Hostile(network) => (
            MessageAuthenticity::Anonymous,
            hostile(network)?,
            identify_protocol(network),
        ),
    };
    let mut gossip = gossipsub::Behaviour::new_with_transform(authenticity, config, traffic)?;
    gossip.subscribe(&topic(manners))?;
    let identify = identify::Config::new(protocol, key.public());
    Ok(Raw {
        identify: identify::Behaviour::new(identify),
        gossip,
    })
}

/// Waits for a verdict that never comes, so that nothing it hears is passed on.
fn hostile(network: &NetworkName) -> Result<gossipsub::Config, gossipsub::ConfigBuilderError> {
    ConfigBuilder::default()
        .protocol_id(format!("/embermesh/{network}/gossip/1"), Version::V1_1)
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(gossip::message_id)
        .connection_handler_queue_len(MAX_QUEUED_PER_PEER)
        .heartbeat_initial_delay(FIRST_HEARTBEAT)
        .build()
}
