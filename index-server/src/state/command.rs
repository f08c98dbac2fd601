//! What the state machine can be asked, and what it answers.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId},
    statement::{Advert, Signed, Verified},
};
use embermesh_job::{
    address::PeerAddress,
    assignment::{NodeAssignment, TaskKey},
    event::Event,
    ledger::{Ask, Balance, Key, Seen, Transaction},
    order::{Order, Report},
    reservation::{ReservationId, ReserveAsk},
    spec::JobSpec,
    units::{MicroUnits, Millis},
    wire::{Deployment, Quoted, ReservationView},
};

use super::JobSnapshot;

/// A job to take on. The spec has been parsed and validated.
#[derive(Clone, Debug)]
pub struct Submit {
    /// The caller's proven key.
    pub client: PeerId,
    /// What the job is.
    pub spec: JobSpec,
    /// The exact canonical bytes of the spec.
    pub canonical: Bytes,
    /// Their digest.
    pub digest: Digest,
    /// The client's name for this submit.
    pub idempotency: [u8; 16],
    /// The most that the job may cost; without one it may cost nothing.
    pub budget: Option<MicroUnits>,
    /// The client may have another index take the job if it hears no answer: until it is
    /// heard of again, no node is ordered to run it.
    pub tentative: bool,
}

/// Something that moves money in the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The caller's proven key.
    pub caller: PeerId,
    /// The caller's name for it.
    pub key: Key,
    /// What is asked.
    pub ask: Ask,
    /// What the store knows of the key.
    pub seen: Seen,
}

/// What a node says of one of its tasks in a heartbeat.
#[derive(Clone, Debug)]
pub struct TaskHeartbeat {
    /// The attempt.
    pub key: TaskKey,
    /// The newest event, where there is one.
    pub latest: Option<Event>,
    /// Whether the task stands still by the client's wish.
    pub paused: bool,
}

/// One thing asked of the index.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take on a job.
    Submit(Box<Submit>),
    /// Show jobs that are in memory as a list has them: without spec, journal and
    /// the reasons of placement. The others are left out.
    Show {
        /// Which.
        jobs: Vec<JobId>,
    },
    /// Show a job, with its assignment when the caller owns it and the attempt
    /// is not the one that the caller knows.
    Watch {
        /// Which.
        job: JobId,
        /// The caller's proven key.
        caller: PeerId,
        /// The last attempt whose assignment the caller was given.
        known: Option<Epoch>,
    },
    /// End a job.
    Cancel {
        /// Which.
        job: JobId,
        /// The caller's proven key.
        caller: PeerId,
    },
    /// A fresh token for the attempt that runs now.
    Renew {
        /// Which.
        job: JobId,
        /// The attempt that the caller believes in; zero for whichever it is.
        epoch: Epoch,
        /// The caller's proven key.
        caller: PeerId,
    },
    /// Void every token of a job so far.
    Revoke {
        /// Which.
        job: JobId,
        /// The caller's proven key.
        caller: PeerId,
    },
    /// Sign with the next key from now on.
    RotateIssuerKey {
        /// The caller's proven key.
        caller: PeerId,
    },
    /// The signed key set.
    KeySet,
    /// Some of the nodes known, in the order of their keys.
    Nodes {
        /// Only those after this one.
        after: Option<PeerId>,
        /// At most so many.
        most: usize,
    },
    /// The deployments that the caller may ask.
    Deployments {
        /// The caller's proven key.
        caller: PeerId,
    },
    /// A token by which the caller may ask a deployment.
    PermitAsk {
        /// Which.
        job: JobId,
        /// The caller's proven key.
        caller: PeerId,
    },
    /// Move money. Who may do what is in [`embermesh_job::ledger`]; the index's own
    /// key and its administrators may act for any account.
    Enter(Box<Entry>),
    /// What is in an account: for its owner and administrators.
    Balance {
        /// The caller's proven key.
        caller: PeerId,
        /// Whose.
        account: PeerId,
    },
    /// What a job may cost.
    Quote {
        /// The caller's proven key.
        caller: PeerId,
        /// What the job is; parsed and validated.
        spec: Box<JobSpec>,
    },
    /// Take a node for the jobs of one client. Who may do what is in
    /// [`embermesh_job::reservation`].
    Reserve {
        /// The caller's proven key.
        caller: PeerId,
        /// What is asked.
        ask: ReserveAsk,
    },
    /// Make a reservation longer.
    ExtendReservation {
        /// The caller's proven key.
        caller: PeerId,
        /// Which.
        reservation: ReservationId,
        /// How long it is to be in all.
        length: Millis,
    },
    /// Give a reserved node back.
    ReleaseReservation {
        /// The caller's proven key.
        caller: PeerId,
        /// Which.
        reservation: ReservationId,
    },
    /// Where nodes can be reached, and whether the caller is an administrator: what is
    /// shown beside reservations that are on disk.
    Locate {
        /// The caller's proven key.
        caller: PeerId,
        /// Which.
        nodes: Vec<PeerId>,
    },
    /// A node introduces itself.
    Register {
        /// The caller's proven key.
        node: PeerId,
        /// What it says of itself.
        advert: Signed<Advert>,
    },
    /// A node is alive.
    Heartbeat {
        /// The caller's proven key.
        node: PeerId,
        /// What it says of itself, when that changed.
        advert: Option<Signed<Advert>>,
        /// The tasks that it runs for this index.
        running: Vec<TaskHeartbeat>,
        /// Whether it takes no more.
        draining: bool,
    },
    /// A node opened its stream of orders: what is still to be ordered?
    Orders {
        /// The caller's proven key.
        node: PeerId,
    },
    /// A node tells what became of an attempt.
    Report {
        /// The caller's proven key.
        node: PeerId,
        /// Which attempt.
        key: TaskKey,
        /// What.
        report: Report,
    },
    /// Adverts that came by gossip.
    Adverts(Vec<Verified<Advert>>),
    /// The round trips to all nodes that there is a connection to measure on.
    RoundTrips(BTreeMap<PeerId, Duration>),
    /// Time has passed.
    Tick,
    /// The clock leapt, forwards or back: nobody is to be punished.
    Grace,
}

impl Command {
    /// A stable word for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Submit(_) => "submit",
            Self::Show { .. } => "show",
            Self::Watch { .. } => "watch",
            Self::Cancel { .. } => "cancel",
            Self::Renew { .. } => "renew",
            Self::Revoke { .. } => "revoke",
            Self::RotateIssuerKey { .. } => "rotate_issuer_key",
            Self::KeySet => "key_set",
            Self::Nodes { .. } => "nodes",
            Self::Deployments { .. } => "deployments",
            Self::PermitAsk { .. } => "permit_ask",
            Self::Enter(_) => "enter",
            Self::Balance { .. } => "balance",
            Self::Quote { .. } => "quote",
            Self::Reserve { .. } => "reserve",
            Self::ExtendReservation { .. } => "extend_reservation",
            Self::ReleaseReservation { .. } => "release_reservation",
            Self::Locate { .. } => "locate",
            Self::Register { .. } => "register",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Orders { .. } => "orders",
            Self::Report { .. } => "report",
            Self::Adverts(_) => "adverts",
            Self::RoundTrips(_) => "round_trips",
            Self::Tick => "tick",
            Self::Grace => "grace",
        }
    }
}

/// A job with the assignment of its attempt, where there is one.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The job.
    pub job: JobSnapshot,
    /// The permission, for its owner.
    pub assignment: Option<NodeAssignment>,
}

/// What a node is told when it registers.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The signed key set.
    pub key_set: Bytes,
    /// The signed revocation, if anything was withdrawn.
    pub revocation: Option<Bytes>,
    /// How often to send heartbeats, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long a task is the node's without one, in milliseconds.
    pub lease_ms: u64,
}

/// What a node is told for a heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    /// Attempts that it must stop.
    pub stop: Vec<TaskKey>,
    /// True when the index does not know it.
    pub register: bool,
    /// The number of the newest key set.
    pub key_set_sequence: u64,
    /// The number of the newest revocation, 0 for none.
    pub revocation_sequence: u64,
}

/// A node in a list.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// Where it can be reached.
    pub address: PeerAddress,
    /// Whether it speaks to this index, or its advert is still good.
    pub live: bool,
    /// When it was last heard of.
    pub last_seen_ms: u64,
    /// Its advert, exactly as signed.
    pub advert: Bytes,
    /// How many of this index's jobs it has.
    pub running: u32,
    /// Whether it speaks to this index.
    pub registered: bool,
}

/// The answer to one command.
#[derive(Clone, Debug)]
pub enum Reply {
    /// There is nothing to say.
    Done,
    /// To `Submit` and `Watch`.
    Assigned(Box<Assigned>),
    /// To a `Submit` whose key names a job that is no longer in memory.
    Earlier(JobId),
    /// To `Show`.
    Jobs(Vec<JobSnapshot>),
    /// To `Cancel`.
    Job(Box<JobSnapshot>),
    /// To `Renew` and `PermitAsk`.
    Assignment(Box<NodeAssignment>),
    /// To `Revoke`, `RotateIssuerKey` and `KeySet`: the signed statement.
    Statement(Bytes),
    /// To `Nodes`.
    Nodes(Vec<NodeEntry>),
    /// To `Deployments`.
    Deployments(Vec<Deployment>),
    /// To `Enter`.
    Entered(Box<Transaction>),
    /// To `Balance`.
    Balance(Balance),
    /// To `Quote`.
    Quoted(Box<Quoted>),
    /// To `Reserve`, `ExtendReservation` and `ReleaseReservation`.
    Reserved(Box<ReservationView>),
    /// To the same where nothing was to be done any more: the disk has it.
    ReservedBefore(ReservationId),
    /// To `Locate`.
    Located {
        /// Whether the caller may see everything.
        administrator: bool,
        /// Where each node is that is known.
        addresses: BTreeMap<PeerId, PeerAddress>,
    },
    /// To `Register`.
    Welcome(Box<Welcome>),
    /// To `Heartbeat`.
    Pulse(Box<Pulse>),
    /// To `Orders`: what the node has not taken up yet.
    Orders(Vec<Order>),
    /// To `Report`: whether it was for the attempt that counts.
    Reported {
        /// False when a later attempt has replaced the one that reported.
        accepted: bool,
    },
}
