//! What the book holds: servers, jobs, leases, names.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    cyxwiz::server::Server,
    port::{
        Principal,
        servers::{Package, ServerOffer},
    },
};
use embermesh_job::{spec::JobSpec, units::MicroUnits};
use serde::{Deserialize, Serialize};

use super::SILENCE;

/// A server that is known, by its id.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) owner: String,
    pub(crate) offer: ServerOffer,
    /// Where it joined from.
    pub(crate) host: IpAddr,
    pub(crate) heard: Option<UnixMillis>,
    /// When that it lives was written down last.
    pub(crate) kept: UnixMillis,
    /// Until when it is left alone.
    pub(crate) shunned: Option<UnixMillis>,
    pub(crate) free_memory: Option<u64>,
    /// What it shall stop, and since when.
    pub(crate) stops: BTreeMap<String, UnixMillis>,
}

/// A job that is with a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) server: String,
    /// What the job is called there.
    pub(crate) name: String,
    /// When the server was asked to take it.
    pub(crate) given: UnixMillis,
    /// When the server said that it does.
    pub(crate) taken: Option<UnixMillis>,
    /// When the server spoke of it last.
    pub(crate) seen: UnixMillis,
    /// The port where its owner reaches the server.
    pub(crate) port: u16,
    /// What an hour costs.
    pub(crate) price: MicroUnits,
}

/// A job that waits, or is with a server.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) owner: Principal,
    /// What its owner calls it.
    pub(crate) id: String,
    pub(crate) spec: Arc<JobSpec>,
    pub(crate) package: Package,
    pub(crate) budget: Option<MicroUnits>,
    /// The hold that its budget is in.
    pub(crate) hold: Option<String>,
    /// What names its movements in the ledger: drawn once, for this job alone.
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) lost: u32,
    pub(crate) lease: Option<Lease>,
}

/// A name that a server was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The job.
    pub(crate) number: i64,
    pub(crate) at: UnixMillis,
    /// The server has said how it ended: what it was paid by, if it was.
    pub(crate) end: Option<Option<String>>,
}

/// What a server speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// A job that it has.
    Has(i64),
    /// One that it has ended: what it was paid by, if it was.
    Ended(Option<String>),
}

/// A job for a server.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) server: Server,
    pub(crate) attempt: u32,
    pub(crate) task: Task,
    pub(crate) lease: Lease,
}

/// A job that was with a server which is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lapsed {
    pub(crate) number: i64,
    pub(crate) server: String,
    /// Whether it may be given to another.
    pub(crate) again: bool,
}

/// How long ago something was.
pub(super) fn since(now: UnixMillis, then: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(then.0))
}

impl Known {
    /// Whether it has been heard of lately.
    pub(super) fn live(&self, now: UnixMillis) -> bool {
        self.heard.is_some_and(|heard| since(now, heard) <= SILENCE)
    }

    /// What an hour of it costs.
    pub(super) fn price(&self, usual: MicroUnits) -> MicroUnits {
        self.offer.price.map_or(usual, MicroUnits)
    }
}
