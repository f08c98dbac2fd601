//! Streams whose callers speak first answer before they have, because some callers wait
//! for that before they do.

use embermesh_dialects::Profile;
use embermesh_mesh::road::ListenConfig;
use embermesh_proto::{
    titancompute::coordinator_service_client::CoordinatorServiceClient,
    zisk::zisk_distributed_api_client::ZiskDistributedApiClient,
};
use tokio::time::timeout;

use crate::support::{ALL, PATIENCE, Ports, connect};

#[tokio::test]
async fn a_stream_is_open_before_its_caller_has_said_anything() {
    let ports = Ports::trusting().await;
    let usual = ListenConfig::default();
    let port = ports.open(&usual, &ALL, Profile::Documented).await;
    let channel = connect(port).await.unwrap();
    let mut zisk = ZiskDistributedApiClient::new(channel.clone());
    let mut titan = CoordinatorServiceClient::new(channel);
    let opened = zisk.prover_stream(tokio_stream::pending());
    timeout(PATIENCE, opened).await.expect("headers").unwrap();
    let opened = zisk.worker_stream(tokio_stream::pending());
    timeout(PATIENCE, opened).await.expect("headers").unwrap();
    let opened = titan.report_health(tokio_stream::pending());
    timeout(PATIENCE, opened).await.expect("headers").unwrap();
}
