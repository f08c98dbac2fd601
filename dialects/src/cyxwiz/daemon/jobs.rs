//! Whatever runs on the node.

use embermesh_job::lifecycle::JobState;
use futures::StreamExt as _;
use tonic::{Request, Response};

use super::{Answer, Stream, call, obeyed, wire};
use crate::{
    Failure,
    cyxwiz::code,
    port::node::owner::jobs::{News, OwnedJob, OwnedJobs},
};

/// Jobs that are listed, where the call does not say.
const USUAL_JOBS: u32 = 50;
/// Jobs that are listed at most.
const MAX_JOBS: u32 = 200;

pub(super) async fn list<P: OwnedJobs>(
    port: &P,
    request: &Request<wire::ListJobsRequest>,
) -> Answer<wire::ListJobsResponse> {
    let said = request.get_ref();
    let most = match u32::try_from(said.limit) {
        Ok(0) => USUAL_JOBS,
        Ok(most) => most.min(MAX_JOBS),
        Err(_) => return Err(Failure::invalid("limit: it is less than nothing").into()),
    };
    let jobs = port
        .jobs(&call(request, ""), said.include_completed, most)
        .await?;
    Ok(Response::new(wire::ListJobsResponse {
        jobs: jobs.iter().map(info).collect(),
    }))
}

pub(super) async fn get<P: OwnedJobs>(
    port: &P,
    request: &Request<wire::GetJobRequest>,
) -> Answer<wire::GetJobResponse> {
    let job = port.job(&call(request, &request.get_ref().job_id)).await?;
    Ok(Response::new(wire::GetJobResponse {
        job: Some(info(&job)),
    }))
}

pub(super) async fn cancel<P: OwnedJobs>(
    port: &P,
    request: &Request<wire::CancelJobRequest>,
) -> Answer<wire::CancelJobResponse> {
    let cancelled = port.cancel(&call(request, &request.get_ref().job_id)).await;
    let (success, error_message) = obeyed(cancelled.map(|_| ()))?;
    Ok(Response::new(wire::CancelJobResponse {
        success,
        error_message,
    }))
}

pub(super) fn follow<P: OwnedJobs>(
    port: &P,
    request: &Request<wire::StreamJobUpdatesRequest>,
) -> Answer<Stream<wire::JobUpdate>> {
    let news = port.follow(&call(request, ""))?;
    let updates = news.map(|news| {
        let (news, job) = news?;
        Ok(wire::JobUpdate {
            job_id: job.task.job.to_string(),
            job: Some(info(&job)),
            update_type: word(news, job.task.state).to_owned(),
        })
    });
    Ok(Response::new(updates.boxed()))
}

const fn word(news: News, state: JobState) -> &'static str {
    match (news, state) {
        (News::Began, _) => "started",
        (News::Changed, _) => "progress",
        (News::Ended, JobState::Succeeded) => "completed",
        (News::Ended, JobState::Cancelled) => "cancelled",
        (News::Ended, _) => "failed",
    }
}

const fn status(state: JobState) -> wire::JobStatus {
    match state {
        JobState::Queued | JobState::Assigned => wire::JobStatus::Pending,
        JobState::Running => wire::JobStatus::Running,
        JobState::Paused => wire::JobStatus::Paused,
        JobState::Succeeded => wire::JobStatus::Completed,
        JobState::Failed => wire::JobStatus::Failed,
        JobState::Cancelled => wire::JobStatus::Cancelled,
    }
}

/// A job as it is shown. What it pays is known at its index.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the wire has floats"
)]
fn info(job: &OwnedJob) -> wire::JobInfo {
    let task = &job.task;
    let measure = |name: &str| task.metrics.get(name).copied().unwrap_or_default() as f32;
    let (step, steps) = task.step;
    wire::JobInfo {
        id: task.job.to_string(),
        r#type: job.kind.clone(),
        status: status(task.state).into(),
        progress: match task.state {
            JobState::Succeeded => 1.0,
            _ => step as f32 / steps.max(1) as f32,
        },
        current_epoch: code::int32(task.pass.0.into()),
        total_epochs: code::int32(task.pass.1.into()),
        loss: measure("loss"),
        accuracy: measure("accuracy"),
        started_at: code::seconds(Some(job.began)),
        estimated_completion: code::seconds(job.due),
        model_name: job.name.clone(),
        submitter_id: job.client.to_string(),
        earnings: 0.0,
    }
}
