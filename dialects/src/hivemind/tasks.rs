//! Tasks: taken on, looked at, stopped, fetched.

use bytes::Bytes;
use embermesh_job::{event::Artifact, lifecycle::JobState};
use tonic::Request;

use super::{
    MAX_LISTED, MAX_RESULT, Pool, PoolPort,
    code::Code,
    codec::Upload,
    program,
    results::{lines, pack},
};
use crate::{
    ErrorCode, Failure,
    port::{
        Principal,
        jobs::{JobFilter, JobView},
        workers::RESULT,
    },
};

/// The system's word for a state.
pub(super) const fn word(state: JobState) -> &'static str {
    match state {
        JobState::Queued | JobState::Assigned => "PENDING",
        JobState::Running | JobState::Paused => "RUNNING",
        JobState::Succeeded => "COMPLETED",
        JobState::Failed => "FAILED",
        JobState::Cancelled => "STOPPED",
    }
}

/// The message for a task as it stands: a failed one says why.
pub(super) fn said(job: &JobView) -> String {
    match job.state {
        JobState::Failed => Code::TaskFailed.say(&job.message),
        JobState::Cancelled => Code::TaskCancelled.say(&job.message),
        _ => Code::Success.say(&job.message),
    }
}

impl<P: PoolPort> Pool<P> {
    pub(super) async fn upload(&self, request: Request<Upload>) -> Result<String, Failure> {
        let claimed = &request.get_ref().user_id;
        let who = self.who(&request, "", claimed).await?;
        if !claimed.is_empty() && *claimed != who.name {
            let message = format!("the token is of {:?}, who pays for the task", who.name);
            return Err(Failure::new(ErrorCode::Denied, message));
        }
        let (job, package) = program::submission(request.into_inner())?;
        let id = job.foreign_id.clone().unwrap_or_default();
        match self.port.job(&who, &id).await {
            Ok(_) => {
                let message = format!("there is a task {id:?} already: choose another id");
                return Err(Failure::new(ErrorCode::Exists, message));
            }
            Err(failure) if failure.code == ErrorCode::NotFound => {}
            Err(failure) => return Err(failure),
        }
        self.port.take_on(&who, job, package).await?;
        Ok("the task is taken on".to_owned())
    }

    /// A task, and its lines so far.
    pub(super) async fn poll<T>(
        &self,
        request: &Request<T>,
        id: &str,
    ) -> Result<(JobView, Vec<String>), Failure> {
        let who = self.who(request, "", "").await?;
        let job = self.port.job(&who, id).await?;
        let log = self.port.log(&who, id).await?;
        Ok((job, lines(&log)))
    }

    pub(super) async fn logs<T>(
        &self,
        request: &Request<T>,
        token: &str,
        id: &str,
    ) -> Result<String, Failure> {
        let who = self.who(request, token, "").await?;
        let log = self.port.log(&who, id).await?;
        Ok(text(&lines(&log)))
    }

    pub(super) async fn stop<T>(
        &self,
        request: &Request<T>,
        token: &str,
        id: &str,
    ) -> Result<String, Failure> {
        let who = self.who(request, token, "").await?;
        let job = self.port.cancel(&who, id).await?;
        Ok(format!("the task is {}", word(job.state)))
    }

    /// The caller's tasks, the newest first, [`MAX_LISTED`] of them at most.
    pub(super) async fn list<T>(
        &self,
        request: &Request<T>,
        token: &str,
    ) -> Result<Vec<JobView>, Failure> {
        let who = self.who(request, token, "").await?;
        let mut jobs = Vec::new();
        let mut filter = JobFilter::default();
        loop {
            let page = self.port.jobs(&who, filter.clone()).await?;
            jobs.extend(page.jobs);
            filter.after = page.next;
            if filter.after.is_none() || jobs.len() >= MAX_LISTED {
                jobs.truncate(MAX_LISTED);
                return Ok(jobs);
            }
        }
    }

    /// What a task that has ended has made, as often as it is asked for.
    pub(super) async fn result<T>(
        &self,
        request: &Request<T>,
        token: &str,
        id: &str,
    ) -> Result<(String, Bytes), Failure> {
        let who = self.who(request, token, "").await?;
        let job = self.port.job(&who, id).await?;
        if !job.state.is_final() {
            let message = format!("the task is {}: it has no result yet", word(job.state));
            return Err(Failure::new(ErrorCode::Precondition, message));
        }
        if let [made] = job.artifacts.as_slice()
            && made.name == RESULT
        {
            let result = self.artifact(&who, id, made).await?;
            return Ok((format!("the task is {}", word(job.state)), result));
        }
        let size: u64 = job.artifacts.iter().map(|artifact| artifact.size).sum();
        if size > MAX_RESULT {
            let message =
                format!("the results have {size} bytes, of {MAX_RESULT} that can be sent");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        let _turn = self.packing.acquire().await.map_err(internal)?;
        let mut artifacts = Vec::new();
        for artifact in &job.artifacts {
            let bytes = self.artifact(&who, id, artifact).await?;
            artifacts.push((artifact.name.clone(), bytes));
        }
        let log = text(&lines(&self.port.log(&who, id).await?));
        let packed = tokio::task::spawn_blocking(move || pack(&artifacts, &log));
        let packed = packed.await.map_err(internal)??;
        Ok((format!("the task is {}", word(job.state)), packed))
    }
}

impl<P: PoolPort> Pool<P> {
    /// All of an artifact.
    async fn artifact(&self, who: &Principal, id: &str, made: &Artifact) -> Result<Bytes, Failure> {
        let bytes = self
            .port
            .artifact(who, id, &made.name, 0..made.size)
            .await?;
        if bytes.len() as u64 == made.size {
            return Ok(bytes);
        }
        tracing::error!(artifact = made.name, "a result was not read whole");
        let message = format!("{:?} could not be read whole: ask again", made.name);
        Err(Failure::new(ErrorCode::Internal, message))
    }
}

fn text(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn internal(error: impl std::fmt::Display) -> Failure {
    tracing::error!(%error, "the results of a task could not be packed");
    Failure::new(ErrorCode::Internal, "the results could not be packed")
}
