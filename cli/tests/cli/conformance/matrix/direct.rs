//! What clients have done straight at a node, with no index between.

use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, PeerId, TaskIndex,
    ids::TokenId,
    time::UnixMillis,
    token::{self, Ceilings, Claims, Methods},
};
use embermesh_proto::{
    cyxwiz::protocol::{
        ConnectRequest, DownloadRequest, TrainingCommand,
        job_execution_service_client::JobExecutionServiceClient,
        job_service_client::JobServiceClient, training_update::Update,
    },
    dim::daemon::{GetJobStatusRequest, SubmitJobRequest, daemon_client::DaemonClient},
    hivemind::taskworker::{
        ExecuteTaskRequest, GetTaskStatusRequest,
        task_worker_service_client::TaskWorkerServiceClient,
    },
    titancompute::{StreamRequest, agent_service_client::AgentServiceClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, transport::Channel};

use crate::{
    cyxwiz::{Somebody, training},
    dim,
    hivemind::unzipped,
    support::{Bearer, Mesh, Process, eventually, stderr, stdout},
    titancompute::channel,
};

async fn plain(node: &Process) -> Channel {
    channel(&node.address()).await
}

/// A question of the native client to a model: by the index, and straight at its node.
pub(super) async fn native(mesh: &Mesh, node: &Process) -> String {
    let ask = ["ask", "chat", "her the", "--max-tokens", "8", "--seed", "3"];
    let address = node.address();
    let by_index = mesh.run(&ask).await;
    let direct = mesh.run(&[&ask[..], &["--node", &address]].concat()).await;
    assert!(direct.status.success(), "{}", stderr(&direct));
    let text = stdout(&direct);
    assert!(!text.trim().is_empty());
    assert_eq!(text, stdout(&by_index));
    "a model's answer, the same as by the index".to_owned()
}

/// A training of CyxWiz: watched at its node, by the token of its assignment, and its
/// weights fetched from there.
pub(super) async fn cyxwiz(mesh: &Mesh) -> String {
    let alice = Somebody::new(mesh, "alice").await;
    let mut jobs = JobServiceClient::new(mesh.channel().await);
    let submitted = jobs.submit_job(alice.says(training(200))).await.unwrap();
    let submitted = submitted.into_inner();
    assert_eq!(submitted.error, None);
    let job = submitted.job_id;
    let assigned = async || alice.assigned(&jobs, &job).await;
    eventually("a node has it", async || assigned().await.is_some()).await;
    let assigned = assigned().await.unwrap();
    let mut node = JobExecutionServiceClient::new(channel(&assigned.node_endpoint).await);
    let request = ConnectRequest {
        auth_token: assigned.auth_token,
        job_id: job.clone(),
        engine_version: "1".to_owned(),
    };
    let connected = node.connect_to_node(request).await.unwrap().into_inner();
    assert_eq!(connected.node_id, assigned.node_id);
    let (_say, said) = mpsc::channel::<TrainingCommand>(1);
    let updates = node.stream_training_metrics(ReceiverStream::new(said));
    let mut updates = updates.await.unwrap().into_inner();
    let mut heard = 0;
    let complete = loop {
        let update = updates.message().await.unwrap().expect("its end is said");
        match update.update.unwrap() {
            Update::Progress(_) => heard += 1,
            Update::Complete(complete) => break complete,
            Update::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    };
    assert!(complete.success && heard > 0, "{complete:?}");
    let request = DownloadRequest {
        job_id: job,
        offset: 0,
        chunk_size: 1 << 20,
    };
    let mut chunks = node.download_weights(request).await.unwrap().into_inner();
    let mut weights = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        weights.extend_from_slice(&chunk.data);
    }
    assert_eq!(weights.len() as i64, complete.final_weights_size);
    assert_eq!(Digest::of(&weights).to_string(), complete.result_hash);
    format!("{heard} words of a training, and its weights by their hash")
}

/// A task of DIM for the daemon of a node.
pub(super) async fn dim(node: &Process) -> String {
    let mut daemon = DaemonClient::new(plain(node).await);
    let request = SubmitJobRequest {
        model_id: "flowers".to_owned(),
        input_data_json: dim::flowers().to_string(),
        ..SubmitJobRequest::default()
    };
    let job_id = daemon.submit_job(request).await.unwrap();
    let job_id = job_id.into_inner().job_id;
    let status = async || {
        let job_id = job_id.clone();
        let mut daemon = daemon.clone();
        let status = daemon.get_job_status(GetJobStatusRequest { job_id });
        status.await.unwrap().into_inner()
    };
    eventually("it is done", async || status().await.status == "completed").await;
    assert_eq!(status().await.result_json, r#"["setosa","virginica"]"#);
    "two flowers told apart".to_owned()
}

/// A permission of a client's own for a node whose owner lets everybody use it.
fn own_token(node: &str) -> String {
    let key = Keypair::from_seed(&[7; 32]);
    let now = UnixMillis::now();
    let from = now.as_secs();
    let claims = Claims {
        issuer: key.peer_id(),
        client: key.peer_id(),
        node: node.parse::<PeerId>().unwrap(),
        job: JobId::v7(now, [7; 10]),
        task: TaskIndex(0),
        epoch: Epoch::FIRST,
        spec: Digest::of(b"a task of its own"),
        methods: Methods::all(),
        ceilings: Ceilings {
            memory_bytes: 4 << 30,
            wall_ms: 600_000,
            output_bytes: 1 << 30,
        },
        token_id: TokenId([7; 16]),
        issued_at: from,
        not_before: from,
        expires_at: from.saturating_add(300),
        revocation_epoch: 0,
    };
    token::issue(&claims, &key).unwrap()
}

/// A program for the worker that a node is.
pub(super) async fn hivemind(node: &Process) -> String {
    let link = Bearer::of(&own_token(&node.peer())).on(plain(node).await);
    let mut worker = TaskWorkerServiceClient::new(link);
    let request = ExecuteTaskRequest {
        task_id: "direct".to_owned(),
        task_type: "python".to_owned(),
        task_data: "open('answer.txt', 'w').write(str(6 * 7))".into(),
        ..ExecuteTaskRequest::default()
    };
    let started = worker.execute_task(request).await.unwrap().into_inner();
    assert!(started.success, "{}", started.message);
    let status = async || {
        let task_id = "direct".to_owned();
        let mut worker = worker.clone();
        let status = worker.get_task_status(GetTaskStatusRequest { task_id });
        status.await.unwrap().into_inner()
    };
    eventually("it is done", async || status().await.status == "COMPLETED").await;
    let files = status().await.result_data;
    assert_eq!(unzipped(&files, "answer.txt"), "42");
    "the file that a program has written".to_owned()
}

/// Only the index knows whether a session was taken before, so a node takes none.
pub(super) async fn titancompute(node: &Process) -> String {
    let mut agent = AgentServiceClient::new(plain(node).await);
    let refused = agent.stream_inference(StreamRequest::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    refused.message().to_owned()
}
