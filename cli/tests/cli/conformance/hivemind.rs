//! A user of HiveMind: programs in Python.
//!
//! Refusals are said in band there, by a number at the head of a message.

use embermesh_proto::hivemind::nodepool::{
    GetAllTasksRequest, GetTaskResultRequest, PollTaskStatusRequest, StopTaskRequest,
    UploadTaskRequest, master_node_service_client::MasterNodeServiceClient,
};
use tonic::{Code, Status};

use super::{Face, Length, Seen};
use crate::support::{Link, Mesh, link};

pub(super) struct Client {
    stub: MasterNodeServiceClient<Link>,
    name: String,
    uploaded: u32,
}

/// What was said in band, as a status.
fn answer<T>(success: bool, message: String, value: T) -> Result<T, Status> {
    if success {
        return Ok(value);
    }
    let number = message.split(' ').next().unwrap_or_default();
    let code = match number {
        "1004" => Code::Unauthenticated,
        "3001" => Code::NotFound,
        "3002" | "3003" => Code::FailedPrecondition,
        _ => Code::Unknown,
    };
    Err(Status::new(code, message))
}

impl Face for Client {
    const NAME: &'static str = "hivemind";
    const CALL: &'static str = "/nodepool.MasterNodeService/UploadTask";

    async fn mesh() -> Mesh {
        let mut mesh = Mesh::start(0).await;
        let node = mesh.start_node_with("runs", &["--runtime", "python"]);
        let node = node.await;
        mesh.nodes.push(node);
        mesh.until_nodes(1).await;
        mesh
    }

    async fn of(mesh: &Mesh, name: &str) -> Self {
        Self {
            stub: MasterNodeServiceClient::new(link(mesh, "hivemind", name).await),
            name: name.to_owned(),
            uploaded: 0,
        }
    }

    async fn submit(&mut self, length: Length) -> Result<String, Status> {
        let program = match length {
            Length::Short => "print('done')",
            Length::Endless => "import time\nprint('on', flush=True)\ntime.sleep(10000)",
        };
        self.uploaded += 1;
        let id = format!("{}-{}", self.name, self.uploaded);
        let request = UploadTaskRequest {
            task_id: id.clone(),
            task_data: program.as_bytes().into(),
            user_id: String::new(),
        };
        let said = self.stub.upload_task(request).await?.into_inner();
        answer(said.success, said.message, id)
    }

    /// How far a program is nobody knows before it ends.
    async fn observe(&mut self, job: &str) -> Option<Result<(Seen, f64), Status>> {
        let task_id = job.to_owned();
        let polled = self
            .stub
            .poll_task_status(PollTaskStatusRequest { task_id });
        let polled = match polled.await {
            Ok(polled) => polled.into_inner(),
            Err(status) => return Some(Err(status)),
        };
        Some(match polled.status.as_str() {
            "PENDING" => Ok((Seen::Waiting, 0.0)),
            "RUNNING" => Ok((Seen::Running, 0.0)),
            "COMPLETED" => Ok((Seen::Done, 1.0)),
            "FAILED" => Ok((Seen::Failed, 0.0)),
            "STOPPED" => Ok((Seen::Cancelled, 0.0)),
            "NOT_FOUND" => Err(Status::not_found(polled.message)),
            other => panic!("{other:?}"),
        })
    }

    async fn list(&mut self) -> Option<Result<Vec<String>, Status>> {
        let tasks = self.stub.get_all_tasks(GetAllTasksRequest::default()).await;
        Some(tasks.map(|tasks| {
            let tasks = tasks.into_inner().tasks;
            tasks.into_iter().map(|task| task.task_id).collect()
        }))
    }

    async fn result(&mut self, job: &str) -> Result<Vec<u8>, Status> {
        let request = GetTaskResultRequest {
            task_id: job.to_owned(),
            ..GetTaskResultRequest::default()
        };
        let said = self.stub.get_task_result(request).await?.into_inner();
        answer(said.success, said.message, said.result_data.to_vec())
    }

    async fn cancel(&mut self, job: &str) -> Option<Result<(), Status>> {
        let request = StopTaskRequest {
            task_id: job.to_owned(),
            ..StopTaskRequest::default()
        };
        let said = match self.stub.stop_task(request).await {
            Ok(said) => said.into_inner(),
            Err(status) => return Some(Err(status)),
        };
        Some(answer(said.success, said.message, ()))
    }
}
