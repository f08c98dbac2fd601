//! Calls a worker of the system, in the form that it speaks: its `WorkerNodeService`.
//!
//! Each call has a connection of its own. A worker is a stranger: what it is sent is a
//! task and no secret.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use embermesh_proto::hivemind::{nodepool, shipped};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{ErrorCode, Failure, Profile};

/// How long it may take to reach a worker.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a worker may take to take a task, and for each million bytes of it more, and
/// how long at most.
const EXECUTE: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_secs(2),
    Duration::from_secs(300),
];
/// How long a worker may take to answer that it stops a task.
const STOP: Duration = Duration::from_secs(20);
/// The most of a worker's own words that is passed on, in characters.
const MAX_WORDS: usize = 200;

/// Where a worker is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// What it is called.
    pub id: String,
    /// Where it is.
    pub address: SocketAddr,
    /// The form of the wire that it speaks.
    pub form: Profile,
}

/// A task for a worker.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it is called in this attempt.
    pub id: String,
    /// Its archive.
    pub package: Bytes,
    /// The memory that it may take, in bytes.
    pub memory: u64,
}

impl Worker {
    /// Gives a task to the worker. It says whether it takes it, and works on then.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached or does not answer, `Precondition` when it
    /// does not take the task.
    pub async fn execute(&self, task: Task) -> Result<(), Failure> {
        let megabytes = u32::try_from(task.package.len() / 1_000_000).unwrap_or(u32::MAX);
        let most = EXECUTE[0] + EXECUTE[1].saturating_mul(megabytes);
        let channel = self.connect(most.min(EXECUTE[2])).await?;
        let (success, message) = match self.form {
            Profile::Documented => {
                let request = nodepool::ExecuteTaskRequest {
                    task_id: task.id,
                    task_data: task.package,
                };
                let mut client =
                    nodepool::worker_node_service_client::WorkerNodeServiceClient::new(channel);
                let answer = client.execute_task(request).await;
                let answer = answer
                    .map_err(|status| self.unreached(&status))?
                    .into_inner();
                (answer.success, answer.message)
            }
            Profile::Shipped => {
                let request = shipped::ExecuteTaskRequest {
                    node_id: self.id.clone(),
                    task_id: task.id,
                    task_zip: task.package,
                    memory_gb: i32::try_from(task.memory.div_ceil(1 << 30)).unwrap_or(i32::MAX),
                    ..shipped::ExecuteTaskRequest::default()
                };
                let mut client =
                    shipped::worker_node_service_client::WorkerNodeServiceClient::new(channel);
                let answer = client.execute_task(request).await;
                let answer = answer
                    .map_err(|status| self.unreached(&status))?
                    .into_inner();
                (answer.success, answer.message)
            }
        };
        self.taken(success, &message)
    }

    /// Tells the worker to stop a task; it says what the task has made until then.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn stop(&self, task: &str) -> Result<(), Failure> {
        let task_id = task.to_owned();
        let channel = self.connect(STOP).await?;
        let (success, message) = match self.form {
            Profile::Documented => {
                let mut client =
                    nodepool::worker_node_service_client::WorkerNodeServiceClient::new(channel);
                let request = nodepool::StopTaskExecutionRequest { task_id };
                let answer = client.stop_task_execution(request).await;
                let answer = answer
                    .map_err(|status| self.unreached(&status))?
                    .into_inner();
                (answer.success, answer.message)
            }
            Profile::Shipped => {
                let mut client =
                    shipped::worker_node_service_client::WorkerNodeServiceClient::new(channel);
                let request = shipped::StopTaskExecutionRequest { task_id };
                let answer = client.stop_task_execution(request).await;
                let answer = answer
                    .map_err(|status| self.unreached(&status))?
                    .into_inner();
                (answer.success, answer.message)
            }
        };
        self.taken(success, &message)
    }

    async fn connect(&self, most: Duration) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        let endpoint = endpoint.map_err(|error| Failure::invalid(error.to_string()))?;
        let endpoint = endpoint.connect_timeout(CONNECT).timeout(most);
        endpoint.connect().await.map_err(|error| {
            let message = format!(
                "the worker {:?} cannot be reached at {}: {error}",
                self.id, self.address
            );
            Failure::new(ErrorCode::Unavailable, message)
        })
    }

    fn unreached(&self, status: &Status) -> Failure {
        let words: String = status.message().chars().take(MAX_WORDS).collect();
        let message = format!("the worker {:?} did not answer: {words}", self.id);
        Failure::new(ErrorCode::Unavailable, message)
    }

    fn taken(&self, success: bool, message: &str) -> Result<(), Failure> {
        if success {
            return Ok(());
        }
        let words: String = message.chars().take(MAX_WORDS).collect();
        let message = format!("the worker {:?} says no: {words}", self.id);
        Err(Failure::new(ErrorCode::Precondition, message))
    }
}
