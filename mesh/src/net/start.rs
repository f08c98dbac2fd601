//! Brings the mesh of one process up: keys, transports, listeners, the actor.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_crypto::keys::Keypair;
use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    MeshError, Standing,
    actor::{Actor, MAX_COMMANDS, Parts},
    address,
    behaviour::Behaviour,
    dialing::{self, Seeds},
    exchange,
    handle::{Inner, Mesh},
    shared::Shared,
    stream,
    traffic::Traffic,
};
use crate::config::MeshConfig;

/// How long the system may take to give us the addresses asked for.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the swarm of a process, with the transports that it is to have.
pub(crate) type Build<'a> = &'a (
        dyn Fn(
    libp2p::identity::Keypair,
    &MeshConfig,
    &Traffic,
) -> Result<Swarm<Behaviour>, MeshError>
            + Send
            + Sync
    );

/// Starts the actor; when this returns, every listener has its address.
pub(crate) async fn start(
    keypair: Arc<Keypair>,
    config: MeshConfig,
    cancel: CancellationToken,
    build: Build<'_>,
) -> Result<Mesh, MeshError> {
    let cancel = cancel.child_token();
    let listen = parse_all(&config.listen)?;
    let external = parse_all(&config.external)?;
    let mut seeds = Seeds::parse(&config.bootstrap, Instant::now())?;
    let table_protocol = stream::protocol_name(&config.network, exchange::PROTOCOL)?;

    let key = libp2p::identity::Keypair::from_protobuf_encoding(&keypair.to_libp2p_protobuf())
        .map_err(|error| MeshError::Transport(error.to_string()))?;
    let traffic = Traffic::default();
    let mut swarm = build(key, &config, &traffic)?;
    seeds.forget(swarm.local_peer_id());
    let mut unbound = HashSet::new();
    for address in &listen {
        let id = swarm
            .listen_on(address.clone())
            .map_err(|error| MeshError::Listen {
                address: address.to_string(),
                reason: dialing::root(&error),
            })?;
        unbound.insert(id);
    }
    for address in &external {
        swarm.add_external_address(address.clone());
    }

    let standing = if seeds.is_empty() {
        Standing::Alone
    } else {
        Standing::Joining { last: None }
    };
    let shared = Shared::new(standing, traffic);
    let tracker = TaskTracker::new();
    let (sender, commands) = mpsc::channel(MAX_COMMANDS);
    let mut control = stream::Control::new(swarm.behaviour().stream.new_control());
    let (incoming, pump) = stream::accept(&mut control, table_protocol.clone(), cancel.clone())?;
    let mut actor = Actor::new(Parts {
        network: config.network.clone(),
        keypair: Arc::clone(&keypair),
        swarm,
        control: control.clone(),
        table_protocol,
        shared: Arc::clone(&shared),
        tracker: tracker.clone(),
        cancel: cancel.clone(),
        weak: sender.downgrade(),
        external,
        seeds,
        unbound,
        relays: config.limits.reservations > 0 && config.limits.circuits > 0,
    });
    actor.offer_to_relay();
    bind(&mut actor, &listen).await?;

    tracker.spawn(pump);
    tracker.spawn(exchange::serve(
        incoming,
        sender.downgrade(),
        tracker.clone(),
        cancel.clone(),
    ));
    tracker.spawn(actor.run(commands));
    Ok(Mesh::new(Inner {
        me: keypair.peer_id(),
        network: config.network,
        commands: sender,
        shared,
        control,
        tracker,
        cancel,
    }))
}

fn parse_all(texts: &[String]) -> Result<Vec<Multiaddr>, MeshError> {
    texts.iter().map(|text| address::parse(text)).collect()
}

/// Waits until every listener has an address.
async fn bind(actor: &mut Actor, listen: &[Multiaddr]) -> Result<(), MeshError> {
    let bound = async {
        while !actor.unbound.is_empty() {
            let event = actor.swarm.select_next_some().await;
            actor.swarm_event(event);
        }
    };
    tokio::time::timeout(LISTEN_TIMEOUT, bound)
        .await
        .map_err(|_| MeshError::Listen {
            address: listen
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            reason: format!("the system gave no address within {LISTEN_TIMEOUT:?}"),
        })
}
