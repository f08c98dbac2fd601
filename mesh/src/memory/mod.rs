//! A network in memory, for simulations of many meshes in one process. Behind the feature
//! `memory`, which nothing that ships turns on; and where it is on, [`Mesh::start`] has the
//! transports of always and cannot dial `/memory/N`. Only [`Mesh::start_in_memory`] can.
//!
//! - [`Fabric`] is the network: who can talk with whom, after what delay, and how many
//!   bytes went through. `line` is one connection of it.
//! - `transport` puts libp2p's transport in memory on it.
//! - [`RawPeer`] speaks gossip and nothing else: libp2p's own settings to compare with,
//!   or a peer that does not keep to the rules.
//!
//! What is encrypted between machines is in plain text here: the peers say who they are and
//! are believed. A Noise handshake costs about half a millisecond on both sides together,
//! so that a mesh of a thousand, with its tens of thousands of connections, would spend its
//! time on handshakes that are not what is looked at. All above it is what ships: yamux,
//! multistream, identify, gossip, Kademlia, the exchange of tables.

mod fabric;
mod line;
mod raw;
mod transport;

use std::sync::Arc;

use embermesh_crypto::keys::Keypair;
use tokio_util::sync::CancellationToken;

pub use fabric::Fabric;
pub use raw::{Manners, RawPeer};

use crate::{
    Mesh, MeshConfig, MeshError,
    net::{behaviour::Behaviour, start},
};

impl Mesh {
    /// Like [`Mesh::start`], on a network in memory. The first address to listen on must be
    /// `/memory/N`, with an N that no other process of the network has.
    ///
    /// # Errors
    /// Those of [`Mesh::start`].
    pub async fn start_in_memory(
        keypair: Arc<Keypair>,
        config: MeshConfig,
        cancel: CancellationToken,
        fabric: &Fabric,
    ) -> Result<Self, MeshError> {
        let port = transport::port_of(config.listen.first())?;
        let build: start::Build<'_> = &|key, config, traffic| {
            transport::swarm(key, fabric, port, |key, relayed| {
                Behaviour::new(key, relayed, config, traffic)
            })
        };
        Box::pin(start::start(keypair, config, cancel, build)).await
    }
}
