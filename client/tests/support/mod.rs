//! An index and nodes that say what a test tells them to.

// Each test uses a part of it, and what does not hold fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use embermesh_client::{Client, Follow, Options, Sources, Start, Update};
use embermesh_crypto::{
    Keypair,
    digest::Digest,
    ids::{JobId, PeerId},
    statement::{IssuerKey, KeySet, sign},
    time::UnixMillis,
};
use embermesh_mesh::{
    Mesh, MeshConfig,
    road::{self, Caller, Identity, ListenConfig, Listener, Serving},
};
use embermesh_proto::v1::{self, index_server, node_server};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, metadata::MetadataValue, service::Routes};

pub(crate) mod permits;

use self::permits::{Leave, Permits};

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One word of a scripted stream.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// A progress event of this number and attempt.
    Event(u64, u64),
    /// The last event, of this number and attempt.
    Finished(u64, u64),
    /// The attempt is over, and the job is not.
    Spent,
    /// The stream breaks.
    Break,
    /// Nothing more is said until an input was brought.
    AwaitPut,
    /// Nothing more is said, and the stream stays open.
    Hang,
    /// The call itself is refused with this word.
    Refuse(&'static str),
}

/// What was asked of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// For a permit of an attempt.
    Permit(u64),
    Run,
    Attach(u64),
    /// Which of this many inputs it has; it has none.
    Has(usize),
    /// To keep an input of this many bytes, all of which came.
    Put(u64),
    Cancel,
}

/// A node with one script for each stream that is asked for; the last one is
/// repeated.
#[derive(Clone, Default)]
pub(crate) struct Script {
    permits: Permits,
    streams: Arc<Mutex<VecDeque<Vec<Say>>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    puts: Arc<watch::Sender<u64>>,
}

impl Script {
    pub(crate) fn new(streams: impl IntoIterator<Item = Vec<Say>>) -> Self {
        Self {
            permits: Permits::default(),
            streams: Arc::new(Mutex::new(streams.into_iter().collect())),
            asked: Arc::default(),
            puts: Arc::default(),
        }
    }

    /// The same for a node of this number that gives permits itself.
    pub(crate) fn giving(
        seed: u8,
        permits: impl IntoIterator<Item = Leave>,
        streams: impl IntoIterator<Item = Vec<Say>>,
    ) -> Self {
        Self {
            permits: Permits::new(seed, permits),
            ..Self::new(streams)
        }
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn next(&self, asked: Asked) -> Result<Boxed<v1::RunUpdate>, Status> {
        self.note(asked);
        let script = {
            let mut streams = self.streams.lock().unwrap();
            if streams.len() > 1 {
                streams.pop_front().unwrap()
            } else {
                streams.front().cloned().unwrap_or_default()
            }
        };
        if let Some(Say::Refuse(word)) = script.first() {
            let mut status = Status::new(Code::PermissionDenied, "refused by the script");
            status
                .metadata_mut()
                .insert("embermesh-refusal", MetadataValue::from_static(word));
            return Err(status);
        }
        let hangs = matches!(script.last(), Some(Say::Hang));
        let puts = self.puts.subscribe();
        let said = stream::iter(script).filter_map(move |say| {
            let mut puts = puts.clone();
            async move {
                if matches!(say, Say::AwaitPut) {
                    puts.wait_for(|puts| *puts > 0).await.unwrap();
                }
                update(say)
            }
        });
        Ok(if hangs {
            said.chain(stream::pending()).boxed()
        } else {
            said.boxed()
        })
    }
}

fn update(say: Say) -> Option<Result<v1::RunUpdate, Status>> {
    use v1::{event, notice, run_update};
    let event = |seq, epoch, kind| {
        Some(Ok(v1::RunUpdate {
            update: Some(run_update::Update::Event(v1::Event {
                seq,
                epoch,
                at_ms: 1,
                kind: Some(kind),
            })),
        }))
    };
    match say {
        Say::Event(seq, epoch) => event(
            seq,
            epoch,
            event::Kind::Progress(event::Progress::default_of_test()),
        ),
        Say::Finished(seq, epoch) => event(
            seq,
            epoch,
            event::Kind::Finished(event::Finished {
                outcome: v1::Outcome::Succeeded.into(),
                receipt: Bytes::new(),
                message: String::new(),
            }),
        ),
        Say::Spent => Some(Ok(v1::RunUpdate {
            update: Some(run_update::Update::Notice(v1::Notice {
                kind: Some(notice::Kind::AttemptEnded(notice::AttemptEnded {
                    code: "device".to_owned(),
                    message: "it broke".to_owned(),
                })),
            })),
        })),
        Say::Break => Some(Err(Status::unavailable("broken by the script"))),
        Say::AwaitPut | Say::Hang | Say::Refuse(_) => None,
    }
}

/// A progress that is as good as any.
trait OfTest {
    fn default_of_test() -> Self;
}

impl OfTest for v1::event::Progress {
    fn default_of_test() -> Self {
        Self {
            step: 1,
            total_steps: 2,
            pass: 1,
            total_passes: 1,
            loss: 0.5,
            accuracy: None,
            samples_per_second: 1.0,
            remaining_ms: 1,
        }
    }
}

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) peer: PeerId,
    pub(crate) address: String,
    /// Its part of the mesh, where it has one.
    pub(crate) mesh: Option<Mesh>,
    serving: Serving,
}

impl Server {
    pub(crate) async fn start(seed: u8, listen: &str, routes: Routes) -> Self {
        Self::with(seed, listen, routes, None).await
    }

    async fn with(seed: u8, listen: &str, routes: Routes, mesh: Option<Mesh>) -> Self {
        let keypair = Arc::new(Keypair::from_seed(&[seed; 32]));
        let listener = Listener::bind(&ListenConfig {
            address: listen.parse().unwrap(),
            ..ListenConfig::default()
        })
        .await
        .unwrap();
        let address = listener.address().to_string();
        let identity = Identity::new(keypair.clone()).unwrap();
        let serving = road::serve(
            listener,
            &identity,
            mesh.as_ref(),
            routes,
            None,
            CancellationToken::new(),
        )
        .unwrap();
        Self {
            peer: keypair.peer_id(),
            address,
            mesh,
            serving,
        }
    }

    pub(crate) async fn node(seed: u8, script: &Script) -> Self {
        let service = node_server::NodeServer::new(script.clone());
        Self::start(seed, "127.0.0.1:0", Routes::new(service)).await
    }

    /// A node that is reached over the mesh too.
    pub(crate) async fn node_of_mesh(seed: u8, script: &Script) -> Self {
        let service = node_server::NodeServer::new(script.clone());
        let mesh = mesh(seed).await;
        Self::with(seed, "127.0.0.1:0", Routes::new(service), Some(mesh)).await
    }

    pub(crate) async fn stop(self) {
        self.serving.stop().await;
    }

    pub(crate) fn assignment(&self, job: JobId, epoch: u64) -> v1::NodeAssignment {
        v1::NodeAssignment {
            job_id: job.to_string(),
            task: 0,
            epoch,
            node: Some(v1::PeerAddress {
                peer_id: self.peer.to_string(),
                tls: vec![self.address.clone()],
                mesh: self.mesh.as_ref().map(Mesh::addresses).unwrap_or_default(),
            }),
            auth_token: "token".to_owned(),
            expires_at_ms: UnixMillis::now().0 + 600_000,
        }
    }
}

/// The index's state: what a watch shows now.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) job: JobId,
    word: Arc<watch::Sender<v1::WatchJobResponse>>,
    key: Arc<Keypair>,
    /// The pages of its list of nodes, by their tokens.
    pages: BTreeMap<String, v1::ListNodesResponse>,
    /// The tokens of the pages that were asked for.
    turned: Arc<Mutex<Vec<String>>>,
    /// The submits that came.
    submits: Arc<Mutex<Vec<v1::SubmitRequest>>>,
    /// What the next submits are answered with, until there is nothing more.
    answers: Arc<Mutex<VecDeque<SubmitAnswer>>>,
}

/// What a submit is answered with.
type SubmitAnswer = Result<v1::JobState, Status>;

impl Shown {
    pub(crate) fn new(seed: u8) -> Self {
        let job = JobId::v7(UnixMillis(1), [seed; 10]);
        let key = Arc::new(Keypair::from_seed(&[seed; 32]));
        let (word, _) = watch::channel(v1::WatchJobResponse {
            job: Some(job_of(job, v1::JobState::Queued, 0)),
            assignment: None,
        });
        Self {
            job,
            word: Arc::new(word),
            key,
            pages: BTreeMap::new(),
            turned: Arc::default(),
            submits: Arc::default(),
            answers: Arc::default(),
        }
    }

    /// The next submit is answered so.
    pub(crate) fn answer(&self, answer: SubmitAnswer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// The submits that came, in order.
    pub(crate) fn submits(&self) -> Vec<v1::SubmitRequest> {
        self.submits.lock().unwrap().clone()
    }

    /// Adds a page of nodes, of these numbers, that leads to another.
    pub(crate) fn page(mut self, token: &str, nodes: &[u8], next: &str) -> Self {
        let nodes = nodes.iter().map(|number| v1::NodeInfo {
            address: Some(v1::PeerAddress {
                peer_id: Keypair::from_seed(&[*number; 32]).peer_id().to_string(),
                ..v1::PeerAddress::default()
            }),
            live: true,
            source: "registered".to_owned(),
            ..v1::NodeInfo::default()
        });
        let page = v1::ListNodesResponse {
            nodes: nodes.collect(),
            next_page_token: next.to_owned(),
        };
        self.pages.insert(token.to_owned(), page);
        self
    }

    /// The tokens of the pages that were asked for, in order.
    pub(crate) fn turned(&self) -> Vec<String> {
        self.turned.lock().unwrap().clone()
    }

    pub(crate) fn assign(&self, node: &Server, epoch: u64) {
        self.word.send_replace(v1::WatchJobResponse {
            job: Some(job_of(self.job, v1::JobState::Running, epoch)),
            assignment: Some(node.assignment(self.job, epoch)),
        });
    }

    pub(crate) fn end(&self, state: v1::JobState, finished: Option<u64>) {
        self.word.send_modify(|word| {
            let mut job = job_of(self.job, state, 1);
            job.finished = finished.map(|seq| v1::Event {
                seq,
                epoch: 1,
                at_ms: 1,
                kind: Some(v1::event::Kind::Finished(v1::event::Finished {
                    outcome: v1::Outcome::Succeeded.into(),
                    receipt: Bytes::new(),
                    message: String::new(),
                })),
            });
            word.job = Some(job);
        });
    }

    pub(crate) async fn serve(&self, listen: &str) -> Server {
        let service = index_server::IndexServer::new(self.clone());
        Server::start(self.key_seed(), listen, Routes::new(service)).await
    }

    fn key_seed(&self) -> u8 {
        self.job.as_bytes()[15]
    }
}

fn job_of(job: JobId, state: v1::JobState, epoch: u64) -> v1::Job {
    v1::Job {
        id: job.to_string(),
        name: "scripted".to_owned(),
        owner: Keypair::from_seed(&[1; 32]).peer_id().to_string(),
        state: state.into(),
        spec_digest: Bytes::copy_from_slice(Digest::of(b"spec").as_bytes()),
        epoch,
        submitted_at_ms: 1,
        updated_at_ms: 1,
        ..v1::Job::default()
    }
}

/// Follows the job from the beginning, as whoever submitted it.
pub(crate) async fn follow(index: &Server, job: JobId) -> Follow {
    follow_with(index, job, Sources::default()).await
}

/// The same, with inputs that the node lacks.
pub(crate) async fn follow_with(index: &Server, job: JobId, sources: Sources) -> Follow {
    client(index).await.follow(
        job,
        Start {
            spec: Some(Bytes::from_static(b"spec")),
            sources,
            ..Start::default()
        },
    )
}

pub(crate) async fn client(index: &Server) -> Client {
    client_with(index, Options::default()).await
}

/// A client with these ways to nodes.
pub(crate) async fn client_with(index: &Server, options: Options) -> Client {
    let key = Arc::new(Keypair::from_seed(&[1; 32]));
    let target = index.address.parse().unwrap();
    Client::connect(target, key, options).await.unwrap()
}

/// A part of the mesh on this machine.
pub(crate) async fn mesh(seed: u8) -> Mesh {
    let key = Arc::new(Keypair::from_seed(&[seed; 32]));
    let starting = Mesh::start(key, MeshConfig::default(), CancellationToken::new());
    starting.await.unwrap()
}

/// Everything that a follower says until its end.
pub(crate) async fn all(mut follow: Follow) -> Vec<Update> {
    let mut said = Vec::new();
    while let Some(update) = next(&mut follow).await {
        said.push(update);
    }
    said
}

pub(crate) async fn next(follow: &mut Follow) -> Option<Update> {
    let next = tokio::time::timeout(PATIENCE, follow.next()).await;
    next.expect("a word in time")
        .map(|update| update.expect("no error"))
}

/// The numbers of the events.
pub(crate) fn numbers(said: &[Update]) -> Vec<u64> {
    said.iter()
        .filter_map(|update| match update {
            Update::Event(event) => Some(event.seq),
            _ => None,
        })
        .collect()
}

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl index_server::Index for Shown {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        self.submits.lock().unwrap().push(request.into_inner());
        let mut word = self.word.borrow().clone();
        if let Some(answer) = self.answers.lock().unwrap().pop_front() {
            word.job = Some(job_of(self.job, answer?, 0));
        }
        Ok(Response::new(v1::SubmitResponse {
            job: word.job,
            assignment: word.assignment,
        }))
    }

    async fn get_job(&self, _: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        Ok(Response::new(self.word.borrow().job.clone().unwrap()))
    }

    async fn list_jobs(
        &self,
        _: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        nothing()
    }

    type WatchJobStream = Boxed<v1::WatchJobResponse>;

    async fn watch_job(
        &self,
        _: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let words = WatchStream::new(self.word.subscribe());
        Ok(Response::new(words.map(Ok).boxed()))
    }

    async fn cancel_job(
        &self,
        _: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        nothing()
    }

    async fn renew_assignment(
        &self,
        _: Request<v1::RenewAssignmentRequest>,
    ) -> Result<Response<v1::RenewAssignmentResponse>, Status> {
        let assignment = self.word.borrow().assignment.clone();
        Ok(Response::new(v1::RenewAssignmentResponse { assignment }))
    }

    async fn permit_ask(
        &self,
        _: Request<v1::PermitAskRequest>,
    ) -> Result<Response<v1::PermitAskResponse>, Status> {
        nothing()
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let token = request.into_inner().page_token;
        let page = self.pages.get(&token).cloned();
        self.turned.lock().unwrap().push(token);
        page.map(Response::new)
            .ok_or_else(|| Status::invalid_argument("no such page"))
    }

    async fn get_key_set(
        &self,
        _: Request<v1::GetKeySetRequest>,
    ) -> Result<Response<v1::GetKeySetResponse>, Status> {
        let now = UnixMillis::now();
        let key_set = KeySet {
            index: self.key.peer_id(),
            sequence: 1,
            issued_at: now,
            expires_at: now.saturating_add(Duration::from_secs(60)),
            keys: vec![IssuerKey {
                key: self.key.peer_id(),
                not_before: now,
                not_after: now.saturating_add(Duration::from_secs(60)),
            }],
        };
        let signed = sign(&key_set, &self.key).unwrap();
        Ok(Response::new(v1::GetKeySetResponse {
            key_set: Bytes::copy_from_slice(signed.bytes()),
            now_ms: now.0,
            version: "0.0.1".to_owned(),
        }))
    }

    async fn rotate_issuer_key(
        &self,
        _: Request<v1::RotateIssuerKeyRequest>,
    ) -> Result<Response<v1::RotateIssuerKeyResponse>, Status> {
        nothing()
    }

    async fn revoke_assignment(
        &self,
        _: Request<v1::RevokeAssignmentRequest>,
    ) -> Result<Response<v1::RevokeAssignmentResponse>, Status> {
        nothing()
    }

    async fn list_deployments(
        &self,
        _: Request<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        nothing()
    }

    async fn quote(
        &self,
        _: Request<v1::QuoteRequest>,
    ) -> Result<Response<v1::QuoteResponse>, Status> {
        nothing()
    }
}

#[tonic::async_trait]
impl node_server::Node for Script {
    async fn permit(
        &self,
        request: Request<v1::PermitRequest>,
    ) -> Result<Response<v1::PermitResponse>, Status> {
        let client = Caller::peer_of(&request)?;
        let request = request.into_inner();
        self.note(Asked::Permit(request.epoch));
        self.permits.answer(client, &request).map(Response::new)
    }

    type RunStream = Boxed<v1::RunUpdate>;

    async fn run(&self, _: Request<v1::RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        self.next(Asked::Run).map(Response::new)
    }

    type AttachStream = Boxed<v1::RunUpdate>;

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        self.next(Asked::Attach(request.get_ref().after))
            .map(Response::new)
    }

    async fn cancel(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        self.note(Asked::Cancel);
        let state = v1::JobState::Cancelled.into();
        Ok(Response::new(v1::ControlResponse { state }))
    }

    async fn adjust(
        &self,
        _: Request<v1::AdjustRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        nothing()
    }

    async fn finish(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        nothing()
    }

    async fn pause(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        nothing()
    }

    async fn resume(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        nothing()
    }

    type FetchBlobStream = Boxed<v1::BlobChunk>;

    async fn fetch_blob(
        &self,
        _: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<Self::FetchBlobStream>, Status> {
        nothing()
    }

    async fn put_blob(
        &self,
        request: Request<tonic::Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<v1::PutBlobResponse>, Status> {
        use v1::put_blob_request::Part;
        let mut parts = request.into_inner();
        let mut size = 0;
        while let Some(part) = parts.message().await? {
            if let Some(Part::Data(data)) = part.part {
                size += data.len() as u64;
            }
        }
        self.note(Asked::Put(size));
        self.puts.send_modify(|puts| *puts += 1);
        Ok(Response::new(v1::PutBlobResponse { stored: true }))
    }

    async fn has_blobs(
        &self,
        request: Request<v1::HasBlobsRequest>,
    ) -> Result<Response<v1::HasBlobsResponse>, Status> {
        let asked = request.get_ref().digests.len();
        self.note(Asked::Has(asked));
        let has = vec![false; asked];
        Ok(Response::new(v1::HasBlobsResponse { has }))
    }

    async fn keep_blobs(
        &self,
        _: Request<v1::KeepBlobsRequest>,
    ) -> Result<Response<v1::KeepBlobsResponse>, Status> {
        nothing()
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        nothing()
    }

    type FeedStream = Boxed<v1::FeedWant>;

    async fn feed(
        &self,
        _: Request<tonic::Streaming<v1::FeedRequest>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        nothing()
    }

    async fn list_models(
        &self,
        _: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        nothing()
    }

    type InferStream = Boxed<v1::InferUpdate>;

    async fn infer(
        &self,
        _: Request<v1::InferRequest>,
    ) -> Result<Response<Self::InferStream>, Status> {
        nothing()
    }
}
