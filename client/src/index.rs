//! The connection to an index, and the calls on it.
//!
//! The first contact decides whose key is at the address; from then on nobody else
//! is taken for the index. A lost connection is made anew by the next call.

use std::future::Future;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    statement::{KeySet, Signed},
};
use embermesh_job::{
    assignment::NodeAssignment,
    lifecycle::JobState,
    units::MicroUnits,
    wire::{Deployment, Quoted},
};
use embermesh_mesh::road::{self, Identity, RoadChoice, RoadError, bounds::MAX_MESSAGE_BYTES};
use embermesh_proto::v1::{self, index_client::IndexClient};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::{Code, Response, Status, transport::Channel};

use crate::{
    ClientError, IndexTarget, NodeView,
    bounds::{CALL_TIMEOUT, FIRST_WAIT, LONGEST_WAIT, MAX_DEPLOYMENTS, PAGE, RETRY_FOR},
    status,
    view::{self, JobView, convert, present},
    watches::{Lines, Seat, Watch},
};

/// The most nodes that are taken from an index, so that one which never comes to
/// the end of its list fills no memory.
const MAX_NODES: usize = 100_000;

type Stub = IndexClient<Channel>;

/// What an index answers of a job that is watched.
pub(crate) struct Watched {
    pub(crate) job: JobView,
    pub(crate) assignment: Option<NodeAssignment>,
}

pub(crate) struct IndexLink {
    identity: Identity,
    target: IndexTarget,
    /// How messages name the index.
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peer: Option<PeerId>,
    /// Connections that stood when they were last used; calls go by the first.
    lines: Lines,
    /// Whether the index has proven itself before.
    met: bool,
}

impl IndexLink {
    pub(crate) fn new(identity: Identity, target: IndexTarget) -> Self {
        Self {
            name: format!("the index {}", target.address),
            state: Mutex::new(State {
                peer: target.peer,
                ..State::default()
            }),
            identity,
            target,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects, and makes sure that it is an index that answers.
    pub(crate) async fn greet(&self) -> Result<PeerId, ClientError> {
        let mut stub = self.stub().await?;
        let asked = timeout(CALL_TIMEOUT, stub.get_key_set(v1::GetKeySetRequest {}));
        let answer = match asked.await {
            Err(_) => return Err(self.not_an_index("it does not answer calls")),
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                return Err(self.not_an_index("it offers other services, as a node does"));
            }
            Ok(Err(status)) => return Err(status::error(&self.name, &status)),
            Ok(Ok(response)) => response.into_inner(),
        };
        let peer = self.state.lock().await.peer;
        let key_set = Signed::<KeySet>::from_bytes(answer.key_set.to_vec())
            .and_then(|signed| signed.open())
            .map_err(|error| self.not_an_index(&error.to_string()))?;
        match peer {
            Some(peer) if peer == key_set.index => Ok(peer),
            _ => Err(self.not_an_index("its key set is signed by another key than its own")),
        }
    }

    fn not_an_index(&self, reason: &str) -> ClientError {
        ClientError::NotAnIndex {
            address: self.target.address.clone(),
            reason: reason.to_owned(),
        }
    }

    /// A stub on a connection that stood when it was last used.
    async fn stub(&self) -> Result<Stub, ClientError> {
        self.channel().await.map(stub_on)
    }

    /// A connection that stood when it was last used, or a new one.
    async fn channel(&self) -> Result<Channel, ClientError> {
        let mut state = self.state.lock().await;
        if let Some(channel) = state.lines.first() {
            return Ok(channel);
        }
        let channel = self.dial(&mut state).await?;
        state.lines.add(channel.clone());
        Ok(channel)
    }

    /// A connection with room for one more watch.
    async fn seat(&self) -> Result<Seat, ClientError> {
        let mut state = self.state.lock().await;
        if let Some(seat) = state.lines.seat() {
            return Ok(seat);
        }
        let channel = self.dial(&mut state).await?;
        Ok(state.lines.add(channel))
    }

    async fn dial(&self, state: &mut State) -> Result<Channel, ClientError> {
        let target = self.target.road(state.peer);
        let connecting = road::connect(&self.identity, &target, None, RoadChoice::Tls);
        let connection = Box::pin(connecting)
            .await
            .map_err(|error| self.road(error, state.met))?;
        state.peer = Some(connection.peer);
        state.met = true;
        Ok(connection.channel)
    }

    /// An index that was met before and breaks off in mid-handshake is being stopped,
    /// and may be back soon; one that never proved itself is something else.
    fn road(&self, error: RoadError, met: bool) -> ClientError {
        let address = self.target.address.clone();
        match error {
            RoadError::NotEmbermesh { reason, .. } if !met => {
                ClientError::NotAnIndex { address, reason }
            }
            RoadError::WrongPeer {
                expected, found, ..
            } => ClientError::AnotherIndex {
                address,
                expected,
                found,
            },
            RoadError::InvalidAddress { reason, .. } => ClientError::InvalidTarget {
                text: address,
                reason,
            },
            RoadError::Identity(_) => ClientError::Identity(error),
            error => ClientError::Unreachable {
                what: self.name.clone(),
                reason: error.to_string(),
            },
        }
    }

    /// The deployments that the caller may ask.
    pub(crate) async fn deployments(&self) -> Result<Vec<Deployment>, ClientError> {
        let found =
            self.again(|mut stub| async move {
                stub.list_deployments(v1::ListDeploymentsRequest {}).await
            })
            .await?
            .deployments;
        found
            .into_iter()
            .take(MAX_DEPLOYMENTS)
            .map(|deployment| convert(&self.name, deployment))
            .collect()
    }

    /// One call, bounded. A connection that was lost is forgotten.
    async fn once<T, R>(&self, call: R) -> Result<T, ClientError>
    where
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let bound = CALL_TIMEOUT;
        match timeout(bound, call).await {
            Err(_) => {
                self.state.lock().await.lines.clear();
                Err(ClientError::Timeout {
                    what: self.name.clone(),
                    after: bound,
                })
            }
            Ok(Err(status)) => {
                if status::is_lost(&status) {
                    self.state.lock().await.lines.clear();
                }
                Err(status::error(&self.name, &status))
            }
            Ok(Ok(response)) => Ok(response.into_inner()),
        }
    }

    /// A call that may be sent again: tried until it is answered or the time is up.
    async fn again<T, F, R>(&self, call: F) -> Result<T, ClientError>
    where
        F: Fn(Stub) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        self.again_on(|channel| call(stub_on(channel))).await
    }

    /// The same for another of the index's services.
    pub(crate) async fn again_on<T, F, R>(&self, call: F) -> Result<T, ClientError>
    where
        F: Fn(Channel) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + RETRY_FOR;
        let mut waits = waits();
        loop {
            let answer = match self.channel().await {
                Ok(channel) => self.once(call(channel)).await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let lost = matches!(
                error,
                ClientError::Unreachable { .. } | ClientError::Timeout { .. }
            );
            let wait = waits.next().unwrap_or(LONGEST_WAIT);
            if !lost || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, "trying the index again");
            tokio::time::sleep(wait).await;
        }
    }

    /// One request to a service of the index, which `stub` speaks to: tried until it is
    /// answered or the time is up.
    pub(crate) async fn ask<Q, S, T, R>(
        &self,
        stub: impl Fn(Channel) -> S,
        request: Q,
        call: impl Fn(S, Q) -> R,
    ) -> Result<T, ClientError>
    where
        Q: Clone,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        self.again_on(|channel| call(stub(channel), request.clone()))
            .await
    }

    /// What a job may cost.
    pub(crate) async fn quote(&self, spec: Bytes) -> Result<Quoted, ClientError> {
        let request = v1::QuoteRequest { spec };
        let answer = self
            .ask(stub_on, request, |mut stub, request| async move {
                stub.quote(request).await
            })
            .await?;
        convert(&self.name, answer)
    }

    pub(crate) async fn submit(
        &self,
        spec: Bytes,
        key: [u8; 16],
        budget: Option<MicroUnits>,
    ) -> Result<Watched, ClientError> {
        let request = submit_request(spec, key, budget);
        let answer = self
            .again(|mut stub| {
                let request = request.clone();
                async move { stub.submit(request).await }
            })
            .await?;
        self.watched(answer.job, answer.assignment)
    }

    /// Submits a job that goes elsewhere if there is no answer; tried once.
    pub(crate) async fn submit_tentatively(
        &self,
        spec: Bytes,
        key: [u8; 16],
        budget: Option<MicroUnits>,
    ) -> Result<Watched, ClientError> {
        let request = v1::SubmitRequest {
            tentative: true,
            ..submit_request(spec, key, budget)
        };
        let mut stub = self.stub().await?;
        let answer = self.once(stub.submit(request)).await?;
        self.watched(answer.job, answer.assignment)
    }

    /// A job as it is shown now; tried once.
    pub(crate) async fn job_now(&self, job: JobId) -> Result<JobView, ClientError> {
        let request = v1::GetJobRequest {
            job_id: job.to_string(),
        };
        let mut stub = self.stub().await?;
        convert(&self.name, self.once(stub.get_job(request)).await?)
    }

    pub(crate) async fn job(&self, job: JobId) -> Result<JobView, ClientError> {
        let request = v1::GetJobRequest {
            job_id: job.to_string(),
        };
        let answer = self
            .again(|mut stub| {
                let request = request.clone();
                async move { stub.get_job(request).await }
            })
            .await?;
        convert(&self.name, answer)
    }

    /// The newest jobs, at most `most`.
    pub(crate) async fn jobs(
        &self,
        states: &[JobState],
        most: usize,
    ) -> Result<Vec<JobView>, ClientError> {
        let mut jobs = Vec::new();
        let mut page_token = String::new();
        while jobs.len() < most {
            let left = u32::try_from(most - jobs.len()).unwrap_or(PAGE);
            let request = v1::ListJobsRequest {
                page_size: left.min(PAGE),
                page_token: page_token.clone(),
                states: states
                    .iter()
                    .map(|state| v1::JobState::from(*state).into())
                    .collect(),
            };
            let page = self
                .again(|mut stub| {
                    let request = request.clone();
                    async move { stub.list_jobs(request).await }
                })
                .await?;
            for job in page.jobs {
                jobs.push(convert(&self.name, job)?);
            }
            // A page that leads to itself would never end.
            if page.next_page_token.is_empty() || page.next_page_token == page_token {
                break;
            }
            page_token = page.next_page_token;
        }
        Ok(jobs)
    }

    /// The nodes that the index knows, by key; at most [`MAX_NODES`].
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        let mut nodes = Vec::new();
        let mut page_token = String::new();
        while nodes.len() < MAX_NODES {
            let request = v1::ListNodesRequest {
                page_size: PAGE,
                page_token: page_token.clone(),
            };
            let page = self
                .again(|mut stub| {
                    let request = request.clone();
                    async move { stub.list_nodes(request).await }
                })
                .await?;
            // A page that leads to itself, or on and on without a node, would never end.
            let last = page.next_page_token.is_empty()
                || page.next_page_token == page_token
                || page.nodes.is_empty();
            for node in page.nodes {
                nodes.push(view::node(&self.name, node)?);
            }
            if last {
                break;
            }
            page_token = page.next_page_token;
        }
        nodes.truncate(MAX_NODES);
        Ok(nodes)
    }

    pub(crate) async fn cancel(&self, job: JobId) -> Result<JobView, ClientError> {
        let request = v1::CancelJobRequest {
            job_id: job.to_string(),
        };
        let answer = self
            .again(|mut stub| {
                let request = request.clone();
                async move { stub.cancel_job(request).await }
            })
            .await?;
        convert(&self.name, present(&self.name, "the job", answer.job)?)
    }

    /// A fresh token; tried once, because who asks has a stream to look after.
    pub(crate) async fn renew(
        &self,
        job: JobId,
        epoch: Epoch,
    ) -> Result<NodeAssignment, ClientError> {
        let request = v1::RenewAssignmentRequest {
            job_id: job.to_string(),
            epoch: epoch.0,
        };
        let mut stub = self.stub().await?;
        let answer = self.once(stub.renew_assignment(request)).await?;
        convert(
            &self.name,
            present(&self.name, "the assignment", answer.assignment)?,
        )
    }

    /// A token by which a deployment may be asked where it runs now.
    pub(crate) async fn permit_ask(&self, job: JobId) -> Result<NodeAssignment, ClientError> {
        let answer = self
            .again(|mut stub| async move {
                let job_id = job.to_string();
                stub.permit_ask(v1::PermitAskRequest { job_id }).await
            })
            .await?;
        convert(
            &self.name,
            present(&self.name, "the permission", answer.assignment)?,
        )
    }

    pub(crate) async fn watch(&self, job: JobId) -> Result<Watch, ClientError> {
        let request = v1::WatchJobRequest {
            job_id: job.to_string(),
        };
        let seat = self.seat().await?;
        let stream = self
            .once(stub_on(seat.channel()).watch_job(request))
            .await?;
        Ok(Watch::new(stream, seat))
    }

    pub(crate) fn watched(
        &self,
        job: Option<v1::Job>,
        assignment: Option<v1::NodeAssignment>,
    ) -> Result<Watched, ClientError> {
        Ok(Watched {
            job: convert(&self.name, present(&self.name, "the job", job)?)?,
            assignment: assignment
                .map(|assignment| convert(&self.name, assignment))
                .transpose()?,
        })
    }
}

fn submit_request(spec: Bytes, key: [u8; 16], budget: Option<MicroUnits>) -> v1::SubmitRequest {
    v1::SubmitRequest {
        spec,
        idempotency_key: Bytes::copy_from_slice(&key),
        budget_micros: budget.unwrap_or_default().0,
        tentative: false,
    }
}

fn stub_on(channel: Channel) -> Stub {
    IndexClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// An endless row of waits.
pub(crate) type Waits = ExponentialBackoff;

/// The waits between tries, each longer than the one before, up to a bound, with
/// jitter so that many clients do not come back at once.
pub(crate) fn waits() -> Waits {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .with_jitter()
        .without_max_times()
        .build()
}
