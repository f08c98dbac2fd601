//! One node: its key, its advert table, the tasks that it runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, NetworkName, PeerId,
    statement::{self, Advert, DeviceAdvert, DeviceKind, Role, Signed, StatementError},
};
use embermesh_job::assignment::{NodeAssignment, TaskKey};
use embermesh_mesh::protocol::{Table, Ticket};

/// Messages whose hashes a node remembers, so that it passes each on once.
pub const SEEN_KEPT: usize = 4096;
/// Tasks that a node runs at once.
pub const SLOTS: u32 = 2;

/// A task that a node runs.
#[derive(Clone, Debug)]
pub struct Task {
    /// The attempt.
    pub key: TaskKey,
    /// The permission, as it was verified.
    pub assignment: NodeAssignment,
    /// Steps done.
    pub step: u64,
    /// The last event that the client was told, or has from the attempt before: the
    /// node keeps what it cannot tell, and tells it when it can.
    pub told: u64,
    /// The digest of the spec.
    pub spec: Digest,
}

/// One node.
pub struct Peer {
    /// Its key.
    pub keypair: Keypair,
    /// What it knows of the mesh.
    pub table: Table,
    /// Whether it runs and can be reached.
    pub alive: bool,
    /// Whether it has joined at all.
    pub joined: bool,
    /// Rises with each death, so that what was scheduled for an earlier life
    /// does not happen in a later one.
    pub life: u32,
    /// Whom it is connected with.
    pub neighbours: BTreeSet<usize>,
    /// What it runs.
    pub tasks: BTreeMap<JobId, Task>,
    /// The newest attempt that it admitted for each job: its durable memory.
    pub admitted: BTreeMap<JobId, Epoch>,
    /// Its newest advert.
    pub advert: Option<Signed<Advert>>,
    /// Whether the index has that advert.
    pub advert_told: bool,
    /// The index's key set, once it is known.
    pub key_set: Option<statement::Verified<statement::KeySet>>,
    seen: BTreeSet<[u8; 32]>,
    seen_order: VecDeque<[u8; 32]>,
}

impl Peer {
    /// A node that has not started.
    #[must_use]
    pub fn new(keypair: Keypair) -> Self {
        Self {
            table: Table::new(keypair.peer_id(), NetworkName::default()),
            keypair,
            alive: false,
            joined: false,
            life: 0,
            neighbours: BTreeSet::new(),
            tasks: BTreeMap::new(),
            admitted: BTreeMap::new(),
            advert: None,
            advert_told: false,
            key_set: None,
            seen: BTreeSet::new(),
            seen_order: VecDeque::new(),
        }
    }

    /// Its peer id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.keypair.peer_id()
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

    /// Signs what the node says of itself now.
    pub(crate) fn sign_advert(&self, ticket: &Ticket) -> Result<Signed<Advert>, StatementError> {
        let running = u32::try_from(self.tasks.len()).unwrap_or(SLOTS).min(SLOTS);
        let advert = Advert {
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
            price_micros_per_hour: 0,
            devices: vec![DeviceAdvert {
                name: "cpu".to_owned(),
                kind: DeviceKind::Cpu,
                memory_bytes: 8 << 30,
                mflops: 100_000,
                fault: None,
            }],
            slots: SLOTS,
            free_slots: SLOTS - running,
            queued: 0,
            draining: false,
            runtimes: embermesh_crypto::statement::Runtimes::default(),
            models: Vec::new(),
            free_residents: 0,
            missing_fences: None,
        };
        statement::sign(&advert, &self.keypair)
    }
}
