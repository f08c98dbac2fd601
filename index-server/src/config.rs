//! The index's configuration: one struct, nested by component, with defaults
//! that run on this machine alone. Whoever composes the process resolves file,
//! environment and flags into it; nothing here reads any of them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use embermesh_crypto::ids::{NetworkName, PeerId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::state::Settings;

/// The port that serves gRPC unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;

/// The port that serves `/metrics` unless told otherwise.
pub const DEFAULT_METRICS_PORT: u16 = 9420;

/// The shortest lease, in milliseconds: below it, the scheduling of a busy
/// machine looks like the death of a node.
const MIN_LEASE_MS: u64 = 50;

/// The longest lease, interval or grace, in milliseconds: what takes a day to be
/// noticed is not noticed.
const MAX_LEASE_MS: u64 = 24 * 3_600 * 1_000;

/// The most streams of jobs' changes, and the most connections of peers, at once: each
/// holds memory.
const MAX_OPEN: u64 = 1_000_000;

/// The longest life of a token, in seconds, which crypto enforces.
const MAX_TOKEN_LIFETIME_S: u64 = embermesh_crypto::token::MAX_LIFETIME_S;

/// Everything that an operator may choose about an index.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexConfig {
    /// Where the database lives. One index at a time.
    pub data_dir: PathBuf,
    /// The address that serves gRPC, with and without TLS.
    pub listen: SocketAddr,
    /// `host:port` of the TLS road as others reach it. Empty means the address
    /// that was bound.
    pub advertise: Vec<String>,
    /// The network that this index belongs to.
    pub network: NetworkName,
    /// Where the index is, as nodes say it; only shown.
    pub region: String,
    /// The libp2p side.
    pub mesh: MeshSection,
    /// Who may take part in the mesh, and reach this index with a proven key at all.
    #[serde(skip)]
    pub membership: embermesh_mesh::Membership,
    /// Prometheus.
    pub metrics: MetricsSection,
    /// How long a task is a node's.
    pub leases: LeaseSection,
    /// The keys that sign assignments.
    pub issuer: IssuerSection,
    /// How much the index takes on.
    pub limits: LimitSection,
}

/// How the index joins the mesh.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeshSection {
    /// Multiaddrs to listen on.
    pub listen: Vec<String>,
    /// Multiaddrs, each with `/p2p/…`, of other bootstrap peers.
    pub bootstrap: Vec<String>,
    /// Multiaddrs by which others reach this peer, where they differ from what
    /// it listens on.
    pub external: Vec<String>,
    /// Finds peers on the local network by multicast DNS.
    pub mdns: bool,
    /// Asks the router of the local network for a port, by UPnP.
    pub upnp: bool,
    /// How much of this process other peers of the mesh can take up.
    pub limits: embermesh_mesh::Limits,
}

/// Where Prometheus scrapes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    /// Whether `/metrics` is served at all.
    pub enabled: bool,
    /// The HTTP address of `/metrics`.
    pub listen: SocketAddr,
}

/// Times of leases and heartbeats, in milliseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseSection {
    /// How long a task stays a node's without a heartbeat that names it.
    pub lease_ms: u64,
    /// How often nodes send heartbeats.
    pub heartbeat_interval_ms: u64,
    /// How long an assignment waits to be presented before another is made.
    pub assign_grace_ms: u64,
    /// How much longer than a lease the nodes have after a restart of the index.
    pub reregistration_grace_ms: u64,
}

/// Keys, tokens and who may rotate them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerSection {
    /// Peer ids that may rotate the issuer key, deposit, and act for any account of
    /// the ledger, beside the index's own.
    pub administrators: Vec<PeerId>,
    /// How long a token is good for, in seconds; at most 600.
    pub token_lifetime_s: u64,
    /// How long one key signs, in seconds.
    pub rotate_after_s: u64,
    /// How long a signed key set is good for, in seconds.
    pub key_set_lifetime_s: u64,
}

/// Bounds on what the index holds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSection {
    /// The most jobs that have not ended.
    pub open_jobs: usize,
    /// The most jobs of one client that have not ended.
    pub open_jobs_per_client: usize,
    /// The most bytes of specs of jobs that have not ended.
    pub open_spec_bytes: usize,
    /// The most nodes known at once.
    pub nodes: usize,
    /// The most streams of jobs' changes at once, of all clients together.
    pub watches: usize,
    /// The most connections in plaintext at once, beside those of peers that have proven
    /// who they are.
    pub plain_connections: usize,
    /// The most connections of nodes and clients that have proven who they are.
    pub peer_connections: usize,
}

/// A value that cannot work.
#[derive(Debug, Error)]
pub enum InvalidConfig {
    /// A number outside its range.
    #[error("{key} is {value}: it must be {must}")]
    OutOfRange {
        /// The key, with dots.
        key: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        must: String,
    },
}

impl IndexConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// When a number is out of its range; the message names the key.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let leases = &self.leases;
        let issuer = &self.issuer;
        for (key, value, least) in [
            ("leases.lease_ms", leases.lease_ms, MIN_LEASE_MS),
            (
                "leases.heartbeat_interval_ms",
                leases.heartbeat_interval_ms,
                1,
            ),
            (
                "leases.assign_grace_ms",
                leases.assign_grace_ms,
                MIN_LEASE_MS,
            ),
            (
                "leases.reregistration_grace_ms",
                leases.reregistration_grace_ms,
                0,
            ),
        ] {
            at_least(key, value, least)?;
            at_most(key, value, MAX_LEASE_MS)?;
        }
        if leases.heartbeat_interval_ms > leases.lease_ms / 2 {
            return Err(InvalidConfig::OutOfRange {
                key: "leases.heartbeat_interval_ms",
                value: leases.heartbeat_interval_ms,
                must: format!("at most half of leases.lease_ms ({})", leases.lease_ms),
            });
        }
        at_least("issuer.token_lifetime_s", issuer.token_lifetime_s, 1)?;
        at_most(
            "issuer.token_lifetime_s",
            issuer.token_lifetime_s,
            MAX_TOKEN_LIFETIME_S,
        )?;
        at_least("issuer.rotate_after_s", issuer.rotate_after_s, 60)?;
        at_least("issuer.key_set_lifetime_s", issuer.key_set_lifetime_s, 60)?;
        at_least("limits.open_jobs", self.limits.open_jobs as u64, 1)?;
        at_least("limits.nodes", self.limits.nodes as u64, 1)?;
        let connections = self.mesh.limits.connections.into();
        at_least("mesh.limits.connections", connections, 1)?;
        let peers = self.limits.peer_connections as u64;
        at_least("limits.peer_connections", peers, 1)?;
        at_most("limits.peer_connections", peers, MAX_OPEN)?;
        at_most("limits.watches", self.limits.watches as u64, MAX_OPEN)
    }

    /// What the state machine needs of it.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            network: self.network.clone(),
            lease: Duration::from_millis(self.leases.lease_ms),
            heartbeat_interval: Duration::from_millis(self.leases.heartbeat_interval_ms),
            assign_grace: Duration::from_millis(self.leases.assign_grace_ms),
            reregistration_grace: Duration::from_millis(self.leases.reregistration_grace_ms),
            token_lifetime: Duration::from_secs(self.issuer.token_lifetime_s),
            rotate_after: Duration::from_secs(self.issuer.rotate_after_s),
            key_set_lifetime: Duration::from_secs(self.issuer.key_set_lifetime_s),
            administrators: self.issuer.administrators.clone(),
            open_jobs: self.limits.open_jobs,
            open_jobs_per_client: self.limits.open_jobs_per_client,
            open_spec_bytes: self.limits.open_spec_bytes,
            nodes: self.limits.nodes,
        }
    }
}

fn at_least(key: &'static str, value: u64, least: u64) -> Result<(), InvalidConfig> {
    if value < least {
        return Err(InvalidConfig::OutOfRange {
            key,
            value,
            must: format!("at least {least}"),
        });
    }
    Ok(())
}

fn at_most(key: &'static str, value: u64, most: u64) -> Result<(), InvalidConfig> {
    if value > most {
        return Err(InvalidConfig::OutOfRange {
            key,
            value,
            must: format!("at most {most}"),
        });
    }
    Ok(())
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("embermesh-index"),
            listen: loopback(DEFAULT_PORT),
            advertise: Vec::new(),
            network: NetworkName::default(),
            region: String::new(),
            mesh: MeshSection::default(),
            membership: embermesh_mesh::Membership::default(),
            metrics: MetricsSection::default(),
            leases: LeaseSection::default(),
            issuer: IssuerSection::default(),
            limits: LimitSection::default(),
        }
    }
}

impl Default for MeshSection {
    fn default() -> Self {
        Self {
            listen: vec![
                "/ip4/127.0.0.1/tcp/0".to_owned(),
                "/ip4/127.0.0.1/udp/0/quic-v1".to_owned(),
            ],
            bootstrap: Vec::new(),
            external: Vec::new(),
            mdns: false,
            upnp: false,
            limits: embermesh_mesh::Limits::default(),
        }
    }
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: loopback(DEFAULT_METRICS_PORT),
        }
    }
}

impl Default for LeaseSection {
    fn default() -> Self {
        let state = Settings::default();
        Self {
            lease_ms: millis(state.lease),
            heartbeat_interval_ms: millis(state.heartbeat_interval),
            assign_grace_ms: millis(state.assign_grace),
            reregistration_grace_ms: millis(state.reregistration_grace),
        }
    }
}

impl Default for IssuerSection {
    fn default() -> Self {
        let state = Settings::default();
        Self {
            administrators: Vec::new(),
            token_lifetime_s: state.token_lifetime.as_secs(),
            rotate_after_s: state.rotate_after.as_secs(),
            key_set_lifetime_s: state.key_set_lifetime.as_secs(),
        }
    }
}

impl Default for LimitSection {
    fn default() -> Self {
        let state = Settings::default();
        Self {
            open_jobs: state.open_jobs,
            open_jobs_per_client: state.open_jobs_per_client,
            open_spec_bytes: state.open_spec_bytes,
            nodes: state.nodes,
            watches: 10_000,
            plain_connections: 1024,
            peer_connections: 16_384,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut IndexConfig);

    /// What is said of a configuration with one change.
    fn refused(change: impl Fn(&mut IndexConfig)) -> String {
        let mut config = IndexConfig::default();
        config.validate().unwrap();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn numbers_without_end_are_refused_with_their_key_and_bound() {
        let day = MAX_LEASE_MS.to_string();
        let cases: [(Change, &str, &str); 7] = [
            (
                |config| config.leases.heartbeat_interval_ms = u64::MAX,
                "leases.heartbeat_interval_ms",
                &day,
            ),
            (
                |config| config.leases.lease_ms = u64::MAX,
                "leases.lease_ms",
                &day,
            ),
            (
                |config| config.leases.assign_grace_ms = u64::MAX,
                "leases.assign_grace_ms",
                &day,
            ),
            (
                |config| config.leases.reregistration_grace_ms = u64::MAX,
                "leases.reregistration_grace_ms",
                &day,
            ),
            (
                |config| config.limits.watches = usize::MAX,
                "limits.watches",
                "1000000",
            ),
            (
                |config| config.limits.peer_connections = usize::MAX,
                "limits.peer_connections",
                "1000000",
            ),
            (
                |config| config.issuer.token_lifetime_s = u64::MAX,
                "issuer.token_lifetime_s",
                "600",
            ),
        ];
        for (change, key, bound) in cases {
            let said = refused(change);
            assert!(said.contains(key) && said.contains(bound), "{said}");
        }
    }

    #[test]
    fn a_lease_has_room_for_two_heartbeats() {
        let said = refused(|config| {
            config.leases.heartbeat_interval_ms = config.leases.lease_ms / 2 + 1;
        });
        assert!(said.contains("leases.heartbeat_interval_ms"), "{said}");
        assert!(said.contains("half of leases.lease_ms"), "{said}");
    }
}
