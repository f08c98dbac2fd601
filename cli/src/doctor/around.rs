//! A look around in the mesh: joins it as a peer of its own, under a key that it forgets, so
//! that a node that runs here is not disturbed, and asks.

use std::{
    net::{IpAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use embermesh_client::{
    Direct,
    clock::{Reading, Told},
    direct::records::Records,
};
use embermesh_crypto::{Keypair, PeerId, statement::Role};
use embermesh_job::address::PeerAddress;
use embermesh_mesh::{
    Limits, Mesh, MeshConfig, MeshError, MeshEvent, PeerView, ReachView, Standing, Survey,
    road::RoadChoice,
};
use futures::{StreamExt as _, future::join_all, stream};
use tokio::{
    sync::broadcast,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{patient::Asker, ports::is_here};

/// How long one peer may take to let us in.
const DIAL_TIME: Duration = Duration::from_secs(6);
/// Peers that are dialled at one time.
const AT_ONCE: usize = 16;
/// Peers that are dialled.
const MAX_DIALLED: usize = 64;
/// How long nothing new may be heard before what is known counts as all there is.
const QUIET: Duration = Duration::from_millis(300);
/// How long is waited for that at most.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// How long the look around may take by which the NAT class is found out.
const SURVEY_TIME: Duration = Duration::from_secs(5);
/// How long peers may take to try from outside whether this machine is reached, and relays
/// to answer: they begin after five seconds.
const OUTSIDE_TIME: Duration = Duration::from_secs(7);
/// How long a node may take to tell the time.
const CLOCK_TIME: Duration = Duration::from_secs(4);
/// Nodes that are asked for it.
const MAX_CLOCKS: usize = 3;
/// Peers of other networks, and other refusals, that are told.
const MAX_REFUSALS: usize = 16;

/// Where a peer to join through is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The settings name it, so that it has to be there.
    Settings,
    /// It was met before, or an index told of it: it may have gone.
    Hearsay,
}

/// A peer to join through.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) multiaddr: String,
    pub(crate) origin: Origin,
}

/// What came of one.
#[derive(Debug, Clone)]
pub(crate) struct Knocked {
    pub(crate) door: Door,
    pub(crate) result: Result<PeerId, MeshError>,
}

/// What the mesh showed.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) network: String,
    pub(crate) knocked: Vec<Knocked>,
    /// Every door leads to this machine.
    pub(crate) is_local: bool,
    /// The router is to be asked for a port.
    pub(crate) asks_router: bool,
    pub(crate) peers: Vec<PeerView>,
    /// Adverts in the table.
    pub(crate) known: usize,
    pub(crate) standing: Standing,
    /// Peers that were turned away as of other networks, and their networks.
    pub(crate) strangers: Vec<(PeerId, String)>,
    pub(crate) survey: Option<Survey>,
    pub(crate) reach: ReachView,
    /// The addresses from which this machine's packets leave.
    pub(crate) leaves_by: Vec<IpAddr>,
    /// What nodes' clocks showed, by how these are called.
    pub(crate) clocks: Vec<(String, Reading)>,
}

/// What to look around with.
pub(crate) struct Plan {
    /// How the mesh is taken part in, but for what this look sets itself.
    pub(crate) config: MeshConfig,
    pub(crate) doors: Vec<Door>,
    pub(crate) road: RoadChoice,
    /// When it must be over.
    pub(crate) until: Instant,
}

impl Plan {
    /// The addresses to listen on: where all is on this machine, nowhere else.
    fn listen(&self) -> Vec<String> {
        let all = if self.is_local() {
            "127.0.0.1"
        } else {
            "0.0.0.0"
        };
        vec![
            format!("/ip4/{all}/tcp/0"),
            format!("/ip4/{all}/udp/0/quic-v1"),
        ]
    }

    fn is_local(&self) -> bool {
        self.doors.iter().all(|door| is_here(&door.multiaddr))
    }
}

/// Starts this look's own part of the mesh. What cannot be an address of a peer is left
/// out, and told when it is knocked at.
///
/// # Errors
/// When there can be no mesh here.
pub(crate) async fn start(plan: &Plan, key: Arc<Keypair>) -> Result<Mesh, MeshError> {
    let good = |door: &&Door| embermesh_mesh::bootstrap_peer(&door.multiaddr).is_ok();
    let doors = plan.doors.iter().filter(good).take(MAX_DIALLED);
    let config = MeshConfig {
        listen: plan.listen(),
        external: Vec::new(),
        bootstrap: doors.map(|door| door.multiaddr.clone()).collect(),
        kad_server: false,
        limits: Limits {
            reservations: 0,
            circuits: 0,
            ..plan.config.limits.clone()
        },
        ..plan.config.clone()
    };
    Mesh::start(key, config, CancellationToken::new()).await
}

/// Looks around until `plan.until` at most.
pub(crate) async fn look(mesh: &Mesh, plan: Plan, asker: Asker) -> Around {
    let mut events = mesh.events();
    let end = |span: Duration| plan.until.min(Instant::now() + span);
    let knocked = knock(mesh, &plan.doors, end(DIAL_TIME)).await;
    let is_in = knocked.iter().any(|one| one.result.is_ok());
    let mut survey = None;
    let mut clocks = Vec::new();
    if is_in {
        settle(mesh, end(SETTLED_WITHIN)).await;
        let outside = end(OUTSIDE_TIME);
        let doors: Vec<String> = plan
            .doors
            .iter()
            .map(|door| door.multiaddr.clone())
            .collect();
        let looking = async {
            if plan.is_local() {
                return None;
            }
            let left = end(SURVEY_TIME).saturating_duration_since(Instant::now());
            let survey = mesh.survey(&doors, left).await;
            until_outside_says(mesh, outside).await;
            Some(survey)
        };
        let asking = ask_clocks(mesh, asker.key, plan.road, &knocked, end(CLOCK_TIME));
        (survey, clocks) = tokio::join!(Box::pin(looking), Box::pin(asking));
    }
    Around {
        network: mesh.network().to_string(),
        is_local: plan.is_local(),
        asks_router: plan.config.upnp,
        peers: mesh.peers(),
        known: mesh.adverts().len(),
        standing: mesh.standing().borrow().clone(),
        strangers: strangers(&mut events),
        leaves_by: leaves_by(),
        reach: mesh.reach().borrow().clone(),
        knocked,
        survey,
        clocks,
    }
}

/// Dials every door, and says what came of each.
async fn knock(mesh: &Mesh, doors: &[Door], end: Instant) -> Vec<Knocked> {
    let dials = doors.iter().take(MAX_DIALLED).map(|door| async move {
        let bootstrap = embermesh_mesh::bootstrap_peer(&door.multiaddr);
        let dialling = async {
            let expected = bootstrap?;
            mesh.dial(&door.multiaddr).await.map(|_| expected)
        };
        let result = timeout_at(end, dialling).await.unwrap_or_else(|_| {
            Err(MeshError::Timeout {
                what: format!("connecting with {}", door.multiaddr),
                after: DIAL_TIME,
            })
        });
        Knocked {
            door: door.clone(),
            result,
        }
    });
    stream::iter(dials).buffered(AT_ONCE).collect().await
}

/// Waits until the tables that were asked for have come.
async fn settle(mesh: &Mesh, end: Instant) {
    let mut changes = mesh.changes();
    while Instant::now() < end {
        if timeout(QUIET, changes.changed()).await.is_err() {
            return;
        }
    }
}

/// Waits until somebody has tried this machine from outside, or a relay has answered.
async fn until_outside_says(mesh: &Mesh, end: Instant) {
    let mut reach = mesh.reach();
    let said = reach.wait_for(|view| {
        !view.confirmed.is_empty() || view.relays.iter().any(|relay| relay.granted)
    });
    let _ = timeout_at(end, said).await;
}

/// Asks nodes that are connected for the time.
async fn ask_clocks(
    mesh: &Mesh,
    key: Arc<Keypair>,
    road: RoadChoice,
    knocked: &[Knocked],
    end: Instant,
) -> Vec<(String, Reading)> {
    // Nothing is read or written there: it only asks.
    let Ok(direct) = Direct::new(key, mesh.clone(), road, Records::at("jobs".into())) else {
        return Vec::new();
    };
    let is_index = |peer: &PeerId| {
        let advert = mesh.advert_of(peer);
        advert.is_some_and(|advert| advert.role == Role::Index)
    };
    let doors = knocked.iter().filter_map(|one| {
        let peer = *one.result.as_ref().ok()?;
        let at = PeerAddress {
            peer,
            tls: Vec::new(),
            mesh: vec![one.door.multiaddr.clone()],
        };
        Some(mesh.address_of(peer).unwrap_or(at))
    });
    let mut nodes: Vec<PeerAddress> = Vec::new();
    let others = mesh.peers().into_iter();
    let others = others.filter_map(|view| mesh.address_of(view.peer));
    for at in doors.chain(others) {
        let is_new = nodes.iter().all(|known| known.peer != at.peer);
        if is_new && !is_index(&at.peer) && nodes.len() < MAX_CLOCKS {
            nodes.push(at);
        }
    }
    let asked = nodes.iter().map(|at| async {
        let told: Told = timeout_at(end, Box::pin(direct.ways().clock_of(at)))
            .await
            .ok()?
            .ok()?;
        Some((format!("node {}", at.peer.short()), told.reading?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The addresses from which packets to the internet leave. None is sent: a socket is only
/// told where it would send to, and asked where from.
fn leaves_by() -> Vec<IpAddr> {
    // Addresses of documentation (RFC 5737, RFC 3849), which are nobody's.
    let ways = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    ways.into_iter()
        .filter_map(|(from, to)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .collect()
}

/// The peers that were turned away meanwhile.
fn strangers(events: &mut broadcast::Receiver<MeshEvent>) -> Vec<(PeerId, String)> {
    let mut strangers: Vec<(PeerId, String)> = Vec::new();
    loop {
        match events.try_recv() {
            Ok(MeshEvent::OtherNetwork { peer, theirs, .. }) => {
                let is_new = strangers.iter().all(|(known, _)| *known != peer);
                if is_new && strangers.len() < MAX_REFUSALS {
                    strangers.push((peer, theirs));
                }
            }
            Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => return strangers,
        }
    }
}
