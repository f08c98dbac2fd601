//! The node's configuration: one struct, with defaults that run on this machine
//! alone. Whoever composes the process resolves file, environment and flags into
//! it; nothing here reads any of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use embermesh_compute::device::{DeviceChoice, compiled_in};
use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    statement::Runtime,
};
use embermesh_dialects::{
    Dialect,
    network::{InvalidNetwork, Network},
};
use embermesh_job::{
    turns::{Quota, Rules},
    units::{Bytes, MicroUnits, Millis},
};
use embermesh_mesh::{Limits, Membership, MeshConfig, road::Target};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::origins::OriginsConfig;

/// The most copies of a checkpoint beside the node's own.
pub const MAX_REPLICAS: u32 = 8;

/// The most tasks that run on one device at once.
pub const MAX_SLOTS: u32 = 64;

/// The most models that are resident on a node at once.
pub const MAX_RESIDENTS: u32 = 64;

/// The most indexes that a node registers with.
pub const MAX_INDEXES: usize = 8;

/// The most devices that a node offers.
pub const MAX_DEVICES: usize = 16;

/// The least that a job can be given, in bytes.
const MIN_MEMORY: u64 = 16 << 20;

/// The least time that ended attempts are remembered, in milliseconds: longer than
/// a token lives, so that none can be used twice.
const MIN_KEEP_ENDED_MS: u64 = 20 * 60 * 1000;

/// The most jobs that wait at a node.
const MAX_QUEUE: u64 = 4096;

/// The longest span over which use is counted, in milliseconds.
const MAX_WINDOW_MS: u64 = 30 * 86_400_000;

/// The longest that a task waits for its client's data, in milliseconds: it holds a
/// device meanwhile.
const MAX_DATA_WAIT_MS: u64 = 24 * 3600 * 1000;

/// Everything that an operator may choose about a node.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The network that this node belongs to.
    pub network: NetworkName,
    /// Where its database and its blobs live. One node at a time.
    pub data_dir: PathBuf,
    /// Multiaddrs of the mesh to listen on, TCP and QUIC.
    pub listen: Vec<String>,
    /// The address that serves gRPC over TLS; port 0 takes a free one.
    pub tls_listen: SocketAddr,
    /// `host:port` of the TLS road as others reach it. Empty means the address
    /// that was bound.
    pub advertise: Vec<String>,
    /// Multiaddrs by which others reach this node, where they differ from what
    /// it listens on.
    pub external: Vec<String>,
    /// Multiaddrs, each with `/p2p/…`, of peers to join the mesh through.
    pub bootstrap: Vec<String>,
    /// Finds peers on the local network by multicast DNS.
    pub mdns: bool,
    /// Asks the router of the local network for a port, by UPnP.
    pub upnp: bool,
    /// Indexes to register with: `host:port`, with `/p2p/<peer id>` behind it to
    /// take no other. What they issue is trusted.
    pub indexes: Vec<String>,
    /// Keys of this node's owner: their jobs go first, and they may issue assignments
    /// to anybody.
    pub owners: Vec<PeerId>,
    /// Client keys that may issue assignments to themselves.
    pub allow: Vec<PeerId>,
    /// Lets every client issue assignments to itself.
    pub open: bool,
    /// Client keys that neither a grant of an owner nor `open` lets in.
    pub deny: Vec<PeerId>,
    /// What clients may have whom only `open` lets in.
    pub guests: GuestsConfig,
    /// How many jobs may wait here that no index has given.
    pub queue: u32,
    /// Devices to offer: "cpu", "wgpu:0", "cuda:0".
    pub devices: Vec<DeviceChoice>,
    /// How many tasks run on one device at once.
    pub slots: u32,
    /// The most memory of one task. 0 means three quarters of the machine's,
    /// divided by the number of slots.
    pub memory: Bytes,
    /// How many models may be resident at once; 0 keeps none. They take no slot, and
    /// share the memory of all slots with the tasks that run in these.
    pub residents: u32,
    /// Threads of one task; 0 means one per core.
    pub threads: u32,
    /// Where the node is, as its owner names it.
    pub region: String,
    /// What an hour costs.
    pub price: MicroUnits,
    /// How many other nodes keep a copy of each checkpoint and input.
    pub checkpoint_replicas: u32,
    /// The most bytes of blobs on the disk.
    pub blob_quota: Bytes,
    /// How long running tasks have, once the node is asked to stop, to finish or
    /// to come to their next checkpoint.
    pub drain_timeout: Millis,
    /// How to start a worker: a program and the words before its own flags.
    /// Empty means this executable with the word `worker`.
    pub worker_command: Vec<String>,
    /// How long ended tasks can still be attached to and their artifacts are
    /// kept for certain.
    pub keep_ended: Millis,
    /// How much of this process other peers of the mesh can take up.
    pub limits: Limits,
    /// Who may take part in the mesh, and reach this node at all.
    #[serde(skip)]
    pub membership: Membership,
    /// How long a task waits for data that stays with its client, and whose client
    /// gives none.
    pub data_wait: Millis,
    /// Where the node may fetch inputs that nobody sends.
    pub origins: OriginsConfig,
    /// Folders whose files jobs may read, by the name that jobs know them by.
    pub shared: BTreeMap<String, PathBuf>,
    /// Which programs of clients may run here, beside the node's own work.
    pub runtimes: AllowedRuntimes,
    /// Foreign systems whose clients may come to this node: "cyxwiz", "titancompute",
    /// "dim", "hivemind". Their clients have no keys, so a token alone is enough. With
    /// "cyxwiz" the owner has a daemon of his own on this machine, by `owner.token` in
    /// `data_dir`.
    pub dialects: Vec<Dialect>,
    /// Networks, such as "10.0.0.0/8", from which they may come without a key beside
    /// this machine. What they say there is not encrypted.
    pub dialects_from: Vec<String>,
}

/// What each client may have of an open node whom its owner does not know. 0 is no
/// limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuestsConfig {
    /// Tasks at once.
    pub tasks: u32,
    /// Memory of one task.
    pub memory: Bytes,
    /// Time on the node within the window, all tasks together.
    pub time: Millis,
    /// Over how long time is counted, for everybody.
    pub window: Millis,
    /// Jobs that wait at once, of any one client.
    pub queue: u32,
    /// Holds clients whom an index has sent to the same, each over all indexes together.
    pub indexed: bool,
}

impl Default for GuestsConfig {
    fn default() -> Self {
        Self {
            tasks: 4,
            memory: Bytes(0),
            time: Millis(12 * 3_600_000),
            window: Millis(24 * 3_600_000),
            queue: 8,
            indexed: false,
        }
    }
}

impl GuestsConfig {
    /// The rules of a node at which so many may wait.
    pub(crate) fn rules(&self, queue: u32) -> Rules {
        Rules {
            guests: Quota {
                tasks: self.tasks,
                memory: self.memory,
                time: self.time,
            },
            window: self.window,
            queue: queue as usize,
            queue_each: self.queue as usize,
        }
    }
}

/// Which programs of clients the owner lets run. None without the owner's word: a
/// sandbox is good, and no program is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowedRuntimes {
    /// WebAssembly modules for WASI preview 1.
    pub wasm: bool,
    /// Python programs, with the system's Python in a sandbox of bubblewrap.
    pub python: bool,
}

impl AllowedRuntimes {
    /// Whether one is allowed.
    #[must_use]
    pub const fn has(self, runtime: Runtime) -> bool {
        match runtime {
            Runtime::Wasm => self.wasm,
            Runtime::Python => self.python,
        }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        let mesh = MeshConfig::default();
        Self {
            network: NetworkName::default(),
            data_dir: PathBuf::from("embermesh-node"),
            listen: mesh.listen,
            tls_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: Vec::new(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            upnp: false,
            indexes: Vec::new(),
            owners: Vec::new(),
            allow: Vec::new(),
            open: false,
            deny: Vec::new(),
            guests: GuestsConfig::default(),
            queue: 64,
            devices: compiled_in(),
            slots: 1,
            memory: Bytes(0),
            residents: 1,
            threads: 0,
            region: String::new(),
            price: MicroUnits(0),
            checkpoint_replicas: 1,
            blob_quota: Bytes(20 << 30),
            drain_timeout: Millis(30_000),
            worker_command: Vec::new(),
            keep_ended: Millis(7 * 86_400_000),
            limits: mesh.limits,
            membership: mesh.membership,
            data_wait: Millis(600_000),
            origins: OriginsConfig::default(),
            shared: BTreeMap::new(),
            runtimes: AllowedRuntimes::default(),
            dialects: Vec::new(),
            dialects_from: Vec::new(),
        }
    }
}

/// A value that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidConfig {
    /// A number or a list outside its range.
    #[error("`{key}` is {value}: it must be {must}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        must: String,
    },
    /// A device that would be counted as two.
    #[error("`devices` names {device} twice: name each once, and raise `slots` to run more on it")]
    DeviceTwice {
        /// The device.
        device: DeviceChoice,
    },
    /// An index that is not written as one.
    #[error(
        "`indexes` has {text:?}, which is not host:port: {reason}; write 127.0.0.1:7420 or 127.0.0.1:7420/p2p/<peer id>"
    )]
    Index {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An origin or a shared folder that is not written as one.
    #[error("`{key}` has {text:?}: {reason}")]
    Origin {
        /// The key.
        key: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it, or the cure.
        reason: String,
    },
    /// A foreign system of which a node serves nothing.
    #[error("`dialects` has {0}, of which a node serves nothing: its place is the index")]
    Dialect(Dialect),
    /// A network that is not written as one.
    #[error("`dialects_from`: {0}")]
    Network(#[from] InvalidNetwork),
    /// The worker cannot be found.
    #[error("the worker cannot be started: {0}; set `worker_command`")]
    Worker(String),
}

impl NodeConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// When a value cannot work; the message names its key.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        within("slots", self.slots.into(), 1, MAX_SLOTS.into())?;
        within("residents", self.residents.into(), 0, MAX_RESIDENTS.into())?;
        let replicas = self.checkpoint_replicas.into();
        within("checkpoint_replicas", replicas, 0, MAX_REPLICAS.into())?;
        let devices = self.devices.len() as u64;
        within("devices", devices, 1, MAX_DEVICES as u64)?;
        once_each(&self.devices)?;
        within("indexes", self.indexes.len() as u64, 0, MAX_INDEXES as u64)?;
        if self.memory.0 != 0 {
            within("memory", self.memory.0, MIN_MEMORY, u64::MAX)?;
        }
        within("blob_quota", self.blob_quota.0, 1 << 20, u64::MAX)?;
        within("keep_ended", self.keep_ended.0, MIN_KEEP_ENDED_MS, u64::MAX)?;
        let connections = self.limits.connections.into();
        within("data_wait", self.data_wait.0, 1000, MAX_DATA_WAIT_MS)?;
        self.origins.validate()?;
        within("queue", self.queue.into(), 1, MAX_QUEUE)?;
        within("guests.queue", self.guests.queue.into(), 1, MAX_QUEUE)?;
        within("guests.window", self.guests.window.0, 1000, MAX_WINDOW_MS)?;
        within("limits.connections", connections, 1, u32::MAX.into())?;
        if self.dialects.contains(&Dialect::Zisk) {
            return Err(InvalidConfig::Dialect(Dialect::Zisk));
        }
        self.foreign_networks()?;
        self.index_targets().map(|_| ())
    }

    /// Where clients of foreign systems may come from beside this machine.
    pub(crate) fn foreign_networks(&self) -> Result<Vec<Network>, InvalidConfig> {
        let networks = self.dialects_from.iter().map(|text| Ok(text.parse()?));
        networks.collect()
    }

    /// Whether the port takes plaintext: where foreign clients may come, and else on
    /// loopback alone, for health.
    pub(crate) fn plaintext(&self) -> Option<bool> {
        (!self.dialects.is_empty()).then_some(true)
    }

    /// The indexes as something to connect to.
    ///
    /// # Errors
    /// When one is not written as `host:port` or `host:port/p2p/<peer id>`.
    pub fn index_targets(&self) -> Result<Vec<Target>, InvalidConfig> {
        self.indexes.iter().map(|text| index_target(text)).collect()
    }

    /// How long a drain may take.
    #[must_use]
    pub fn drain_time(&self) -> Duration {
        Duration::from_millis(self.drain_timeout.0)
    }

    /// How it takes part in the mesh.
    #[must_use]
    pub fn mesh(&self) -> MeshConfig {
        MeshConfig {
            network: self.network.clone(),
            listen: self.listen.clone(),
            external: self.external.clone(),
            bootstrap: self.bootstrap.clone(),
            mdns: self.mdns,
            upnp: self.upnp,
            kad_server: true,
            membership: self.membership.clone(),
            limits: self.limits.clone(),
        }
    }
}

fn index_target(text: &str) -> Result<Target, InvalidConfig> {
    let invalid = |reason: &dyn std::fmt::Display| InvalidConfig::Index {
        text: text.to_owned(),
        reason: reason.to_string(),
    };
    let (address, peer) = match text.split_once("/p2p/") {
        Some((address, peer)) => {
            let peer: PeerId = peer.parse().map_err(|error| invalid(&error))?;
            (address, Some(peer))
        }
        None => (text, None),
    };
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| invalid(&"the port is missing"))?;
    if host.is_empty() || host.contains('/') {
        return Err(invalid(&"the host is missing"));
    }
    if port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(invalid(&"the port is not from 1 to 65535"));
    }
    Ok(Target {
        peer,
        tls: vec![address.to_owned()],
        mesh: Vec::new(),
    })
}

/// A slot is given back to the device that it names, so that each has one name.
fn once_each(devices: &[DeviceChoice]) -> Result<(), InvalidConfig> {
    let mut seen = BTreeSet::new();
    match devices.iter().find(|device| !seen.insert(**device)) {
        None => Ok(()),
        Some(&device) => Err(InvalidConfig::DeviceTwice { device }),
    }
}

fn within(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), InvalidConfig> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let must = if most == u64::MAX {
        format!("at least {least}")
    } else {
        format!("from {least} to {most}")
    };
    Err(InvalidConfig::OutOfRange { key, value, must })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_on_loopback() {
        let config = NodeConfig::default();
        config.validate().unwrap();
        assert!(config.tls_listen.ip().is_loopback());
        assert!(config.listen.iter().all(|at| at.contains("127.0.0.1")));
        assert!(!config.open && config.allow.is_empty());
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = serde_json::from_str::<NodeConfig>(r#"{"slotz": 2}"#).unwrap_err();
        assert!(error.to_string().contains("slotz"), "{error}");
    }

    #[test]
    fn programs_of_clients_run_where_the_owner_says_so() {
        let config = NodeConfig::default();
        assert!(
            Runtime::ALL
                .iter()
                .all(|runtime| !config.runtimes.has(*runtime))
        );
        let config: NodeConfig = serde_json::from_str(r#"{"runtimes": {"python": true}}"#).unwrap();
        assert!(config.runtimes.has(Runtime::Python) && !config.runtimes.has(Runtime::Wasm));
        let unknown = serde_json::from_str::<NodeConfig>(r#"{"runtimes": {"ruby": true}}"#);
        assert!(unknown.unwrap_err().to_string().contains("ruby"));
    }

    #[test]
    fn foreign_clients_come_where_the_owner_says_so() {
        let config = NodeConfig::default();
        assert_eq!((config.plaintext(), config.dialects.len()), (None, 0));
        let text = r#"{"dialects": ["cyxwiz", "dim"], "dialects_from": ["10.0.0.0/8"]}"#;
        let config: NodeConfig = serde_json::from_str(text).unwrap();
        config.validate().unwrap();
        assert_eq!(config.plaintext(), Some(true));
        let zisk: NodeConfig = serde_json::from_str(r#"{"dialects": ["zisk"]}"#).unwrap();
        let error = zisk.validate().unwrap_err().to_string();
        assert!(error.contains("zisk"), "{error}");
        let bad: NodeConfig = serde_json::from_str(r#"{"dialects_from": ["ten"]}"#).unwrap();
        let error = bad.validate().unwrap_err().to_string();
        assert!(error.contains("dialects_from"), "{error}");
    }

    #[test]
    fn units_are_written_as_people_write_them() {
        let text = r#"{"memory": "512 MiB", "drain_timeout": "10s", "devices": ["cpu"]}"#;
        let config: NodeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.memory, Bytes(512 << 20));
        assert_eq!(config.drain_time(), Duration::from_secs(10));
    }

    #[test]
    fn the_limits_reach_the_mesh() {
        let text = r#"{"limits": {"connections": 7, "memory": "64 MiB"}}"#;
        let config: NodeConfig = serde_json::from_str(text).unwrap();
        config.validate().unwrap();
        let limits = config.mesh().limits;
        assert_eq!((limits.connections, limits.memory), (7, Bytes(64 << 20)));
        assert_eq!(limits.pending, Limits::default().pending);
        let none: NodeConfig = serde_json::from_str(r#"{"limits": {"connections": 0}}"#).unwrap();
        let error = none.validate().unwrap_err().to_string();
        assert!(error.contains("limits.connections"), "{error}");
    }

    #[test]
    fn indexes_are_addresses_with_or_without_a_key() {
        let peer = embermesh_crypto::Keypair::from_seed(&[1; 32]).peer_id();
        let config = NodeConfig {
            indexes: vec!["127.0.0.1:7420".into(), format!("[::1]:7420/p2p/{peer}")],
            ..NodeConfig::default()
        };
        let targets = config.index_targets().unwrap();
        assert_eq!(targets[0].peer, None);
        assert_eq!(targets[1].peer, Some(peer));
        assert_eq!(targets[1].tls, ["[::1]:7420"]);
        for bad in [
            "",
            "127.0.0.1",
            ":7420",
            "host:0",
            "host:99999",
            "http://h:1",
            "h:1/p2p/x",
        ] {
            let refused = index_target(bad).unwrap_err();
            assert!(refused.to_string().contains("indexes"), "{refused}");
        }
    }

    #[test]
    fn numbers_out_of_range_name_their_key() {
        let config = NodeConfig {
            slots: 0,
            ..NodeConfig::default()
        };
        assert!(config.validate().unwrap_err().to_string().contains("slots"));
        let config = NodeConfig {
            residents: MAX_RESIDENTS + 1,
            ..NodeConfig::default()
        };
        let refused = config.validate().unwrap_err().to_string();
        assert!(refused.contains("residents"), "{refused}");
    }

    #[test]
    fn a_device_is_named_once_however_it_is_written() {
        let named = |devices: &str| {
            let text = format!(r#"{{"devices": {devices}}}"#);
            serde_json::from_str::<NodeConfig>(&text).unwrap()
        };
        named(r#"["cpu", "wgpu", "wgpu:1", "cuda"]"#)
            .validate()
            .unwrap();
        for (twice, device) in [
            (r#"["cpu", "wgpu:0", "cpu"]"#, "cpu"),
            (r#"["wgpu", "wgpu:0"]"#, "wgpu:0"),
        ] {
            let refused = named(twice).validate().unwrap_err().to_string();
            assert!(refused.contains(&format!("{device} twice")), "{refused}");
        }
    }
}
