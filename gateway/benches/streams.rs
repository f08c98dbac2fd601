//! What an open stream of a prover costs: `cargo bench -p embermesh-gateway --bench streams
//! -- STREAMS PER_CONNECTION` (1,000 and 1 by default).
//!
//! The provers dial in from a process of their own, so that the memory of this one is the
//! coordinator's alone. Each stands at its place as a free prover does. An address may
//! have 256 ids, so the provers come from several addresses of loopback.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement ends where what it needs fails"
)]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

use embermesh_dialects::{Dialect, Profile, port::provers::Provers as _};
use embermesh_gateway::{
    Gateway, GatewayConfig, ProvingSettings,
    users::policy::{Belief, Policy},
};
use embermesh_proto::zisk::{
    ComputeCapacity, ProverMessage, ProverRegisterRequest, prover_message::Payload,
    zisk_distributed_api_client::ZiskDistributedApiClient,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint, Server},
};

/// Provers of one address.
const OF_ADDRESS: usize = 200;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let streams = numbers.first().copied().unwrap_or(1000);
    let of_connection = numbers.get(1).copied().unwrap_or(1).max(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match words.iter().position(|word| word == "dial") {
        Some(place) => {
            let address = words[place + 1].parse().unwrap();
            runtime.block_on(dial(address, streams, of_connection));
        }
        None => runtime.block_on(measure(streams, of_connection)),
    }
}

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<usize>().unwrap() * 1024
}

async fn measure(streams: usize, of_connection: usize) {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy {
        belief: Belief::Legacy,
        networks: Vec::new(),
    };
    let config = GatewayConfig {
        folder: folder.path().to_owned(),
        index: "127.0.0.1:1".parse().unwrap(),
        mesh: None,
        policies: [(Dialect::Zisk, policy)].into(),
        endpoint: String::new(),
        open_jobs: 10,
        worker_price: embermesh_job::units::MicroUnits(0),
        model_quota: 1 << 30,
        // Nobody here answers a heartbeat.
        proving: ProvingSettings {
            silence: Duration::from_secs(3600),
            ..ProvingSettings::default()
        },
    };
    let cancel = CancellationToken::new();
    let gateway = Gateway::start(config, cancel.clone()).await.unwrap();
    let services = gateway.services(&[Dialect::Zisk], Profile::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = (services.mount)(Routes::default());
    let serving = Server::builder()
        .add_routes(routes)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (bytes_before, tasks_before) = (resident(), tasks());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["dial", &address.to_string()])
        .args([streams.to_string(), of_connection.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap());
    assert_eq!(ready.await.unwrap(), "ready");
    assert_eq!(gateway.provers().len(), streams);
    let bytes = resident().saturating_sub(bytes_before);
    println!(
        "{streams} streams, {of_connection} a connection: {} bytes and {:.2} tasks a stream",
        bytes / streams,
        (tasks() - tasks_before) as f64 / streams as f64,
    );
    child.stdin.take().unwrap().write_all(b"enough\n").unwrap();
    child.wait().unwrap();
    cancel.cancel();
    gateway.stopped().await;
}

/// The other process: opens the streams, says so, and waits until it may go.
async fn dial(address: SocketAddr, streams: usize, of_connection: usize) {
    let mut open = Vec::with_capacity(streams);
    let mut channel = None;
    for number in 0..streams {
        let host = u16::try_from(number / OF_ADDRESS).unwrap();
        if number % of_connection == 0 || number % OF_ADDRESS == 0 {
            channel = Some(connect(address, host).await);
        }
        let channel = channel.clone().unwrap();
        open.push(register(channel, number).await);
    }
    println!("ready");
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
}

async fn connect(address: SocketAddr, host: u16) -> Channel {
    let [high, low] = host.to_be_bytes();
    let from = SocketAddr::from((Ipv4Addr::new(127, 1, high, low + 1), 0));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let connector = tower::service_fn(move |_| async move {
        let socket = TcpSocket::new_v4()?;
        socket.bind(from)?;
        Ok::<_, std::io::Error>(TokioIo::new(socket.connect(address).await?))
    });
    endpoint.connect_with_connector(connector).await.unwrap()
}

type Open = (
    mpsc::Sender<ProverMessage>,
    tonic::Streaming<embermesh_proto::zisk::CoordinatorMessage>,
);

async fn register(channel: Channel, number: usize) -> Open {
    let (say, said) = mpsc::channel(1);
    let mut client = ZiskDistributedApiClient::new(channel);
    let stream = client.prover_stream(ReceiverStream::new(said)).await;
    let mut told = stream.unwrap().into_inner();
    let hello = Payload::Register(ProverRegisterRequest {
        prover_id: format!("p{number}"),
        compute_capacity: Some(ComputeCapacity { compute_units: 1 }),
    });
    let payload = Some(hello);
    say.send(ProverMessage { payload }).await.unwrap();
    told.message().await.unwrap().unwrap();
    (say, told)
}
