//! libp2p's transport in memory, on a [`Fabric`], and swarms that have no other.

use std::{error::Error, fmt::Display};

use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport as _,
    core::{
        ConnectedPoint, muxing::StreamMuxerBox, transport::Boxed, transport::MemoryTransport,
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    plaintext, relay,
    swarm::NetworkBehaviour,
    tls,
};

use super::{Fabric, line::Line};
use crate::net::{
    MeshError,
    behaviour::{swarm_config, yamux_config},
};

/// The port that an address in memory names.
pub(super) fn port_of(address: Option<&String>) -> Result<u64, MeshError> {
    let text = address.cloned().unwrap_or_default();
    let parsed = text.parse().ok().as_ref().and_then(port);
    parsed.ok_or_else(|| MeshError::InvalidAddress {
        text,
        reason: "a network in memory needs /memory/N to listen on, with an N from 1".to_owned(),
    })
}

fn port(address: &Multiaddr) -> Option<u64> {
    match address.iter().next() {
        Some(Protocol::Memory(port)) if port > 0 => Some(port),
        _ => None,
    }
}

/// A swarm on the fabric, at a port of it.
pub(super) fn swarm<B: NetworkBehaviour>(
    key: Keypair,
    fabric: &Fabric,
    port: u64,
    behaviour: impl FnOnce(
        &Keypair,
        relay::client::Behaviour,
    ) -> Result<B, Box<dyn Error + Send + Sync>>,
) -> Result<Swarm<B>, MeshError> {
    let failed = |error: &dyn Display| MeshError::Transport(error.to_string());
    let builder = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| transport(key, fabric.clone(), port))
        .map_err(|error| failed(&error))?
        .with_relay_client(tls::Config::new, yamux_config)
        .map_err(|error| failed(&error))?
        .with_behaviour(behaviour)
        .map_err(|error| failed(&error))?;
    Ok(builder.with_swarm_config(swarm_config).build())
}

fn transport(key: &Keypair, fabric: Fabric, me: u64) -> Boxed<(PeerId, StreamMuxerBox)> {
    MemoryTransport::default()
        .map(move |stream, point| match &point {
            ConnectedPoint::Dialer { address, .. } => {
                Line::gated(stream, fabric, me, port(address).unwrap_or_default())
            }
            ConnectedPoint::Listener { .. } => Line::plain(stream),
        })
        .upgrade(Version::V1Lazy)
        .authenticate(plaintext::Config::new(key))
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}
