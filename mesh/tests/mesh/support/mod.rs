//! What the tests of the swarm share.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{
    ids::PeerId,
    keys::Keypair,
    statement::{DeviceAdvert, DeviceKind, Role},
};
use embermesh_mesh::{AdvertDraft, Mesh, MeshConfig, MeshEvent, protocol::Known};
use tokio::{net::TcpSocket, sync::broadcast};
use tokio_util::sync::CancellationToken;

/// The end of every wait: far above what is measured, for a machine that is busy.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
pub(crate) async fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, future)
        .await
        .expect("it took too long")
}

/// A port that can be bound again and again while this lives. It is bound already and
/// not listened on, so that the system gives it to nobody else.
pub(crate) struct Reserved {
    _socket: TcpSocket,
    pub(crate) port: u16,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Without it nobody else could bind the port either.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        Self {
            _socket: socket,
            port,
        }
    }
}

/// A key by number.
pub(crate) fn keypair(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

/// The default settings, with these peers to join through.
pub(crate) fn config(bootstrap: &[String]) -> MeshConfig {
    MeshConfig {
        bootstrap: bootstrap.to_vec(),
        ..MeshConfig::default()
    }
}

/// A mesh of the default network.
pub(crate) async fn member(number: u8, bootstrap: &[String]) -> Mesh {
    start(number, config(bootstrap)).await
}

/// A mesh with a config of its own.
pub(crate) async fn start(number: u8, config: MeshConfig) -> Mesh {
    Mesh::start(Arc::new(keypair(number)), config, CancellationToken::new())
        .await
        .unwrap()
}

/// Waits until a mesh knows the advert of a peer.
pub(crate) async fn sees(mesh: &Mesh, peer: &PeerId) -> Known {
    let mut changes = mesh.changes();
    wait(async {
        loop {
            changes.borrow_and_update();
            if let Some(advert) = mesh.advert_of(peer) {
                return advert;
            }
            changes.changed().await.unwrap();
        }
    })
    .await
}

/// Waits for an event.
pub(crate) async fn event<T>(
    events: &mut broadcast::Receiver<MeshEvent>,
    wanted: impl Fn(MeshEvent) -> Option<T>,
) -> T {
    wait(async {
        loop {
            if let Some(found) = wanted(events.recv().await.unwrap()) {
                return found;
            }
        }
    })
    .await
}

/// A short form of a draft.
pub(crate) struct Draft {
    pub(crate) region: String,
    pub(crate) tls_addresses: Vec<String>,
    pub(crate) free_slots: u32,
    pub(crate) devices: usize,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            region: "loopback".to_owned(),
            tls_addresses: vec!["127.0.0.1:7000".to_owned()],
            free_slots: 1,
            devices: 1,
        }
    }
}

impl From<Draft> for AdvertDraft {
    fn from(draft: Draft) -> Self {
        let device = DeviceAdvert {
            name: "a processor".to_owned(),
            kind: DeviceKind::Cpu,
            memory_bytes: 1 << 30,
            mflops: 100_000,
            fault: None,
        };
        Self {
            role: Role::Node,
            version: "0.1.0".to_owned(),
            tls_addresses: draft.tls_addresses,
            region: draft.region,
            price_micros_per_hour: 0,
            devices: vec![device; draft.devices],
            slots: 1,
            free_slots: draft.free_slots,
            queued: 0,
            draining: false,
            runtimes: embermesh_crypto::statement::Runtimes::default(),
            models: Vec::new(),
            free_residents: 0,
            missing_fences: None,
        }
    }
}

/// Resident memory of this process, KiB; zero where there is no /proc.
pub(crate) fn resident_kib() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find(|line| line.starts_with("VmRSS:"))?
                .to_owned();
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or_default()
}
