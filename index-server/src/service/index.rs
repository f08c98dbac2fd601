//! The service for clients.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    time::UnixMillis,
};
use embermesh_mesh::road::Caller;
use embermesh_proto::v1::{self, index_server};
use futures::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    parse, render,
    status::{read_failed, status},
};
use crate::{
    actor::{CallFailed, Handle},
    state::{Assigned, Command, JobSnapshot, Refused, Reply},
    store::Reader,
};

/// Updates of one watch that wait for the client; changes beyond are one.
const WATCH_QUEUE: usize = 1;

/// Serves `embermesh.v1.Index`.
pub(super) struct IndexService {
    pub(super) handle: Handle,
    pub(super) reader: Reader,
    pub(super) watches: Arc<Semaphore>,
    pub(super) cancel: CancellationToken,
}

impl IndexService {
    async fn call(&self, command: Command) -> Result<Reply, Status> {
        self.handle
            .call(command)
            .await
            .map_err(|failed| status(&failed))
    }

    /// A job from memory, or from the store when it ended long ago.
    async fn find(
        &self,
        job: JobId,
        caller: PeerId,
        known: Option<Epoch>,
    ) -> Result<Assigned, Status> {
        let watch = Command::Watch { job, caller, known };
        match self.handle.call(watch).await {
            Ok(Reply::Assigned(assigned)) => Ok(*assigned),
            Ok(_) => Err(mismatch()),
            Err(CallFailed::Refused(Refused::UnknownJob(_))) => {
                let stored = self
                    .reader
                    .job(job)
                    .await
                    .map_err(|error| read_failed(&error))?;
                let job = stored.ok_or_else(|| status(&Refused::UnknownJob(job).into()))?;
                Ok(Assigned {
                    job,
                    assignment: None,
                })
            }
            Err(failed) => Err(status(&failed)),
        }
    }

    /// A job with its spec and its whole journal, which memory may not have.
    async fn complete(&self, mut job: JobSnapshot) -> Result<JobSnapshot, Status> {
        if job.spec.is_none() {
            let spec = self.reader.spec(job.job.id).await;
            job.spec = spec.map_err(|error| read_failed(&error))?;
        }
        Ok(job)
    }
}

/// The state machine answered with another reply than the command has.
pub(super) fn mismatch() -> Status {
    Status::internal("the index answered another question; this is a fault in it")
}

#[tonic::async_trait]
impl index_server::Index for IndexService {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let client = Caller::peer_of(&request)?;
        let submit = parse::submit(client, request.into_inner())?;
        let assigned = match self.call(Command::Submit(Box::new(submit))).await? {
            Reply::Assigned(assigned) => *assigned,
            Reply::Earlier(job) => self.find(job, client, None).await?,
            _ => return Err(mismatch()),
        };
        Ok(Response::new(v1::SubmitResponse {
            job: Some(render::job(assigned.job)),
            assignment: assigned.assignment.map(Into::into),
        }))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::Job>, Status> {
        let caller = Caller::peer_of(&request)?;
        let job = parse::job_id(&request.get_ref().job_id)?;
        let found = self.find(job, caller, None).await?;
        Ok(Response::new(render::job(self.complete(found.job).await?)))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        Caller::peer_of(&request)?;
        let filter = parse::job_filter(request.into_inner())?;
        let page = self
            .reader
            .page(&filter)
            .await
            .map_err(|error| read_failed(&error))?;
        // What is in memory is newer: progress is not written down at each step.
        let ids = page.iter().map(|stored| stored.job.id).collect();
        let Reply::Jobs(fresh) = self.call(Command::Show { jobs: ids }).await? else {
            return Err(mismatch());
        };
        let mut fresh: BTreeMap<JobId, JobSnapshot> =
            fresh.into_iter().map(|job| (job.job.id, job)).collect();
        let jobs = page
            .into_iter()
            .map(|stored| fresh.remove(&stored.job.id).unwrap_or(stored));
        Ok(Response::new(render::page(jobs, filter.size)))
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<v1::WatchJobResponse, Status>> + Send>>;

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = Caller::peer_of(&request)?;
        let job = parse::job_id(&request.get_ref().job_id)?;
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(
                "too many jobs are watched; close some watches and try again",
            )
        })?;
        // Changes are heard from before the first look, so none is missed.
        let mut changes = self
            .handle
            .changes(job)
            .await
            .map_err(|failed| status(&failed))?;
        let first = self.find(job, caller, None).await?;
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
        let service = Self {
            handle: self.handle.clone(),
            reader: self.reader.clone(),
            watches: Arc::clone(&self.watches),
            cancel: self.cancel.clone(),
        };
        tokio::spawn(async move {
            let _place = place;
            let mut known = None;
            let mut next = Ok(first);
            loop {
                let (update, ended) = match next {
                    Ok(assigned) => {
                        known = assigned.assignment.as_ref().map(|a| a.epoch).or(known);
                        let ended = assigned.job.job.state.is_final();
                        (Ok(render::watched(assigned)), ended)
                    }
                    Err(status) => (Err(status), true),
                };
                if sender.send(update).await.is_err() || ended {
                    return;
                }
                let changed = tokio::select! {
                    biased;
                    () = service.cancel.cancelled() => false,
                    () = sender.closed() => false,
                    changed = changes.changed() => changed.is_ok(),
                };
                if !changed {
                    return;
                }
                next = service.find(job, caller, known).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let job = parse::job_id(&request.get_ref().job_id)?;
        let job = match self.handle.call(Command::Cancel { job, caller }).await {
            Ok(Reply::Job(job)) => *job,
            Ok(_) => return Err(mismatch()),
            // It ended long ago: the answer is how.
            Err(CallFailed::Refused(Refused::UnknownJob(_))) => {
                let found = self.find(job, caller, None).await?.job;
                if found.job.owner != caller {
                    return Err(status(&Refused::NotOwner { job }.into()));
                }
                found
            }
            Err(failed) => return Err(status(&failed)),
        };
        Ok(Response::new(v1::CancelJobResponse {
            job: Some(render::job(job)),
        }))
    }

    async fn renew_assignment(
        &self,
        request: Request<v1::RenewAssignmentRequest>,
    ) -> Result<Response<v1::RenewAssignmentResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let renew = Command::Renew {
            job: parse::job_id(&request.job_id)?,
            epoch: Epoch(request.epoch),
            caller,
        };
        let Reply::Assignment(assignment) = self.call(renew).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(v1::RenewAssignmentResponse {
            assignment: Some((*assignment).into()),
        }))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        Caller::peer_of(&request)?;
        let (after, size) = parse::node_page(request.get_ref())?;
        // One more than a page holds tells whether there is another.
        let most = size as usize + 1;
        let Reply::Nodes(nodes) = self.call(Command::Nodes { after, most }).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(render::nodes(nodes.into_iter(), size)))
    }

    async fn get_key_set(
        &self,
        request: Request<v1::GetKeySetRequest>,
    ) -> Result<Response<v1::GetKeySetResponse>, Status> {
        Caller::peer_of(&request)?;
        let Reply::Statement(key_set) = self.call(Command::KeySet).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(v1::GetKeySetResponse {
            key_set,
            now_ms: UnixMillis::now().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn rotate_issuer_key(
        &self,
        request: Request<v1::RotateIssuerKeyRequest>,
    ) -> Result<Response<v1::RotateIssuerKeyResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let Reply::Statement(key_set) = self.call(Command::RotateIssuerKey { caller }).await?
        else {
            return Err(mismatch());
        };
        Ok(Response::new(v1::RotateIssuerKeyResponse { key_set }))
    }

    async fn revoke_assignment(
        &self,
        request: Request<v1::RevokeAssignmentRequest>,
    ) -> Result<Response<v1::RevokeAssignmentResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let job = parse::job_id(&request.get_ref().job_id)?;
        let Reply::Statement(revocation) = self.call(Command::Revoke { job, caller }).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(v1::RevokeAssignmentResponse { revocation }))
    }

    async fn list_deployments(
        &self,
        request: Request<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let Reply::Deployments(found) = self.call(Command::Deployments { caller }).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(v1::ListDeploymentsResponse {
            deployments: found.into_iter().map(Into::into).collect(),
        }))
    }

    async fn permit_ask(
        &self,
        request: Request<v1::PermitAskRequest>,
    ) -> Result<Response<v1::PermitAskResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let job = parse::job_id(&request.get_ref().job_id)?;
        let permit = Command::PermitAsk { job, caller };
        let Reply::Assignment(permission) = self.call(permit).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(v1::PermitAskResponse {
            assignment: Some((*permission).into()),
        }))
    }

    async fn quote(
        &self,
        request: Request<v1::QuoteRequest>,
    ) -> Result<Response<v1::QuoteResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let spec = Box::new(parse::spec(&request.get_ref().spec)?);
        let Reply::Quoted(quoted) = self.call(Command::Quote { caller, spec }).await? else {
            return Err(mismatch());
        };
        Ok(Response::new((*quoted).into()))
    }
}
