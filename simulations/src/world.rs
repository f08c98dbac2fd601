//! The clock, the queue of what happens next, and the trace of what happened.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use embermesh_crypto::{JobId, Keypair, UnixMillis};
use embermesh_index_server::state::{Command, Entropy, Settings, Snapshot, State};
use embermesh_job::{assignment::NodeAssignment, order::Order};
use embermesh_mesh::protocol::{Known, Summary};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Violation, client::Client, peer::Peer};

/// The least and the greatest delay of a message, in milliseconds.
pub const DELAY_MS: std::ops::RangeInclusive<u64> = 5..=120;
/// The share of gossip messages that are lost; everything else is a stream.
pub const GOSSIP_LOSS: f64 = 0.05;
/// When the simulation begins, in milliseconds since the Unix epoch.
pub const EPOCH: UnixMillis = UnixMillis(1_800_000_000_000);

/// A node's place in the world.
pub type PeerIndex = usize;

/// What can happen.
#[derive(Debug)]
pub enum Happening {
    /// A node starts and dials the bootstrap peer.
    Join(PeerIndex),
    /// A node's table wants to be woken.
    Wake(PeerIndex, u32),
    /// Gossip arrives.
    Gossip {
        /// At whom.
        to: PeerIndex,
        /// From whom.
        from: PeerIndex,
        /// The signed advert.
        bytes: Arc<[u8]>,
    },
    /// A table is asked for.
    TableRequest {
        /// Of whom.
        to: PeerIndex,
        /// By whom.
        from: PeerIndex,
        /// What the asker has.
        summary: Summary,
    },
    /// A table arrives; nothing where it was refused.
    Table {
        /// At whom.
        to: PeerIndex,
        /// From whom.
        from: PeerIndex,
        /// The adverts, if the peer answered.
        adverts: Option<Vec<Known>>,
    },
    /// A node sends its heartbeat.
    Heartbeat(PeerIndex, u32),
    /// A command reaches the index.
    Command(Option<PeerIndex>, Box<Command>),
    /// The index wakes for what is due.
    IndexTick,
    /// An order reaches a node.
    Order(PeerIndex, Box<Order>),
    /// A client holds out its token to a node.
    Present(PeerIndex, Box<NodeAssignment>),
    /// A task makes one step.
    Step(PeerIndex, u32, JobId),
    /// A client submits its next job.
    Submit,
    /// Numbered events reach the client, in order: what a node has to tell of a job
    /// since it last could.
    Seen(JobId, RangeInclusive<u64>),
    /// A third of the nodes dies, for good or for a while.
    Kill,
    /// A node that was silent for a while is back.
    Revive(PeerIndex),
}

#[derive(Debug)]
struct Scheduled {
    at: UnixMillis,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What the run counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Things that happened.
    pub happenings: u64,
    /// Messages between nodes.
    pub messages: u64,
    /// Gossip that did not arrive.
    pub lost: u64,
    /// Reports that the index refused because a later attempt had taken over.
    pub fenced: u64,
}

/// Everything, at one moment of virtual time.
pub struct World {
    /// The seed that made it.
    pub seed: u64,
    /// Virtual time.
    pub now: UnixMillis,
    /// All nodes; the first is everybody's bootstrap peer.
    pub peers: Vec<Peer>,
    /// The index.
    pub index: State,
    pub(crate) index_entropy: Entropy,
    pub(crate) index_ticks: Option<UnixMillis>,
    /// Who submits.
    pub client: Client,
    /// What was counted.
    pub counts: Counts,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) by_id: BTreeMap<embermesh_crypto::PeerId, PeerIndex>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    trace: blake3::Hasher,
}

impl World {
    /// A world with an index and no node yet.
    ///
    /// # Errors
    /// Never for a fresh index; the type is the state machine's.
    pub fn new(seed: u64, nodes: usize, settings: Settings) -> Result<Self, Violation> {
        let identity = Arc::new(Keypair::from_seed(&derived(seed, "index", 0)));
        let mut index_entropy = Entropy::from_seed(derived(seed, "entropy", 0));
        let index = State::restore(
            settings,
            identity,
            Snapshot::default(),
            EPOCH,
            &mut index_entropy,
        )
        .map_err(|error| Violation::new(EPOCH, format!("the index did not start: {error}")))?;
        let peers: Vec<Peer> = (0..nodes)
            .map(|n| Peer::new(Keypair::from_seed(&derived(seed, "node", n as u64))))
            .collect();
        Ok(Self {
            seed,
            now: EPOCH,
            by_id: peers
                .iter()
                .enumerate()
                .map(|(n, peer)| (peer.id(), n))
                .collect(),
            peers,
            index,
            index_entropy,
            index_ticks: None,
            client: Client::new(Keypair::from_seed(&derived(seed, "client", 0))),
            counts: Counts::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            scheduled: 0,
            trace: blake3::Hasher::new(),
        })
    }

    /// Lets `what` happen `after` this moment.
    pub fn schedule(&mut self, after: Duration, what: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled {
            at: self.now.saturating_add(after),
            order: self.scheduled,
            what,
        }));
    }

    /// Lets `what` happen when a message sent now arrives.
    pub(crate) fn send(&mut self, what: Happening) {
        self.counts.messages += 1;
        let delay = Duration::from_millis(self.rng.random_range(DELAY_MS));
        self.schedule(delay, what);
    }

    /// Lets happen all that is due until `until`.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run_until(&mut self, until: UnixMillis) -> Result<(), Violation> {
        while self.queue.peek().is_some_and(|next| next.0.at <= until) {
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now = next.at;
            self.counts.happenings += 1;
            self.record(&next.what);
            self.happen(next.what).map_err(|violation| Violation {
                seed: Some(self.seed),
                ..violation
            })?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, what: Happening) -> Result<(), Violation> {
        match what {
            Happening::Join(peer) => self.join(peer),
            Happening::Wake(peer, life) => self.wake(peer, life),
            Happening::Gossip { to, from, bytes } => self.gossip_arrives(to, from, &bytes),
            Happening::TableRequest { to, from, summary } => self.table_asked(to, from, summary),
            Happening::Table { to, from, adverts } => self.table_arrives(to, from, adverts),
            Happening::Heartbeat(peer, life) => self.heartbeat(peer, life),
            Happening::Command(from, command) => self.command(from, *command),
            Happening::IndexTick => self.index_tick(),
            Happening::Order(peer, order) => self.ordered(peer, *order),
            Happening::Present(peer, assignment) => self.presented(peer, &assignment),
            Happening::Step(peer, life, job) => self.step(peer, life, job),
            Happening::Submit => self.submit(),
            Happening::Seen(job, events) => self.client.saw(self.now, job, events),
            Happening::Kill => self.kill_a_third(),
            Happening::Revive(peer) => self.revive(peer),
        }
    }

    fn record(&mut self, what: &Happening) {
        self.trace.update(&self.now.0.to_le_bytes());
        self.trace.update(format!("{what:?}").as_bytes());
    }

    /// The hash of everything that happened so far.
    #[must_use]
    pub fn trace_hash(&self) -> String {
        self.trace.finalize().to_hex().to_string()
    }
}

/// A 32-byte seed for one of the things that a number makes.
pub(crate) fn derived(seed: u64, kind: &str, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(kind.as_bytes());
    hasher.update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}
