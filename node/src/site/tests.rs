//! A site for the tests of this crate, and what it does itself.

use embermesh_compute::{device::DeviceChoice, probe::DeviceReport};
use embermesh_crypto::statement::DeviceKind;
use embermesh_mesh::MeshConfig;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    config::GuestsConfig,
    probe::Probed,
    runtimes::RuntimeStandings,
    slots::Workers,
    store::tests::open_in,
    worker::{Spawner, WorkerCommand},
};

/// A site with one slot, whose workers cannot be started: a task waits there for its
/// inputs until it is stopped.
pub(crate) async fn site_in(dir: &std::path::Path) -> Arc<Site> {
    let keypair = Arc::new(Keypair::from_seed(&[1; 32]));
    let identity = Identity::new(Arc::clone(&keypair)).unwrap();
    let cancel = CancellationToken::new();
    let mesh = Mesh::start(Arc::clone(&keypair), MeshConfig::default(), cancel.clone())
        .await
        .unwrap();
    let cpu = Probed {
        device: DeviceChoice::Cpu,
        report: Ok(DeviceReport {
            name: "test".to_owned(),
            kind: DeviceKind::Cpu,
            memory_bytes: 1 << 30,
            mflops: 1,
        }),
    };
    let workers = Workers {
        spawner: Spawner::start().unwrap(),
        command: Arc::new(WorkerCommand::of(&["/bin/false".to_owned()]).unwrap()),
        cancel,
    };
    std::fs::create_dir(dir.join("work")).unwrap();
    // The actors that would keep workers ready are dropped.
    let (slots, _) = Slots::new(
        vec![cpu],
        1,
        1,
        1 << 30,
        RuntimeStandings::default(),
        &workers,
    );
    Arc::new(Site {
        links: Links::default(),
        fetcher: Fetcher::new(identity.clone(), None),
        identity,
        mesh,
        store: open_in(dir).await,
        blobs: BlobStore::open(dir.join("blobs"), 1 << 30).unwrap(),
        slots,
        door: Door::new(GuestsConfig::default().rules(8), false),
        work: dir.join("work"),
        tls: Vec::new(),
        threads: 1,
        replicas: 0,
        posted: watch::Sender::new(0),
        changed: watch::Sender::new(0),
        brought: watch::Sender::new(0),
        arriving: Arriving::default(),
        origins: Origins::new(Default::default(), &Default::default()).unwrap(),
        data_wait: Duration::from_secs(1),
        residents: Residents::default(),
        receipts: tokio::sync::Mutex::new(()),
        tracker: TaskTracker::new(),
        keypair,
    })
}

/// A disk that is slow to take a pin, here one that waits for a reader, holds up no
/// thread of the runtime: this one has only the one that runs the test.
#[cfg(unix)]
#[tokio::test]
async fn a_pin_waits_for_the_disk_and_nothing_waits_for_the_pin() {
    use rustix::fs::{CWD, Mode, mkfifoat};
    use tokio::net::unix::pipe;
    let dir = tempfile::tempdir().unwrap();
    let site = site_in(dir.path()).await;
    let stored = site
        .blobs
        .import_bytes(bytes::Bytes::from_static(b"data"))
        .await
        .unwrap();
    site.pin(stored.digest).await.unwrap();
    let mut pins = std::fs::read_dir(dir.path().join("blobs/pins")).unwrap();
    let pin = pins.next().unwrap().unwrap().path();
    site.blobs.unpin(&stored.digest).unwrap();
    mkfifoat(CWD, &pin, Mode::RUSR | Mode::WUSR).unwrap();
    let reader = async { pipe::OpenOptions::new().open_receiver(&pin).unwrap() };
    let (pinned, _reader) = tokio::join!(site.pin(stored.digest), reader);
    pinned.unwrap();
    assert!(site.blobs.list()[0].pinned);
}
