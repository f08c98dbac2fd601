//! The clock, the queue of what happens next, and the trace of what happened.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use embermesh_crypto::{Keypair, PeerId, UnixMillis};
use embermesh_index_server::state::{Entropy, Settings, Snapshot, State};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Violation,
    audit::Audit,
    client::Client,
    disk::Disk,
    faults::{Faults, Sabotage},
    happening::{Happening, Place},
    index::Pending,
    peer::Peer,
};

/// The least and the greatest delay of a message, in milliseconds.
pub const DELAY_MS: std::ops::RangeInclusive<u64> = 5..=120;
/// When the simulation begins, in milliseconds since the Unix epoch.
pub const EPOCH: UnixMillis = UnixMillis(1_800_000_000_000);

/// A node's place in the world.
pub type PeerIndex = usize;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things that happened.
    pub happenings: u64,
    /// Messages.
    pub messages: u64,
    /// Copies of adverts that arrived by gossip.
    pub copies: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// Messages that arrived twice.
    pub duplicated: u64,
    /// Reports that the index refused because a later attempt had taken over.
    pub fenced: u64,
    /// Attempts that a node was asked to begin once more.
    pub replayed: u64,
    /// Crashes, of nodes and of the index.
    pub crashes: u64,
    /// Commits that were durable when the index died, and never answered.
    pub unanswered: u64,
    /// Commits that the index had under way when it died, and lost.
    pub undone: u64,
    /// What lying peers did.
    pub lies: u64,
    /// Lies that were refused by whoever was told.
    pub refused: u64,
    /// Events that a client was told it would not get: they were with a node that died.
    pub missed: u64,
}

/// Everything, at one moment of virtual time.
pub struct World {
    /// The seed that made it.
    pub seed: u64,
    /// The command that shows the same run again.
    pub command: String,
    /// Virtual time; also the index's and the client's clock.
    pub now: UnixMillis,
    /// All nodes; the first two are everybody's to join through.
    pub peers: Vec<Peer>,
    /// The index.
    pub index: State,
    /// What the index has made durable.
    pub(crate) disk: Disk,
    pub(crate) index_identity: Arc<Keypair>,
    pub(crate) index_settings: Settings,
    pub(crate) index_entropy: Entropy,
    pub(crate) index_ticks: Option<UnixMillis>,
    pub(crate) index_up: bool,
    /// Whether it dies as soon as it has something to commit.
    pub(crate) index_doomed: bool,
    /// Rises with each crash of the index.
    pub(crate) index_life: u32,
    pub(crate) commits: VecDeque<Pending>,
    pub(crate) last_commit: UnixMillis,
    /// Who submits.
    pub client: Client,
    /// Somebody who may act for any account.
    pub(crate) administrator: PeerId,
    /// What was counted.
    pub counts: Counts,
    /// What was told to somebody, and must stay true.
    pub(crate) audit: Audit,
    pub(crate) faults: Faults,
    pub(crate) sabotage: Option<Sabotage>,
    /// Who is on the far side of the index, while the network is in two.
    pub(crate) partition: Option<BTreeSet<Place>>,
    pub(crate) healed_at: Option<UnixMillis>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) by_id: BTreeMap<PeerId, PeerIndex>,
    /// What the last step changed, to be looked at.
    pub(crate) touched: Touched,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    trace: blake3::Hasher,
}

/// What a step changed.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Nodes whose tables took something in.
    pub(crate) tables: BTreeSet<PeerIndex>,
    /// Whether the index did anything.
    pub(crate) index: bool,
    /// Jobs of which it did.
    pub(crate) jobs: BTreeSet<embermesh_crypto::JobId>,
}

impl World {
    /// A world with an index and no node yet, in quiet times.
    ///
    /// # Errors
    /// Never for a fresh index; the type is the state machine's.
    pub fn new(seed: u64, nodes: usize, settings: Settings) -> Result<Self, Violation> {
        let administrator = Keypair::from_seed(&derived(seed, "administrator", 0)).peer_id();
        let mut settings = settings;
        settings.administrators.push(administrator);
        let identity = Arc::new(Keypair::from_seed(&derived(seed, "index", 0)));
        let mut index_entropy = Entropy::from_seed(derived(seed, "entropy", 0));
        let mut index = State::restore(
            settings.clone(),
            Arc::clone(&identity),
            Snapshot::default(),
            EPOCH,
            &mut index_entropy,
        )
        .map_err(|error| Violation::new(EPOCH, format!("the index did not start: {error}")))?;
        let mut disk = Disk::default();
        disk.commit(index.take_writes());
        let peers: Vec<Peer> = (0..nodes)
            .map(|n| Peer::new(Keypair::from_seed(&derived(seed, "node", n as u64))))
            .collect();
        Ok(Self {
            seed,
            command: format!("run --seed {seed}"),
            now: EPOCH,
            by_id: peers
                .iter()
                .enumerate()
                .map(|(n, peer)| (peer.id(), n))
                .collect(),
            peers,
            index,
            disk,
            index_identity: identity,
            index_settings: settings,
            index_entropy,
            index_ticks: None,
            index_up: true,
            index_doomed: false,
            index_life: 0,
            commits: VecDeque::new(),
            last_commit: EPOCH,
            client: Client::new(Keypair::from_seed(&derived(seed, "client", 0))),
            administrator,
            counts: Counts::default(),
            audit: Audit::default(),
            faults: Faults::default(),
            sabotage: None,
            partition: None,
            healed_at: None,
            rng: ChaCha8Rng::seed_from_u64(seed),
            touched: Touched::default(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            trace: blake3::Hasher::new(),
        })
    }

    /// Lets `what` happen `after` this moment.
    pub fn schedule(&mut self, after: Duration, what: Happening) {
        self.schedule_at(self.now.saturating_add(after), what);
    }

    /// Lets `what` happen at a moment.
    pub(crate) fn schedule_at(&mut self, at: UnixMillis, what: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled {
            at,
            order: self.scheduled,
            what,
        }));
    }

    /// Lets happen all that is due until `until`. After each step the invariants are
    /// looked at, as far as the step can have broken them.
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
            self.trace.update(&self.now.0.to_le_bytes());
            next.what.record(&mut self.trace);
            let held = self.happen(next.what).and_then(|()| self.check_step());
            held.map_err(|violation| Violation {
                again: Some(self.command.clone()),
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
            Happening::Redial(peer, life) => self.redial(peer, life),
            Happening::LinkLost(a, b) => self.link_lost(a, b),
            Happening::Gossip { to, from, bytes } => self.gossip_arrives(to, from, &bytes),
            Happening::Repeat(peer, life, bytes) => {
                self.repeat(peer, life, &bytes);
                Ok(())
            }
            Happening::TableRequest { to, from, summary } => self.table_asked(to, from, summary),
            Happening::Table { to, from, adverts } => self.table_arrives(to, from, adverts),
            Happening::Heartbeat(peer, life) => {
                self.heartbeat(peer, life);
                Ok(())
            }
            Happening::Outbox(peer, life) => {
                self.send_oldest(peer, life);
                Ok(())
            }
            Happening::Command(question) => self.command(*question),
            Happening::Commit(life) => self.committed(life),
            Happening::Answer(Place::Node(peer), answer) => self.node_answered(peer, *answer),
            Happening::Answer(_, answer) => self.client_answered(*answer),
            Happening::IndexTick(life) => self.index_tick(life),
            Happening::Order(peer, order) => self.ordered(peer, *order),
            Happening::Present {
                to,
                bearer,
                assignment,
                stream,
            } => self.presented(to, bearer, &assignment, stream),
            Happening::Attach {
                to,
                job,
                after,
                stream,
            } => {
                self.attach(to, job, after, stream);
                Ok(())
            }
            Happening::Step(peer, life, job) => self.step(peer, life, job),
            Happening::Submit(budget) => {
                self.submit(budget);
                Ok(())
            }
            Happening::SubmitAgain(number) => {
                self.submit_again(number);
                Ok(())
            }
            Happening::Pay(number) => {
                self.pay(number);
                Ok(())
            }
            Happening::Follow(job) => {
                self.follow(job);
                Ok(())
            }
            Happening::Seen {
                job,
                stream,
                events,
            } => self.seen(job, stream, events),
            Happening::Kill => self.kill_a_third(),
            Happening::Revive(peer) => self.revive(peer),
            Happening::Crash(peer) => self.crash(peer),
            Happening::IndexCrash => {
                self.index_crash();
                Ok(())
            }
            Happening::IndexRestart => self.index_restart(),
            Happening::Partition => {
                self.part();
                Ok(())
            }
            Happening::Heal => {
                self.heal();
                Ok(())
            }
            Happening::Lie(peer) => self.lie(peer),
        }
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
