//! The advert: what a peer says it can do, for a few minutes.

use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{Runtimes, Statement, short};
use crate::{NetworkName, PeerId, UnixMillis};

/// The longest life of an advert.
pub const MAX_ADVERT_LIFE: Duration = Duration::from_secs(300);
/// The most devices that one advert names.
const MAX_DEVICES: usize = 8;
/// The most addresses of one kind that one advert names.
const MAX_ADDRESSES: usize = 6;
/// The most resident models that one advert names; a node may have more.
pub const MAX_MODELS: usize = 8;
/// The longest name of a resident model in an advert, in bytes.
pub const MAX_MODEL_NAME: usize = 24;
/// Bytes of a resident model's digest in an advert.
pub const MODEL_DIGEST: usize = 8;
/// The longest text in an advert, in bytes.
pub const MAX_ADVERT_TEXT: usize = 128;

/// A peer's signed, expiring statement of what it can do. The highest
/// sequence number wins; two different adverts with one number prove a cheat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Advert {
    /// Who says it.
    #[n(0)]
    pub peer: PeerId,
    /// The mesh that the peer belongs to.
    #[n(1)]
    pub network: NetworkName,
    /// Rises with each advert of this peer, across restarts too.
    #[n(2)]
    pub sequence: u64,
    /// When it was signed, by the peer's clock.
    #[n(3)]
    pub issued_at: UnixMillis,
    /// When it lapses: at most [`MAX_ADVERT_LIFE`] after it was signed.
    #[n(4)]
    pub expires_at: UnixMillis,
    /// What kind of peer it is.
    #[n(5)]
    pub role: Role,
    /// The version of the software.
    #[n(6)]
    pub version: String,
    /// Multiaddrs of the libp2p road.
    #[n(7)]
    pub mesh_addresses: Vec<String>,
    /// `host:port` of the mutual-TLS road.
    #[n(8)]
    pub tls_addresses: Vec<String>,
    /// Where it is, in the owner's words; may be empty.
    #[n(9)]
    pub region: String,
    /// What an hour of the node costs, in millionths of a unit.
    #[n(10)]
    pub price_micros_per_hour: u64,
    /// What it offers, as measured.
    #[n(11)]
    pub devices: Vec<DeviceAdvert>,
    /// How many tasks it runs at once.
    #[n(12)]
    pub slots: u32,
    /// How many more it would take now.
    #[n(13)]
    pub free_slots: u32,
    /// How many wait at the node.
    #[n(14)]
    pub queued: u32,
    /// Whether it takes no new tasks because it is about to stop.
    #[n(15)]
    pub draining: bool,
    /// Which programs of clients its owner lets run; empty where there are none.
    #[n(16)]
    pub runtimes: Runtimes,
    /// Models that are resident there and can be asked.
    #[n(17)]
    #[cbor(skip_if = "Vec::is_empty", default)]
    pub models: Vec<ModelAdvert>,
    /// How many more resident models it would take now.
    #[n(18)]
    #[cbor(skip_if = "is_zero", default)]
    pub free_residents: u32,
    /// Which fences around a job's process its system lacks, in words; nothing when it
    /// has them all.
    #[n(19)]
    pub missing_fences: Option<String>,
}

/// What an older peer leaves out.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the codec passes references"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A resident model in few bytes; its node says more of it to whoever may ask.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ModelAdvert {
    /// The beginning of its name, [`MAX_MODEL_NAME`] bytes at most.
    #[n(0)]
    pub name: String,
    /// The first bytes of the digest of the model, or of its weights.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub digest: [u8; MODEL_DIGEST],
    /// Memory that it takes, in MiB, as measured.
    #[n(2)]
    pub memory_mib: u32,
}

/// What kind of peer an advert is of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs jobs.
    #[n(0)]
    Node,
    /// Issues assignments.
    #[n(1)]
    Index,
}

/// One device of a node, as its probe measured it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceAdvert {
    /// What the device calls itself.
    #[n(0)]
    pub name: String,
    /// Which backend drives it.
    #[n(1)]
    pub kind: DeviceKind,
    /// Memory that a job can have, in bytes.
    #[n(2)]
    pub memory_bytes: u64,
    /// Measured speed of a matrix product, in millions of floating-point
    /// operations per second.
    #[n(3)]
    pub mflops: u64,
    /// Why it is not offered, if it is not.
    #[n(4)]
    pub fault: Option<String>,
}

/// The backends that a node can have.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The processor.
    #[n(0)]
    Cpu,
    /// A GPU through wgpu.
    #[n(1)]
    Wgpu,
    /// A GPU through CUDA.
    #[n(2)]
    Cuda,
}

impl DeviceKind {
    /// The word for it in files, flags and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Statement for Advert {
    const DOMAIN: &'static str = "embermesh/advert/v1";
    const MAX_LEN: usize = 1024;

    fn signer(&self) -> PeerId {
        self.peer
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.expires_at <= self.issued_at {
            return Err("an advert expires after it was issued");
        }
        if self.expires_at.since(self.issued_at) > MAX_ADVERT_LIFE {
            return Err("an advert lives five minutes at most");
        }
        if self.devices.len() > MAX_DEVICES {
            return Err("an advert names too many devices");
        }
        if self.mesh_addresses.len() > MAX_ADDRESSES || self.tls_addresses.len() > MAX_ADDRESSES {
            return Err("an advert names too many addresses");
        }
        let texts = [&self.version, &self.region];
        let devices = self.devices.iter().map(|device| &device.name);
        let faults = self
            .devices
            .iter()
            .filter_map(|device| device.fault.as_ref());
        let addresses = self.mesh_addresses.iter().chain(&self.tls_addresses);
        if !short(
            texts
                .into_iter()
                .chain(devices)
                .chain(faults)
                .chain(&self.missing_fences)
                .chain(addresses),
            MAX_ADVERT_TEXT,
        ) {
            return Err("a text in an advert is too long");
        }
        if self.models.len() > MAX_MODELS {
            return Err("an advert names too many models");
        }
        if !short(self.models.iter().map(|model| &model.name), MAX_MODEL_NAME) {
            return Err("the name of a model in an advert is too long");
        }
        if self.free_slots > self.slots {
            return Err("an advert has more free slots than slots");
        }
        Ok(())
    }
}
