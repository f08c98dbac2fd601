//! Finds peers, spreads adverts, opens roads to peers, moves blobs. The only
//! crate that names libp2p.
//!
//! - [`protocol`] is pure: the table of signed adverts, its merge rules, and the
//!   exchange that brings a joiner up to date. No IO, no clock, no randomness of
//!   its own, so that the same code runs in a simulation.
//! - [`net`] is the swarm: one actor owns it, and [`Mesh`] is the handle that
//!   everybody else holds. No libp2p type leaves it.
//! - [`road`] carries gRPC over mutual TLS or over a stream of the mesh.
//! - [`blob`] keeps bytes by their BLAKE3 hash and fetches them, verified as they
//!   arrive.
//! - [`membership`] is who may take part where not everybody may.
//! - `buffers` gives the sockets of both, swarm and road, room for long links.
//! - `source` is whom an address stands for where places are shared out.
//! - `tls` proves keys: to ports, and below the streams of the mesh.
//! - [`config`] is everything that can be set.
//! - `memory`, a feature, is a network in memory for simulations. Nothing that ships has it.

pub mod blob;
mod buffers;
pub mod config;
pub mod membership;
#[cfg(feature = "memory")]
pub mod memory;
pub mod net;
pub mod protocol;
pub mod road;
mod source;
mod tls;

pub use config::{Limits, MeshConfig};
pub use membership::{Membership, NetworkKey};
pub use net::{
    AdvertDraft, GossipTraffic, Incoming, Judged, Mapping, Mesh, MeshError, MeshEvent, MeshStream,
    Observed, PeerView, ReachView, RelayView, Standing, Survey, Transport, Tried, Untold, Upnp,
    bootstrap_peer, is_public, socket_of,
};
pub use protocol::Known;
