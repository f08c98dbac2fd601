//! A user of DIM: chains of models.

use embermesh_proto::dim::{
    common::{JobState, Pattern},
    orchestrator::{
        CancelJobRequest, GetJobResultRequest, GetJobStatusRequest, ListJobsRequest,
        SubmitJobRequest, orchestrator_client::OrchestratorClient,
    },
};
use serde_json::json;
use tonic::Status;

use super::{Face, Length, Seen};
use crate::{
    support::{Link, Mesh, link},
    titancompute::with_model,
};

pub(super) struct Client {
    stub: OrchestratorClient<Link>,
    name: String,
}

impl Face for Client {
    const NAME: &'static str = "dim";
    const CALL: &'static str = "/dim.orchestrator.Orchestrator/SubmitJob";

    async fn mesh() -> Mesh {
        with_model("").await
    }

    async fn of(mesh: &Mesh, name: &str) -> Self {
        Self {
            stub: OrchestratorClient::new(link(mesh, "dim", name).await),
            name: name.to_owned(),
        }
    }

    async fn submit(&mut self, length: Length) -> Result<String, Status> {
        let tokens = match length {
            Length::Short => 4,
            Length::Endless => 60_000,
        };
        let config = json!({
            "pipeline": [{"step": 1, "model_id": "chat"}, {"step": 2, "model_id": "chat"}],
            "input_data": {"prompt": "her the", "max_tokens": tokens},
            "timeout": 600,
        });
        let request = SubmitJobRequest {
            user_id: self.name.clone(),
            pattern: Pattern::Chained.into(),
            config_json: config.to_string(),
            ..SubmitJobRequest::default()
        };
        Ok(self.stub.submit_job(request).await?.into_inner().job_id)
    }

    async fn observe(&mut self, job: &str) -> Option<Result<(Seen, f64), Status>> {
        let job_id = job.to_owned();
        let answer = self.stub.get_job_status(GetJobStatusRequest { job_id });
        Some(answer.await.map(|answer| {
            let job = answer.into_inner();
            let seen = match job.status() {
                JobState::Unspecified | JobState::Pending => Seen::Waiting,
                JobState::Running => Seen::Running,
                JobState::Completed => Seen::Done,
                JobState::Failed => Seen::Failed,
                JobState::Cancelled => Seen::Cancelled,
            };
            let percent = job.progress.unwrap_or_default().percent_complete;
            (seen, f64::from(percent) / 100.0)
        }))
    }

    async fn list(&mut self) -> Option<Result<Vec<String>, Status>> {
        let request = ListJobsRequest {
            user_id: self.name.clone(),
            limit: 100,
            ..ListJobsRequest::default()
        };
        let answer = self.stub.list_jobs(request).await;
        Some(answer.map(|answer| {
            let jobs = answer.into_inner().jobs;
            jobs.into_iter().map(|job| job.job_id).collect()
        }))
    }

    async fn result(&mut self, job: &str) -> Result<Vec<u8>, Status> {
        let job_id = job.to_owned();
        let answer = self.stub.get_job_result(GetJobResultRequest { job_id });
        Ok(answer.await?.into_inner().result_json.into_bytes())
    }

    async fn cancel(&mut self, job: &str) -> Option<Result<(), Status>> {
        let request = CancelJobRequest {
            job_id: job.to_owned(),
            user_id: self.name.clone(),
        };
        Some(self.stub.cancel_job(request).await.map(|_| ()))
    }
}
