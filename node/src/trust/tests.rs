//! Whom a node believes, and until when.

use std::time::Duration;

use embermesh_crypto::{
    Keypair,
    statement::{self, IssuerKey},
};

use super::*;
use crate::store::tests::{open_in, peer};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn index() -> Keypair {
    Keypair::from_seed(&[9; 32])
}

fn key_set(sequence: u64, keys: &[u8]) -> Vec<u8> {
    let set = KeySet {
        index: index().peer_id(),
        sequence,
        issued_at: NOW,
        expires_at: NOW.saturating_add(HOUR),
        keys: keys
            .iter()
            .map(|seed| IssuerKey {
                key: peer(*seed),
                not_before: NOW,
                not_after: NOW.saturating_add(HOUR),
            })
            .collect(),
    };
    statement::sign(&set, &index()).unwrap().bytes().to_vec()
}

fn revocation(sequence: u64, min_epoch: u64, tokens: Vec<TokenId>) -> Vec<u8> {
    let revocation = Revocation {
        index: index().peer_id(),
        sequence,
        issued_at: NOW,
        min_epoch,
        tokens,
    };
    statement::sign(&revocation, &index())
        .unwrap()
        .bytes()
        .to_vec()
}

async fn trust(dir: &std::path::Path, open: bool) -> Trust {
    let store = open_in(dir).await;
    let policy = Policy {
        owners: [peer(7)].into(),
        allow: [peer(2)].into(),
        open,
        deny: [peer(5)].into(),
        network: NetworkName::default(),
    };
    Trust::load(store, peer(1), policy, |_| true).await.unwrap()
}

#[tokio::test]
async fn owner_allowed_and_listed_keys_are_believed_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let trust = trust(dir.path(), false).await;
    let me = index().peer_id();
    assert!(trust.authority(&peer(1), NOW).is_some());
    assert!(trust.authority(&peer(2), NOW).is_some());
    assert_eq!(trust.authority(&peer(3), NOW), None);
    let ranks = [1, 7, 2, 3].map(|number| trust.rank(&peer(number)));
    let (owner, allowed) = (Some(Rank::Owner), Some(Rank::Allowed));
    assert_eq!(ranks, [owner, owner, allowed, None]);
    trust.take_key_set(me, key_set(1, &[3])).await.unwrap();
    assert_eq!(trust.authority(&peer(3), NOW).unwrap().identity, me);
    assert!(trust.is_index(&me) && !trust.is_index(&peer(3)));
    // Its time ends, give or take what clocks differ by.
    let end = NOW.saturating_add(HOUR);
    assert!(
        trust
            .authority(&peer(3), end.saturating_add(Duration::from_secs(29)))
            .is_some()
    );
    assert!(
        trust
            .authority(&peer(3), end.saturating_add(Duration::from_secs(30)))
            .is_none()
    );
    // A newer set replaces it, an older one does not come back.
    trust.take_key_set(me, key_set(2, &[4])).await.unwrap();
    trust.take_key_set(me, key_set(1, &[3])).await.unwrap();
    assert_eq!(trust.authority(&peer(3), NOW), None);
    assert!(trust.authority(&peer(4), NOW).is_some());
}

#[tokio::test]
async fn a_statement_is_taken_from_the_index_that_signed_it_only() {
    let dir = tempfile::tempdir().unwrap();
    let trust = trust(dir.path(), false).await;
    let stolen = trust
        .take_key_set(peer(5), key_set(1, &[3]))
        .await
        .unwrap_err();
    assert!(matches!(stolen, NotTrusted::OtherIndex(_)));
    let mut flipped = key_set(1, &[3]);
    *flipped.last_mut().unwrap() ^= 1;
    assert!(
        trust
            .take_key_set(index().peer_id(), flipped)
            .await
            .is_err()
    );
    assert_eq!(trust.authority(&peer(3), NOW), None);
}

#[tokio::test]
async fn what_was_taken_back_stays_so_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let me = index().peer_id();
    let token = TokenId([1; 16]);
    {
        let trust = trust(dir.path(), false).await;
        trust.take_key_set(me, key_set(1, &[3])).await.unwrap();
        trust
            .take_revocation(me, revocation(2, 5, vec![token]))
            .await
            .unwrap();
        trust
            .take_revocation(me, revocation(1, 0, Vec::new()))
            .await
            .unwrap();
        assert_eq!(trust.sequences(&me), (1, 2));
    }
    let trust = trust(dir.path(), false).await;
    assert!(trust.is_revoked(&peer(3), &token));
    assert!(!trust.is_revoked(&peer(4), &token));
    assert_eq!(
        trust.authority(&peer(3), NOW).unwrap().min_revocation_epoch,
        5
    );
    // An index that is no longer configured is no longer believed.
    let store = open_in(dir.path()).await;
    let without = Trust::load(store, peer(1), Policy::default(), |_| false)
        .await
        .unwrap();
    assert_eq!(without.authority(&peer(3), NOW), None);
}

#[tokio::test]
async fn an_open_node_believes_every_client() {
    let dir = tempfile::tempdir().unwrap();
    let trust = trust(dir.path(), true).await;
    assert_eq!(trust.authority(&peer(77), NOW).unwrap().identity, peer(77));
    assert!(trust.allows(&peer(77)) && !trust.is_index(&peer(77)));
}
