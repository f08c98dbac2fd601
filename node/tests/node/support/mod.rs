//! Nodes, tokens, jobs and an index that does as it is told.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

#[cfg(target_os = "linux")]
pub(crate) mod bombs;
pub(crate) mod index;
#[path = "../../../../compute/tests/support/tiny.rs"]
pub(crate) mod tiny;
pub(crate) mod web;
#[cfg(unix)]
pub(crate) mod worker;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId, TaskIndex, TokenId},
    keys::Keypair,
    time::UnixMillis,
    token::{self, Ceilings, Claims, Methods},
};
use embermesh_job::{
    event::{Event, EventKind, Notice, RunUpdate},
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
    units::{Bytes as Amount, Millis},
};
use embermesh_mesh::road::{self, Identity, RoadChoice, Target};
use embermesh_node::{Node, NodeConfig, RunningNode};
use embermesh_proto::v1::{self, node_client::NodeClient, put_blob_request::Part};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

/// The digits in the repository.
pub(crate) const DIGITS: &[u8] = include_bytes!("../../../../data/digits.csv");

/// The longest that anything awaited here may take.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Processes that were started by this one and that work for it.
#[cfg(target_os = "linux")]
pub(crate) fn workers() -> Vec<u32> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        if after_name.split_whitespace().nth(1) == Some(me.as_str()) {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn key(seed: u8) -> Arc<Keypair> {
    Arc::new(Keypair::from_seed(&[seed; 32]))
}

pub(crate) fn config(dir: &std::path::Path) -> NodeConfig {
    NodeConfig {
        data_dir: dir.join("node"),
        devices: vec![embermesh_compute::DeviceChoice::Cpu],
        worker_command: vec![env!("CARGO_BIN_EXE_embermesh-worker").to_owned()],
        drain_timeout: Millis(20_000),
        threads: 1,
        open: true,
        ..NodeConfig::default()
    }
}

pub(crate) async fn start(config: NodeConfig, seed: u8) -> RunningNode {
    Node::start(config, key(seed), CancellationToken::new())
        .await
        .unwrap()
}

/// A client of one node.
pub(crate) struct Caller {
    pub(crate) keypair: Arc<Keypair>,
    pub(crate) stub: NodeClient<Channel>,
    pub(crate) node: PeerId,
}

pub(crate) async fn caller(node: &RunningNode, seed: u8) -> Caller {
    let keypair = key(seed);
    let identity = Identity::new(Arc::clone(&keypair)).unwrap();
    let target = Target {
        peer: Some(node.peer_id()),
        tls: vec![node.address().to_string()],
        mesh: Vec::new(),
    };
    let connection = road::connect(&identity, &target, None, RoadChoice::Tls)
        .await
        .unwrap();
    Caller {
        keypair,
        stub: NodeClient::new(connection.channel),
        node: node.peer_id(),
    }
}

/// The first rows of the digits, as a blob.
pub(crate) fn digits(rows: usize) -> Bytes {
    let end = DIGITS
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(rows - 1)
        .map_or(DIGITS.len(), |(at, _)| at + 1);
    Bytes::from_static(&DIGITS[..end])
}

/// A job over some rows of the digits.
pub(crate) fn spec(rows: usize, passes: u32) -> JobSpec {
    let data = digits(rows);
    let layer = |op: Op| Layer::new(op);
    JobSpec {
        name: "digits".to_owned(),
        work: Work::Train(Train {
            optimizer: Optimizer::default(),
            passes,
            batch: 16,
            seed: 7,
            holdout: 0.2,
            report_every: 4,
            checkpoint_every: 10,
            ..Train::new(
                Model {
                    input: vec![1, 8, 8],
                    layers: vec![
                        layer(Op::conv2d(4, 3, 1)),
                        layer(Op::relu()),
                        layer(Op::flatten()),
                        layer(Op::dense(10)),
                    ],
                },
                Dataset::DigitsCsv {
                    file: Input {
                        digest: Digest::of(&data),
                        size: data.len() as u64,
                    },
                    classes: 10,
                },
            )
        }),
        requires: Requirements::default(),
        limits: Limits {
            memory: Amount(1 << 30),
            wall: Millis(120_000),
            output: Amount(64 << 20),
            ..Limits::default()
        },
        attempts: 3,
    }
}

/// A job that does not end while a test looks.
pub(crate) fn long_spec() -> JobSpec {
    let mut spec = spec(1000, 10_000);
    if let Work::Train(train) = &mut spec.work {
        train.checkpoint_every = 100_000;
        train.report_every = 50;
    }
    spec
}

/// A job that makes checkpoints and does not end while a test looks.
pub(crate) fn long_spec_with_checkpoints() -> JobSpec {
    let mut spec = long_spec();
    if let Work::Train(train) = &mut spec.work {
        train.checkpoint_every = 20;
    }
    spec
}

pub(crate) fn job(number: u8) -> JobId {
    JobId::v7(UnixMillis(1), [number; 10])
}

/// The claims of a token that a client issues to itself.
pub(crate) fn claims(client: &Keypair, node: PeerId, job: JobId, spec: &JobSpec) -> Claims {
    let now = UnixMillis::now().as_secs();
    Claims {
        issuer: client.peer_id(),
        client: client.peer_id(),
        node,
        job,
        task: TaskIndex(0),
        epoch: Epoch::FIRST,
        spec: spec.digest(),
        methods: Methods::all(),
        ceilings: Ceilings {
            memory_bytes: 4 << 30,
            wall_ms: 3_600_000,
            output_bytes: 1 << 30,
        },
        token_id: TokenId([job.as_bytes()[15]; 16]),
        issued_at: now,
        not_before: now,
        expires_at: now.saturating_add(300),
        revocation_epoch: 0,
    }
}

impl Caller {
    /// Waits until nothing runs: a job's last word is heard a moment before its slot is
    /// free.
    pub(crate) async fn idle(&self) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
        while !self.status().await.running.is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "it still runs");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn claims(&self, number: u8, spec: &JobSpec) -> Claims {
        claims(&self.keypair, self.node, job(number), spec)
    }

    pub(crate) fn token(&self, number: u8, spec: &JobSpec) -> String {
        token::issue(&self.claims(number, spec), &self.keypair).unwrap()
    }

    pub(crate) async fn run_with(
        &self,
        token: &str,
        spec: &JobSpec,
    ) -> Result<Streaming<v1::RunUpdate>, Status> {
        let request = v1::RunRequest {
            token: token.to_owned(),
            spec: spec.canonical().into(),
            resume: None,
            inputs: Vec::new(),
        };
        Ok(self.stub.clone().run(request).await?.into_inner())
    }

    pub(crate) async fn run(&self, number: u8, spec: &JobSpec) -> Streaming<v1::RunUpdate> {
        self.run_with(&self.token(number, spec), spec)
            .await
            .unwrap()
    }

    pub(crate) async fn attach(
        &self,
        token: &str,
        number: u8,
        after: u64,
    ) -> Result<Streaming<v1::RunUpdate>, Status> {
        let request = v1::AttachRequest {
            token: token.to_owned(),
            job_id: job(number).to_string(),
            task: 0,
            after,
        };
        Ok(self.stub.clone().attach(request).await?.into_inner())
    }

    pub(crate) fn control(&self, token: &str, number: u8) -> v1::ControlRequest {
        v1::ControlRequest {
            token: token.to_owned(),
            job_id: job(number).to_string(),
            task: 0,
        }
    }

    pub(crate) async fn put(&self, token: &str, data: &Bytes) -> Result<bool, Status> {
        self.put_as(token, Digest::of(data), data.len() as u64, data)
            .await
    }

    pub(crate) async fn put_as(
        &self,
        token: &str,
        digest: Digest,
        size: u64,
        data: &Bytes,
    ) -> Result<bool, Status> {
        let header = v1::PutBlobHeader {
            token: token.to_owned(),
            digest: Bytes::copy_from_slice(digest.as_bytes()),
            size,
        };
        let mut parts = vec![Part::Header(header)];
        let mut rest = data.clone();
        while !rest.is_empty() {
            parts.push(Part::Data(rest.split_to(rest.len().min(64 * 1024))));
        }
        let parts = parts
            .into_iter()
            .map(|part| v1::PutBlobRequest { part: Some(part) });
        let answer = self
            .stub
            .clone()
            .put_blob(futures::stream::iter(parts))
            .await?;
        Ok(answer.into_inner().stored)
    }

    pub(crate) async fn has(&self, digest: Digest) -> bool {
        let digests = vec![Bytes::copy_from_slice(digest.as_bytes())];
        let request = v1::HasBlobsRequest { digests };
        self.stub
            .clone()
            .has_blobs(request)
            .await
            .unwrap()
            .into_inner()
            .has[0]
    }

    pub(crate) async fn status(&self) -> v1::StatusResponse {
        let answer = self.stub.clone().status(v1::StatusRequest {}).await;
        answer.unwrap().into_inner()
    }
}

/// The stable word of a refusal.
pub(crate) fn word(status: &Status) -> &str {
    status
        .metadata()
        .get("embermesh-refusal")
        .or_else(|| status.metadata().get("embermesh-no-slot"))
        .map_or("", |word| word.to_str().unwrap())
}

/// The next update.
pub(crate) async fn next(stream: &mut Streaming<v1::RunUpdate>) -> Option<RunUpdate> {
    let message = tokio::time::timeout(LONG, stream.message())
        .await
        .expect("an update within the bound")
        .unwrap()?;
    Some(message.try_into().unwrap())
}

/// Updates up to and with the first event that fits.
pub(crate) async fn until(
    stream: &mut Streaming<v1::RunUpdate>,
    fits: impl Fn(&EventKind) -> bool,
) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(update) = next(stream).await {
        if let RunUpdate::Event(event) = update {
            let last = fits(&event.kind);
            events.push(event);
            if last {
                return events;
            }
        }
    }
    panic!("the stream ended before the event came; it had {events:?}");
}

/// All events of a stream, and the last notice of an end.
pub(crate) async fn all(
    stream: &mut Streaming<v1::RunUpdate>,
) -> (Vec<Event>, Option<(String, String)>) {
    let (mut events, mut end) = (Vec::new(), None);
    while let Some(update) = next(stream).await {
        match update {
            RunUpdate::Event(event) => events.push(event),
            RunUpdate::Notice(Notice::AttemptEnded { code, message }) => {
                end = Some((code, message))
            }
            RunUpdate::Notice(_) => {}
        }
    }
    (events, end)
}

pub(crate) fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}
