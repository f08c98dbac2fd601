//! Ports of an index beside its own, as its operator writes them down.

use std::net::SocketAddr;

use embermesh_proto::{
    cyxwiz::{protocol, shipped},
    zisk::{HealthCheckRequest, zisk_distributed_api_client::ZiskDistributedApiClient},
};
use tonic::{Code, transport::Channel};

use crate::{
    cyxwiz::{Somebody, training},
    support::Mesh,
    titancompute::channel,
};

/// A port in the form that shipped, for one system and two connections, and one on all
/// addresses.
const SETTINGS: &str = r#"
[[gateway.listeners]]
listen = "127.0.0.1:0"
profile = "shipped"
dialects = ["cyxwiz"]
connections = 2
[[gateway.listeners]]
listen = "0.0.0.0:0"
"#;

/// Calls what asks nobody who he is.
async fn health(channel: Channel) -> Result<(), tonic::Status> {
    let mut client = ZiskDistributedApiClient::new(channel);
    client.health_check(HealthCheckRequest {}).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_port_has_the_form_the_systems_and_the_bounds_that_are_written_down() {
    let mesh = Mesh::start_with(0, SETTINGS).await;
    let listeners = mesh.index.ready["listeners"].as_array().unwrap();
    let [shipped_at, everywhere] = &listeners[..] else {
        panic!("{listeners:?}");
    };
    let alice = Somebody::new(&mesh, "alice").await;
    let mut documented = protocol::job_service_client::JobServiceClient::new(mesh.channel().await);
    let submitted = documented.submit_job(alice.says(training(1))).await;
    let submitted = submitted.unwrap().into_inner();
    assert_eq!((submitted.status, submitted.error), (7, None), "queued");

    // The same user and the same job, in the numbers that shipped.
    let there = channel(shipped_at.as_str().unwrap()).await;
    let mut shipped = shipped::job_service_client::JobServiceClient::new(there.clone());
    let job_id = submitted.job_id;
    let status = alice.says(shipped::GetJobStatusRequest { job_id });
    let status = shipped.get_job_status(status).await.unwrap().into_inner();
    assert_eq!(status.status.unwrap().status, 3, "pending");
    let missing = health(there.clone()).await.unwrap_err();
    assert_eq!(missing.code(), Code::Unimplemented);
    health(mesh.channel().await).await.unwrap();

    // The second connection is the last.
    let second = channel(shipped_at.as_str().unwrap()).await;
    let second_says = health(second.clone()).await.unwrap_err();
    assert_eq!(second_says.code(), Code::Unimplemented);
    let third = Channel::from_shared(format!("http://{}", shipped_at.as_str().unwrap())).unwrap();
    if let Ok(third) = third.connect().await {
        let closed = health(third).await.unwrap_err();
        assert_ne!(closed.code(), Code::Unimplemented, "{closed}");
    }

    // What anybody may reach takes no plaintext unless the operator says so.
    let everywhere: SocketAddr = everywhere.as_str().unwrap().parse().unwrap();
    let near = format!("http://127.0.0.1:{}", everywhere.port());
    let near = Channel::from_shared(near).unwrap();
    if let Ok(near) = near.connect().await {
        health(near).await.unwrap_err();
    }
}
