//! Files that are not ours, not whole, or have no room left.

use std::{fs, sync::Arc};

use embermesh_crypto::{keys::Keypair, time::UnixMillis};
use embermesh_storage::database::NotOpened;

use super::*;
use crate::state::{Entropy, Settings, State};

fn key(n: u8) -> Arc<Keypair> {
    Arc::new(Keypair::from_seed(&[n; 32]))
}

async fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, key(1).peer_id()).await
}

/// What a new index writes first: its keys.
fn some_writes() -> Writes {
    let mut state = State::restore(
        Settings::default(),
        key(1),
        Snapshot::default(),
        UnixMillis(1_790_000_000_000),
        &mut Entropy::from_seed([1; 32]),
    )
    .unwrap();
    state.take_writes()
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let writes = some_writes();
    let mut store = open(&path).await.unwrap();
    store.commit(&writes).await.unwrap();
    store.close().await;
    let mut store = open(&path).await.unwrap();
    let issuer = store.load().await.unwrap().issuer;
    let expected = writes.issuer.unwrap();
    assert_eq!(issuer.key_set, expected.key_set);
    assert_eq!(issuer.keys.len(), expected.keys.len());
    for key in &expected.keys {
        let found = issuer
            .keys
            .iter()
            .find(|found| found.peer == key.peer)
            .unwrap();
        assert_eq!(found.role, key.role);
        assert_eq!(found.keypair.as_ref().unwrap().peer_id(), key.peer);
        assert_eq!(
            (found.not_before, found.not_after),
            (key.not_before, key.not_after)
        );
    }
}

#[tokio::test]
async fn a_database_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    open(&path).await.unwrap().close().await;
    let refused = Store::open(&path, key(2).peer_id()).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::OtherIndex { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains(&key(1).peer_id().to_string()));
}

#[tokio::test]
async fn damage_is_found_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let mut store = open(&path).await.unwrap();
    store.commit(&some_writes()).await.unwrap();
    store.close().await;
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[4_096..len - 4_096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let refused = open(&path).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::NotOpened(NotOpened::Corrupt { .. })),
        "{refused}"
    );
    let cut = fs::read(&path).unwrap();
    fs::write(&path, &cut[..5_000]).unwrap();
    assert!(open(&path).await.is_err());
}

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_of_the_write_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let mut store = open(&path).await.unwrap();
    store.leave_no_room(true).await;
    let mut writes = some_writes();
    for n in 0..100u8 {
        let spec = bytes::Bytes::from(vec![n; 8_000]);
        let job = embermesh_crypto::ids::JobId::v7(UnixMillis(n.into()), [n; 10]);
        writes.specs.push((job, spec));
    }
    let refused = store.commit(&writes).await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(store.load().await.unwrap().issuer.keys.is_empty());
    store.leave_no_room(false).await;
    store.commit(&writes).await.unwrap();
    assert_eq!(store.load().await.unwrap().issuer.keys.len(), 2);
}
