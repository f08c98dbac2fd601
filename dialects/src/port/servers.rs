//! Server nodes of a foreign system: programs that take its jobs by its own calls, at an
//! address of their own where clients reach them too. None is a node of the mesh.

use std::{collections::BTreeMap, net::IpAddr};

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis, statement::DeviceKind};
use embermesh_job::lifecycle::JobState;
use serde::{Deserialize, Serialize};

use super::{
    Principal,
    accounts::Micros,
    jobs::{JobView, Submission},
};
use crate::{Failure, Profile};

/// A device of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerDevice {
    /// What drives it; nothing for what no job of ours can ask for.
    pub kind: Option<DeviceKind>,
    /// What it calls itself.
    pub name: String,
    /// Its memory, in bytes.
    pub memory: u64,
    /// How fast it says it is, in thousands of millions of operations a second; 0 where it
    /// does not say.
    pub score: f64,
}

/// What a server says of itself when it joins. Nothing of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerOffer {
    /// The id that it wants to be known by; empty where it leaves that to the index.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The form of the wire that it speaks.
    pub form: Profile,
    /// The port where clients reach it.
    pub port: u16,
    /// The port where it is assigned jobs.
    pub assign_port: u16,
    /// Its version, as the wire has it.
    pub version: String,
    /// Cores of the processor; 0 where it does not say.
    pub cores: u32,
    /// Memory, in bytes; 0 where it does not say.
    pub memory: u64,
    /// Its devices.
    pub devices: Vec<ServerDevice>,
    /// Where it is, in its owner's words.
    pub region: String,
    /// What an hour of it costs; nothing where it does not say.
    pub price: Option<Micros>,
    /// What it can run, in its own words.
    pub runtimes: Vec<String>,
}

/// A server that was taken in.
#[derive(Clone)]
pub struct Enrolled {
    /// The id by which it is known from now on.
    pub id: String,
    /// The key by which it verifies what its clients show: its own, and for ever the same.
    pub key: String,
}

/// A sign of life of a server.
#[derive(Clone, Debug, Default)]
pub struct ServerBeat {
    /// Memory that is free, in bytes; nothing where it does not say.
    pub free_memory: Option<u64>,
    /// The jobs that it has, as it was given them.
    pub jobs: Vec<String>,
}

/// A server as it is known now.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerView {
    /// What it has said of itself, with the id that it has.
    pub offer: ServerOffer,
    /// The host where it is: where it joined from.
    pub host: String,
    /// What an hour of it costs.
    pub price: Micros,
    /// Whether it has been heard of lately.
    pub live: bool,
    /// When it was last heard of.
    pub heard_at: Option<UnixMillis>,
    /// Memory that was free then, in bytes; nothing where it did not say.
    pub free_memory: Option<u64>,
    /// How many jobs it has.
    pub running: u32,
    /// How many more it would be given.
    pub free_places: u32,
}

/// The way to the server that has a job, and what opens its door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server.
    pub server: String,
    /// Where it is: `host:port`.
    pub endpoint: String,
    /// What it wants to be shown.
    pub token: String,
    /// Until when it takes that.
    pub expires_at: UnixMillis,
}

/// A job as a server takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What it is, in the form of the system's own wire.
    pub config: Bytes,
    /// Which of its inputs goes with it, where one does.
    pub data: Option<Digest>,
}

/// Which job a server speaks of, as it was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfServed {
    /// The server.
    pub server: String,
    /// The job.
    pub job: String,
}

/// How far a job is, as its server says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advance {
    /// From 0 to 1; nothing where it does not say.
    pub progress: Option<f64>,
    /// The pass over the data, from 1; 0 where it does not say.
    pub pass: u32,
    /// Measures by name.
    pub metrics: BTreeMap<String, f64>,
    /// Something that the job has written; may be empty.
    pub text: String,
    /// The port where its client reaches the server, where that is another than it said.
    pub port: Option<u16>,
}

/// How a job has ended, as its server says.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// `Succeeded`, `Failed` or `Cancelled`.
    pub state: JobState,
    /// The last measures by name.
    pub metrics: BTreeMap<String, f64>,
    /// What went wrong; may be empty.
    pub message: String,
    /// Where the server says that the weights are, and their hash and size by its word.
    pub weights: Option<Weights>,
}

impl Served {
    /// A job that has failed so.
    #[must_use]
    pub const fn failed(message: String) -> Self {
        Self {
            state: JobState::Failed,
            metrics: BTreeMap::new(),
            message,
            weights: None,
        }
    }
}

/// Weights that a server keeps itself. Nobody here has seen them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Where.
    pub uri: String,
    /// Their hash, of whatever kind.
    pub hash: String,
    /// Their size, in bytes.
    pub size: u64,
}

/// Server nodes, and jobs for them. An id belongs to whoever used it first.
#[tonic::async_trait]
pub trait Servers: Send + Sync + 'static {
    /// Makes a server of the caller's known, or known anew, at the address that the call
    /// comes from.
    ///
    /// # Errors
    /// `Denied` where the id is somebody else's; `Invalid` for what is no offer, or where
    /// nobody knows from where the call comes; `Exhausted`.
    async fn enroll(
        &self,
        who: &Principal,
        remote: Option<IpAddr>,
        offer: ServerOffer,
    ) -> Result<Enrolled, Failure>;

    /// Takes a sign of life of the caller's server, and says which of the jobs that it has
    /// are not its any more.
    ///
    /// # Errors
    /// `NotFound` for one that has not joined, `Denied` for somebody else's.
    async fn alive(
        &self,
        who: &Principal,
        server: &str,
        beat: ServerBeat,
    ) -> Result<Vec<String>, Failure>;

    /// Every server that is known, by id.
    async fn servers(&self) -> Result<Vec<ServerView>, Failure>;

    /// Takes a job on that a server may run where no node of the mesh does, if there is a
    /// form in which a server takes it.
    async fn take_on(
        &self,
        who: &Principal,
        job: Submission,
        package: Option<Package>,
    ) -> Result<JobView, Failure>;

    /// The way to the server that has a job of the caller's, if one has it whose clients
    /// may come.
    async fn entry(&self, who: &Principal, job: &str) -> Result<Option<Entry>, Failure>;
}

/// What servers say of the jobs that they have. One speaks only of those: `Denied` for
/// somebody else's server, `NotFound` for a job that it was never given, `Precondition`
/// for one that it had and has no more.
#[tonic::async_trait]
pub trait ServerReports: Send + Sync + 'static {
    /// A job is being worked on.
    async fn advanced(
        &self,
        who: &Principal,
        of: OfServed,
        advance: Advance,
    ) -> Result<(), Failure>;

    /// A job has ended. Said again, it is answered as before. Gives the transaction by
    /// which the server's owner was paid, where there is one.
    async fn served(
        &self,
        who: &Principal,
        of: OfServed,
        how: Served,
    ) -> Result<Option<String>, Failure>;
}

/// Every verb over servers.
pub trait ServerPort: Servers + ServerReports {}

impl<T: Servers + ServerReports> ServerPort for T {}
