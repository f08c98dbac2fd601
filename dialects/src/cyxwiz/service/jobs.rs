//! `JobService`.

use std::{future::ready, sync::Arc};

use bytes::Bytes;
use embermesh_job::{lifecycle::JobState, proof::Proven, spec::Input};
use futures::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status};

use super::{Adapter, call, error};
use crate::{
    ErrorCode, Failure,
    cyxwiz::{
        caller::{caller, is_own},
        code,
        config::{Config, InvalidConfig, TYPE, WEIGHTS},
        proof,
    },
    port::{
        IndexPort, Principal,
        jobs::{BUDGET, JobFilter, JobUpdate, JobView},
        servers::{Entry, ServerPort},
    },
};
// What is generated for this form of the wire.
use super::super::{PROFILE, wire};

/// The most jobs of one page.
const MAX_PAGE: usize = 1000;

#[tonic::async_trait]
impl<P: IndexPort + ServerPort> wire::job_service_server::JobService for Adapter<P> {
    async fn submit_job(
        &self,
        request: Request<wire::SubmitJobRequest>,
    ) -> Result<Response<wire::SubmitJobResponse>, Status> {
        let claimed = request.get_ref().config.as_ref();
        let claimed = claimed.map_or("", |config| &config.payment_address);
        let who = caller(&*self.0, &request, claimed).await?;
        let request = request.into_inner();
        let config = request
            .config
            .ok_or_else(|| Status::invalid_argument("config: there is none"))?;
        let package = call::package(&config, &request.initial_data);
        let config = parse(config, request.initial_data);
        is_own(&who, "config.payment_address", &config.payment_address)?;
        let weights = self.weights(&who, &config).await?;
        let answer = match config.submission(weights) {
            Err(invalid) => invalid_config(&invalid),
            Ok(submission) => match self.0.take_on(&who, submission, package).await {
                Ok(job) => accepted(&job),
                Err(failure) if code::is_answer(failure.code) => refused(failure),
                Err(failure) => return Err(failure.into()),
            },
        };
        Ok(Response::new(answer))
    }

    async fn get_job_status(
        &self,
        request: Request<wire::GetJobStatusRequest>,
    ) -> Result<Response<wire::GetJobStatusResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let job = self.0.job(&who, &request.get_ref().job_id).await?;
        let assignment = match assignment(&job) {
            Some(assignment) => Some(assignment),
            None => self.0.entry(&who, &job.id).await?.map(way_in),
        };
        let result = if job.state.is_final() {
            Some(result(&*self.0, &who, &job).await?)
        } else {
            None
        };
        Ok(Response::new(wire::GetJobStatusResponse {
            status: Some(job_status(&job)),
            node_assignment: assignment,
            error: None,
            result,
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<wire::CancelJobRequest>,
    ) -> Result<Response<wire::CancelJobResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let id = request.into_inner().job_id;
        let job = self.0.job(&who, &id).await?;
        if job.state.is_final() {
            return Err(Status::failed_precondition(format!(
                "the job is {} already",
                job.state
            )));
        }
        let job = self.0.cancel(&who, &id).await?;
        Ok(Response::new(wire::CancelJobResponse {
            status: code::status(PROFILE, job.state),
            // What it did not take goes back as it ends.
            refund_issued: job.notes.contains_key(BUDGET),
            error: None,
        }))
    }

    type StreamJobUpdatesStream = BoxStream<'static, Result<wire::JobUpdateStream, Status>>;

    async fn stream_job_updates(
        &self,
        request: Request<wire::GetJobStatusRequest>,
    ) -> Result<Response<Self::StreamJobUpdatesStream>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let id = request.into_inner().job_id;
        let updates = self.0.watch(&who, &id).await?;
        let said = Said {
            id,
            status: None,
            is_over: false,
        };
        let updates = updates.scan(said, |said, update| ready(said.next(update)));
        let port = Arc::clone(&self.0);
        let whole = updates.then(move |(update, ended)| {
            let (port, who) = (Arc::clone(&port), who.clone());
            async move {
                let mut update = update?;
                if let Some(job) = ended {
                    update.result = Some(result(&*port, &who, &job).await?);
                }
                Ok(update)
            }
        });
        Ok(Response::new(whole.boxed()))
    }

    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Result<Response<wire::ListJobsResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        let page = self.0.jobs(&who, filter(request)?).await?;
        Ok(Response::new(wire::ListJobsResponse {
            jobs: page.jobs.iter().map(job_status).collect(),
            next_page_token: page.next.unwrap_or_default(),
            total_count: code::int32(page.total),
        }))
    }

    async fn delete_job(
        &self,
        request: Request<wire::DeleteJobRequest>,
    ) -> Result<Response<wire::DeleteJobResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        self.0.forget(&who, &request.get_ref().job_id).await?;
        Ok(Response::new(wire::DeleteJobResponse {
            status: code::SUCCESS,
            error: None,
        }))
    }
}

impl<P: IndexPort> Adapter<P> {
    /// The weights of the job that a config names.
    pub(super) async fn weights(
        &self,
        who: &Principal,
        config: &Config,
    ) -> Result<Option<Input>, Failure> {
        let Some(id) = config.weights_of() else {
            return Ok(None);
        };
        let job = self.0.job(who, id).await?;
        let weights = job.artifacts.iter().find(|made| made.name == WEIGHTS);
        match weights {
            Some(made) => Ok(Some(Input {
                digest: made.digest,
                size: made.size,
            })),
            None => Err(Failure::new(
                ErrorCode::Precondition,
                format!("job {id} has no {WEIGHTS}: it is {}", job.state),
            )),
        }
    }
}

/// What has been said of a job that is watched.
struct Said {
    id: String,
    status: Option<wire::JobStatus>,
    is_over: bool,
}

impl Said {
    /// The next word, and with the last the job that has ended; nothing after it.
    #[allow(clippy::type_complexity, reason = "a word, and whose it is")]
    fn next(
        &mut self,
        update: Result<JobUpdate, Failure>,
    ) -> Option<(Result<wire::JobUpdateStream, Status>, Option<Box<JobView>>)> {
        if self.is_over {
            return None;
        }
        let mut ended = None;
        let mut log_message = String::new();
        match update {
            Err(failure) => {
                self.is_over = true;
                return Some((Err(failure.into()), None));
            }
            Ok(JobUpdate::Changed(job)) => {
                self.is_over = job.state.is_final();
                self.status = Some(job_status(&job));
                if self.is_over {
                    log_message = ending(&job);
                    ended = Some(job);
                }
            }
            Ok(JobUpdate::Logged(piece)) => log_message = piece.text,
            Ok(JobUpdate::Generated(piece)) => log_message = piece.text,
        }
        let word = wire::JobUpdateStream {
            job_id: self.id.clone(),
            live_metrics: self
                .status
                .as_ref()
                .map(|status| status.metrics.clone())
                .unwrap_or_default(),
            status: self.status.clone(),
            log_message,
            visualization_data: Bytes::new(),
            result: None,
        };
        Some((Ok(word), ended))
    }
}

/// What a job that has ended came to: where its weights are, or else the first of what
/// it made; the proof of its execution, or else the receipt of its node.
async fn result<P: IndexPort>(
    port: &P,
    who: &Principal,
    job: &JobView,
) -> Result<wire::JobResult, Failure> {
    let receipt = job.receipt.as_deref().map(proof::hex);
    let proof_of_compute = match proof::made(&job.artifacts) {
        Some(made) if proof::is_carried(made) => {
            let bytes = port.artifact(who, &job.id, &made.name, 0..made.size);
            Proven::text(&bytes.await?)
        }
        Some(made) => proof::place(made),
        None => receipt.clone().unwrap_or_default(),
    };
    let weights = job.artifacts.iter().find(|made| made.name == WEIGHTS);
    let made = weights.or(job.artifacts.first());
    let took = job.ended_at.zip(job.started_at);
    let took = took.map_or(0, |(ended, started)| ended.since(started).as_secs());
    Ok(wire::JobResult {
        job_id: job.id.clone(),
        status: code::status(PROFILE, job.state),
        model_weights_uri: made.map(proof::place).unwrap_or_default(),
        model_weights_hash: made.map(|made| made.digest.to_string()).unwrap_or_default(),
        model_size: made.map_or(0, |made| code::int64(made.size)),
        final_metrics: job.metrics.clone().into_iter().collect(),
        total_compute_time: code::int64(took),
        energy_consumed: 0.0,
        proof_of_compute,
        signatures: receipt.into_iter().collect(),
    })
}

/// How a job ended, and where its results are.
fn ending(job: &JobView) -> String {
    let mut text = job.message.clone();
    for made in &job.artifacts {
        text.push_str(&format!(
            "\n{} blake3:{}?size={}",
            made.name, made.digest, made.size
        ));
    }
    text.trim().to_owned()
}

/// A config as domain values.
pub(super) fn parse(config: wire::JobConfig, data: Bytes) -> Config {
    Config {
        job_id: config.job_id,
        job_type: config.job_type,
        priority: config.priority,
        model_definition: config.model_definition,
        hyperparameters: config.hyperparameters.into_iter().collect(),
        dataset_uri: config.dataset_uri,
        batch_size: config.batch_size,
        epochs: config.epochs,
        required_device: config.required_device,
        estimated_memory: config.estimated_memory,
        estimated_duration: config.estimated_duration,
        payment_amount: config.payment_amount,
        payment_address: config.payment_address,
        escrow: config.escrow_tx_hash,
        reservation_minutes: config.reservation_duration_minutes,
        data,
    }
}

/// Which jobs a list means.
fn filter(request: wire::ListJobsRequest) -> Result<JobFilter, Failure> {
    let most = usize::try_from(request.page_size)
        .map_err(|_| Failure::invalid(format!("page_size: {} is none", request.page_size)))?;
    if !(0..=4).contains(&request.filter_type) {
        return Err(Failure::invalid(format!(
            "filter_type: {} is no type of a job",
            request.filter_type
        )));
    }
    Ok(JobFilter {
        states: code::states(PROFILE, request.filter_status)?,
        note: (request.filter_type != 0)
            .then(|| (TYPE.to_owned(), request.filter_type.to_string())),
        after: (!request.page_token.is_empty()).then_some(request.page_token),
        most: most.min(MAX_PAGE),
    })
}

/// A job that was taken on.
fn accepted(job: &JobView) -> wire::SubmitJobResponse {
    let state = if job.state.is_final() {
        job.state
    } else {
        JobState::Queued
    };
    wire::SubmitJobResponse {
        job_id: job.id.clone(),
        status: code::status(PROFILE, state),
        node_assignment: assignment(job),
        assigned_node_id: job.node.clone().unwrap_or_default(),
        error: None,
        estimated_start_time: code::seconds(job.started_at),
    }
}

/// A job that whoever takes jobs on refuses.
fn refused(failure: Failure) -> wire::SubmitJobResponse {
    wire::SubmitJobResponse {
        status: code::failed(PROFILE),
        error: Some(error(
            code::error(failure.code),
            failure.message,
            String::new(),
        )),
        ..Default::default()
    }
}

/// A job that cannot be.
fn invalid_config(invalid: &InvalidConfig) -> wire::SubmitJobResponse {
    wire::SubmitJobResponse {
        status: code::failed(PROFILE),
        error: Some(invalid_error(invalid)),
        ..Default::default()
    }
}

/// What is wrong with a job that cannot be.
pub(super) fn invalid_error(invalid: &InvalidConfig) -> wire::Error {
    let details = serde_json::json!({ "field": invalid.field, "reason": invalid.reason });
    error(
        code::error(ErrorCode::Invalid),
        invalid.to_string(),
        details.to_string(),
    )
}

fn job_status(job: &JobView) -> wire::JobStatus {
    wire::JobStatus {
        job_id: job.id.clone(),
        status: code::status(PROFILE, job.state),
        progress: job.progress,
        current_node_id: job.node.clone().unwrap_or_default(),
        start_time: code::seconds(job.started_at),
        end_time: code::seconds(job.ended_at),
        // A job may fail for whatever its program meets: the table has no word for it.
        error: (job.state == JobState::Failed)
            .then(|| error(0, job.message.clone(), String::new())),
        metrics: job.metrics.clone().into_iter().collect(),
        current_epoch: code::int32(job.pass.0.into()),
    }
}

/// The way to a server of the system, which has no key that anybody could know it by.
fn way_in(entry: Entry) -> wire::NodeAssignment {
    wire::NodeAssignment {
        node_id: entry.server,
        node_endpoint: entry.endpoint,
        auth_token: entry.token,
        token_expires_at: code::seconds(Some(entry.expires_at)),
        node_public_key: String::new(),
    }
}

fn assignment(job: &JobView) -> Option<wire::NodeAssignment> {
    let assignment = job.assignment.as_ref()?;
    let peer = assignment.node.peer.to_string();
    Some(wire::NodeAssignment {
        node_id: peer.clone(),
        node_endpoint: assignment.node.tls.first().cloned().unwrap_or_default(),
        auth_token: assignment.token.clone(),
        token_expires_at: code::seconds(Some(assignment.expires_at)),
        node_public_key: peer,
    })
}
