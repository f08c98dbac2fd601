//! What the swarm speaks, and every setting of it that matters, with the reason.

use std::{convert::Infallible, error::Error, fmt::Display, num::NonZeroUsize, time::Duration};

use embermesh_crypto::ids::NetworkName;
use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder, Transport, allow_block_list, autonat,
    connection_limits::{self, ConnectionLimits},
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OptionalTransport},
        upgrade,
    },
    dcutr, identify,
    identity::Keypair,
    kad, mdns, memory_connection_limits, ping, pnet, quic, relay,
    swarm::{self, NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, upnp, yamux,
};
use libp2p_stream as stream;

use super::{
    MeshError, address, doorkeeper::Doorkeeper, gossip, providers::ProviderStore, secure::Secure,
    sockets::Sockets, traffic::Traffic,
};
use crate::config::{Limits, MeshConfig};

/// A connection without a stream on it is closed after this. libp2p's default of
/// ten seconds closes it between two uses of one client; gossip keeps its own alive.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Round trips are measured this often, by both ends, and a peer that died without a word
/// is noticed. What runs on a connection looks after itself: a stream of a job has the pings
/// of HTTP/2, QUIC those of its own.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A ping without an answer for this long means that the connection is dead.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams on one connection, each way. Also bounds what yamux buffers.
pub(crate) const MAX_STREAMS_PER_CONNECTION: u32 = 256;
/// Inbound streams of one connection whose protocol is not agreed on yet.
const MAX_NEGOTIATING_STREAMS: usize = 64;
/// A connection over TCP that has not come to streams by then is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes in flight on one QUIC stream: a credit, which takes memory only while bytes wait.
const QUIC_STREAM_WINDOW: u32 = 8 << 20;
/// Bytes in flight on one QUIC connection.
const QUIC_CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes of a Kademlia message. Ours carry peers and addresses, never values.
const KAD_PACKET_BYTES: usize = 16 * 1024;
/// A Kademlia query gives up after this.
pub(crate) const KAD_QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// The routing table is looked over this often (Kademlia, Maymounkov and Mazières 2002,
/// section 2.3). libp2p's default is five minutes: each time every peer dials a dozen others,
/// which in a mesh of a thousand is as much work as all else. What identify shows, and a peer
/// dialled by chance now and then, keep the table fresh meanwhile.
const KAD_BOOTSTRAP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Provider records are announced again this often. libp2p's default is 12 hours,
/// in which a mesh of machines that come and go has changed entirely.
const PROVIDE_INTERVAL: Duration = Duration::from_secs(20 * 60);
/// A provider record is believed this long: three announcements.
const PROVIDER_TTL: Duration = Duration::from_secs(60 * 60);
/// Disjoint paths of a Kademlia query: a lone hostile peer spoils one of them.
const KAD_PARALLELISM: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not zero");
/// Reservations that one peer has with a relay: one, and one that is renewed.
const RESERVATIONS_PER_PEER: usize = 2;
/// How long a reservation lasts unless it is renewed.
const RESERVATION_TIME: Duration = Duration::from_secs(60 * 60);
/// Circuits that one peer has open through a relay.
const CIRCUITS_PER_PEER: usize = 16;
/// How long a circuit may stand.
const CIRCUIT_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Peers whose addresses identify remembers after they have gone.
const IDENTIFY_CACHE: usize = 1024;

/// Everything the swarm speaks.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // The gates come first: they refuse a connection before the others see it.
    doorkeeper: Doorkeeper,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    members: Toggle<allow_block_list::Behaviour<allow_block_list::AllowedPeers>>,
    pub(crate) strangers: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) kad: kad::Behaviour<ProviderStore>,
    pub(crate) gossip: gossip::Gossip,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(crate) stream: stream::Behaviour,
    // How peers behind boxes are reached; see `reach`.
    relayed: relay::client::Behaviour,
    pub(crate) relay: relay::Behaviour,
    asks_whether_reachable: autonat::v2::client::Behaviour,
    says_who_is_reachable: autonat::v2::server::Behaviour,
    punch: dcutr::Behaviour,
    upnp: Toggle<upnp::tokio::Behaviour>,
}

/// What identify says we speak. A peer that says anything else is of another
/// network, or of none.
pub(crate) fn identify_protocol(network: &NetworkName) -> String {
    format!("{IDENTIFY_HEAD}{network}{IDENTIFY_TAIL}")
}

const IDENTIFY_HEAD: &str = "/embermesh/";
const IDENTIFY_TAIL: &str = "/1";

/// The network that an identify protocol names.
pub(crate) fn network_of(protocol: &str) -> Option<&str> {
    protocol
        .strip_prefix(IDENTIFY_HEAD)?
        .strip_suffix(IDENTIFY_TAIL)
}

/// Builds the swarm with all its transports. Needs a tokio runtime.
pub(crate) fn swarm(
    key: Keypair,
    config: &MeshConfig,
    traffic: &Traffic,
) -> Result<Swarm<Behaviour>, MeshError> {
    let failed = |error: &dyn Display| MeshError::Transport(error.to_string());
    let secret = config.membership.key().map(|key| key.pre_shared());
    let secure = Secure::new(&key).map_err(|error| failed(&error))?;
    // The builder's types name the transports, so the two endings cannot be one value.
    macro_rules! base {
        ($key:expr) => {
            SwarmBuilder::with_existing_identity($key)
                .with_tokio()
                .with_other_transport(|_| over_tcp(secure.clone(), secret))
                .map_err(|error| failed(&error))?
                .with_other_transport(|key| over_quic(key, secret.is_none()))
                .map_err(|error| failed(&error))?
        };
    }
    macro_rules! finish {
        ($builder:expr) => {
            $builder
                .with_relay_client(
                    |_: &Keypair| Ok::<_, Infallible>(secure.clone()),
                    yamux_config,
                )
                .map_err(|error| failed(&error))?
                .with_behaviour(|key, relayed| Behaviour::new(key, relayed, config, traffic))
                .map_err(|error| failed(&error))?
                .with_swarm_config(swarm_config)
                .build()
        };
    }
    match base!(key.clone()).with_dns() {
        Ok(builder) => Ok(finish!(builder)),
        Err(error) => {
            // A container without resolv.conf can still dial by number.
            tracing::warn!(%error, "no resolver: addresses with names cannot be dialled");
            Ok(finish!(base!(key)))
        }
    }
}

/// What a transport makes: a peer that has proven its key, and its streams.
type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// TCP with TLS and yamux. In a private mesh the network key encrypts below; to a peer
/// without it the first bytes of the handshake are noise.
fn over_tcp(secure: Secure, secret: Option<pnet::PreSharedKey>) -> Connections {
    // Small messages must not wait for each other.
    let config = tcp::Config::default().nodelay(true);
    let sockets = Sockets::new(config);
    match secret {
        None => secured(sockets, secure),
        Some(secret) => {
            let private =
                sockets.and_then(move |socket, _| pnet::PnetConfig::new(secret).handshake(socket));
            secured(private, secure)
        }
    }
}

/// TLS and yamux over whatever carries bytes.
fn secured<T, C>(sockets: T, secure: Secure) -> Connections
where
    T: Transport<Output = C> + Send + Unpin + 'static,
    T::Error: Send + Sync,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    sockets
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(secure)
        .multiplex(yamux_config())
        .timeout(HANDSHAKE_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

/// QUIC, unless a key lies below the transports: it has no place for one.
fn over_quic(key: &Keypair, is_public: bool) -> OptionalTransport<quic::tokio::Transport> {
    if is_public {
        let config = quic_config(quic::Config::new(key));
        OptionalTransport::some(quic::tokio::Transport::new(config))
    } else {
        OptionalTransport::none()
    }
}

pub(crate) fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS_PER_CONNECTION as usize);
    config
}

fn quic_config(mut config: quic::Config) -> quic::Config {
    config.handshake_timeout = Duration::from_secs(5);
    // A peer that died without a word is noticed as fast as over TCP.
    config.max_idle_timeout = 20_000;
    config.keep_alive_interval = Duration::from_secs(8);
    config.max_concurrent_stream_limit = MAX_STREAMS_PER_CONNECTION;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config.max_connection_data = QUIC_CONNECTION_WINDOW;
    config
}

pub(crate) fn swarm_config(config: swarm::Config) -> swarm::Config {
    config
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS)
}

impl Behaviour {
    pub(crate) fn new(
        key: &Keypair,
        relayed: relay::client::Behaviour,
        config: &MeshConfig,
        traffic: &Traffic,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let me = key.public().to_peer_id();
        let mdns = if config.mdns {
            Some(mdns::tokio::Behaviour::new(mdns::Config::default(), me)?)
        } else {
            None
        };
        let members = config.membership.members().map(|members| {
            let mut gate = allow_block_list::Behaviour::default();
            for member in members.iter() {
                gate.allow_peer(address::theirs(member));
            }
            gate
        });
        Ok(Self {
            doorkeeper: Doorkeeper::new(config.limits.pending, inbound(&config.limits)),
            limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
            memory: memory_connection_limits::Behaviour::with_max_bytes(
                usize::try_from(config.limits.memory.0).unwrap_or(usize::MAX),
            ),
            members: members.into(),
            strangers: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(identify_config(key, &config.network)),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(PING_INTERVAL)
                    .with_timeout(PING_TIMEOUT),
            ),
            kad: kademlia(me, config)?,
            gossip: gossip::behaviour(&config.network, traffic)?,
            mdns: mdns.into(),
            stream: stream::Behaviour::new(),
            relayed,
            relay: relay::Behaviour::new(me, relay_config(&config.limits)),
            asks_whether_reachable: autonat::v2::client::Behaviour::default(),
            says_who_is_reachable: autonat::v2::server::Behaviour::default(),
            punch: dcutr::Behaviour::new(me),
            upnp: config.upnp.then(upnp::tokio::Behaviour::default).into(),
        })
    }
}

/// What a relay carries; `reach` says when it offers itself. libp2p's defaults (two minutes, 128 KiB) are for the first words of two peers; a pair
/// whose boxes let no hole be punched does all of its work through a circuit.
fn relay_config(limits: &Limits) -> relay::Config {
    relay::Config {
        max_reservations: limits.reservations as usize,
        max_reservations_per_peer: RESERVATIONS_PER_PEER,
        reservation_duration: RESERVATION_TIME,
        max_circuits: limits.circuits as usize,
        max_circuits_per_peer: CIRCUITS_PER_PEER,
        max_circuit_duration: CIRCUIT_TIME,
        max_circuit_bytes: limits.circuit_bytes.0,
        ..relay::Config::default()
    }
}

/// Connections that others may make. A quarter of all is kept for what this process dials
/// itself, so that a crowd that dials in cannot cut it off from the mesh.
const fn inbound(limits: &Limits) -> u32 {
    limits.connections - limits.connections / 4
}

/// libp2p limits nothing by itself.
fn connection_limits(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending))
        .with_max_pending_outgoing(Some(limits.pending))
        .with_max_established_incoming(Some(inbound(limits)))
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
}

fn identify_config(key: &Keypair, network: &NetworkName) -> identify::Config {
    identify::Config::new(identify_protocol(network), key.public())
        .with_agent_version(format!("embermesh/{}", env!("CARGO_PKG_VERSION")))
        .with_interval(Duration::from_secs(300))
        // A peer whose address changes says so at once; off by default.
        .with_push_listen_addr_updates(true)
        .with_cache_size(IDENTIFY_CACHE)
}

fn kademlia(
    me: libp2p::PeerId,
    config: &MeshConfig,
) -> Result<kad::Behaviour<ProviderStore>, Box<dyn Error + Send + Sync>> {
    // A name of our own: the default is that of IPFS, and joins its network.
    let name = StreamProtocol::try_from_owned(format!("/embermesh/{}/kad/1", config.network))?;
    let mut kad = kad::Config::new(name);
    kad.disjoint_query_paths(true)
        .set_parallelism(KAD_PARALLELISM)
        .set_query_timeout(KAD_QUERY_TIMEOUT)
        .set_max_packet_size(KAD_PACKET_BYTES)
        .set_periodic_bootstrap_interval(Some(KAD_BOOTSTRAP_INTERVAL))
        // Only what identify has shown to be of this network comes into the table.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        // What strangers want stored is looked at first; see `ProviderStore`.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDE_INTERVAL))
        // No values are stored, so there is nothing to replicate, publish or cache.
        .set_record_ttl(None)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_caching(kad::Caching::Disabled);
    let mut behaviour = kad::Behaviour::with_config(me, ProviderStore::new(me), kad);
    // Left alone, libp2p stays a client until an external address is confirmed,
    // which on a LAN never happens, and nobody would hold the table.
    let mode = if config.kad_server {
        kad::Mode::Server
    } else {
        kad::Mode::Client
    };
    behaviour.set_mode(Some(mode));
    Ok(behaviour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identify_protocol_names_the_network() {
        let garden: NetworkName = "garden".parse().unwrap();
        assert_eq!(network_of(&identify_protocol(&garden)), Some("garden"));
        assert_eq!(network_of("ipfs/0.1.0"), None);
        assert_eq!(network_of("/embermesh/"), None);
    }
}
