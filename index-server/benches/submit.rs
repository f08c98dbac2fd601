//! Durable submits with a signed assignment per second, beside a null echo.
//!
//! Both are called over the same mutual-TLS road, by the same clients, with
//! messages of the same size, in turns within one run. The echo parses and
//! encodes the same protobuf messages and does nothing else; the index parses
//! and validates the spec, places the job, signs the token, and answers after
//! its transaction is synced to the disk.
//!
//! `cargo bench -p embermesh-index-server --bench submit`; `EMBERMESH_BENCH_SECONDS`,
//! `EMBERMESH_BENCH_CONNECTIONS` and `EMBERMESH_BENCH_IN_FLIGHT` (per connection)
//! change how long and how hard.

#[path = "../tests/grpc/support.rs"]
#[allow(dead_code)]
mod support;

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use embermesh_crypto::{digest::Digest, keys::Keypair, time::UnixMillis};
use embermesh_index_server::{
    state::{Command, Entropy, Settings, Snapshot, State, Submit},
    store::Store,
};
use embermesh_job::spec::JobSpec;
use embermesh_mesh::road::{self, Identity, ListenConfig, Listener, RoadChoice, Target};
use embermesh_proto::v1::{
    self,
    index_client::IndexClient,
    index_server::{self, IndexServer},
};
use futures::stream::Empty;
use support::{World, advert, key, spec};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes, transport::Channel};

/// How often the two take turns.
const ROUNDS: usize = 3;

/// The part of the spec's name that differs from job to job.
const MARK: &str = "00000000000000000000";

fn setting(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Answers every submit with the same bytes.
struct Echo {
    answer: v1::SubmitResponse,
}

macro_rules! refuse {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl index_server::Index for Echo {
            async fn submit(
                &self,
                request: Request<v1::SubmitRequest>,
            ) -> Result<Response<v1::SubmitResponse>, Status> {
                std::hint::black_box(request.into_inner());
                Ok(Response::new(self.answer.clone()))
            }

            type WatchJobStream = Empty<Result<v1::WatchJobResponse, Status>>;

            async fn watch_job(
                &self,
                _: Request<v1::WatchJobRequest>,
            ) -> Result<Response<Self::WatchJobStream>, Status> {
                Err(Status::unimplemented("an echo"))
            }

            $(async fn $method(&self, _: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                Err(Status::unimplemented("an echo"))
            })*
        }
    };
}

refuse! {
    get_job: GetJobRequest -> Job;
    list_jobs: ListJobsRequest -> ListJobsResponse;
    cancel_job: CancelJobRequest -> CancelJobResponse;
    renew_assignment: RenewAssignmentRequest -> RenewAssignmentResponse;
    list_nodes: ListNodesRequest -> ListNodesResponse;
    get_key_set: GetKeySetRequest -> GetKeySetResponse;
    rotate_issuer_key: RotateIssuerKeyRequest -> RotateIssuerKeyResponse;
    revoke_assignment: RevokeAssignmentRequest -> RevokeAssignmentResponse;
    list_deployments: ListDeploymentsRequest -> ListDeploymentsResponse;
    permit_ask: PermitAskRequest -> PermitAskResponse;
    quote: QuoteRequest -> QuoteResponse;
}

/// What one turn measured.
struct Turn {
    per_second: f64,
    latencies: Vec<Duration>,
}

impl Turn {
    fn quantile(&self, share: f64) -> Duration {
        let at = ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len() - 1);
        self.latencies[at]
    }
}

async fn turn(
    clients: &[IndexClient<Channel>],
    in_flight: u64,
    span: Duration,
    template: &str,
) -> Turn {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let began = Instant::now();
    let mut tasks = Vec::new();
    for client in clients {
        for _ in 0..in_flight {
            let (mut client, template) = (client.clone(), template.to_owned());
            tasks.push(tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(1 << 14);
                while began.elapsed() < span {
                    let number = NEXT.fetch_add(1, Ordering::Relaxed);
                    let mut idempotency = [0; 16];
                    idempotency[..8].copy_from_slice(&number.to_be_bytes());
                    let request = v1::SubmitRequest {
                        spec: template
                            .replacen(MARK, &format!("{number:020}"), 1)
                            .into_bytes()
                            .into(),
                        idempotency_key: idempotency.to_vec().into(),
                        ..v1::SubmitRequest::default()
                    };
                    let sent = Instant::now();
                    let answer = client
                        .submit(request)
                        .await
                        .expect("a submit succeeds")
                        .into_inner();
                    latencies.push(sent.elapsed());
                    assert!(answer.assignment.is_some_and(|a| !a.auth_token.is_empty()));
                }
                latencies
            }));
        }
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a client ends"));
    }
    let per_second = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Turn {
        per_second,
        latencies,
    }
}

async fn connect(target: &Target, connections: u64) -> Vec<IndexClient<Channel>> {
    let mut clients = Vec::new();
    for n in 0..connections {
        let identity = Identity::new(key(u8::try_from(n % 100).unwrap_or(0))).expect("an identity");
        let connection = road::connect(&identity, target, None, RoadChoice::Tls)
            .await
            .expect("a road");
        clients.push(IndexClient::new(connection.channel));
    }
    clients
}

#[tokio::main]
async fn main() {
    // Under `cargo test` a benchmark only has to start.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let span = Duration::from_secs(setting("EMBERMESH_BENCH_SECONDS", 5));
    let connections = setting("EMBERMESH_BENCH_CONNECTIONS", 4);
    let in_flight = setting("EMBERMESH_BENCH_IN_FLIGHT", 32);
    let template =
        String::from_utf8(spec(&format!("job {MARK}")).canonical()).expect("JSON is text");
    parts(&template).await;
    let world = World::with(|config| {
        config.leases.lease_ms = 3_600_000;
        config.leases.assign_grace_ms = 3_600_000;
        config.limits.open_jobs = 10_000_000;
        config.limits.open_jobs_per_client = 10_000_000;
        config.limits.open_spec_bytes = 8 << 30;
    })
    .await;
    let node = world.peer(150).await;
    let advert = advert(&key(150), 1, 100_000_000, 0);
    let request = v1::RegisterNodeRequest {
        advert: advert.bytes().to_vec().into(),
    };
    node.registry
        .clone()
        .register_node(request)
        .await
        .expect("a node registers");
    let index = Target {
        peer: Some(world.index.peer_id()),
        tls: vec![world.index.address().to_string()],
        mesh: Vec::new(),
    };
    let submits = connect(&index, connections).await;
    let probe = v1::SubmitRequest {
        spec: template.clone().into_bytes().into(),
        idempotency_key: vec![255; 16].into(),
        ..v1::SubmitRequest::default()
    };
    let answer = submits[0]
        .clone()
        .submit(probe)
        .await
        .expect("a submit succeeds")
        .into_inner();
    let (echo, stop) = serve_echo(answer).await;
    let echoes = connect(&echo, connections).await;

    println!(
        "{connections} connections over mutual TLS, {in_flight} calls in flight on each, {} s a turn, spec of {} bytes",
        span.as_secs(),
        template.len()
    );
    println!("{:<8} {:>12} {:>10} {:>10}", "", "per second", "p50", "p99");
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (which, clients) in [&echoes, &submits].into_iter().enumerate() {
            let turn = turn(clients, in_flight, span, &template).await;
            let name = ["echo", "submit"][which];
            println!(
                "{name:<8} {:>12.0} {:>10.2?} {:>10.2?}",
                turn.per_second,
                turn.quantile(0.5),
                turn.quantile(0.99)
            );
            rates[which].push(turn.per_second);
        }
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    println!(
        "submit / echo = {:.2} ({:.0} / {:.0} per second)",
        mean(&rates[1]) / mean(&rates[0]),
        mean(&rates[1]),
        mean(&rates[0])
    );
    let one = turn(&submits[..1], 1, span, &template).await;
    println!(
        "one caller alone: {:.0} submits per second, p50 {:.2?}, p99 {:.2?}",
        one.per_second,
        one.quantile(0.5),
        one.quantile(0.99)
    );
    stop.cancel();
    world.index.stop().await.expect("the index stops");
}

/// What a submit costs without any road: in the state machine, and in the store.
async fn parts(template: &str) {
    const GROUP: usize = 64;
    const GROUPS: usize = 60;
    let dir = tempfile::tempdir().expect("a folder");
    let identity = key(202);
    let mut entropy = Entropy::from_seed([5; 32]);
    let settings = Settings {
        open_jobs_per_client: 1 << 30,
        ..Settings::default()
    };
    let now = UnixMillis::now();
    let mut state = State::restore(
        settings,
        Arc::clone(&identity),
        Snapshot::default(),
        now,
        &mut entropy,
    )
    .expect("a state");
    let node = key(150).peer_id();
    let advert = advert(&key(150), 1, 100_000_000, 0);
    state
        .handle(Command::Register { node, advert }, now, &mut entropy)
        .reply
        .expect("registered");
    let mut store = Store::open(&dir.path().join("index.db"), identity.peer_id())
        .await
        .expect("a store");
    let (mut parsing, mut applying, mut committing) =
        (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for n in 0..GROUP * GROUPS {
        let began = Instant::now();
        let canonical = Bytes::from(template.replacen(MARK, &format!("{n:020}"), 1).into_bytes());
        let spec = JobSpec::from_canonical(&canonical).expect("a spec");
        let submit = Submit {
            client: key(1).peer_id(),
            spec,
            digest: Digest::of(&canonical),
            canonical,
            idempotency: (n as u128).to_be_bytes(),
            budget: None,
            tentative: false,
        };
        let parsed = Instant::now();
        parsing += parsed - began;
        let effects = state.handle(
            Command::Submit(Box::new(submit)),
            UnixMillis::now(),
            &mut entropy,
        );
        std::hint::black_box(effects.reply.expect("a submit succeeds"));
        applying += parsed.elapsed();
        if n % GROUP == GROUP - 1 {
            let began = Instant::now();
            store.commit(&state.take_writes()).await.expect("a commit");
            committing += began.elapsed();
        }
    }
    let each = |total: Duration| total / u32::try_from(GROUP * GROUPS).unwrap_or(1);
    println!(
        "parts of one submit: parse and validate {:.1?}, place and sign {:.1?}, commit in groups of {GROUP} {:.1?}",
        each(parsing),
        each(applying),
        each(committing)
    );
}

async fn serve_echo(answer: v1::SubmitResponse) -> (Target, CancellationToken) {
    let keypair = Arc::new(Keypair::from_seed(&[201; 32]));
    let listener = Listener::bind(&ListenConfig::default())
        .await
        .expect("a port");
    let target = Target {
        peer: Some(keypair.peer_id()),
        tls: vec![listener.address().to_string()],
        mesh: Vec::new(),
    };
    let stop = CancellationToken::new();
    let routes = Routes::new(IndexServer::new(Echo { answer }));
    let identity = Identity::new(keypair).expect("an identity");
    road::serve(listener, &identity, None, routes, None, stop.clone()).expect("an echo");
    (target, stop)
}
