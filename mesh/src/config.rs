//! What can be set about the mesh, with defaults that run on one machine.

use embermesh_crypto::ids::NetworkName;
use embermesh_job::units::Bytes;
use serde::{Deserialize, Serialize};

use crate::membership::Membership;

/// How one process takes part in the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeshConfig {
    /// The network to be part of. Peers of another network are refused.
    pub network: NetworkName,
    /// Multiaddrs to listen on, TCP and QUIC. Port 0 takes a free one.
    pub listen: Vec<String>,
    /// Multiaddrs under which others reach this process when it cannot see that
    /// itself (port forwarding, a load balancer). Adverts name them first.
    pub external: Vec<String>,
    /// Peers to join through: multiaddrs that end in `/p2p/<peer id>`.
    pub bootstrap: Vec<String>,
    /// Find peers on the local network by multicast. Off by default: it tells
    /// everybody on the LAN that this process is here.
    pub mdns: bool,
    /// Ask the router of the local network for a port that others reach from outside, by
    /// UPnP. Off by default: it opens the network's edge.
    pub upnp: bool,
    /// Hold a share of the routing table and of the provider records for others.
    /// Off for a client that comes and goes.
    pub kad_server: bool,
    /// Who may take part. Never part of a settings file: it holds a secret.
    #[serde(skip)]
    pub membership: Membership,
    /// What this process gives to the mesh at most.
    pub limits: Limits,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            network: NetworkName::default(),
            listen: vec![
                "/ip4/127.0.0.1/tcp/0".to_owned(),
                "/ip4/127.0.0.1/udp/0/quic-v1".to_owned(),
            ],
            external: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            upnp: false,
            kad_server: true,
            membership: Membership::default(),
            limits: Limits::default(),
        }
    }
}

/// Bounds on what other peers can make this process hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Established connections in all. One address that is not loopback may have a quarter of
    /// those that come from outside.
    pub connections: u32,
    /// Established connections with one peer. Both sides may dial at once over
    /// TCP and QUIC, so a healthy peer can have four for a moment.
    pub connections_per_peer: u32,
    /// Connections in each direction whose handshake is not over; one address may have a
    /// quarter of them.
    pub pending: u32,
    /// Memory of the whole process above which no new connection is made.
    pub memory: Bytes,
    /// Peers behind boxes that can be reached through this process, where it can be
    /// reached itself; 0: none.
    pub reservations: u32,
    /// Connections of others that go through it at one time.
    pub circuits: u32,
    /// Bytes that go through one of them, each way.
    pub circuit_bytes: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_peer: 4,
            pending: 256,
            memory: Bytes(1 << 30),
            reservations: 256,
            circuits: 128,
            circuit_bytes: Bytes(16 << 30),
        }
    }
}
