//! The one task that owns the swarm. It turns commands of the handle and events of
//! the swarm into inputs of [`crate::protocol::Table`], and carries out its outputs.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    keys::Keypair,
    time::UnixMillis,
};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, core::transport::ListenerId, gossipsub::IdentTopic,
    kad::RecordKey, swarm::ConnectionId,
};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    AdvertDraft, MeshError, Standing,
    behaviour::Behaviour,
    dialing::{Reply, Seeds, Waiters},
    neighbourhood::Carried,
    pause::{Judged, Pauses},
    queries::{ProvideReply, ProvidersReply, Queries},
    reach::Reach,
    report::Report,
    routing::BucketChecks,
    shared::Shared,
    strangers::Stranger,
    stream::Control,
};
use crate::protocol::{Input, Summary, Table, roster::Known};

/// Commands that wait for the actor.
pub(crate) const MAX_COMMANDS: usize = 256;
/// Housekeeping, and the search for peers where there are few.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How long the last words take to leave this process, on a machine that is busy.
/// Nothing tells when gossip has left, so that all of it is waited for.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// What the handle asks of the actor.
pub(crate) enum Command {
    Advertise {
        draft: Box<AdvertDraft>,
        reply: oneshot::Sender<Result<(), MeshError>>,
    },
    Connect {
        peer: Option<PeerId>,
        addresses: Vec<Multiaddr>,
        reply: Reply,
    },
    Provide {
        key: RecordKey,
        reply: ProvideReply,
    },
    StopProviding {
        key: RecordKey,
    },
    Providers {
        key: RecordKey,
        reply: ProvidersReply,
    },
    TableAsked {
        from: PeerId,
        summary: Summary,
        reply: oneshot::Sender<Option<Vec<Known>>>,
    },
    TableHeard {
        from: PeerId,
        adverts: Vec<Vec<u8>>,
    },
    TableDone {
        from: PeerId,
        complete: bool,
    },
}

/// A connected peer.
pub(crate) struct Neighbour {
    pub(crate) id: PeerId,
    /// Identify has shown that it is of this network.
    pub(crate) confirmed: bool,
    /// It is seen over this machine's loopback.
    pub(crate) loopback: bool,
    /// This side has dialled it.
    pub(crate) dialled: bool,
    pub(crate) since: Instant,
    /// It did not answer a ping.
    pub(crate) silent: bool,
    /// Connections with it, and whether each goes through a relay.
    pub(crate) connections: BTreeMap<ConnectionId, bool>,
}

impl Neighbour {
    /// Whether every connection with it goes through a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        self.connections.values().all(|relayed| *relayed)
    }
}

/// The owner of the swarm.
pub(crate) struct Actor {
    pub(crate) me: PeerId,
    pub(crate) network: NetworkName,
    pub(crate) keypair: Arc<Keypair>,
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) control: Control,
    pub(crate) topic: IdentTopic,
    pub(crate) table_protocol: StreamProtocol,
    pub(crate) table: Table,
    pub(crate) rng: StdRng,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
    pub(crate) weak: mpsc::WeakSender<Command>,
    pub(crate) draft: Option<AdvertDraft>,
    /// An own advert that nobody was there to hear.
    pub(crate) unheard: Option<Vec<u8>>,
    pub(crate) external: Vec<Multiaddr>,
    pub(crate) listening: Vec<Multiaddr>,
    /// Listeners that have no address yet.
    pub(crate) unbound: HashSet<ListenerId>,
    pub(crate) neighbours: HashMap<libp2p::PeerId, Neighbour>,
    pub(crate) strangers: HashMap<libp2p::PeerId, Stranger>,
    /// Peers that have lost their trust, and until when they are kept out.
    pub(crate) shunned: HashMap<libp2p::PeerId, Instant>,
    pub(crate) seeds: Seeds,
    pub(crate) waiters: Waiters,
    pub(crate) queries: Queries,
    pub(crate) reach: Reach,
    pub(crate) bucket_checks: BucketChecks,
    pub(crate) carried: Carried,
    /// Peers that fell silent, and are sought.
    pub(crate) lost: HashSet<PeerId>,
    /// Adverts that wait to be passed on.
    pub(crate) pauses: Pauses<Judged>,
    /// Adverts that say nothing new, and wait to be passed on together.
    pub(crate) renewals: Pauses<Judged>,
    /// Adverts of others that wait to be repeated.
    pub(crate) repeats: Pauses<Vec<u8>>,
    pub(crate) report: Report,
    /// Whether this process carries for others, where it can be reached.
    pub(crate) relays: bool,
    pub(crate) table_wake: Option<Instant>,
    pub(crate) last_dial_error: Option<MeshError>,
    upkeep_at: Instant,
}

/// What the actor is made of.
pub(crate) struct Parts {
    pub(crate) network: NetworkName,
    pub(crate) table: Table,
    pub(crate) keypair: Arc<Keypair>,
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) control: Control,
    pub(crate) table_protocol: StreamProtocol,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
    pub(crate) weak: mpsc::WeakSender<Command>,
    pub(crate) external: Vec<Multiaddr>,
    pub(crate) seeds: Seeds,
    pub(crate) unbound: HashSet<ListenerId>,
    pub(crate) relays: bool,
}

impl Actor {
    pub(crate) fn new(parts: Parts) -> Self {
        let me = parts.keypair.peer_id();
        Self {
            me,
            topic: super::gossip::topic(&parts.network),
            table: parts.table,
            network: parts.network,
            keypair: parts.keypair,
            swarm: parts.swarm,
            control: parts.control,
            table_protocol: parts.table_protocol,
            rng: StdRng::from_os_rng(),
            shared: parts.shared,
            tracker: parts.tracker,
            cancel: parts.cancel,
            weak: parts.weak,
            draft: None,
            unheard: None,
            external: parts.external,
            listening: Vec::new(),
            unbound: parts.unbound,
            neighbours: HashMap::new(),
            strangers: HashMap::new(),
            shunned: HashMap::new(),
            seeds: parts.seeds,
            waiters: Waiters::default(),
            queries: Queries::default(),
            reach: Reach::default(),
            bucket_checks: BucketChecks::default(),
            carried: Carried::default(),
            lost: HashSet::new(),
            pauses: Pauses::of_gossip(),
            renewals: Pauses::of_renewals(Instant::now()),
            repeats: Pauses::of_repeats(),
            report: Report::default(),
            relays: parts.relays,
            table_wake: None,
            last_dial_error: None,
            upkeep_at: Instant::now() + UPKEEP_INTERVAL,
        }
    }

    /// Runs until it is cancelled or the last handle is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let cancel = self.cancel.clone();
        self.dial_seeds();
        loop {
            let wake = self.next_wake();
            // Commands come before events: they are few and bounded, events are not.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                () = tokio::time::sleep_until(wake.into()) => self.wake(),
                event = self.swarm.select_next_some() => self.swarm_event(event),
            }
        }
        cancel.cancel();
        drop(commands);
        self.leave().await;
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Advertise { draft, reply } => {
                let _ = reply.send(self.advertise(*draft));
            }
            Command::Connect {
                peer,
                addresses,
                reply,
            } => self.connect(peer, addresses, reply),
            Command::Provide { key, reply } => {
                self.queries
                    .provide(&mut self.swarm.behaviour_mut().kad, key, reply);
            }
            Command::StopProviding { key } => {
                self.swarm.behaviour_mut().kad.stop_providing(&key);
            }
            Command::Providers { key, reply } => {
                self.queries
                    .providers(&mut self.swarm.behaviour_mut().kad, key, reply);
            }
            Command::TableAsked {
                from,
                summary,
                reply,
            } => {
                let fed = self.feed(Input::TableRequest { from, summary });
                let _ = reply.send(fed.table);
            }
            Command::TableHeard { from, adverts } => {
                self.feed(Input::TableResponse { from, adverts });
            }
            Command::TableDone { from, complete } => self.table_done(from, complete),
        }
    }

    fn next_wake(&self) -> Instant {
        let seeds = self.seeds.next(|peer| self.neighbours.contains_key(peer));
        let refusals = self
            .strangers
            .values()
            .filter_map(|stranger| stranger.block_at)
            .min();
        [
            self.table_wake,
            seeds,
            refusals,
            self.pauses.next(),
            self.renewals.next(),
            self.repeats.next(),
        ]
        .into_iter()
        .flatten()
        .fold(self.upkeep_at, Instant::min)
    }

    /// Does whatever has fallen due.
    fn wake(&mut self) {
        let now = Instant::now();
        if self.table_wake.is_some_and(|at| at <= now) {
            self.table_wake = None;
            self.feed(Input::Tick);
        }
        self.pass_on(now);
        self.repeat(now);
        self.dial_seeds();
        self.block_strangers(now);
        if self.upkeep_at <= now {
            self.upkeep_at = now + UPKEEP_INTERVAL;
            self.swarm.behaviour_mut().kad.store_mut().sweep(now);
            self.say_unheard();
            self.widen();
            self.roam();
            self.seek_lost();
            self.trim(now);
            self.seek_relays();
        }
    }

    /// Works out how far this process has come in joining.
    pub(crate) fn stand(&self) {
        let confirmed = self
            .neighbours
            .values()
            .any(|neighbour| neighbour.confirmed);
        let standing = if confirmed && self.table.exchanges_completed() > 0 {
            Standing::Joined
        } else if let Some(error) = self.seeds.all_refused() {
            Standing::Refused(error)
        } else if self.seeds.is_empty() && !confirmed {
            Standing::Alone
        } else {
            Standing::Joining {
                last: self.last_dial_error.clone(),
            }
        };
        self.shared.standing.send_if_modified(|now| {
            let changed = *now != standing;
            *now = standing;
            changed
        });
    }

    /// Says goodbye, so that nobody counts on this process until its advert expires,
    /// and closes the connections.
    async fn leave(&mut self) {
        // Who has said nothing of itself is counted on by nobody.
        if self.draft.is_some() {
            self.feed(Input::Farewell);
            self.linger(|_| false).await;
        }
        let peers: Vec<libp2p::PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.linger(|swarm| swarm.connected_peers().next().is_none())
            .await;
        self.shared.closed.store(true, Ordering::Release);
    }

    async fn linger(&mut self, done: impl Fn(&Swarm<Behaviour>) -> bool) {
        let end = tokio::time::Instant::now() + FAREWELL_TIME;
        while self.swarm.connected_peers().next().is_some() && !done(&self.swarm) {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                _ = self.swarm.select_next_some() => {}
            }
        }
    }
}

/// The wall clock.
pub(crate) fn unix_now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
