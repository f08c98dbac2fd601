//! Files that are not ours, not whole, or have no room left.

use std::{fs, sync::Arc, time::Duration};

use embermesh_crypto::{
    ids::{NetworkName, TokenId},
    keys::Keypair,
    statement::{self, Advert, Revocation, Role, Signed},
    time::UnixMillis,
};
use embermesh_storage::database::NotOpened;

use super::*;
use crate::state::{Entropy, RevocationWrites, Settings, State, StoredNode, Withdrawn};

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

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
        NOW,
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
    let expected = writes.keys.unwrap();
    assert_eq!(issuer.key_set, Some(expected.key_set));
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
    store.room().leave_none(true);
    let mut writes = some_writes();
    for n in 0..100u8 {
        let spec = bytes::Bytes::from(vec![n; 8_000]);
        let job = embermesh_crypto::ids::JobId::v7(UnixMillis(n.into()), [n; 10]);
        writes.specs.push((job, spec));
    }
    // The second try has a new connection, and the disk is as full as before.
    for _ in 0..2 {
        let refused = store.commit(&writes).await.unwrap_err();
        assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
        let refused = store.probe().await.unwrap_err();
        assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    }
    assert!(store.load().await.unwrap().issuer.keys.is_empty());
    store.room().leave_none(false);
    store.probe().await.unwrap();
    store.commit(&writes).await.unwrap();
    assert_eq!(store.load().await.unwrap().issuer.keys.len(), 2);
}

fn signed_advert(n: u8) -> Signed<Advert> {
    let advert = Advert {
        peer: key(n).peer_id(),
        network: NetworkName::default(),
        sequence: 1,
        issued_at: NOW,
        expires_at: NOW.saturating_add(Duration::from_secs(300)),
        role: Role::Node,
        version: "1".to_owned(),
        mesh_addresses: Vec::new(),
        tls_addresses: Vec::new(),
        region: String::new(),
        price_micros_per_hour: 0,
        devices: Vec::new(),
        slots: 1,
        free_slots: 1,
        queued: 0,
        draining: false,
        runtimes: embermesh_crypto::statement::Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    };
    statement::sign(&advert, &key(n)).unwrap()
}

#[tokio::test]
async fn a_forgotten_node_has_no_row_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir.path().join("index.db")).await.unwrap();
    let row = |n: u8| StoredNode {
        advert: signed_advert(n),
        peer: key(n).peer_id(),
        seen_at: NOW,
    };
    let mut writes = Writes::default();
    for n in [11, 12] {
        writes.nodes.insert(key(n).peer_id(), Some(row(n)));
    }
    store.commit(&writes).await.unwrap();
    let mut writes = Writes::default();
    writes.nodes.insert(key(11).peer_id(), None);
    store.commit(&writes).await.unwrap();
    let nodes = store.load().await.unwrap().nodes;
    let peers: Vec<PeerId> = nodes.iter().map(|node| node.peer).collect();
    assert_eq!(peers, [key(12).peer_id()]);
}

#[tokio::test]
async fn withdrawn_tokens_are_added_and_deleted_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir.path().join("index.db")).await.unwrap();
    let withdrawn = |expires_at| Withdrawn {
        expires_at: UnixMillis(expires_at),
        client: Some(key(2).peer_id()),
    };
    let change = |expired_by, all_void, added: &[(u8, u64)]| Writes {
        revocation: Some(RevocationWrites {
            statement: statement::sign(
                &Revocation {
                    index: key(1).peer_id(),
                    sequence: 1,
                    issued_at: NOW,
                    min_epoch: 0,
                    tokens: Vec::new(),
                },
                &key(1),
            )
            .unwrap(),
            all_void,
            expired_by: UnixMillis(expired_by),
            added: added
                .iter()
                .map(|(n, expires_at)| (TokenId([*n; 16]), withdrawn(*expires_at)))
                .collect(),
        }),
        ..Writes::default()
    };
    let steps = [
        (
            change(0, false, &[(1, 100), (2, 200)]),
            vec![(1, 100), (2, 200)],
        ),
        (change(100, false, &[(3, 300)]), vec![(2, 200), (3, 300)]),
        (change(100, true, &[(4, 400)]), vec![(4, 400)]),
    ];
    for (writes, expected) in steps {
        store.commit(&writes).await.unwrap();
        let revoked = store.load().await.unwrap().issuer.revoked;
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(n, expires_at)| (TokenId([n; 16]), withdrawn(expires_at)))
            .collect();
        assert_eq!(revoked.into_iter().collect::<Vec<_>>(), expected);
    }
}
