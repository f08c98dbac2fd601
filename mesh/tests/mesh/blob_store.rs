//! The store on disk: what it keeps, what it lets go, what it survives.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::roads::{Peer, QUOTA, bytes, identity, store, wait};
use bytes::Bytes;
use embermesh_crypto::digest::Digest;
use embermesh_mesh::blob::{BlobStore, FetchError, Fetcher, StoreError, Want};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Sizes around the edges of chunks, groups and trees.
const SIZES: [usize; 8] = [0, 1, 1024, 16_383, 16_384, 16_385, 100_000, 1_000_000];

fn open(folder: &TempDir) -> BlobStore {
    BlobStore::open(folder.path().join("store"), QUOTA).unwrap()
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn what_goes_in_comes_out_and_survives_a_restart() {
    let (folder, store) = store(QUOTA);
    let mut put = Vec::new();
    for size in SIZES {
        let data = bytes(size);
        let stored = store.import_bytes(data.clone()).await.unwrap();
        assert_eq!(stored.digest, Digest::of(&data));
        assert!(stored.new && stored.size == size as u64);
        let file = folder.path().join("source");
        fs::write(&file, &data).unwrap();
        let again = store.import_file(&file).await.unwrap();
        assert!(!again.new && again.digest == stored.digest);
        put.push((stored.digest, data));
    }
    let usage = store.usage();
    assert_eq!((usage.blobs, usage.reserved), (SIZES.len(), 0));
    drop(store);
    let store = open(&folder);
    assert_eq!(store.usage(), usage);
    assert_eq!(store.list().len(), SIZES.len());
    for (digest, data) in put {
        let held = store.hold(&digest).unwrap();
        assert_eq!(fs::read(held.path()).unwrap(), data);
        assert_eq!(store.size(&digest), Some(data.len() as u64));
        store.check(&digest).await.unwrap();
        assert!(matches!(store.remove(&digest), Err(StoreError::Held(_))));
        drop(held);
        assert!(store.remove(&digest).unwrap());
        assert!(!store.remove(&digest).unwrap());
        assert!(!store.contains(&digest) && store.path(&digest).is_none());
    }
    assert_eq!(store.usage().used, 0);
    assert_eq!(files(folder.path()).len(), 2, "the source and the lock");
}

#[tokio::test]
async fn it_is_for_one_user_and_one_process() {
    let (folder, store) = store(QUOTA);
    let root = folder.path().join("store");
    let stored = store.import_bytes(bytes(20_000)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&store.path(&stored.digest).unwrap()), 0o600);
    let second = BlobStore::open(&root, QUOTA).unwrap_err();
    assert!(matches!(second, StoreError::InUse(_)), "{second}");
    drop(store);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let error = BlobStore::open(&root, QUOTA).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn the_longest_unused_makes_room_and_pins_stay() {
    // Room for four blobs of one block.
    let (folder, store) = store(4 * 4096);
    let mut put = Vec::new();
    for n in 0..4u8 {
        put.push(store.import_bytes(vec![n]).await.unwrap().digest);
    }
    store.pin(&put[0]).unwrap();
    drop(store.hold(&put[1]).unwrap());
    let fifth = store.import_bytes(vec![4]).await.unwrap().digest;
    assert!(!store.contains(&put[2]), "the longest unused went");
    for kept in [&put[0], &put[1], &put[3], &fifth] {
        assert!(store.contains(kept));
    }
    drop(store);
    let store = BlobStore::open(folder.path().join("store"), 4096).unwrap();
    assert_eq!(
        store.list().len(),
        1,
        "a smaller quota keeps what is pinned"
    );
    assert!(store.list()[0].pinned && store.list()[0].digest == put[0]);
    let full = store.import_bytes(vec![9]).await.unwrap_err();
    assert!(
        matches!(full, StoreError::StorageFull { free: 0, .. }),
        "{full}"
    );
    store.unpin(&put[0]).unwrap();
    store.import_bytes(vec![9]).await.unwrap();
    assert!(!store.contains(&put[0]));
    assert!(matches!(store.pin(&put[0]), Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn what_is_held_is_never_evicted_and_a_refusal_leaves_nothing() {
    let (folder, store) = store(2 * 4096);
    let first = store.import_bytes(vec![1]).await.unwrap().digest;
    let held = store.hold(&first).unwrap();
    let error = store.import_bytes(bytes(8192)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::StorageFull { free: 4096, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("quota"), "{error}");
    let upload = store.upload(Digest::of(b"x"), 1 << 40).await.unwrap_err();
    assert!(upload.is_full());
    assert_eq!(store.usage().reserved, 0);
    assert_eq!(files(folder.path()).len(), 2, "the blob and the lock");
    drop(held);
    store.import_bytes(bytes(8192)).await.unwrap();
    assert!(!store.contains(&first));
}

#[tokio::test]
async fn uploads_are_what_they_were_announced_or_nothing() {
    let (folder, store) = store(QUOTA);
    let data = Bytes::from(bytes(100_000));
    let digest = Digest::of(&data);
    let size = data.len() as u64;

    let mut upload = store.upload(digest, size).await.unwrap();
    for piece in data.chunks(7777) {
        upload.write(&Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert!(upload.finish().await.unwrap().new);
    store.check(&digest).await.unwrap();
    assert!(store.remove(&digest).unwrap());

    let mut flipped = data.to_vec();
    flipped[50_000] ^= 4;
    let mut upload = store.upload(digest, size).await.unwrap();
    upload.write(&flipped.into()).await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert!(matches!(error, StoreError::WrongHash { .. }), "{error}");

    let mut upload = store.upload(digest, size - 1).await.unwrap();
    let error = upload.write(&data).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongSize { .. }), "{error}");
    drop(upload);

    let mut upload = store.upload(digest, size).await.unwrap();
    upload.write(&data.slice(1..)).await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert!(matches!(error, StoreError::WrongSize { .. }), "{error}");

    let mut upload = store.upload(digest, size).await.unwrap();
    upload.write(&data).await.unwrap();
    drop(upload);

    assert_eq!((store.usage().used, store.usage().reserved), (0, 0));
    assert_eq!(files(folder.path()).len(), 1, "only the lock is left");
}

#[tokio::test]
async fn damage_on_disk_is_found() {
    let (_folder, store) = store(QUOTA);
    for size in [10, 50_000] {
        let stored = store.import_bytes(bytes(size)).await.unwrap();
        let path = store.path(&stored.digest).unwrap();
        let mut data = fs::read(&path).unwrap();
        data[size / 2] ^= 1;
        fs::write(&path, data).unwrap();
        let error = store.check(&stored.digest).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        assert!(!store.contains(&stored.digest));
    }
}

#[tokio::test]
async fn what_a_crash_leaves_is_cleared_away() {
    let (folder, store) = store(QUOTA);
    let root = folder.path().join("store");
    let good = store.import_bytes(bytes(50_000)).await.unwrap().digest;
    let torn = store.import_bytes(bytes(60_000)).await.unwrap().digest;
    let torn_path = store.path(&torn).unwrap();
    let lonely = store.import_bytes(bytes(70_000)).await.unwrap().digest;
    let lonely_path = store.path(&lonely).unwrap();
    drop(store);
    fs::write(root.join("scratch/7"), b"half").unwrap();
    fs::write(root.join("partial/nonsense"), b"").unwrap();
    // Data that is longer than its hash tree, and a hash tree without data.
    fs::write(&torn_path, bytes(600_000)).unwrap();
    fs::remove_file(&lonely_path).unwrap();
    let store = open(&folder);
    let left: Vec<Digest> = store.list().iter().map(|blob| blob.digest).collect();
    assert_eq!(left, [good]);
    store.check(&good).await.unwrap();
    assert_eq!(files(&root).len(), 3, "the blob, its tree and the lock");
}

/// The body of `a_killed_process_loses_nothing_it_acknowledged`: imports for ever and
/// prints what is in.
#[tokio::test]
#[ignore = "run by a_killed_process_loses_nothing_it_acknowledged in a process of its own"]
async fn imports_until_killed() {
    let Ok(root) = env::var("EMBERMESH_TEST_STORE") else {
        return;
    };
    let from: u32 = env::var("EMBERMESH_TEST_FROM").unwrap().parse().unwrap();
    let store = BlobStore::open(root, QUOTA).unwrap();
    for n in from.. {
        let mut data = bytes(40_000);
        data[..4].copy_from_slice(&n.to_le_bytes());
        let stored = store.import_bytes(data).await.unwrap();
        println!("in {}", stored.digest);
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let mut acknowledged = Vec::new();
    for round in 0..8u32 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "blob_store::imports_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("EMBERMESH_TEST_STORE", &root)
            .env("EMBERMESH_TEST_FROM", (round * 100_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut lines = said
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| Some(line.split_once("in ")?.1.parse::<Digest>().unwrap()));
        // Killed at another point of its work each time: what is under way is unknown.
        acknowledged.extend(lines.by_ref().take(3 + 5 * round as usize));
        child.kill().unwrap();
        acknowledged.extend(lines);
        child.wait().unwrap();
    }
    let store = BlobStore::open(&root, QUOTA).unwrap();
    assert!(acknowledged.len() >= 8 * 3);
    for digest in &acknowledged {
        store.check(digest).await.unwrap();
    }
    for blob in store.list() {
        store.check(&blob.digest).await.unwrap();
    }
    assert!(fs::read_dir(root.join("scratch")).unwrap().next().is_none());
}

/// The body of `a_full_disk_is_told_and_left_clean`, on a disk of two MiB.
#[tokio::test]
#[ignore = "run by a_full_disk_is_told_and_left_clean on a disk of its own"]
async fn fills_a_disk() {
    let Ok(root) = env::var("EMBERMESH_TEST_STORE") else {
        return;
    };
    let root = PathBuf::from(root).join("store");
    let store = BlobStore::open(&root, QUOTA).unwrap();
    let small = store.import_bytes(bytes(500_000)).await.unwrap();
    let error = store.import_bytes(bytes(3_000_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    let large = bytes(3_000_000);
    let mut upload = store
        .upload(Digest::of(&large), large.len() as u64)
        .await
        .unwrap();
    // The bytes may still be on their way to the disk when the write returns.
    let error = match upload.write(&large.into()).await {
        Ok(()) => upload.finish().await.unwrap_err(),
        Err(error) => {
            drop(upload);
            error
        }
    };
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(store.usage().reserved, 0);
    assert_eq!(
        files(&root).len(),
        3,
        "the small blob, its tree and the lock"
    );

    // A fetch: what has come of it must not fill the disk for good.
    let holder = Peer::new(1).await;
    let fetched = holder.put(&bytes(3_000_000)).await;
    let want = Want {
        digest: fetched.digest,
        size: Some(fetched.size),
        holders: vec![holder.by_tls()],
    };
    let fetcher = Fetcher::new(identity(9), None);
    let never = CancellationToken::new();
    let error = wait(fetcher.fetch(&store, &want, None, &never))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Store(StoreError::DiskFull { .. })),
        "{error}"
    );
    assert_eq!(
        files(&root).len(),
        3,
        "the small blob, its tree and the lock"
    );
    assert!(store.partials().is_empty());

    store.check(&small.digest).await.unwrap();
    store.import_bytes(bytes(400_000)).await.unwrap();
    println!("the full disk was seen");
}

#[test]
fn a_full_disk_is_told_and_left_clean() {
    let folder = TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=2m tmpfs \"$EMBERMESH_TEST_STORE\" || exit 77\n\
                  exec \"$0\" --exact blob_store::fills_a_disk --ignored --nocapture";
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(env::current_exe().unwrap())
        .env("EMBERMESH_TEST_STORE", folder.path())
        .output();
    let Ok(ran) = ran else {
        eprintln!("skipped: no `unshare` to make a small disk with");
        return;
    };
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    if !ran.status.success() && !out.contains("running 1 test") {
        eprintln!("skipped: this system lets nobody mount a small disk: {err}");
        return;
    }
    assert!(
        ran.status.success() && out.contains("the full disk was seen"),
        "{out}{err}"
    );
}
