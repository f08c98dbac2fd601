//! What the index shows beside its own services: health, reflection, metrics,
//! and itself in the mesh.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::statement::Role;
use embermesh_mesh::{AdvertDraft, Mesh, MeshConfig};
use embermesh_proto::v1;
use futures::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{PATIENCE, World, key, next};

#[tokio::test]
async fn health_is_told_to_anyone() {
    let world = World::start().await;
    let mut health = HealthClient::new(world.plain().await);
    for service in [
        "",
        "embermesh.v1.Index",
        "embermesh.v1.Ledger",
        "embermesh.v1.Registry",
        "embermesh.v1.Reservations",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_watches_health_hears_of_the_stop_and_does_not_hold_it_up() {
    let world = World::start().await;
    let mut health = HealthClient::new(world.plain().await);
    let request = HealthCheckRequest {
        service: "embermesh.v1.Index".to_owned(),
    };
    let mut watched = health.watch(request).await.unwrap().into_inner();
    assert_eq!(next(&mut watched).await.status(), ServingStatus::Serving);
    let stopping = tokio::spawn(world.index.stop());
    assert_eq!(next(&mut watched).await.status(), ServingStatus::NotServing);
    assert!(watched.message().await.unwrap().is_none());
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn both_versions_of_reflection_name_what_is_served_and_nothing_else() {
    let world = World::start().await;
    let channel = world.plain().await;
    macro_rules! services {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(channel.clone());
            let stream = client
                .server_reflection_info(tokio_stream::iter([request]))
                .await
                .unwrap();
            let answer = stream.into_inner().next().await.unwrap().unwrap();
            match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => list
                    .service
                    .into_iter()
                    .map(|service| service.name)
                    .collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        }};
    }
    for (version, mut services) in [("v1", services!(v1)), ("v1alpha", services!(v1alpha))] {
        services.sort_unstable();
        let itself = format!("grpc.reflection.{version}.ServerReflection");
        let expected = [
            "embermesh.v1.Index",
            "embermesh.v1.Ledger",
            "embermesh.v1.Registry",
            "embermesh.v1.Reservations",
            "grpc.health.v1.Health",
            &itself,
        ];
        assert_eq!(services, expected);
    }
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn prometheus_finds_its_metrics() {
    let world = World::start().await;
    let client = world.peer(1).await;
    client.submit("counted").await;
    let mut tcp = TcpStream::connect(world.index.metrics_address().unwrap())
        .await
        .unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, tcp.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for line in [
        "embermesh_index_commands_total{kind=\"submit\",outcome=\"done\"} 1",
        "embermesh_index_jobs_queued 1",
        "embermesh_index_commit_seconds_bucket",
        "# TYPE embermesh_index_commits_total counter",
    ] {
        assert!(answer.contains(line), "{line} is not in {answer}");
    }
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_joins_through_the_index_is_heard_of() {
    let world = World::start().await;
    let config = MeshConfig {
        bootstrap: world.index.mesh_addresses(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        ..MeshConfig::default()
    };
    let node = key(7);
    let mesh = Mesh::start(Arc::clone(&node), config, CancellationToken::new())
        .await
        .unwrap();
    mesh.joined(PATIENCE).await.unwrap();
    let draft = AdvertDraft {
        role: Role::Node,
        version: "1".to_owned(),
        tls_addresses: Vec::new(),
        region: String::new(),
        price_micros_per_hour: 0,
        devices: Vec::new(),
        slots: 2,
        free_slots: 2,
        queued: 0,
        draining: false,
        runtimes: embermesh_crypto::statement::Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    };
    mesh.advertise(draft).await.unwrap();
    let client = world.peer(1).await;
    let heard = async {
        loop {
            let nodes = client
                .index
                .clone()
                .list_nodes(v1::ListNodesRequest::default())
                .await
                .unwrap();
            let found = nodes.into_inner().nodes.into_iter().find(|entry| {
                entry
                    .address
                    .as_ref()
                    .is_some_and(|a| a.peer_id == node.peer_id().to_string())
            });
            if let Some(found) = found {
                return found;
            }
            // Gossip has no event here to wait for: the list is what is tested.
            sleep(Duration::from_millis(50)).await;
        }
    };
    let found = timeout(PATIENCE, heard).await.expect("heard of in time");
    assert_eq!(found.source, "advert");
    assert!(found.live);
    // And the other way round: the index is in the table of who joined through it.
    let index = world.index.peer_id();
    let mut changes = mesh.changes();
    while mesh.advert_of(&index).is_none() {
        timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    }
    assert_eq!(mesh.advert_of(&index).unwrap().role, Role::Index);
    mesh.shutdown().await;
    world.index.stop().await.unwrap();
}
