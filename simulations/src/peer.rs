//! One node: its key, its clock, its advert table, the tasks that it runs, and what of
//! all that is written down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, NetworkName, PeerId, UnixMillis,
    statement::{self, Advert, DeviceAdvert, DeviceKind, Role, Signed, StatementError},
};
use embermesh_job::{
    assignment::{NodeAssignment, TaskKey},
    order::{Order, Report},
};
use embermesh_mesh::protocol::{Table, Ticket};

/// Messages whose hashes a node remembers, so that it passes each on once.
pub const SEEN_KEPT: usize = 4096;
/// Tasks that a node runs at once.
pub const SLOTS: u32 = 2;
/// Slots that a node claims which lies about them.
const BOASTED_SLOTS: u32 = 32;
/// How many adverts and orders of others a lying node keeps, to say them again later.
pub(crate) const HOARD: usize = 64;

/// A task that a node runs.
#[derive(Clone, Debug)]
pub struct Task {
    /// The attempt.
    pub key: TaskKey,
    /// The permission, as it was verified.
    pub assignment: NodeAssignment,
    /// Steps done.
    pub step: u64,
    /// The digest of the spec.
    pub spec: Digest,
    /// When it began, by the node's clock.
    pub began: UnixMillis,
}

/// The numbered events of a task that a node has, without a gap.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The first.
    pub first: u64,
    /// The last; one less than the first where there is none.
    pub last: u64,
}

/// A client that hears of a task.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Its stream.
    pub stream: u64,
    /// The next event that it is to get.
    pub next: u64,
    /// When what was sent last arrives: a stream keeps its order.
    pub arrives: UnixMillis,
}

/// What a node keeps over a crash.
#[derive(Default)]
pub struct Store {
    /// The newest attempt that it admitted for each job.
    pub admitted: BTreeMap<JobId, Epoch>,
    /// Attempts that it admitted and that have not ended.
    pub open: BTreeMap<JobId, TaskKey>,
    /// The events of each task.
    pub logs: BTreeMap<JobId, Log>,
    /// What the index has still to hear, oldest first, each with its number.
    pub outbox: VecDeque<(u64, TaskKey, Report)>,
    /// The number of the next report.
    pub reports: u64,
    /// The index's key set, once it is known.
    pub key_set: Option<statement::Verified<statement::KeySet>>,
}

/// One node.
pub struct Peer {
    /// Its key.
    pub keypair: Keypair,
    /// What it knows of the mesh.
    pub table: Table,
    /// Whether it runs and can be reached.
    pub alive: bool,
    /// Since when.
    pub alive_since: UnixMillis,
    /// Rises with each death, so that what was scheduled for an earlier life
    /// does not happen in a later one.
    pub life: u32,
    /// By how many milliseconds its clock is ahead of the index's.
    pub skew_ms: i64,
    /// Whether its clock is off by more than is allowed.
    pub wrong_clock: bool,
    /// Whether it lies.
    pub lies: bool,
    /// What an hour of it costs, in millionths of a unit.
    pub price: u64,
    /// Whom it is connected with.
    pub neighbours: BTreeSet<usize>,
    /// Dials in a row of those to join through that have come to nothing.
    pub dials: u32,
    /// Whether it is registered, as far as it knows.
    pub linked: bool,
    /// Heartbeats in a row without an answer.
    pub unanswered: u32,
    /// What it runs.
    pub tasks: BTreeMap<JobId, Task>,
    /// Who hears of its tasks.
    pub listeners: BTreeMap<JobId, Listener>,
    /// What it has written down.
    pub store: Store,
    /// Its newest advert.
    pub advert: Option<Signed<Advert>>,
    /// Whether the index has that advert.
    pub advert_told: bool,
    /// What a lying node has kept of what others said.
    pub hoard: Hoard,
    seen: BTreeSet<[u8; 32]>,
    seen_order: VecDeque<[u8; 32]>,
}

/// What a lying node keeps of others, to say it again.
#[derive(Default)]
pub struct Hoard {
    /// Adverts.
    pub adverts: VecDeque<Vec<u8>>,
    /// Orders to others, and permissions.
    pub orders: VecDeque<(usize, Order)>,
}

impl Peer {
    /// A node that has not started.
    #[must_use]
    pub fn new(keypair: Keypair) -> Self {
        Self {
            table: Table::new(keypair.peer_id(), NetworkName::default()),
            keypair,
            alive: false,
            alive_since: UnixMillis(0),
            life: 0,
            skew_ms: 0,
            wrong_clock: false,
            lies: false,
            price: 0,
            neighbours: BTreeSet::new(),
            dials: 0,
            linked: false,
            unanswered: 0,
            tasks: BTreeMap::new(),
            listeners: BTreeMap::new(),
            store: Store::default(),
            advert: None,
            advert_told: false,
            hoard: Hoard::default(),
            seen: BTreeSet::new(),
            seen_order: VecDeque::new(),
        }
    }

    /// Its peer id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.keypair.peer_id()
    }

    /// Whether what holds of every peer must hold of this one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.lies && !self.wrong_clock
    }

    /// The time by its own clock.
    #[must_use]
    pub fn clock(&self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_add_signed(self.skew_ms))
    }

    /// A time of its own clock, by the world's.
    pub(crate) fn true_time(&self, local: UnixMillis) -> UnixMillis {
        UnixMillis(local.0.saturating_add_signed(-self.skew_ms))
    }

    /// Forgets all that a process forgets when it dies.
    pub(crate) fn forget(&mut self) {
        self.life += 1;
        self.table = Table::new(self.id(), NetworkName::default());
        self.linked = false;
        self.tasks.clear();
        self.listeners.clear();
        self.advert = None;
        self.advert_told = false;
        self.seen.clear();
        self.seen_order.clear();
    }

    /// Whether a message is new; it is not the next time.
    pub(crate) fn first_time(&mut self, message: &[u8]) -> bool {
        let hash = *blake3::hash(message).as_bytes();
        if !self.seen.insert(hash) {
            return false;
        }
        self.seen_order.push_back(hash);
        if self.seen_order.len() > SEEN_KEPT
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// Keeps a report until the index has answered it.
    pub(crate) fn post(&mut self, key: TaskKey, report: Report) {
        self.store.reports += 1;
        self.store
            .outbox
            .push_back((self.store.reports, key, report));
    }

    /// What the node says of itself now.
    #[must_use]
    pub fn says(&self, ticket: &Ticket) -> Advert {
        let running = u32::try_from(self.tasks.len()).unwrap_or(SLOTS).min(SLOTS);
        // A lying node has many slots, all of them free, and is fast.
        let (slots, mflops) = if self.lies {
            (BOASTED_SLOTS, 1_000_000)
        } else {
            (SLOTS, 100_000)
        };
        Advert {
            peer: self.id(),
            network: NetworkName::default(),
            sequence: ticket.sequence,
            issued_at: ticket.issued_at,
            expires_at: ticket.expires_at,
            role: Role::Node,
            version: "simulated".to_owned(),
            mesh_addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
            tls_addresses: vec!["127.0.0.1:1".to_owned()],
            region: String::new(),
            price_micros_per_hour: self.price,
            devices: vec![DeviceAdvert {
                name: "cpu".to_owned(),
                kind: DeviceKind::Cpu,
                memory_bytes: 8 << 30,
                mflops,
                fault: None,
            }],
            slots,
            free_slots: slots - running,
            queued: 0,
            draining: false,
            runtimes: embermesh_crypto::statement::Runtimes::default(),
            models: Vec::new(),
            free_residents: 0,
            missing_fences: None,
        }
    }

    /// Signs what the node says of itself now.
    pub(crate) fn sign_advert(&self, ticket: &Ticket) -> Result<Signed<Advert>, StatementError> {
        statement::sign(&self.says(ticket), &self.keypair)
    }
}
