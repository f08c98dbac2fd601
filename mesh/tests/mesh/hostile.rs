//! Peers that do not keep to the rules, built on libp2p itself: what they send is
//! turned away, and the table holds nothing of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{collections::BTreeSet, time::Duration};

use crate::support::{Draft, WAIT, config, event, member, start, wait};
use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    keys::Keypair,
    statement::{Advert, Role, Statement as _, sign},
    time::UnixMillis,
};
use embermesh_mesh::{
    Mesh, MeshConfig, MeshError, MeshEvent,
    protocol::{MAX_LIFETIME, Reason},
};
use futures::{FutureExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, gossipsub, identify,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, tls, yamux,
};
use tokio::sync::mpsc;

const TOPIC: &str = "embermesh/embermesh/adverts/1";

#[derive(NetworkBehaviour)]
struct Rogue {
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
}

/// A peer that speaks the protocols of the mesh and publishes whatever it is given.
pub(crate) struct Hostile {
    send: mpsc::Sender<Vec<u8>>,
}

impl Hostile {
    pub(crate) async fn join(mesh: &Mesh) -> Self {
        let mut swarm = rogue();
        let addresses = mesh.addresses();
        let here = addresses.iter().find(|text| text.contains("127.0.0.1"));
        let address: Multiaddr = here.unwrap().parse().unwrap();
        swarm.dial(address).unwrap();
        let topic = gossipsub::IdentTopic::new(TOPIC);
        let listening = wait(async {
            loop {
                let event = swarm.select_next_some().await;
                if let SwarmEvent::Behaviour(RogueEvent::Gossip(gossipsub::Event::Subscribed {
                    ..
                })) = event
                {
                    return;
                }
            }
        });
        listening.await;
        let (send, mut wanted) = mpsc::channel::<Vec<u8>>(1024);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    bytes = wanted.recv() => {
                        let Some(bytes) = bytes else { return };
                        // Nobody listens any more once it has been turned away.
                        let published = swarm.behaviour_mut().gossip.publish(topic.clone(), bytes);
                        if published.is_err() {
                            return;
                        }
                    }
                    _ = swarm.select_next_some() => {}
                }
            }
        });
        Self { send }
    }

    async fn publish(&self, bytes: Vec<u8>) {
        assert!(self.try_publish(bytes).await);
    }

    /// Publishes, if this peer has not been turned away yet.
    pub(crate) async fn try_publish(&self, bytes: Vec<u8>) -> bool {
        self.send.send(bytes).await.is_ok()
    }
}

fn rogue() -> Swarm<Rogue> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            tls::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|key| {
            let gossip = gossipsub::ConfigBuilder::default()
                .protocol_id("/embermesh/embermesh/gossip/1", gossipsub::Version::V1_1)
                .validation_mode(gossipsub::ValidationMode::Anonymous)
                .message_id_fn(|message| gossipsub::MessageId::from(message.data.clone()))
                .heartbeat_initial_delay(Duration::from_millis(50))
                .build()?;
            let unsigned = gossipsub::MessageAuthenticity::Anonymous;
            Ok(Rogue {
                identify: identify::Behaviour::new(identify::Config::new(
                    "/embermesh/embermesh/1".to_owned(),
                    key.public(),
                )),
                gossip: gossipsub::Behaviour::new(unsigned, gossip)?,
            })
        })
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(WAIT))
        .build();
    let topic = gossipsub::IdentTopic::new(TOPIC);
    swarm.behaviour_mut().gossip.subscribe(&topic).unwrap();
    swarm
}

fn now() -> UnixMillis {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    UnixMillis(since.as_millis() as u64)
}

pub(crate) fn key(number: u16) -> Keypair {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    Keypair::from_seed(&seed)
}

fn advert(peer: PeerId) -> Advert {
    let now = now();
    Advert {
        peer,
        network: NetworkName::default(),
        sequence: now.0,
        issued_at: now,
        expires_at: UnixMillis(now.0 + MAX_LIFETIME.as_millis() as u64),
        role: Role::Node,
        version: "0".to_owned(),
        mesh_addresses: Vec::new(),
        tls_addresses: Vec::new(),
        region: String::new(),
        price_micros_per_hour: 0,
        devices: Vec::new(),
        slots: 0,
        free_slots: 0,
        queued: 0,
        draining: false,
        runtimes: embermesh_crypto::statement::Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    }
}

pub(crate) fn signed(number: u16, change: impl FnOnce(&mut Advert)) -> Vec<u8> {
    let key = key(number);
    let mut advert = advert(key.peer_id());
    change(&mut advert);
    // Not by `sign`, which refuses what breaks a rule.
    let payload = minicbor::to_vec(&advert).unwrap();
    let message = [Advert::DOMAIN.as_bytes(), &[0], &payload].concat();
    [key.sign(&message).as_slice(), &payload].concat()
}

/// Sends the bytes as gossip from a fresh peer, and waits for the verdict.
async fn rejection(mesh: &Mesh, bytes: Vec<u8>) -> Reason {
    let mut events = mesh.events();
    let hostile = Hostile::join(mesh).await;
    hostile.publish(bytes).await;
    event(&mut events, |event| match event {
        MeshEvent::AdvertRejected { reason, .. } => Some(reason),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn forged_foreign_oversized_and_overlong_adverts_are_rejected() {
    let mesh = member(1, &[]).await;
    let mut forged = signed(1, |_| {});
    forged[10] ^= 1;
    assert_eq!(rejection(&mesh, forged).await, Reason::Forged);
    assert_eq!(
        rejection(&mesh, b"not an advert".to_vec()).await,
        Reason::Forged
    );
    let in_anothers_name = signed(1, |advert| advert.peer = key(2).peer_id());
    assert_eq!(rejection(&mesh, in_anothers_name).await, Reason::Forged);
    let foreign = signed(1, |advert| advert.network = "other".parse().unwrap());
    assert_eq!(rejection(&mesh, foreign).await, Reason::OtherNetwork);
    let oversized = signed(1, |advert| advert.mesh_addresses = vec!["x".repeat(120); 9]);
    assert_eq!(rejection(&mesh, oversized).await, Reason::Oversized);
    let overlong = signed(1, |advert| advert.expires_at.0 += 1);
    assert_eq!(rejection(&mesh, overlong).await, Reason::Invalid);
    assert!(mesh.adverts().is_empty());
}

#[tokio::test]
async fn expired_and_future_adverts_do_not_come_into_the_table() {
    let mesh = member(1, &[]).await;
    let hostile = Hostile::join(&mesh).await;
    let hour = 3_600_000;
    for shift in [hour, -hour] {
        let shifted = signed(1, |advert| {
            advert.issued_at.0 = advert.issued_at.0.checked_add_signed(shift).unwrap();
            advert.expires_at.0 = advert.expires_at.0.checked_add_signed(shift).unwrap();
        });
        hostile.publish(shifted).await;
    }
    // Gossip of one peer keeps its order: once this one is known, the others were judged.
    hostile.publish(signed(2, |_| {})).await;
    crate::support::sees(&mesh, &key(2).peer_id()).await;
    assert_eq!(mesh.adverts().len(), 1);
}

#[tokio::test]
async fn a_message_larger_than_any_advert_does_not_hurt() {
    let mesh = member(1, &[]).await;
    let hostile = Hostile::join(&mesh).await;
    hostile.publish(vec![0; 60_000]).await;
    let honest = member(2, &mesh.addresses()).await;
    honest.advertise(Draft::default().into()).await.unwrap();
    crate::support::sees(&mesh, &honest.peer_id()).await;
    assert_eq!(mesh.adverts().len(), 1);
}

#[tokio::test]
async fn two_adverts_with_one_number_are_noticed_and_not_shown() {
    let mesh = member(1, &[]).await;
    // The cheat speaks to the first only; what it says must reach the other too.
    let far = member(2, &mesh.addresses()).await;
    far.joined(WAIT).await.unwrap();
    let hostile = Hostile::join(&mesh).await;
    let number = now().0;
    hostile
        .publish(signed(3, |advert| advert.sequence = number))
        .await;
    crate::support::sees(&far, &key(3).peer_id()).await;
    let heard = [mesh.events(), far.events()];
    hostile
        .publish(signed(3, |advert| {
            advert.sequence = number;
            advert.region = "elsewhere".to_owned();
        }))
        .await;
    for (mesh, mut events) in [&mesh, &far].into_iter().zip(heard) {
        let cheat = event(&mut events, |event| match event {
            MeshEvent::Equivocation { peer, sequence } => Some((peer, sequence)),
            _ => None,
        });
        assert_eq!(cheat.await, (key(3).peer_id(), number));
        assert!(mesh.advert_of(&key(3).peer_id()).is_none());
    }
}

#[tokio::test]
async fn a_peer_that_passes_on_what_nobody_needs_is_turned_away() {
    let mesh = member(1, &[]).await;
    let mut events = mesh.events();
    let hostile = Hostile::join(&mesh).await;
    let newest = now().0;
    hostile
        .publish(signed(1, |advert| advert.sequence = newest))
        .await;
    // Each is well signed, and older than what is known.
    let mut older = (1..).map(|back| signed(1, |advert| advert.sequence = newest - back));
    let flood = async { while hostile.try_publish(older.next().unwrap()).await {} };
    let turned_away = async {
        let rejected = event(&mut events, |event| match event {
            MeshEvent::AdvertRejected { reason, .. } => Some(reason),
            _ => None,
        });
        assert_eq!(rejected.await, Reason::Useless);
        let gone = |event| matches!(event, MeshEvent::Disconnected(_)).then_some(());
        event(&mut events, gone).await;
    };
    wait(async { tokio::join!(flood, turned_away) }).await;
    assert_eq!(mesh.adverts().len(), 1);
}

#[tokio::test]
async fn an_advert_leads_nobody_to_its_own_ports() {
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = trap.local_addr().unwrap().port();
    let advert = signed(5, |advert| {
        advert.mesh_addresses = vec![
            format!("/ip4/127.0.0.1/tcp/{port}"),
            format!("/ip6/::ffff:127.0.0.1/tcp/{port}"),
            format!("/dns4/localhost/tcp/{port}"),
        ];
    });
    let peer = key(5).peer_id();
    let elsewhere = MeshConfig {
        external: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
        ..config(&[])
    };
    let mesh = start(1, elsewhere).await;
    let hostile = Hostile::join(&mesh).await;
    hostile.publish(advert.clone()).await;
    crate::support::sees(&mesh, &peer).await;
    assert_eq!(mesh.address_of(peer), None);
    let error = wait(mesh.open(peer, "rpc/1")).await.unwrap_err();
    assert!(matches!(error, MeshError::NoAddress(_)), "{error:?}");
    assert!(trap.accept().now_or_never().is_none(), "somebody knocked");

    // In a mesh of one machine, loopback is where the others are.
    let local = member(2, &[]).await;
    let hostile = Hostile::join(&local).await;
    hostile.publish(advert).await;
    crate::support::sees(&local, &peer).await;
    assert_eq!(local.address_of(peer).unwrap().mesh.len(), 3);
    let knocking = local.open(peer, "rpc/1");
    let (_, knocked) = wait(async { tokio::join!(knocking, accept_and_close(&trap)) }).await;
    knocked.unwrap();
}

/// Lets one caller in and hangs up.
async fn accept_and_close(trap: &tokio::net::TcpListener) -> std::io::Result<()> {
    trap.accept().await.map(drop)
}

#[tokio::test]
async fn a_joiner_gets_the_whole_table_at_once() {
    const PEERS: u16 = 200;
    let mesh = member(1, &[]).await;
    let hostile = Hostile::join(&mesh).await;
    let mut changes = mesh.changes();
    let began = std::time::Instant::now();
    for number in 0..PEERS {
        let key = key(number);
        let advert = sign(&advert(key.peer_id()), &key).unwrap();
        hostile.publish(advert.bytes().to_vec()).await;
    }
    wait(async {
        while mesh.adverts().len() < usize::from(PEERS) {
            changes.changed().await.unwrap();
        }
    })
    .await;
    println!("{PEERS} adverts heard by gossip in {:?}", began.elapsed());
    drop(hostile);

    let began = std::time::Instant::now();
    let joiner = start(2, config(&mesh.addresses())).await;
    joiner.joined(WAIT).await.unwrap();
    println!(
        "{PEERS} adverts by exchange, {:?} after the start",
        began.elapsed()
    );
    let known = |mesh: &Mesh| -> BTreeSet<PeerId> {
        mesh.adverts().iter().map(|advert| advert.peer).collect()
    };
    assert_eq!(known(&joiner), known(&mesh));
}
