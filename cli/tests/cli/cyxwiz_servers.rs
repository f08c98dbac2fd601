//! A server node of CyxWiz's own, in this process, points at an index: it joins, is found,
//! is given a job with its data, and is paid for it; its client watches it and comes to the
//! node itself.

#[path = "../../../gateway/tests/cyxwiz/ears.rs"]
mod ears;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use embermesh_proto::cyxwiz::protocol::{
    self as wire, job_execution_service_client::JobExecutionServiceClient,
    job_service_client::JobServiceClient, job_status_service_client::JobStatusServiceClient,
    node_discovery_service_client::NodeDiscoveryServiceClient,
    node_service_client::NodeServiceClient, wallet_service_client::WalletServiceClient,
};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use self::ears::{Told, listen};
use crate::{
    cyxwiz::{Somebody, named, training},
    support::{Mesh, PATIENCE, eventually},
};

/// What an hour of the server costs: a unit a second.
const PRICE: f64 = 3600.0;
/// What the job may cost, for the hour that it may take at most.
const BUDGET: f64 = 4000.0;

/// A server node that has joined.
struct Node {
    owner: Somebody,
    id: String,
    port: u16,
    told: mpsc::Receiver<Told>,
}

impl Node {
    async fn join(channel: &Channel, owner: Somebody) -> Self {
        let (port, told) = listen("0.0.0.0:0").await;
        let info = wire::NodeInfo {
            name: "a server".to_owned(),
            ip_address: "198.51.100.7".to_owned(),
            port: port.into(),
            ram_total: 8 << 30,
            pricing: Some(wire::NodePricing {
                price_per_hour: PRICE,
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = wire::RegisterNodeRequest {
            info: Some(info),
            ..Default::default()
        };
        let mut nodes = NodeServiceClient::new(channel.clone());
        let answer = nodes.register_node(owner.says(request)).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!((answer.status, answer.error), (1, None));
        Self {
            owner,
            id: answer.node_id,
            port,
            told,
        }
    }

    async fn next(&mut self) -> Told {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.expect("the server is told something").unwrap()
    }

    async fn progress(&self, channel: &Channel, job: &str, share: f64) -> bool {
        let request = wire::UpdateJobStatusRequest {
            node_id: self.id.clone(),
            job_id: job.to_owned(),
            status: 3,
            progress: share,
            metrics: [("loss".to_owned(), 1.0 - share)].into(),
            current_epoch: 1,
            log_message: format!("{share} of it is done"),
        };
        let mut statuses = JobStatusServiceClient::new(channel.clone());
        let answer = statuses.update_job_status(self.owner.says(request)).await;
        answer.unwrap().into_inner().should_continue
    }

    async fn ends(&self, channel: &Channel, job: &str) -> wire::ReportCompletionResponse {
        let request = wire::ReportCompletionRequest {
            node_id: self.id.clone(),
            job_id: job.to_owned(),
            result: Some(wire::JobResult {
                status: 4,
                model_weights_uri: "file:///weights/1".to_owned(),
                model_weights_hash: "sha256:77".to_owned(),
                // What it says of its time pays nothing.
                total_compute_time: 1_000_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut nodes = NodeServiceClient::new(channel.clone());
        let answer = nodes.report_completion(self.owner.says(request)).await;
        answer.unwrap().into_inner()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_node_of_the_system_is_given_a_job_and_paid_for_it() {
    let mut mesh = Mesh::start(0).await;
    let (alice, bob) = (
        Somebody::new(&mesh, "alice").await,
        Somebody::new(&mesh, "bob").await,
    );
    let index_key = mesh.path().join("index").join("key.pem");
    let index_key = ["--key", index_key.to_str().unwrap()];
    let deposit = [
        "account",
        "deposit",
        &alice.account,
        "5000",
        "--once",
        "one",
    ];
    mesh.json(&[&deposit[..], &index_key].concat()).await;
    let channel = mesh.channel().await;
    let mut node = Node::join(&channel, bob).await;
    let found = NodeDiscoveryServiceClient::new(channel.clone())
        .find_nodes(wire::FindNodesRequest::default())
        .await;
    let found = found.unwrap().into_inner().nodes;
    assert_eq!((found.len(), &found[0].node_id), (1, &node.id));
    // It is where it was heard from, whatever it says.
    assert_ne!(found[0].ip_address, "198.51.100.7");

    // A job that nobody pays for is not for a server that asks for something.
    let mut jobs = JobServiceClient::new(channel.clone());
    let free = jobs.submit_job(alice.says(training(5))).await.unwrap();
    assert_eq!(free.into_inner().error, None);
    let mut request = training(5);
    let data = request.initial_data.clone();
    request.config.as_mut().unwrap().payment_amount = BUDGET;
    let answer = jobs.submit_job(alice.says(request)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!((answer.status, answer.error), (7, None));
    let job = answer.job_id;
    let Told::Assign(assigned) = node.next().await else {
        panic!("it is assigned first");
    };
    let config = assigned.job.unwrap();
    assert_eq!((&config.job_id, config.epochs), (&job, 5));
    assert!(config.payment_amount == 0.0 && config.escrow_tx_hash.is_empty());
    let Told::Connect(hello) = node.next().await else {
        panic!("somebody connects then");
    };
    let claims = hello.auth_token.split('.').nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], "alice");
    assert_eq!(
        (&claims["job_id"], &claims["node_id"]),
        (&job.clone().into(), &node.id.clone().into())
    );
    let Told::Send(sent) = node.next().await else {
        panic!("the data comes last");
    };
    assert_eq!((&sent.job_id, &sent.initial_dataset), (&job, &data));

    // Its client is sent to it, and comes with a token of the same kind.
    eventually("its client is sent to the server", async || {
        let answer = jobs.clone().get_job_status(alice.says(named(&job))).await;
        answer.unwrap().into_inner().node_assignment.is_some()
    })
    .await;
    let answer = jobs.get_job_status(alice.says(named(&job))).await.unwrap();
    let assignment = answer.into_inner().node_assignment.unwrap();
    assert_eq!(assignment.node_id, node.id);
    assert!(
        assignment
            .node_endpoint
            .ends_with(&format!(":{}", node.port))
    );
    let direct = format!("http://{}", assignment.node_endpoint);
    let mut direct = JobExecutionServiceClient::connect(direct).await.unwrap();
    let hello = wire::ConnectRequest {
        auth_token: assignment.auth_token,
        job_id: job.clone(),
        ..Default::default()
    };
    direct.connect_to_node(hello).await.unwrap();
    assert!(matches!(node.next().await, Told::Connect(hello) if hello.job_id == job));

    // What the server says is seen where the client looks.
    let stream = jobs.stream_job_updates(alice.says(named(&job))).await;
    let mut stream = stream.unwrap().into_inner();
    assert!(node.progress(&channel, &job, 0.25).await);
    let mut said = false;
    while let Some(update) = stream.message().await.unwrap() {
        said |= update.log_message.contains("0.25 of it is done");
        let status = update.status.unwrap();
        if said && status.progress > 0.2 {
            assert_eq!((status.status, &status.current_node_id), (3, &node.id));
            assert!((update.live_metrics["loss"] - 0.75).abs() < 1e-12);
            break;
        }
    }
    drop(stream);

    // The index dies under it, and it goes on.
    mesh.restart_index(Duration::from_secs(1)).await;
    let channel = mesh.channel().await;
    let mut jobs = JobServiceClient::new(channel.clone());
    assert!(node.progress(&channel, &job, 0.5).await);
    assert!((alice.status(&jobs, &job).await.progress - 0.5).abs() < 1e-12);
    let stream = jobs.stream_job_updates(alice.says(named(&job))).await;
    let mut stream = stream.unwrap().into_inner();
    let ended = node.ends(&channel, &job).await;
    assert_eq!((ended.status, ended.error), (1, None));
    assert!(ended.payment_released && !ended.payment_tx_hash.is_empty());
    let mut last = None;
    while let Some(update) = stream.message().await.unwrap() {
        last = Some(update);
    }
    let last = last.unwrap();
    assert_eq!(last.status.unwrap().status, 4);
    assert!(
        last.log_message.contains("nobody here has seen them"),
        "{}",
        last.log_message
    );

    // It is paid for the seconds that were seen, and the rest is back.
    let mut wallet = WalletServiceClient::new(channel.clone());
    let (paid, left) = (
        node.owner.has(&mut wallet).await,
        alice.has(&mut wallet).await,
    );
    assert!(paid > 0.0 && paid < BUDGET / 10.0, "{paid}");
    assert!((paid + left - 5000.0).abs() < 1e-6, "{paid} and {left}");
    // Said again, nothing is paid again.
    let again = node.ends(&channel, &job).await;
    assert_eq!(again.payment_tx_hash, ended.payment_tx_hash);
    assert!((node.owner.has(&mut wallet).await - paid).abs() < 1e-9);
    assert!(!node.progress(&channel, &job, 0.9).await, "it has ended");
}
