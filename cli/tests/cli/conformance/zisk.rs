//! A user of ZisK distributed: proofs, by gangs of provers that dial in.
//!
//! Refusals of a verb are said in band there, as an `ErrorResponse`.

use embermesh_proto::zisk::{
    ErrorResponse, JobCancelRequest, JobStatus, JobStatusRequest, JobStatusResponse,
    JobsListRequest, LaunchProofRequest, job_status_response, jobs_list_response,
    launch_proof_response, zisk_distributed_api_client::ZiskDistributedApiClient,
};
use tonic::{Code, Response, Status};

use super::{Face, Length, Seen};
use crate::{
    support::{Link, Mesh, link},
    zisk::{ENDLESS, UNITS, prover},
};

/// Provers in a gang.
const GANG: u32 = 2;
/// Provers: five gangs work at once.
const PROVERS: u32 = 5 * GANG;

pub(super) struct Client {
    stub: ZiskDistributedApiClient<Link>,
}

/// What was said in band, as a status.
fn refused(error: ErrorResponse) -> Status {
    let code = match error.code.as_str() {
        "JOB_NOT_FOUND" => Code::NotFound,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "PROVER_UNAVAILABLE" => Code::Unavailable,
        _ => Code::Unknown,
    };
    Status::new(code, error.message)
}

fn job(answer: Response<JobStatusResponse>) -> Result<JobStatus, Status> {
    match answer.into_inner().result {
        Some(job_status_response::Result::Job(job)) => Ok(job),
        Some(job_status_response::Result::Error(error)) => Err(refused(error)),
        None => panic!("an answer that says nothing"),
    }
}

impl Client {
    async fn status(&mut self, job_id: &str) -> Result<JobStatus, Status> {
        let request = JobStatusRequest {
            job_id: job_id.to_owned(),
            with_proof: true,
        };
        job(self.stub.job_status(request).await?)
    }
}

impl Face for Client {
    const NAME: &'static str = "zisk";
    const CALL: &'static str = "/zisk.distributed.api.v1.ZiskDistributedApi/LaunchProof";

    async fn mesh() -> Mesh {
        let mesh = Mesh::start(0).await;
        let link = link(&mesh, "zisk", "provers").await;
        for number in 0..PROVERS {
            // They prove until the test ends.
            prover(link.clone(), &format!("p{number}"), None, None).await;
        }
        mesh
    }

    async fn of(mesh: &Mesh, name: &str) -> Self {
        Self {
            stub: ZiskDistributedApiClient::new(link(mesh, "zisk", name).await),
        }
    }

    async fn submit(&mut self, length: Length) -> Result<String, Status> {
        let block = match length {
            Length::Short => "block_456",
            Length::Endless => ENDLESS,
        };
        let request = LaunchProofRequest {
            block_id: block.to_owned(),
            compute_capacity: GANG * UNITS,
            input_path: "/path/to/input".to_owned(),
            simulated_node: None,
        };
        match self.stub.launch_proof(request).await?.into_inner().result {
            Some(launch_proof_response::Result::JobId(id)) => Ok(id),
            Some(launch_proof_response::Result::Error(error)) => Err(refused(error)),
            None => panic!("an answer that says nothing"),
        }
    }

    /// How far a proof is, is its phase of three. What was cancelled has failed in this
    /// system, and says why.
    async fn observe(&mut self, job: &str) -> Option<Result<(Seen, f64), Status>> {
        Some(self.status(job).await.map(|job| match job.state.as_str() {
            "Created" => (Seen::Waiting, 0.0),
            "Running (Contributions)" => (Seen::Running, 0.0),
            "Running (Prove)" => (Seen::Running, 1.0 / 3.0),
            "Running (Aggregate)" => (Seen::Running, 2.0 / 3.0),
            "Completed" => (Seen::Done, 1.0),
            "Failed" if job.message.contains("cancelled") => (Seen::Cancelled, 0.0),
            "Failed" => (Seen::Failed, 0.0),
            other => panic!("{other:?}"),
        }))
    }

    async fn list(&mut self) -> Option<Result<Vec<String>, Status>> {
        let listed = self.stub.jobs_list(JobsListRequest::default()).await;
        Some(listed.and_then(|answer| match answer.into_inner().result {
            Some(jobs_list_response::Result::JobsList(list)) => {
                Ok(list.jobs.into_iter().map(|job| job.job_id).collect())
            }
            Some(jobs_list_response::Result::Error(error)) => Err(refused(error)),
            None => panic!("an answer that says nothing"),
        }))
    }

    async fn result(&mut self, job: &str) -> Result<Vec<u8>, Status> {
        let proof = self.status(job).await?.final_proof.unwrap_or_default();
        let words = proof.values.into_iter();
        Ok(words.flat_map(u64::to_le_bytes).collect())
    }

    async fn cancel(&mut self, job_id: &str) -> Option<Result<(), Status>> {
        let request = JobCancelRequest {
            job_id: job_id.to_owned(),
        };
        let cancelled = self.stub.job_cancel(request).await;
        Some(cancelled.and_then(job).map(drop))
    }
}
