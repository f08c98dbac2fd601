//! The handle: plain methods, cheap to clone, answered by the actor or from what it
//! shows.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use embermesh_crypto::{
    digest::Digest,
    ids::{NetworkName, PeerId},
    keys::Keypair,
};
use embermesh_job::address::PeerAddress;
use libp2p::Multiaddr;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    AdvertDraft, GossipTraffic, Incoming, MeshError, MeshEvent, MeshStream, PeerView, ReachView,
    Standing,
    actor::Command,
    address, behaviour, parse_advertised, queries,
    shared::Shared,
    start,
    stream::{self, Control},
};
use crate::{config::MeshConfig, membership::Membership, protocol::Known};

/// How long a connection may take: a dial of several addresses, and identify.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a question to the DHT may take: its own bound, and a margin.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a shutdown waits for the tasks of the mesh.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// A handle to the mesh of this process. Clones are the same mesh; when the last is
/// dropped, or the token given at the start is cancelled, the mesh shuts down.
#[derive(Clone)]
pub struct Mesh {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) me: PeerId,
    pub(crate) network: NetworkName,
    pub(crate) membership: Membership,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) control: Control,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("peer", &self.inner.me)
            .field("network", &self.inner.network)
            .finish_non_exhaustive()
    }
}

impl Mesh {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Brings the mesh of this process up. When it returns, every listener has its
    /// address; joining goes on in the background, see [`Mesh::joined`].
    ///
    /// # Errors
    /// When an address is malformed, cannot be listened on, or a bootstrap address
    /// names no peer.
    pub async fn start(
        keypair: Arc<Keypair>,
        config: MeshConfig,
        cancel: CancellationToken,
    ) -> Result<Self, MeshError> {
        // Boxed: building the transports makes a large future.
        Box::pin(start::start(keypair, config, cancel, &behaviour::swarm)).await
    }

    /// The peer id of this process.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.inner.me
    }

    /// The network this process is part of.
    #[must_use]
    pub fn network(&self) -> &NetworkName {
        &self.inner.network
    }

    /// Who may take part in it.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.inner.membership
    }

    /// Multiaddrs of this process, each ending in `/p2p/<peer id>`: those given as
    /// external first. Fit to be another's bootstrap.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.inner.shared.addresses()
    }

    /// Waits until a table has been received from a peer of this network. Returns at
    /// once for a process that has no bootstrap peer.
    ///
    /// # Errors
    /// At once when every bootstrap peer belongs to another network; after `within`
    /// with the last dial error, if joining took longer. Joining goes on either way.
    pub async fn joined(&self, within: Duration) -> Result<(), MeshError> {
        let mut standing = self.standing();
        let settled = standing.wait_for(|now| !matches!(now, Standing::Joining { .. }));
        let end = tokio::time::timeout(within, settled)
            .await
            .map(|now| now.map(|now| now.clone()));
        match end {
            Ok(Ok(Standing::Refused(error))) => Err(error),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(MeshError::Closed),
            Err(_) => match &*self.inner.shared.standing.borrow() {
                Standing::Joining { last: Some(error) } => Err(error.clone()),
                _ => Err(MeshError::Timeout {
                    what: "joining the mesh".to_owned(),
                    after: within,
                }),
            },
        }
    }

    /// How far this process has come in joining, now and as it changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.shared.standing.subscribe()
    }

    /// What is known of how this process is reached, now and as it changes.
    #[must_use]
    pub fn reach(&self) -> watch::Receiver<ReachView> {
        self.inner.shared.reach.subscribe()
    }

    /// What happens in the mesh from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<MeshEvent> {
        self.inner.shared.events()
    }

    /// Says what this process offers, from now on: signed, numbered, and signed anew
    /// before it expires. A change is published within a second or so.
    ///
    /// # Errors
    /// When it does not fit an advert.
    pub async fn advertise(&self, draft: AdvertDraft) -> Result<(), MeshError> {
        let draft = Box::new(draft);
        self.ask(|reply| Command::Advertise { draft, reply })
            .await?
    }

    /// Every advert known, the own one among them: checked, of this network, and
    /// expired no longer than clocks may differ. One entry per peer, in the order of peer ids.
    #[must_use]
    pub fn adverts(&self) -> Vec<Known> {
        self.inner.shared.adverts()
    }

    /// The advert of one peer.
    #[must_use]
    pub fn advert_of(&self, peer: &PeerId) -> Option<Known> {
        self.inner.shared.advert_of(peer)
    }

    /// A number that rises whenever [`Mesh::adverts`] changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.shared.changes.subscribe()
    }

    /// The peers of this network that are connected now.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        self.inner.shared.peers()
    }

    /// What gossip has brought since the start.
    #[must_use]
    pub fn traffic(&self) -> GossipTraffic {
        self.inner.shared.traffic.now()
    }

    /// The last measured round trip to a connected peer.
    #[must_use]
    pub fn round_trip(&self, peer: &PeerId) -> Option<Duration> {
        self.inner.shared.peer(peer)?.round_trip
    }

    /// Where a peer can be reached: from its advert, or from what it said when it
    /// connected. Multiaddrs on loopback only in a mesh of this machine alone: another's
    /// loopback is not ours.
    #[must_use]
    pub fn address_of(&self, peer: PeerId) -> Option<PeerAddress> {
        let advert = self.advert_of(&peer);
        let mut address = PeerAddress {
            peer,
            tls: Vec::new(),
            mesh: Vec::new(),
        };
        if let Some(advert) = advert {
            address.tls.clone_from(&advert.tls_addresses);
            let local = self.inner.shared.local.load(Ordering::Relaxed);
            address.mesh = parse_advertised(&advert.mesh_addresses, local)
                .iter()
                .map(ToString::to_string)
                .collect();
        }
        if let Some(view) = self.inner.shared.peer(&peer)
            && address.mesh.is_empty()
        {
            address.mesh = view.addresses;
        }
        (!address.tls.is_empty() || !address.mesh.is_empty()).then_some(address)
    }

    /// Connects with whoever answers at a multiaddr, and checks that it belongs to
    /// this network. With `/p2p/<peer id>` at its end it must be that peer.
    ///
    /// # Errors
    /// When nobody or somebody else answers, or a peer of another network.
    pub async fn dial(&self, multiaddr: &str) -> Result<PeerId, MeshError> {
        let (address, peer) = address::split_peer(address::parse(multiaddr)?);
        let peer = match peer {
            Some(peer) => Some(
                address::ours(&peer).ok_or_else(|| MeshError::InvalidAddress {
                    text: multiaddr.to_owned(),
                    reason: "its peer id is not of an ed25519 key".to_owned(),
                })?,
            ),
            None => None,
        };
        self.connect_to(peer, vec![address], multiaddr).await
    }

    /// Connects with a peer, at the addresses given and those that are known. Returns
    /// at once when it is connected. A malformed address is passed over.
    ///
    /// # Errors
    /// When no address is known, or nobody answers. A malformed address is named where
    /// there was no other.
    pub async fn connect(&self, peer: PeerId, multiaddrs: &[String]) -> Result<(), MeshError> {
        let mut addresses = Vec::new();
        let mut malformed = None;
        for text in multiaddrs {
            match address::parse(text) {
                Ok(_) if addresses.len() >= address::MAX_ADDRESSES_PER_PEER => break,
                Ok(address) => addresses.push(address::split_peer(address).0),
                Err(error) => malformed = malformed.or(Some(error)),
            }
        }
        let connected = self
            .connect_to(Some(peer), addresses, &peer.to_string())
            .await;
        match (connected, malformed) {
            (Err(MeshError::NoAddress(_)), Some(malformed)) => Err(malformed),
            (connected, _) => connected.map(|_| ()),
        }
    }

    async fn connect_to(
        &self,
        peer: Option<PeerId>,
        addresses: Vec<Multiaddr>,
        name: &str,
    ) -> Result<PeerId, MeshError> {
        let answer = self.ask(|reply| Command::Connect {
            peer,
            addresses,
            reply,
        });
        match tokio::time::timeout(CONNECT_TIMEOUT, answer).await {
            Ok(answer) => answer?,
            Err(_) => Err(MeshError::Timeout {
                what: format!("connecting with {name}"),
                after: CONNECT_TIMEOUT,
            }),
        }
    }

    /// Opens a stream to a peer, connecting first if need be. `protocol` is the short
    /// name, such as `rpc/1`; the network is put before it.
    ///
    /// # Errors
    /// When the peer cannot be reached, or does not serve the protocol.
    pub async fn open(&self, peer: PeerId, protocol: &str) -> Result<MeshStream, MeshError> {
        self.open_at(peer, &[], protocol).await
    }

    /// Like [`Mesh::open`], with addresses at which the peer may be found.
    ///
    /// # Errors
    /// Those of [`Mesh::open`], and a malformed address where there is no other.
    pub async fn open_at(
        &self,
        peer: PeerId,
        multiaddrs: &[String],
        protocol: &str,
    ) -> Result<MeshStream, MeshError> {
        let protocol = stream::protocol_name(&self.inner.network, protocol)?;
        self.connect(peer, multiaddrs).await?;
        let mut control = self.inner.control.clone();
        match stream::open(&mut control, peer, protocol.clone()).await {
            // The connection went away between the two steps, or one of several did.
            Err(MeshError::Stream { .. }) => {
                self.connect(peer, multiaddrs).await?;
                stream::open(&mut control, peer, protocol).await
            }
            other => other,
        }
    }

    /// Accepts streams of a protocol, by its short name, until the returned value is
    /// dropped.
    ///
    /// # Errors
    /// When they are accepted already, or the name is malformed.
    pub fn accept(&self, protocol: &str) -> Result<Incoming, MeshError> {
        let protocol = stream::protocol_name(&self.inner.network, protocol)?;
        let mut control = self.inner.control.clone();
        let cancel = self.inner.cancel.clone();
        let (incoming, pump) = stream::accept(&mut control, protocol, cancel)?;
        self.inner.tracker.spawn(pump);
        Ok(incoming)
    }

    /// Announces that this process holds a blob. Returns when the peers nearest to
    /// its key have been told; the announcement is repeated until it is withdrawn.
    ///
    /// # Errors
    /// When as many keys are provided as may be.
    pub async fn provide(&self, digest: Digest) -> Result<(), MeshError> {
        let key = queries::blob_key(&digest);
        self.query(|reply| Command::Provide { key, reply }).await
    }

    /// Stops announcing a blob. Others believe the last announcement for up to an hour.
    ///
    /// # Errors
    /// When the mesh is shut down.
    pub async fn withdraw(&self, digest: Digest) -> Result<(), MeshError> {
        let key = queries::blob_key(&digest);
        self.send(Command::StopProviding { key }).await
    }

    /// Peers that say they hold a blob: a hint, until its bytes have been checked.
    ///
    /// # Errors
    /// When the mesh is busy or shut down.
    pub async fn providers(&self, digest: Digest) -> Result<Vec<PeerId>, MeshError> {
        let key = queries::blob_key(&digest);
        let found = self
            .query(|reply| Command::Providers { key, reply })
            .await?;
        Ok(self.but_me(found))
    }

    /// Announces that this process is of a class, such as `device/cpu`.
    ///
    /// # Errors
    /// When the name is malformed, or as many keys are provided as may be.
    pub async fn provide_class(&self, class: &str) -> Result<(), MeshError> {
        let key = queries::class_key(class)?;
        self.query(|reply| Command::Provide { key, reply }).await
    }

    /// Peers that say they are of a class: some of them, and a hint only.
    ///
    /// # Errors
    /// When the name is malformed, or the mesh is busy or shut down.
    pub async fn providers_of_class(&self, class: &str) -> Result<Vec<PeerId>, MeshError> {
        let key = queries::class_key(class)?;
        let found = self
            .query(|reply| Command::Providers { key, reply })
            .await?;
        Ok(self.but_me(found))
    }

    fn but_me(&self, mut peers: Vec<PeerId>) -> Vec<PeerId> {
        peers.retain(|peer| *peer != self.inner.me);
        peers
    }

    /// Says goodbye to the mesh, closes every connection, and waits for the tasks.
    /// Every clone of the handle is closed with it.
    pub async fn shutdown(&self) {
        self.inner.cancel.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.inner.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(grace = ?SHUTDOWN_GRACE, "tasks of the mesh overran their grace");
        }
    }

    /// Waits until the mesh does nothing any more: it was shut down, or an error within has
    /// ended it, which nobody asked for.
    pub async fn ended(&self) {
        self.inner.commands.closed().await;
    }

    /// Whether the mesh has been shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.shared.closed.load(Ordering::Acquire)
    }

    async fn query<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, MeshError>>) -> Command,
    ) -> Result<T, MeshError> {
        match tokio::time::timeout(QUERY_TIMEOUT, self.ask(command)).await {
            Ok(answer) => answer?,
            Err(_) => Err(MeshError::Timeout {
                what: "a question to the DHT".to_owned(),
                after: QUERY_TIMEOUT,
            }),
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, MeshError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| MeshError::Closed)
    }

    async fn send(&self, command: Command) -> Result<(), MeshError> {
        self.inner
            .commands
            .send(command)
            .await
            .map_err(|_| MeshError::Closed)
    }
}
