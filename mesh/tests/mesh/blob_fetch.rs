//! Fetching blobs: from honest holders and others, over both roads, to the end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::roads::{Make, Peer, Proxy, QUOTA, bytes, identity, mesh, store, wait};
use bytes::Bytes;
use embermesh_crypto::{digest::Digest, ids::PeerId};
use embermesh_mesh::{
    Mesh,
    blob::{
        BlobGate, BlobService, BlobStore, CodecError, FetchError, Fetched, Fetcher, GROUP_BYTES,
        HolderFault, Open, Progress, StoreError, Want, decode,
    },
    road::{RoadChoice, RoadKind, Target, connect},
};
use embermesh_proto::v1::{FetchBlobRequest, node_client::NodeClient};
use futures::{StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

const G: usize = GROUP_BYTES as usize;

/// Somebody who fetches.
struct Seeker {
    fetcher: Fetcher,
    store: BlobStore,
    folder: TempDir,
}

impl Seeker {
    fn new() -> Self {
        Self::of(Fetcher::new(identity(9), None), QUOTA)
    }

    fn of(fetcher: Fetcher, quota: u64) -> Self {
        let (folder, store) = store(quota);
        Self {
            fetcher,
            store,
            folder,
        }
    }

    async fn fetch(&self, want: &Want) -> Result<Fetched, FetchError> {
        let never = CancellationToken::new();
        wait(self.fetcher.fetch(&self.store, want, None, &never)).await
    }

    /// The store after a restart of its process.
    fn restarted(self) -> Self {
        let Self {
            fetcher,
            store,
            folder,
        } = self;
        drop(store);
        let store = BlobStore::open(folder.path().join("store"), QUOTA).unwrap();
        Self {
            fetcher,
            store,
            folder,
        }
    }

    fn partial(&self) -> PathBuf {
        let partial = self.store.partials()[0];
        let name = format!("partial/{}.{}", partial.digest, partial.size);
        self.folder.path().join("store").join(name)
    }

    fn left(&self) -> usize {
        let partials = self.folder.path().join("store/partial");
        fs::read_dir(partials).unwrap().count()
    }
}

fn want(data: &[u8], holders: Vec<Target>) -> Want {
    Want {
        digest: Digest::of(data),
        size: Some(data.len() as u64),
        holders,
    }
}

fn faults(error: FetchError) -> Vec<HolderFault> {
    match error {
        FetchError::NoneCould { trials, .. } => {
            trials.into_iter().map(|trial| trial.fault).collect()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_size_comes_by_either_road() {
    let holder = Peer::with_mesh(1, &[]).await;
    let own = mesh(9, &[]).await;
    for (road, target) in [
        (RoadKind::Tls, holder.by_tls()),
        (RoadKind::Mesh, holder.by_mesh()),
    ] {
        let seeker = Seeker::of(Fetcher::new(identity(9), Some(own.clone())), QUOTA);
        for size in [0, 1, G - 1, G, G + 1, 10 * G, 3_000_001] {
            let data = bytes(size);
            holder.put(&data).await;
            for known in [false, true] {
                let mut want = want(&data, vec![target.clone()]);
                want.size = known.then_some(size as u64);
                let fetched = seeker.fetch(&want).await.unwrap();
                assert_eq!(fs::read(&fetched.path).unwrap(), data, "{size}");
                if !known && size > 0 {
                    assert_eq!(fetched.from, [(holder.id(), road)]);
                    assert_eq!(fetched.resumed, 0);
                } else {
                    assert_eq!(fetched.from, [], "it was there already");
                }
            }
            seeker.store.check(&Digest::of(&data)).await.unwrap();
        }
        assert_eq!(seeker.left(), 0);
        assert_eq!(seeker.store.usage().reserved, 0);
    }
}

#[tokio::test]
async fn a_holder_that_loses_every_connection_is_enough() {
    let (holder, seeker) = (Peer::new(1).await, Seeker::new());
    let data = bytes(2_000_000);
    holder.put(&data).await;
    let proxy = Proxy::before(holder.address(), &[300_000; 20]).await;
    let want = want(&data, vec![holder.behind(&proxy)]);
    let fetched = seeker.fetch(&want).await.unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), data);
}

#[tokio::test]
async fn a_fetch_goes_on_after_a_restart() {
    let holder = Peer::new(1).await;
    let data = bytes(2_000_000);
    holder.put(&data).await;
    let proxy = Proxy::before(holder.address(), &[900_000, 0, 0, 0]).await;
    let seeker = Seeker::new();
    let error = seeker
        .fetch(&want(&data, vec![holder.behind(&proxy)]))
        .await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains(&holder.id().short()), "{text}");
    let partial = seeker.store.partials()[0];
    assert!(!partial.active && partial.size == data.len() as u64);
    let seeker = seeker.restarted();
    assert_eq!(seeker.store.partials(), [partial]);
    let fetched = seeker
        .fetch(&want(&data, vec![holder.by_tls()]))
        .await
        .unwrap();
    assert!(fetched.resumed > 600_000, "{}", fetched.resumed);
    assert_eq!(fs::read(fetched.path).unwrap(), data);
    assert_eq!(seeker.left(), 0);
}

#[tokio::test]
async fn what_a_crash_tore_is_fetched_again() {
    let holder = Peer::new(1).await;
    let data = bytes(300 * G);
    holder.put(&data).await;
    let proxy = Proxy::before(holder.address(), &[299 * G as u64, 0, 0, 0]).await;
    let seeker = Seeker::new();
    seeker
        .fetch(&want(&data, vec![holder.behind(&proxy)]))
        .await
        .unwrap_err();
    // Every other group was not written when the power went: more holes than one
    // request may ask for.
    let path = seeker.partial();
    let mut torn = fs::read(&path).unwrap();
    for group in torn.chunks_mut(2 * G) {
        group[..G].fill(0);
    }
    fs::write(&path, torn).unwrap();
    let seeker = seeker.restarted();
    let fetched = seeker
        .fetch(&want(&data, vec![holder.by_tls()]))
        .await
        .unwrap();
    assert!(fetched.resumed >= 100 * G as u64 && fetched.resumed <= 150 * G as u64);
    assert_eq!(fs::read(fetched.path).unwrap(), data);
    seeker.store.check(&Digest::of(&data)).await.unwrap();
}

#[tokio::test]
async fn the_next_holder_gives_the_rest() {
    let (first, second) = (Peer::new(1).await, Peer::new(2).await);
    let data = bytes(2_000_000);
    first.put(&data).await;
    second.put(&data).await;
    let proxy = Proxy::before(first.address(), &[1_000_000, 0]).await;
    let seeker = Seeker::new();
    let want = want(&data, vec![first.behind(&proxy), second.by_tls()]);
    let fetched = seeker.fetch(&want).await.unwrap();
    let from = [(first.id(), RoadKind::Tls), (second.id(), RoadKind::Tls)];
    assert_eq!(fetched.from, from);
    assert_eq!(fs::read(fetched.path).unwrap(), data);
}

#[tokio::test]
async fn a_large_blob_comes_from_several_holders_at_once() {
    let mut holders = Vec::new();
    let data = bytes(32 << 20);
    for number in 1..=3 {
        let holder = Peer::new(number).await;
        holder.put(&data).await;
        holders.push(holder);
    }
    let seeker = Seeker::new();
    let (progress, seen) = watch::channel(Progress::default());
    let want = want(&data, holders.iter().map(Peer::by_tls).collect());
    let never = CancellationToken::new();
    let fetching = seeker
        .fetcher
        .fetch(&seeker.store, &want, Some(&progress), &never);
    let fetched = wait(fetching).await.unwrap();
    assert!(fs::read(&fetched.path).unwrap() == data);
    seeker.store.check(&want.digest).await.unwrap();
    let mut from: Vec<_> = fetched.from.iter().map(|(peer, _)| *peer).collect();
    from.sort_unstable();
    let mut all: Vec<_> = holders.iter().map(Peer::id).collect();
    all.sort_unstable();
    assert_eq!(from, all);
    let size = data.len() as u64;
    assert_eq!((seen.borrow().received, seen.borrow().size), (size, size));
    assert_eq!(seeker.left(), 0);
}

#[tokio::test]
async fn what_a_failing_holder_had_in_hand_comes_from_the_others() {
    let (bad, good, cut) = (Peer::new(1).await, Peer::new(2).await, Peer::new(3).await);
    let absent = Peer::new(4).await;
    let data = bytes(16 << 20);
    for holder in [&bad, &good, &cut] {
        holder.put(&data).await;
    }
    let digest = Digest::of(&data);
    // Whatever it is asked for is wrong.
    fs::write(bad.store.path(&digest).unwrap(), vec![7; data.len()]).unwrap();
    let proxy = Proxy::before(cut.address(), &[700_000, 0]).await;
    let holders = vec![
        bad.by_tls(),
        absent.by_tls(),
        cut.behind(&proxy),
        good.by_tls(),
    ];
    let seeker = Seeker::new();
    let fetched = seeker.fetch(&want(&data, holders)).await.unwrap();
    assert!(fs::read(&fetched.path).unwrap() == data);
    assert!(!fetched.from.iter().any(|(peer, _)| *peer == bad.id()));
    // Nobody who could give it is left: who was asked, and why not, is told.
    let nobody = vec![bad.by_tls(), absent.by_tls()];
    let error = Seeker::new().fetch(&want(&data, nobody)).await.unwrap_err();
    let faults = faults(error);
    let corrupt = |fault: &HolderFault| matches!(fault, HolderFault::Corrupt(_));
    assert_eq!(faults.iter().filter(|fault| corrupt(fault)).count(), 1);
    assert!(
        faults
            .iter()
            .any(|fault| matches!(fault, HolderFault::NotFound))
    );
}

/// Flips a bit of a holder's copy, which it sends without looking.
fn damage(holder: &Peer, digest: &Digest, at: usize, suffix: &str) {
    let mut path = holder.store.path(digest).unwrap().into_os_string();
    path.push(suffix);
    let mut copy = fs::read(&path).unwrap();
    copy[at] ^= 0x10;
    fs::write(&path, copy).unwrap();
}

#[tokio::test]
async fn a_flipped_bit_is_refused_and_the_next_holder_asked() {
    let good = Peer::new(2).await;
    let data = bytes(60 * G);
    let digest = Digest::of(&data);
    good.put(&data).await;
    for (at, suffix) in [
        (0, ""),
        (40 * G + 5, ""),
        (60 * G - 1, ""),
        (3, ".bao"),
        (2000, ".bao"),
    ] {
        let bad = Peer::new(1).await;
        bad.put(&data).await;
        damage(&bad, &digest, at, suffix);
        let seeker = Seeker::new();
        let error = seeker
            .fetch(&want(&data, vec![bad.by_tls()]))
            .await
            .unwrap_err();
        let faults = faults(error);
        assert!(
            matches!(faults[..], [HolderFault::Corrupt(_)]),
            "{faults:?}"
        );
        if suffix.is_empty() {
            // What is on disk is right or has not come.
            let partial = fs::read(seeker.partial()).unwrap();
            for (mine, theirs) in partial.chunks(G).zip(data.chunks(G)) {
                assert!(mine == theirs || mine.iter().all(|byte| *byte == 0));
            }
        }
        let want = want(&data, vec![bad.by_tls(), good.by_tls()]);
        let fetched = seeker.fetch(&want).await.unwrap();
        assert_eq!(fs::read(fetched.path).unwrap(), data);
    }
}

#[tokio::test]
async fn a_copy_cut_short_on_its_disk_is_no_end() {
    let (bad, good) = (Peer::new(1).await, Peer::new(2).await);
    let data = bytes(60 * G);
    good.put(&data).await;
    bad.put(&data).await;
    let path = bad.store.path(&Digest::of(&data)).unwrap();
    fs::write(&path, &data[..30 * G + 5]).unwrap();
    let seeker = Seeker::new();
    let error = seeker
        .fetch(&want(&data, vec![bad.by_tls()]))
        .await
        .unwrap_err();
    assert!(matches!(
        faults(error).last(),
        Some(HolderFault::Lost { .. })
    ));
    let want = want(&data, vec![bad.by_tls(), good.by_tls()]);
    assert_eq!(
        fs::read(seeker.fetch(&want).await.unwrap().path).unwrap(),
        data
    );
}

/// A holder that answers each request with the same bytes, and closes or is silent.
async fn liar(number: u8, answer: Vec<u8>, closes: bool) -> (Mesh, Target) {
    let liar = mesh(number, &[]).await;
    let mut streams = liar.accept("blob/1").unwrap();
    let target = Target {
        peer: Some(liar.peer_id()),
        tls: Vec::new(),
        mesh: liar.addresses(),
    };
    tokio::spawn(async move {
        while let Some(mut stream) = streams.next().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut asked = [0; 34];
                stream.read_exact(&mut asked).await.unwrap();
                let _ = stream.write_all(&answer).await;
                let _ = stream.flush().await;
                if !closes {
                    std::future::pending::<()>().await;
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    (liar, target)
}

fn head(status: u8, size: u64) -> Vec<u8> {
    let mut head = vec![status];
    head.extend_from_slice(&size.to_le_bytes());
    head
}

/// The whole encoding of a blob.
async fn encoding(data: &[u8]) -> Vec<u8> {
    let (_folder, store) = store(QUOTA);
    let stored = store.import_bytes(data.to_vec()).await.unwrap();
    let service = BlobService::new(store, Arc::new(Open));
    let encoded = service
        .encode(identity(1).peer_id(), &stored.digest, 0, 0)
        .unwrap();
    let chunks: Vec<Bytes> = encoded.try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test]
async fn liars_are_told_apart_and_passed_over() {
    let good = Peer::with_mesh(2, &[]).await;
    let data = bytes(10 * G + 100);
    let size = data.len() as u64;
    good.put(&data).await;
    let encoded = encoding(&data).await;
    let mut half = head(0, size);
    half.extend_from_slice(&encoded[..encoded.len() / 2]);
    let mut long = head(0, size);
    long.extend_from_slice(&encoded);
    long.extend_from_slice(b"and more");
    let mut swapped = head(0, size);
    swapped.extend_from_slice(&encoded[64..]);
    swapped.extend_from_slice(&encoded[..64]);
    type Is = fn(&HolderFault) -> bool;
    let cases: Vec<(Vec<u8>, bool, Is)> = vec![
        (half, true, |fault| {
            matches!(fault, HolderFault::Lost { .. })
        }),
        (swapped, true, |fault| {
            matches!(fault, HolderFault::Corrupt(_))
        }),
        (head(0, size + 1), true, |fault| {
            matches!(fault, HolderFault::WrongSize { .. })
        }),
        (head(0, 1 << 60), true, |fault| {
            matches!(fault, HolderFault::WrongSize { .. })
        }),
        (head(1, 0), true, |fault| {
            matches!(fault, HolderFault::NotFound)
        }),
        (head(2, 0), true, |fault| {
            matches!(fault, HolderFault::Refused)
        }),
        (head(3, 0), true, |fault| matches!(fault, HolderFault::Busy)),
        (head(5, 0), true, |fault| {
            matches!(fault, HolderFault::Failed(_))
        }),
        (b"HTTP/1.1 200 OK".to_vec(), true, |fault| {
            matches!(fault, HolderFault::Malformed(_))
        }),
        (Vec::new(), true, |fault| {
            matches!(fault, HolderFault::Lost { .. })
        }),
        (Vec::new(), false, |fault| {
            matches!(fault, HolderFault::Stalled(_))
        }),
        (head(0, size), false, |fault| {
            matches!(fault, HolderFault::Stalled(_))
        }),
    ];
    let own = mesh(9, &[]).await;
    let fetcher = Fetcher::new(identity(9), Some(own));
    for (n, (answer, closes, is)) in (20..).zip(cases) {
        let shown = format!("{:?}", &answer[..answer.len().min(16)]);
        let (liar, target) = liar(n, answer, closes).await;
        let mut seeker = Seeker::of(fetcher.clone(), QUOTA);
        if !closes {
            // Only who is silent is given up soon: on a busy machine anybody may be
            // slow for a moment, and what is wrong with the others would not be seen.
            seeker.fetcher = fetcher.clone().with_patience(Duration::from_millis(500));
        }
        let error = seeker
            .fetch(&want(&data, vec![target.clone()]))
            .await
            .unwrap_err();
        let faults = faults(error);
        assert!(is(&faults[0]), "{shown}: {faults:?}");
        if !closes {
            // Patience would be waited out again.
            liar.shutdown().await;
        }
        seeker.fetcher = fetcher.clone();
        let want = want(&data, vec![target, good.by_tls()]);
        let fetched = seeker.fetch(&want).await.unwrap();
        assert_eq!(fs::read(fetched.path).unwrap(), data, "{shown}");
    }
    // What follows the end of an encoding is never read.
    let (_liar, target) = liar(50, long, true).await;
    let seeker = Seeker::of(fetcher, QUOTA);
    let fetched = seeker.fetch(&want(&data, vec![target])).await.unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), data);
}

#[tokio::test]
async fn a_claim_of_a_size_is_not_believed() {
    let good = Peer::new(2).await;
    let data = bytes(3 * G);
    good.put(&data).await;
    let own = mesh(9, &[]).await;
    let fetcher = Fetcher::new(identity(9), Some(own));
    for (n, claimed) in (20..).zip([u64::MAX, 1 << 44, 1 << 40, 3 * GROUP_BYTES - 1, 5]) {
        let mut answer = head(0, claimed);
        answer.extend_from_slice(&encoding(&data).await);
        let (_liar, target) = liar(n, answer, true).await;
        let seeker = Seeker::of(fetcher.clone(), QUOTA);
        let mut want = want(&data, vec![target.clone()]);
        want.size = None;
        let faults = faults(seeker.fetch(&want).await.unwrap_err());
        assert!(
            matches!(
                faults[..],
                [HolderFault::Oversize(_) | HolderFault::Corrupt(_)]
            ),
            "{claimed}: {faults:?}"
        );
        assert_eq!(seeker.left(), 0, "a false claim leaves nothing");
        want.holders.push(good.by_tls());
        let fetched = seeker.fetch(&want).await.unwrap();
        assert_eq!(fs::read(fetched.path).unwrap(), data, "{claimed}");
    }
    // A false word whose holder is gone before it is found out.
    let (_liar, target) = liar(40, head(0, 3 * GROUP_BYTES - 1), true).await;
    let seeker = Seeker::of(fetcher, QUOTA);
    let mut lost = want(&data, vec![target]);
    lost.size = None;
    seeker.fetch(&lost).await.unwrap_err();
    lost.holders = vec![good.by_tls()];
    let fetched = seeker.fetch(&lost).await.unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), data);

    let seeker = Seeker::new();
    let mut want = want(&data, vec![good.by_tls()]);
    want.size = Some(3 * GROUP_BYTES + 1);
    let faults = faults(seeker.fetch(&want).await.unwrap_err());
    assert!(
        matches!(faults[..], [HolderFault::WrongSize { .. }]),
        "{faults:?}"
    );
}

/// Lets one peer in, and counts.
struct Only(PeerId, AtomicUsize);

impl BlobGate for Only {
    fn may_read(&self, peer: PeerId, _: &Digest) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        peer == self.0
    }
}

#[tokio::test]
async fn the_gate_decides_and_tells_nothing() {
    let gate = Arc::new(Only(identity(9).peer_id(), AtomicUsize::new(0)));
    let make = Make {
        gate: Some(gate.clone()),
        ..Make::default()
    };
    let holder = Peer::made(1, make).await;
    let data = bytes(3 * G);
    holder.put(&data).await;
    let stranger = Seeker::of(Fetcher::new(identity(8), None), QUOTA);
    for blob in [&data[..], b"a blob that is not there"] {
        let error = stranger
            .fetch(&want(blob, vec![holder.by_tls()]))
            .await
            .unwrap_err();
        assert!(matches!(faults(error)[..], [HolderFault::Refused]));
    }
    let absent = Seeker::new()
        .fetch(&want(b"absent", vec![holder.by_tls()]))
        .await;
    assert!(matches!(
        faults(absent.unwrap_err())[..],
        [HolderFault::NotFound]
    ));
    let nobody = Seeker::new().fetch(&want(b"absent", Vec::new())).await;
    assert!(matches!(nobody, Err(FetchError::NoHolder(_))));
}

#[tokio::test]
async fn one_fetch_serves_all_who_wait() {
    let gate = Arc::new(Only(identity(9).peer_id(), AtomicUsize::new(0)));
    let make = Make {
        gate: Some(gate.clone()),
        ..Make::default()
    };
    let holder = Peer::made(1, make).await;
    let data = bytes(2_000_000);
    holder.put(&data).await;
    let seeker = Seeker::new();
    let want = want(&data, vec![holder.by_tls()]);
    let all = futures::future::join_all((0..8).map(|_| seeker.fetch(&want))).await;
    assert!(all.into_iter().all(|end| end.is_ok()));
    assert_eq!(gate.1.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_what_has_come() {
    let holder = Peer::new(1).await;
    let data = bytes(4_000_000);
    holder.put(&data).await;
    // Half of it comes, and then nothing.
    let stuck = Peer::with_mesh(2, &[]).await;
    drop(stuck);
    let mut answer = head(0, data.len() as u64);
    answer.extend_from_slice(&encoding(&data).await[..2_000_000]);
    let (_liar, target) = liar(20, answer, false).await;
    let own = mesh(9, &[]).await;
    let seeker = Seeker::of(Fetcher::new(identity(9), Some(own)), QUOTA);
    let (progress, mut seen) = watch::channel(Progress::default());
    let cancel = CancellationToken::new();
    let stuck = want(&data, vec![target]);
    let fetching = seeker
        .fetcher
        .fetch(&seeker.store, &stuck, Some(&progress), &cancel);
    let stop = async {
        let some = |now: &Progress| now.received > 500_000;
        let now = *seen.wait_for(some).await.unwrap();
        assert_eq!(
            (now.size, now.road),
            (data.len() as u64, Some(RoadKind::Mesh))
        );
        cancel.cancel();
    };
    let (end, ()) = wait(async { tokio::join!(fetching, stop) }).await;
    assert!(matches!(end, Err(FetchError::Cancelled(_))));
    let seeker = seeker.restarted();
    let fetched = seeker
        .fetch(&want(&data, vec![holder.by_tls()]))
        .await
        .unwrap();
    assert!(fetched.resumed > 500_000);
    assert_eq!(fs::read(fetched.path).unwrap(), data);
}

#[tokio::test]
async fn the_mesh_knows_who_holds_it() {
    let holder = Peer::with_mesh(1, &[]).await;
    let bootstrap = holder.mesh.as_ref().unwrap().addresses();
    let own = mesh(9, &bootstrap).await;
    wait(own.joined(crate::roads::WAIT)).await.unwrap();
    let data = bytes(500_000);
    let stored = holder.put(&data).await;
    wait(holder.mesh.as_ref().unwrap().provide(stored.digest))
        .await
        .unwrap();
    let seeker = Seeker::of(Fetcher::new(identity(9), Some(own)), QUOTA);
    let mut want = want(&data, vec![Target::address("127.0.0.1:1")]);
    want.size = None;
    let fetched = seeker.fetch(&want).await.unwrap();
    assert_eq!(fetched.from, [(holder.id(), RoadKind::Mesh)]);
    assert_eq!(fs::read(fetched.path).unwrap(), data);
}

#[tokio::test]
async fn a_store_without_room_is_told_and_left_clean() {
    let holder = Peer::new(1).await;
    let data = bytes(100_000);
    holder.put(&data).await;
    let seeker = Seeker::of(Fetcher::new(identity(9), None), 50_000);
    let error = seeker
        .fetch(&want(&data, vec![holder.by_tls()]))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Store(StoreError::StorageFull { .. })),
        "{error}"
    );
    assert_eq!(seeker.left(), 0);
    assert_eq!(
        (seeker.store.usage().used, seeker.store.usage().reserved),
        (0, 0)
    );
}

#[tokio::test]
async fn a_download_goes_on_and_replaces_the_file_at_its_end() {
    let holder = Peer::new(1).await;
    let data = bytes(2_000_000);
    holder.put(&data).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("weights.safetensors");
    fs::write(&file, b"old").unwrap();
    let proxy = Proxy::before(holder.address(), &[900_000, 0, 0, 0]).await;
    let fetcher = Fetcher::new(identity(9), None).by(RoadChoice::Tls);
    let never = CancellationToken::new();
    let broken = want(&data, vec![holder.behind(&proxy)]);
    wait(fetcher.download(&broken, &file, None, &never))
        .await
        .unwrap_err();
    assert_eq!(fs::read(&file).unwrap(), b"old");
    let whole = want(&data, vec![holder.by_tls()]);
    let fetched = wait(fetcher.download(&whole, &file, None, &never))
        .await
        .unwrap();
    assert!(fetched.resumed > 600_000);
    assert_eq!(fs::read(&file).unwrap(), data);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_download_goes_on_whether_its_size_is_known_or_not() {
    let holder = Peer::new(1).await;
    let data = bytes(2_000_000);
    holder.put(&data).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("weights.safetensors");
    let proxy = Proxy::before(holder.address(), &[900_000, 0, 0, 0]).await;
    let fetcher = Fetcher::new(identity(9), None).by(RoadChoice::Tls);
    let never = CancellationToken::new();
    let mut want = want(&data, vec![holder.behind(&proxy)]);
    want.size = None;
    wait(fetcher.download(&want, &file, None, &never))
        .await
        .unwrap_err();
    want.holders = vec![holder.by_tls()];
    let fetched = wait(fetcher.download(&want, &file, None, &never))
        .await
        .unwrap();
    assert!(fetched.resumed > 600_000, "{}", fetched.resumed);
    assert_eq!(fs::read(&file).unwrap(), data);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_lies_beside_a_file_need_not_be_a_partial() {
    let holder = Peer::new(1).await;
    let data = bytes(3 * G);
    holder.put(&data).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("model");
    let part = format!("model.{}.part", Digest::of(&data).short());
    let fetcher = Fetcher::new(identity(9), None).by(RoadChoice::Tls);
    let never = CancellationToken::new();
    // Empty, of another length, and longer than any blob.
    for length in [0, 5, 100 * GROUP_BYTES, 1 << 50] {
        let left = fs::File::create(folder.path().join(&part)).unwrap();
        if left.set_len(length).is_err() {
            println!("skipped: the file system has no files of {length} bytes");
            continue;
        }
        let mut want = want(&data, vec![holder.by_tls()]);
        want.size = None;
        wait(fetcher.download(&want, &file, None, &never))
            .await
            .unwrap();
        assert_eq!(fs::read(&file).unwrap(), data, "{length}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn a_claim_of_a_size_that_no_disk_has_is_the_holders_fault() {
    let good = Peer::new(2).await;
    let data = bytes(3 * G);
    good.put(&data).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("model");
    let fetcher = Fetcher::new(identity(9), Some(mesh(9, &[]).await));
    let never = CancellationToken::new();
    // The last is within what a blob may have, and a tree of two milliard nodes.
    for (n, claimed) in (20..).zip([u64::MAX, 1 << 44, (1 << 44) - 1, 1 << 43]) {
        let (_liar, target) = liar(n, head(0, claimed), true).await;
        let mut want = want(&data, vec![target]);
        want.size = None;
        let failed = wait(fetcher.download(&want, &file, None, &never)).await;
        let faults = faults(failed.unwrap_err());
        assert!(
            matches!(faults[..], [HolderFault::Oversize(size)] if size == claimed),
            "{claimed}: {faults:?}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        want.holders.push(good.by_tls());
        wait(fetcher.download(&want, &file, None, &never))
            .await
            .unwrap();
        assert_eq!(fs::read(&file).unwrap(), data, "{claimed}");
        fs::remove_file(&file).unwrap();
    }
}

#[derive(Debug)]
enum Failed {
    Codec(CodecError),
    Rpc(#[expect(dead_code, reason = "shown when a test fails")] Status),
}

impl From<CodecError> for Failed {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

/// A range of a blob by gRPC.
async fn by_grpc(
    holder: &Peer,
    digest: &Digest,
    size: u64,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, Failed> {
    let found = wait(connect(
        &identity(9),
        &holder.by_tls(),
        None,
        RoadChoice::Tls,
    ))
    .await;
    let request = FetchBlobRequest {
        digest: digest.as_bytes().to_vec().into(),
        offset,
        length,
    };
    let answer = NodeClient::new(found.unwrap().channel)
        .fetch_blob(request)
        .await;
    let chunks = answer.map_err(Failed::Rpc)?.into_inner();
    let chunks = chunks.map(|chunk| chunk.map(|chunk| chunk.data).map_err(Failed::Rpc));
    let mut data = Vec::new();
    let mut checked = decode(digest, size, offset, length, chunks);
    while let Some(piece) = wait(checked.next()).await {
        let piece = piece?;
        assert_eq!(piece.offset, offset + data.len() as u64);
        data.extend_from_slice(&piece.data);
    }
    Ok(data)
}

#[tokio::test]
async fn ranges_come_by_grpc_in_the_same_encoding() {
    let holder = Peer::new(1).await;
    let data = bytes(60 * G + 77);
    let (digest, size) = (Digest::of(&data), data.len() as u64);
    holder.put(&data).await;
    for (offset, length) in [
        (0, 0),
        (5, 10),
        (20_000, 500_000),
        (size - 1, 0),
        (size - 1, 9),
    ] {
        let got = by_grpc(&holder, &digest, size, offset, length)
            .await
            .unwrap();
        let end = if length == 0 {
            size
        } else {
            size.min(offset + length)
        };
        assert_eq!(got, data[offset as usize..end as usize]);
    }
    for (offset, length) in [(size, 1), (size + 1, 0), (u64::MAX, u64::MAX)] {
        let refused = by_grpc(&holder, &digest, size, offset, length).await;
        assert!(matches!(refused, Err(Failed::Rpc(_))), "{offset}");
    }
    let false_size = by_grpc(&holder, &digest, size + 1, 0, 0).await;
    assert!(matches!(false_size, Err(Failed::Codec(_))));
    damage(&holder, &digest, 50 * G, "");
    let refused = by_grpc(&holder, &digest, size, 0, 0).await;
    let at = 50 * GROUP_BYTES;
    assert!(
        matches!(refused, Err(Failed::Codec(CodecError::CorruptData { offset })) if offset == at)
    );
    by_grpc(&holder, &digest, size, 0, 49 * GROUP_BYTES)
        .await
        .unwrap();
}

#[tokio::test]
async fn readers_that_do_not_read_stop_nobody() {
    let make = Make {
        patience: Some(Duration::from_millis(300)),
        ..Make::default()
    };
    let holder = Peer::made(1, make).await;
    // More than the windows of HTTP/2 let through unread.
    let data = bytes(12 << 20);
    let digest = holder.put(&data).await.digest;
    let request = || FetchBlobRequest {
        digest: digest.as_bytes().to_vec().into(),
        offset: 0,
        length: 0,
    };
    // As many keys as it takes for every place, and none reads.
    let mut unread = Vec::new();
    for number in 30..34 {
        let target = holder.by_tls();
        let found = wait(connect(&identity(number), &target, None, RoadChoice::Tls)).await;
        let mut node = NodeClient::new(found.unwrap().channel);
        for _ in 0..16 {
            unread.push(wait(node.fetch_blob(request())).await.unwrap());
        }
    }
    let honest = async {
        loop {
            let got = by_grpc(&holder, &digest, data.len() as u64, 0, 0).await;
            if let Ok(got) = got {
                return got;
            }
        }
    };
    assert_eq!(wait(honest).await, data);
    drop(unread);
}
