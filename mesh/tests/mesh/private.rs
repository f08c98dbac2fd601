//! Meshes that are not for everybody: who has no key, or is not on the list, gets nowhere,
//! on either road, and is told why.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    roads::{Make, Peer},
    support::{Draft, config, keypair, sees, start, wait},
};
use embermesh_crypto::ids::PeerId;
use embermesh_mesh::{
    Membership, Mesh, MeshConfig, NetworkKey,
    road::{self, Identity, RoadChoice, RoadError, Target},
};
use embermesh_proto::v1::{StatusRequest, node_client::NodeClient};
use tonic::Code;

/// How long somebody who is refused is given to get in all the same.
const REFUSED_WITHIN: Duration = Duration::from_secs(3);

fn id(number: u8) -> PeerId {
    keypair(number).peer_id()
}

fn with_key(key: NetworkKey) -> Membership {
    Membership::new(Some(key), None).unwrap()
}

fn listed(numbers: &[u8]) -> Membership {
    let members: BTreeSet<PeerId> = numbers.iter().map(|number| id(*number)).collect();
    Membership::new(None, Some(members)).unwrap()
}

async fn part(number: u8, through: &[String], membership: &Membership) -> Mesh {
    let config = MeshConfig {
        membership: membership.clone(),
        ..config(through)
    };
    let mesh = start(number, config).await;
    mesh.advertise(Draft::default().into()).await.unwrap();
    mesh
}

fn identity(number: u8, membership: &Membership) -> Identity {
    Identity::member(Arc::new(keypair(number)), membership.clone()).unwrap()
}

async fn server(members: &Membership) -> Peer {
    let make = Make {
        membership: members.clone(),
        ..Make::default()
    };
    Peer::made(1, make).await
}

/// What a call of the node at the other end comes to.
async fn call(caller: &Identity, target: &Target) -> Result<String, String> {
    let opened = wait(road::connect(caller, target, None, RoadChoice::Tls)).await;
    let channel = opened.map_err(|error| error.to_string())?.channel;
    match wait(NodeClient::new(channel).status(StatusRequest {})).await {
        Ok(answer) => Ok(answer.into_inner().node_id),
        Err(status) if status.code() == Code::Unavailable || status.code() == Code::Unknown => {
            Err(format!("{status:?}"))
        }
        Err(status) => panic!("it was let in: {status}"),
    }
}

#[tokio::test]
async fn with_the_key_peers_find_each_other_over_tcp_alone() {
    let membership = with_key(NetworkKey::generate().unwrap());
    let first = part(1, &[], &membership).await;
    let through = first.addresses();
    assert!(!through.is_empty());
    assert!(through.iter().all(|address| !address.contains("quic")));
    let second = part(2, &through, &membership).await;
    sees(&first, &second.peer_id()).await;
    sees(&second, &first.peer_id()).await;
}

#[tokio::test]
async fn without_the_key_nobody_joins_or_hears_anything() {
    let membership = with_key(NetworkKey::generate().unwrap());
    let first = part(1, &[], &membership).await;
    let through = first.addresses();
    let other = with_key(NetworkKey::generate().unwrap());
    for (number, stranger) in [(2, Membership::default()), (3, other)] {
        let outside = part(number, &through, &stranger).await;
        assert!(outside.joined(REFUSED_WITHIN).await.is_err());
        assert!(outside.peers().is_empty() && outside.advert_of(&id(1)).is_none());
        assert!(first.advert_of(&id(number)).is_none());
    }
    assert!(first.peers().is_empty());
}

#[tokio::test]
async fn who_is_not_listed_is_turned_away_and_its_advert_is_not_taken() {
    let members = listed(&[1, 2]);
    let first = part(1, &[], &members).await;
    let second = part(2, &first.addresses(), &members).await;
    sees(&first, &second.peer_id()).await;
    let outside = part(3, &first.addresses(), &Membership::default()).await;
    assert!(outside.joined(REFUSED_WITHIN).await.is_err());
    assert!(outside.advert_of(&id(1)).is_none());

    // The second's list is longer for a while: it knows the newcomer, and the first, which
    // hears of it through the second, does not take it.
    let longer = listed(&[1, 2, 3]);
    second.shutdown().await;
    let second = part(2, &first.addresses(), &longer).await;
    let newcomer = part(3, &second.addresses(), &longer).await;
    sees(&second, &newcomer.peer_id()).await;
    sees(&newcomer, &second.peer_id()).await;
    // What the first hears after that has come the same way.
    let later = Draft {
        region: "later".to_owned(),
        ..Draft::default()
    };
    second.advertise(later.into()).await.unwrap();
    let mut changes = first.changes();
    wait(async {
        while first
            .advert_of(&id(2))
            .is_none_or(|advert| advert.region != "later")
        {
            changes.changed().await.unwrap();
        }
    })
    .await;
    assert!(first.advert_of(&id(3)).is_none());
}

#[tokio::test]
async fn the_tls_road_lets_in_who_has_the_key() {
    let key = NetworkKey::generate().unwrap();
    let members = with_key(key);
    let server = server(&members).await;
    let target = server.by_tls();
    let member = identity(2, &members);
    assert_eq!(call(&member, &target).await, Ok(id(2).to_string()));
    for stranger in [
        Membership::default(),
        with_key(NetworkKey::generate().unwrap()),
    ] {
        call(&identity(3, &stranger), &target).await.unwrap_err();
    }
    let other = with_key(NetworkKey::generate().unwrap());
    let error = wait(road::connect(
        &identity(3, &other),
        &target,
        None,
        RoadChoice::Tls,
    ))
    .await
    .unwrap_err();
    assert!(matches!(error, RoadError::NotMember { .. }), "{error}");
    assert!(error.to_string().contains("private.key_file"), "{error}");
    // Who has a key does not talk with a server that has none either.
    let open = Peer::new(4).await;
    let error = wait(road::connect(
        &member,
        &open.by_tls(),
        None,
        RoadChoice::Tls,
    ))
    .await
    .unwrap_err();
    assert!(matches!(error, RoadError::NotMember { .. }), "{error}");
}

#[tokio::test]
async fn the_tls_road_lets_in_who_is_listed() {
    let members = listed(&[1, 2]);
    let server = server(&members).await;
    let target = server.by_tls();
    let listed = identity(2, &members);
    assert_eq!(call(&listed, &target).await, Ok(id(2).to_string()));
    let error = call(&identity(3, &Membership::default()), &target)
        .await
        .unwrap_err();
    assert!(error.contains("have its owner add it"), "{error}");
    // The list holds for whom one calls, too.
    let outside = Peer::new(4).await;
    let error = call(&listed, &outside.by_tls()).await.unwrap_err();
    assert!(error.contains("list of members"), "{error}");
}
