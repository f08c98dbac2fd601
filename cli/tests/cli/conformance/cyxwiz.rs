//! A user of CyxWiz: trainings.

use std::collections::{BTreeMap, HashMap};

use embermesh_proto::cyxwiz::protocol::{
    CancelJobRequest, GetJobStatusRequest, JobConfig, JobType, ListJobsRequest, StatusCode,
    SubmitJobRequest, job_service_client::JobServiceClient,
};
use tonic::Status;

use super::{Face, Length, Seen};
use crate::support::{Link, Mesh, link};

pub(super) struct Client {
    stub: JobServiceClient<Link>,
}

/// Flowers of two kinds, by one measure.
const DATA: &str = "x,y\n0.1,0\n0.2,0\n0.3,0\n1.1,1\n1.2,1\n1.3,1\n";

impl Face for Client {
    const NAME: &'static str = "cyxwiz";
    const CALL: &'static str = "/cyxwiz.protocol.JobService/SubmitJob";

    async fn mesh() -> Mesh {
        Mesh::start(1).await
    }

    async fn of(mesh: &Mesh, name: &str) -> Self {
        Self {
            stub: JobServiceClient::new(link(mesh, "cyxwiz", name).await),
        }
    }

    async fn submit(&mut self, length: Length) -> Result<String, Status> {
        let epochs = match length {
            Length::Short => 3,
            Length::Endless => 1_000_000,
        };
        let hyperparameters = [
            ("dataset_format", "csv"),
            ("target", "y"),
            ("learning_rate", "0.1"),
        ];
        let config = JobConfig {
            job_type: JobType::Training.into(),
            model_definition: r#"{"input": [1], "layers": [{"type": "dense", "units": 2}]}"#
                .to_owned(),
            hyperparameters: HashMap::from(
                hyperparameters.map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
            batch_size: 3,
            epochs,
            ..JobConfig::default()
        };
        let request = SubmitJobRequest {
            config: Some(config),
            initial_data: DATA.into(),
        };
        let answer = self.stub.submit_job(request).await?.into_inner();
        match answer.error {
            Some(error) => Err(Status::invalid_argument(format!("{error:?}"))),
            None => Ok(answer.job_id),
        }
    }

    async fn observe(&mut self, job: &str) -> Option<Result<(Seen, f64), Status>> {
        let job_id = job.to_owned();
        let answer = self.stub.get_job_status(GetJobStatusRequest { job_id });
        Some(answer.await.map(|answer| {
            let job = answer.into_inner().status.unwrap();
            let seen = match job.status() {
                StatusCode::StatusRunning => Seen::Running,
                StatusCode::StatusCompleted => Seen::Done,
                StatusCode::StatusFailed => Seen::Failed,
                StatusCode::StatusCancelled => Seen::Cancelled,
                _ => Seen::Waiting,
            };
            (seen, job.progress)
        }))
    }

    async fn list(&mut self) -> Option<Result<Vec<String>, Status>> {
        let request = ListJobsRequest {
            page_size: 100,
            ..ListJobsRequest::default()
        };
        let answer = self.stub.list_jobs(request).await;
        Some(answer.map(|answer| {
            let jobs = answer.into_inner().jobs;
            jobs.into_iter().map(|job| job.job_id).collect()
        }))
    }

    /// The last word of the stream has the result.
    async fn result(&mut self, job: &str) -> Result<Vec<u8>, Status> {
        let job_id = job.to_owned();
        let updates = self.stub.stream_job_updates(GetJobStatusRequest { job_id });
        let mut updates = updates.await?.into_inner();
        let mut last = Vec::new();
        while let Some(update) = updates.message().await? {
            let status = update.status.unwrap_or_default();
            let metrics = BTreeMap::from_iter(&status.metrics);
            last = format!("{:?} {metrics:?}", status.status()).into_bytes();
        }
        Ok(last)
    }

    async fn cancel(&mut self, job: &str) -> Option<Result<(), Status>> {
        let request = CancelJobRequest {
            job_id: job.to_owned(),
            reason: "enough".to_owned(),
        };
        Some(self.stub.cancel_job(request).await.map(|_| ()))
    }
}
