//! A worker of HiveMind's own, in this process: what it is given, what it may say, what
//! becomes of a task when it is gone, and what it earns.

use std::time::Duration;

use embermesh_proto::hivemind::nodepool::{
    self as wire,
    node_manager_service_client::NodeManagerServiceClient,
    user_service_client::UserServiceClient,
    worker_node_service_server::{WorkerNodeService, WorkerNodeServiceServer},
};
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};

use super::{Tasks, by, poll, result, until, unzipped, upload, user};
use crate::support::{Mesh, PATIENCE};

/// A minute of a worker costs 60 units.
const SETTINGS: &str = "\n[gateway]\nworker_price = \"3600.0\"\n";

/// What a worker was told.
#[derive(Debug)]
enum Told {
    Execute(String, Vec<u8>),
    Stop(String),
}

struct Ears(mpsc::Sender<Told>);

impl Ears {
    async fn hear(&self, told: Told) {
        // The test may have ended.
        let _ = self.0.send(told).await;
    }
}

#[tonic::async_trait]
impl WorkerNodeService for Ears {
    async fn execute_task(
        &self,
        request: Request<wire::ExecuteTaskRequest>,
    ) -> Result<Response<wire::ExecuteTaskResponse>, Status> {
        let asked = request.into_inner();
        let told = Told::Execute(asked.task_id, asked.task_data.to_vec());
        self.hear(told).await;
        Ok(Response::new(wire::ExecuteTaskResponse {
            success: true,
            ..wire::ExecuteTaskResponse::default()
        }))
    }

    async fn report_output(
        &self,
        _: Request<wire::ReportOutputRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        Err(Status::unimplemented("the pool does not ask for it"))
    }

    async fn report_running_status(
        &self,
        _: Request<wire::RunningStatusRequest>,
    ) -> Result<Response<wire::RunningStatusResponse>, Status> {
        Err(Status::unimplemented("the pool does not ask for it"))
    }

    async fn stop_task_execution(
        &self,
        request: Request<wire::StopTaskExecutionRequest>,
    ) -> Result<Response<wire::StopTaskExecutionResponse>, Status> {
        self.hear(Told::Stop(request.into_inner().task_id)).await;
        Ok(Response::new(wire::StopTaskExecutionResponse {
            success: true,
            ..wire::StopTaskExecutionResponse::default()
        }))
    }
}

/// A worker that serves, and is registered with the pool.
pub(crate) struct Worker {
    id: String,
    token: String,
    told: mpsc::Receiver<Told>,
}

impl Worker {
    pub(crate) async fn join(channel: &Channel, id: &str) -> Self {
        let token = user(channel, id).await;
        let (sender, told) = mpsc::channel(16);
        let incoming = TcpIncoming::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = incoming.local_addr().unwrap().port();
        let service = WorkerNodeServiceServer::new(Ears(sender));
        // It ends with the runtime of the test.
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let offer = wire::RegisterWorkerNodeRequest {
            node_id: id.to_owned(),
            hostname: "127.0.0.1".to_owned(),
            cpu_cores: 2,
            memory_gb: 8,
            port: port.into(),
            last_heartbeat: 1.0,
            ..wire::RegisterWorkerNodeRequest::default()
        };
        let mut nodes = NodeManagerServiceClient::new(channel.clone());
        let known = nodes.register_worker_node(by(&token, offer)).await;
        let known = known.unwrap().into_inner();
        assert!(known.success, "{}", known.message);
        Self {
            id: id.to_owned(),
            token,
            told,
        }
    }

    /// Reports every few seconds until the test ends.
    pub(crate) fn stay(&self, channel: &Channel) {
        let mut nodes = NodeManagerServiceClient::new(channel.clone());
        let (id, token) = (self.id.clone(), self.token.clone());
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(5));
            loop {
                beat.tick().await;
                let report = wire::ReportStatusRequest {
                    node_id: id.clone(),
                    status: "Idle".to_owned(),
                };
                let _ = nodes.report_status(by(&token, report)).await;
            }
        });
    }

    /// The next that it is told.
    async fn next(&mut self) -> Told {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.expect("the worker is told something").unwrap()
    }

    /// The name and the archive of the next task.
    pub(crate) async fn task(&mut self) -> (String, Vec<u8>) {
        match self.next().await {
            Told::Execute(task, data) => (task, data),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn says(&self, tasks: &mut Tasks, task: &str, output: &str) -> (bool, String) {
        said(tasks, &self.token, task, output).await
    }

    pub(crate) async fn returns(&self, tasks: &mut Tasks, task: &str, data: &[u8]) -> bool {
        let request = wire::ReturnTaskResultRequest {
            task_id: task.to_owned(),
            result_zip: data.to_vec().into(),
        };
        let kept = tasks.return_task_result(by(&self.token, request)).await;
        kept.unwrap().into_inner().success
    }

    pub(crate) async fn ends(&self, tasks: &mut Tasks, task: &str, success: bool) -> bool {
        let request = wire::TaskCompletedRequest {
            task_id: task.to_owned(),
            node_id: self.id.clone(),
            success,
        };
        let noted = tasks.task_completed(by(&self.token, request)).await;
        noted.unwrap().into_inner().success
    }
}

async fn said(tasks: &mut Tasks, token: &str, task: &str, output: &str) -> (bool, String) {
    let request = wire::StoreOutputRequest {
        task_id: task.to_owned(),
        output: output.to_owned(),
    };
    let kept = tasks.store_output(by(token, request)).await;
    let kept = kept.unwrap().into_inner();
    (kept.success, kept.message)
}

async fn balance(channel: &Channel, token: &str) -> i64 {
    let request = wire::GetBalanceRequest::default();
    let mut users = UserServiceClient::new(channel.clone());
    let answer = users.get_balance(by(token, request)).await;
    let answer = answer.unwrap().into_inner();
    assert!(answer.success, "{}", answer.message);
    answer.balance
}

/// Gives units to a user, as the operator does.
async fn deposit(mesh: &Mesh, name: &str, units: &str) {
    let folder = mesh.path().join("index");
    let folder = folder.to_str().unwrap();
    let pass = mesh.pass("hivemind", name).await;
    let account = pass["account"].as_str().unwrap();
    let key = format!("{folder}/key.pem");
    let words = ["account", "deposit", account, units, "--once", name];
    mesh.json(&[&words[..], &["--key", &key]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_the_system_is_given_tasks_and_speaks_of_those_alone() {
    let mesh = Mesh::start_with(0, SETTINGS).await;
    let channel = mesh.channel().await;
    let (ada, bob) = (user(&channel, "ada").await, user(&channel, "bob").await);
    deposit(&mesh, "ada", "100.0").await;
    assert_eq!(balance(&channel, &ada).await, 100);
    let mut tasks = Tasks::new(channel.clone());

    // It waits for whoever can run it, and a worker that comes is given it.
    let (success, message) = upload(&mut tasks, &ada, "t", b"print(1)".to_vec()).await;
    assert!(success, "{message}");
    assert_eq!(poll(&tasks, &ada, "t").await.status, "PENDING");
    let mut wendy = Worker::join(&channel, "wendy").await;
    wendy.stay(&channel);
    let stolen = wire::RegisterWorkerNodeRequest {
        node_id: "wendy".to_owned(),
        port: 9,
        ..wire::RegisterWorkerNodeRequest::default()
    };
    let mut nodes = NodeManagerServiceClient::new(channel.clone());
    let stolen = nodes.register_worker_node(by(&bob, stolen)).await;
    assert!(!stolen.unwrap().into_inner().success);
    let (task, data) = wendy.task().await;
    assert_eq!(unzipped(&data, "main.py"), "print(1)");
    until(&tasks, &ada, "t", "RUNNING").await;

    let (kept, message) = wendy.says(&mut tasks, &task, "one line").await;
    assert!(kept, "{message}");
    assert!(wendy.says(&mut tasks, &task, "RESOURCE_USAGE: {}").await.0);
    for (token, name) in [(&bob, &*task), (&ada, &*task), (&wendy.token, "t")] {
        let (kept, _) = said(&mut tasks, token, name, "a lie").await;
        assert!(!kept);
    }
    assert!(wendy.returns(&mut tasks, &task, b"a zip of its own").await);
    assert!(wendy.ends(&mut tasks, &task, false).await);
    let ended = poll(&tasks, &ada, "t").await;
    assert_eq!(
        (ended.status.as_str(), &*ended.output),
        ("FAILED", &["one line".to_owned()][..])
    );
    let made = result(&mut tasks, &ada, "t").await;
    assert_eq!(&made.result_data[..], b"a zip of its own");
    assert!(!wendy.ends(&mut tasks, &task, true).await, "it has ended");
    assert!(balance(&channel, &ada).await < 100, "its time is paid for");

    // One that is stopped gives what it has made until then.
    assert!(upload(&mut tasks, &ada, "u", b"print(2)".to_vec()).await.0);
    let (task, _) = wendy.task().await;
    until(&tasks, &ada, "u", "RUNNING").await;
    let stop = wire::StopTaskRequest {
        task_id: "u".to_owned(),
        ..wire::StopTaskRequest::default()
    };
    let mut stopper = tasks.clone();
    let stop = by(&ada, stop);
    let stopping = tokio::spawn(async move { stopper.stop_task(stop).await });
    assert!(matches!(wendy.next().await, Told::Stop(stopped) if stopped == task));
    assert!(wendy.returns(&mut tasks, &task, b"half of it").await);
    assert!(wendy.ends(&mut tasks, &task, true).await);
    assert!(stopping.await.unwrap().unwrap().into_inner().success);
    assert_eq!(poll(&tasks, &ada, "u").await.status, "STOPPED");
    let made = result(&mut tasks, &ada, "u").await;
    assert_eq!(&made.result_data[..], b"half of it");

    // Somebody with no money has none of a worker's time.
    assert!(upload(&mut tasks, &bob, "v", b"print(3)".to_vec()).await.0);
    until(&tasks, &bob, "v", "STOPPED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_worker_that_is_gone_is_given_to_another() {
    let mesh = Mesh::start(0).await;
    let channel = mesh.channel().await;
    let ada = user(&channel, "ada").await;
    let mut tasks = Tasks::new(channel.clone());
    // It registers, takes a task, and is not heard of any more.
    let mut first = Worker::join(&channel, "first").await;
    assert!(upload(&mut tasks, &ada, "t", b"print(1)".to_vec()).await.0);
    let (lost, _) = first.task().await;
    let mut second = Worker::join(&channel, "second").await;
    second.stay(&channel);
    let (task, _) = second.task().await;
    assert_ne!(task, lost);
    // A late word of the first is no word of this attempt.
    assert!(!first.says(&mut tasks, &lost, "late").await.0);
    assert!(!first.ends(&mut tasks, &lost, true).await);
    assert!(second.says(&mut tasks, &task, "done").await.0);
    assert!(second.ends(&mut tasks, &task, true).await);
    let ended = poll(&tasks, &ada, "t").await;
    assert_eq!(
        (ended.status.as_str(), &*ended.output),
        ("COMPLETED", &["done".to_owned()][..])
    );
}
