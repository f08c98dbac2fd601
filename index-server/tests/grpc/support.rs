//! An index on port 0, and peers that speak to it as clients and nodes do.

// The benchmark shares this file, and there clippy does not see a test.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use embermesh_crypto::{
    digest::Digest,
    ids::{NetworkName, PeerId},
    keys::Keypair,
    statement::{self, Advert, DeviceAdvert, DeviceKind, Outcome, Receipt, Role, Signed},
    time::UnixMillis,
};
use embermesh_index_server::{Index, IndexConfig, IndexError, RunningIndex};
use embermesh_job::{
    assignment::{NodeAssignment, TaskKey},
    event::{Event, EventKind, Progress},
    model::{Layer, Model, Op},
    order::Report,
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
};
use embermesh_mesh::road::{self, Identity, RoadChoice, Target};
use embermesh_proto::v1::{self, index_client::IndexClient, registry_client::RegistryClient};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An index with its data folder, which outlives it.
pub(crate) struct World {
    _dir: tempfile::TempDir,
    pub(crate) key: Arc<Keypair>,
    pub(crate) config: IndexConfig,
    pub(crate) index: RunningIndex,
}

/// A configuration on free ports. Its times are long beside what a test takes, so
/// that nothing lapses because the machine is busy.
pub(crate) fn config(dir: &Path) -> IndexConfig {
    let mut config = IndexConfig {
        data_dir: dir.join("index"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..IndexConfig::default()
    };
    config.mesh.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.metrics.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.leases.lease_ms = 10_000;
    config.leases.heartbeat_interval_ms = 100;
    config.leases.assign_grace_ms = 10_000;
    config.leases.reregistration_grace_ms = 10_000;
    config
}

pub(crate) fn key(n: u8) -> Arc<Keypair> {
    Arc::new(Keypair::from_seed(&[n; 32]))
}

pub(crate) async fn start(
    config: IndexConfig,
    key: &Arc<Keypair>,
) -> Result<RunningIndex, IndexError> {
    Index::start(config, Arc::clone(key), CancellationToken::new()).await
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut IndexConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let key = key(200);
        let index = start(config.clone(), &key).await.unwrap();
        Self {
            _dir: dir,
            key,
            config,
            index,
        }
    }

    /// Stops the index and starts it again on the same folder and other ports.
    pub(crate) async fn restart(self) -> Self {
        self.index.stop().await.unwrap();
        let index = start(self.config.clone(), &self.key).await.unwrap();
        Self { index, ..self }
    }

    /// A connection without TLS, and so without an identity.
    pub(crate) async fn plain(&self) -> Channel {
        let address = format!("http://{}", self.index.address());
        Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn peer(&self, n: u8) -> Peer {
        Peer::connect(&self.index, key(n)).await
    }
}

/// Somebody who speaks to the index over mutual TLS.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) key: Arc<Keypair>,
    pub(crate) index: IndexClient<Channel>,
    pub(crate) registry: RegistryClient<Channel>,
    /// For the services that only some tests speak to.
    pub(crate) channel: Channel,
}

impl Peer {
    pub(crate) async fn connect(index: &RunningIndex, key: Arc<Keypair>) -> Self {
        let identity = Identity::new(Arc::clone(&key)).unwrap();
        let target = Target {
            peer: Some(index.peer_id()),
            tls: vec![index.address().to_string()],
            mesh: Vec::new(),
        };
        let connection = road::connect(&identity, &target, None, RoadChoice::Tls)
            .await
            .unwrap();
        Self {
            key,
            index: IndexClient::new(connection.channel.clone()),
            registry: RegistryClient::new(connection.channel.clone()),
            channel: connection.channel,
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.key.peer_id()
    }

    pub(crate) async fn submit(&self, name: &str) -> v1::SubmitResponse {
        self.try_submit(&spec(name), rand_key()).await.unwrap()
    }

    pub(crate) async fn try_submit(
        &self,
        spec: &JobSpec,
        idempotency: [u8; 16],
    ) -> Result<v1::SubmitResponse, tonic::Status> {
        self.submit_for(spec, idempotency, 0).await
    }

    /// The same with a budget.
    pub(crate) async fn submit_for(
        &self,
        spec: &JobSpec,
        idempotency: [u8; 16],
        budget_micros: u64,
    ) -> Result<v1::SubmitResponse, tonic::Status> {
        let request = v1::SubmitRequest {
            spec: spec.canonical().into(),
            idempotency_key: idempotency.to_vec().into(),
            budget_micros,
            tentative: false,
        };
        self.index
            .clone()
            .submit(request)
            .await
            .map(tonic::Response::into_inner)
    }

    pub(crate) async fn job(&self, id: &str) -> v1::Job {
        let request = v1::GetJobRequest {
            job_id: id.to_owned(),
        };
        self.index
            .clone()
            .get_job(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn watch(&self, id: &str) -> Streaming<v1::WatchJobResponse> {
        let request = v1::WatchJobRequest {
            job_id: id.to_owned(),
        };
        self.index
            .clone()
            .watch_job(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn register(&self, slots: u32) -> v1::RegisterNodeResponse {
        self.register_at(slots, 0).await
    }

    /// The same of a node that asks so many millionths for an hour.
    pub(crate) async fn register_at(&self, slots: u32, price: u64) -> v1::RegisterNodeResponse {
        let advert = advert(&self.key, UnixMillis::now().0, slots, price);
        let request = v1::RegisterNodeRequest {
            advert: advert.bytes().to_vec().into(),
        };
        self.registry
            .clone()
            .register_node(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn orders(&self) -> Streaming<v1::Order> {
        self.registry
            .clone()
            .orders(v1::OrdersRequest {})
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn heartbeat(&self, running: &[TaskKey]) -> v1::HeartbeatResponse {
        let request = v1::HeartbeatRequest {
            advert: Vec::new().into(),
            running: running
                .iter()
                .map(|key| v1::TaskHeartbeat {
                    task: Some((*key).into()),
                    latest: None,
                    paused: false,
                })
                .collect(),
            draining: false,
        };
        self.registry
            .clone()
            .heartbeat(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Keeps the node alive, with its tasks, until what is returned is dropped.
    pub(crate) fn keep_alive(&self, running: Vec<TaskKey>) -> AliveGuard {
        let node = self.clone();
        let task = tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(100));
            loop {
                interval.tick().await;
                node.heartbeat(&running).await;
            }
        });
        AliveGuard(task)
    }

    pub(crate) async fn report(&self, key: TaskKey, report: Report) -> Result<bool, tonic::Status> {
        let sent = self.registry.clone().report(report.into_wire(key)).await;
        sent.map(|response| response.into_inner().accepted)
    }

    pub(crate) async fn started(&self, key: TaskKey) {
        assert!(self.try_started(key).await.unwrap());
    }

    pub(crate) async fn try_started(&self, key: TaskKey) -> Result<bool, tonic::Status> {
        let report = event(
            key,
            1,
            EventKind::Started {
                device: "cpu".to_owned(),
                parameters: 1,
                total_steps: 1,
                samples: 1,
            },
        );
        self.report(key, report).await
    }

    pub(crate) fn finished(&self, key: TaskKey, owner: PeerId, spec: &JobSpec) -> Report {
        self.finished_after(key, owner, spec, 0)
    }

    /// The same of a node that signs for so many milliseconds.
    pub(crate) fn finished_after(
        &self,
        key: TaskKey,
        owner: PeerId,
        spec: &JobSpec,
        ran_ms: u64,
    ) -> Report {
        let now = UnixMillis::now();
        let receipt = Receipt {
            node: self.id(),
            client: owner,
            issuer: owner,
            token_id: embermesh_crypto::ids::TokenId([1; 16]),
            job: key.job,
            task: key.task,
            epoch: key.epoch,
            spec: spec.digest(),
            outcome: Outcome::Succeeded,
            device: "cpu".to_owned(),
            device_kind: DeviceKind::Cpu,
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: 1,
            samples: 1,
            loss: None,
            accuracy: None,
            started_at: UnixMillis(now.0 - ran_ms),
            ended_at: now,
            message: String::new(),
            account: None,
        };
        event(
            key,
            2,
            EventKind::Finished {
                outcome: Outcome::Succeeded,
                receipt: statement::sign(&receipt, &self.key)
                    .unwrap()
                    .bytes()
                    .to_vec(),
                message: String::new(),
            },
        )
    }
}

/// Ends heartbeats.
pub(crate) struct AliveGuard(tokio::task::JoinHandle<()>);

impl AliveGuard {
    /// The same, and waits until the last one has been given up.
    pub(crate) async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for AliveGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn event(key: TaskKey, seq: u64, kind: EventKind) -> Report {
    Report::Event(Box::new(Event {
        seq,
        epoch: key.epoch,
        at: UnixMillis::now(),
        kind,
    }))
}

/// Progress of a training that went astray.
pub(crate) fn diverged(key: TaskKey) -> Report {
    let progress = Progress {
        step: 1,
        total_steps: 2,
        pass: 1,
        total_passes: 1,
        loss: f64::NAN,
        accuracy: None,
        samples_per_second: f64::INFINITY,
        remaining_ms: 0,
    };
    event(key, 2, EventKind::Progress(progress))
}

pub(crate) fn task(assignment: &v1::NodeAssignment) -> TaskKey {
    let assignment = NodeAssignment::try_from(assignment.clone()).unwrap();
    TaskKey {
        job: assignment.job,
        task: assignment.task,
        epoch: assignment.epoch,
    }
}

/// The next message of a stream, or a failed test.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> T {
    timeout(PATIENCE, stream.message())
        .await
        .expect("a message in time")
        .unwrap()
        .expect("a message before the end")
}

/// The first order to run on a stream.
pub(crate) async fn run_order(stream: &mut Streaming<v1::Order>) -> v1::RunOrder {
    loop {
        if let Some(v1::order::Kind::Run(run)) = next(stream).await.kind {
            return run;
        }
    }
}

pub(crate) fn rand_key() -> [u8; 16] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    key
}

pub(crate) fn advert(key: &Keypair, sequence: u64, slots: u32, price: u64) -> Signed<Advert> {
    let now = UnixMillis::now();
    let advert = Advert {
        peer: key.peer_id(),
        network: NetworkName::default(),
        sequence,
        issued_at: now,
        expires_at: now.saturating_add(Duration::from_secs(300)),
        role: Role::Node,
        version: "1".to_owned(),
        mesh_addresses: Vec::new(),
        tls_addresses: vec!["127.0.0.1:1".to_owned()],
        region: String::new(),
        price_micros_per_hour: price,
        devices: vec![DeviceAdvert {
            name: "cpu".to_owned(),
            kind: DeviceKind::Cpu,
            memory_bytes: 8 << 30,
            mflops: 1_000,
            fault: None,
        }],
        slots,
        free_slots: slots,
        queued: 0,
        draining: false,
        runtimes: embermesh_crypto::statement::Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    };
    statement::sign(&advert, key).unwrap()
}

pub(crate) fn spec(name: &str) -> JobSpec {
    JobSpec {
        name: name.to_owned(),
        work: Work::Train(Train {
            optimizer: Optimizer::default(),
            passes: 1,
            batch: 32,
            seed: 1,
            holdout: 0.0,
            report_every: 0,
            checkpoint_every: 0,
            ..Train::new(
                Model {
                    input: vec![64],
                    layers: vec![Layer::new(Op::dense(10))],
                },
                Dataset::DigitsCsv {
                    file: Input {
                        digest: Digest::of(b"digits"),
                        size: 6,
                    },
                    classes: 10,
                },
            )
        }),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: 3,
    }
}
