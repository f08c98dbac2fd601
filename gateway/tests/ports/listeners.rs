//! Dialects on ports of their own: the form of a wire, the systems that a port has, what
//! it takes in plaintext, and how many at once.

use std::{net::SocketAddr, time::Duration};

use embermesh_dialects::{
    Dialect::{HiveMind, Zisk},
    Profile,
};
use embermesh_mesh::road::ListenConfig;
use embermesh_proto::{
    dim::orchestrator::{ListJobsRequest, orchestrator_client::OrchestratorClient},
    hivemind::{
        nodepool::{self, node_manager_service_client::NodeManagerServiceClient},
        shipped,
    },
    zisk::{HealthCheckRequest, zisk_distributed_api_client::ZiskDistributedApiClient},
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{ALL, PATIENCE, Ports, connect};

/// A call that asks nobody who he is.
async fn health(channel: &Channel) -> Result<(), Status> {
    let mut client = ZiskDistributedApiClient::new(channel.clone());
    let asked = client.health_check(HealthCheckRequest {});
    timeout(PATIENCE, asked).await.unwrap().map(drop)
}

/// Whether somebody who connects anew is served.
async fn is_served(address: SocketAddr) -> bool {
    match connect(address).await {
        Ok(channel) => health(&channel).await.is_ok(),
        Err(_) => false,
    }
}

/// The packages that reflection lists.
async fn packages(channel: &Channel) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let stream = client.server_reflection_info(tokio_stream::iter([request]));
    let answer = stream.await.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.unwrap().message_response else {
        panic!("a list of services");
    };
    let services = list.service.into_iter();
    let mut packages: Vec<String> = services
        .map(|service| service.name.split('.').next().unwrap().to_owned())
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

#[tokio::test]
async fn each_port_has_its_systems_and_its_form() {
    let ports = Ports::start().await;
    let usual = ListenConfig::default();
    let shipped = ports.open(&usual, &[HiveMind], Profile::Shipped).await;
    let documented = ports.open(&usual, &ALL, Profile::Documented).await;

    // The same call in two forms: a word in one, a flag in the other.
    let there = connect(documented).await.unwrap();
    let mut pool = NodeManagerServiceClient::new(there.clone());
    let said = pool.health_check(nodepool::HealthCheckRequest::default());
    assert_eq!(said.await.unwrap().into_inner().status, "healthy");
    let here = connect(shipped).await.unwrap();
    let mut pool =
        shipped::node_manager_service_client::NodeManagerServiceClient::new(here.clone());
    let said = pool.health_check(shipped::HealthCheckRequest::default());
    assert!(said.await.unwrap().into_inner().healthy);

    // A system that is not listed is not there, for a call and for reflection.
    let missing = health(&here).await.unwrap_err();
    assert_eq!(missing.code(), Code::Unimplemented);
    let jobs = OrchestratorClient::new(here.clone())
        .list_jobs(ListJobsRequest::default())
        .await;
    assert_eq!(jobs.unwrap_err().code(), Code::Unimplemented);
    health(&there).await.unwrap();
    let jobs = OrchestratorClient::new(there.clone())
        .list_jobs(ListJobsRequest::default())
        .await;
    assert_eq!(jobs.unwrap_err().code(), Code::Unauthenticated);
    let both = ["grpc", "nodepool"];
    assert_eq!(packages(&here).await, both);
    let listed = packages(&there).await;
    for package in ["cyxwiz", "dim", "grpc", "nodepool", "titancompute", "zisk"] {
        assert!(listed.iter().any(|one| one == package), "{listed:?}");
    }
}

#[tokio::test]
async fn plaintext_is_taken_on_loopback_or_where_the_operator_says_so() {
    let ports = Ports::start().await;
    let everywhere = ListenConfig {
        address: "0.0.0.0:0".parse().unwrap(),
        ..ListenConfig::default()
    };
    let closed = ports.open(&everywhere, &[Zisk], Profile::Documented).await;
    assert!(!is_served(closed).await);
    for (address, plaintext, taken) in [
        ("0.0.0.0:0", Some(true), true),
        ("127.0.0.1:0", None, true),
        ("127.0.0.1:0", Some(false), false),
    ] {
        let config = ListenConfig {
            address: address.parse().unwrap(),
            plaintext,
            ..ListenConfig::default()
        };
        let port = ports.open(&config, &[Zisk], Profile::Documented).await;
        assert_eq!(is_served(port).await, taken, "{address} {plaintext:?}");
    }
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_its_place_comes_back() {
    let ports = Ports::start().await;
    let narrow = ListenConfig {
        plain_connections: 2,
        ..ListenConfig::default()
    };
    let port = ports.open(&narrow, &[Zisk], Profile::Documented).await;
    let usual = ListenConfig::default();
    let other = ports.open(&usual, &[Zisk], Profile::Documented).await;
    let (first, second) = (connect(port).await.unwrap(), connect(port).await.unwrap());
    for channel in [&first, &second] {
        health(channel).await.unwrap();
    }
    assert!(!is_served(port).await);
    // Those that are there go on, and another port has places of its own.
    health(&first).await.unwrap();
    assert!(is_served(other).await);
    drop(second);
    let again = async {
        while !is_served(port).await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("the place is free");
}
