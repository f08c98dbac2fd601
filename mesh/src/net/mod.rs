//! The swarm, owned by one actor, and [`Mesh`], the handle to it.
//!
//! - `actor` owns the swarm and the table; `events` says what the swarm's events
//!   mean, `driver` carries out what the table decides.
//! - `behaviour` and `gossip` hold the settings of libp2p, each with its reason; `sockets`,
//!   `secure` and `batched` are what lies below the streams.
//! - `doorkeeper` gives no single source all the places of those who connect.
//! - `pause` lets adverts wait before they are passed on, `traffic` counts them.
//! - `dialing` knows whom to dial and when, `connect` does it, `strangers` turns away
//!   peers of other networks. `neighbourhood` is how many are connected, `routing` is who comes into Kademlia's table.
//! - `queries` asks the DHT, `providers` is what this process keeps for it.
//! - `reach` is how peers behind boxes are reached; `report` what is known of it, `nat`
//!   and `survey` what kind of box there is.
//! - `exchange` and `stream` move bytes; `shared` is what can be read without asking.
//! - `address` converts ids and addresses: outside this folder no libp2p type is seen.
//!
//! **A peer is believed to be of this network once identify has said so.** Every
//! protocol's name carries the network too, so that before that moment, and to
//! whoever lies, there is nothing to speak about.

mod actor;
pub(crate) mod address;
mod batched;
pub(crate) mod behaviour;
mod connect;
mod dialing;
mod doorkeeper;
mod draft;
mod driver;
mod error;
mod event;
mod events;
mod exchange;
pub(crate) mod gossip;
mod handle;
mod nat;
mod neighbourhood;
mod pause;
mod providers;
mod queries;
mod reach;
mod report;
mod routing;
mod secure;
mod shared;
mod sockets;
pub(crate) mod start;
mod strangers;
mod stream;
mod survey;
pub(crate) mod traffic;

pub use draft::AdvertDraft;
pub use error::MeshError;
pub use event::{MeshEvent, PeerView, Standing};
pub use handle::Mesh;
pub use nat::{Judged, Mapping, Untold, is_public};
pub use report::{Observed, ReachView, RelayView, Transport, Upnp, socket_of};
pub use stream::{Incoming, MeshStream};
pub use survey::{Survey, Tried, bootstrap_peer};
pub use traffic::GossipTraffic;

/// The addresses of an advert that can be parsed and are worth dialling from a process
/// that is `local` or not. An advert is signed by its peer, which does not make sense
/// of what is in it.
fn parse_advertised(texts: &[String], local: bool) -> Vec<libp2p::Multiaddr> {
    let parsed = texts.iter().filter_map(|text| text.parse().ok());
    address::dialable(parsed, local)
}
