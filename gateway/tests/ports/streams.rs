//! How calls are held: streams whose callers speak first answer before they have, because
//! some callers wait for that before they do, and large messages are taken a few at a time.

use std::time::Duration;

use bytes::Bytes;
use embermesh_dialects::Profile;
use embermesh_mesh::road::ListenConfig;
use embermesh_proto::{
    titancompute::coordinator_service_client::CoordinatorServiceClient,
    zisk::zisk_distributed_api_client::ZiskDistributedApiClient,
};
use tokio::time::timeout;
use tonic::Code;

use crate::support::{ALL, PATIENCE, Ports, answer, connect, stalled};

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

#[tokio::test]
async fn a_large_message_waits_for_its_turn_and_takes_it_when_another_goes() {
    const UPLOAD: &str = "nodepool.MasterNodeService/UploadTask";
    let ports = Ports::start().await;
    let usual = ListenConfig::default();
    let port = ports.open(&usual, &ALL, Profile::Documented).await;
    // Callers who are not known have one turn together.
    let first = connect(port).await.unwrap();
    let first = tokio::spawn(async move { stalled(first, UPLOAD).await });
    let second = connect(port).await.unwrap();
    let waits = async {
        loop {
            let mut call = Box::pin(answer(&second, UPLOAD, Bytes::new()));
            // One that is answered came before the first had its turn.
            if timeout(Duration::from_millis(200), &mut call)
                .await
                .is_err()
            {
                return call;
            }
        }
    };
    let call = timeout(PATIENCE, waits).await.expect("it has to wait");
    // Others of the port go on meanwhile.
    let other = answer(&second, "nodepool.UserService/Login", Bytes::new()).await;
    assert_eq!(other.code(), Code::Ok, "{other}");
    first.abort();
    assert_eq!(call.await.code(), Code::Ok, "a refusal is in the answer");
}
