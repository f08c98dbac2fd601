//! Who takes the places of a service, and when they come back.

use embermesh_crypto::keys::Keypair;
use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    places::{MAX_SENDING, MAX_SENDING_TO_PEER},
    *,
};

/// The end of every wait: far above what is measured, for a machine that is busy.
const WAIT: Duration = Duration::from_secs(40);
/// Much more than is read ahead of a reader.
const BLOB_BYTES: usize = 16 * GRPC_CHUNK_BYTES;

fn peer(number: usize) -> PeerId {
    Keypair::from_seed(&[u8::try_from(number).unwrap(); 32]).peer_id()
}

/// A service that gives its readers up soon, with one blob.
async fn service(patience: Duration) -> (TempDir, BlobService, Digest) {
    let folder = TempDir::new().unwrap();
    let store = BlobStore::open(folder.path().join("store"), 1 << 30).unwrap();
    let stored = store.import_bytes(vec![7; BLOB_BYTES]).await.unwrap();
    let service = BlobService::new(store, Arc::new(Open)).with_patience(patience);
    (folder, service, stored.digest)
}

/// Takes every place, as few peers as can, and reads nothing.
fn crowd(service: &BlobService, digest: &Digest) -> Vec<EncodedBlob> {
    (0..MAX_SENDING)
        .map(|n| {
            let peer = peer(n / MAX_SENDING_TO_PEER);
            service.encode(peer, digest, 0, 0).unwrap()
        })
        .collect()
}

/// What a stream gives: its bytes, or how it broke off.
async fn read(mut blob: EncodedBlob) -> Result<usize, io::ErrorKind> {
    let mut bytes = 0;
    while let Some(chunk) = timeout(WAIT, blob.next()).await.unwrap() {
        bytes += chunk.map_err(|error| error.kind())?.len();
    }
    Ok(bytes)
}

#[tokio::test]
async fn readers_that_stall_lose_their_places() {
    let (_folder, service, digest) = service(Duration::from_millis(50)).await;
    let stalled = crowd(&service, &digest);
    // Nobody reads, and every place comes back.
    let all = u32::try_from(MAX_SENDING).unwrap();
    let back = timeout(WAIT, service.places.all.acquire_many(all)).await;
    drop(back.unwrap().unwrap());
    // So does the blob itself: nothing holds it in the store any more.
    service.store.remove(&digest).unwrap();
    for blob in stalled {
        assert_eq!(read(blob).await, Err(io::ErrorKind::TimedOut));
    }
}

#[tokio::test]
async fn one_peer_has_its_share_and_no_more() {
    let (_folder, service, digest) = service(SEND_TIMEOUT).await;
    let greedy = peer(1);
    let encode = |peer| service.encode(peer, &digest, 0, 0);
    let mut taken: Vec<_> = (0..MAX_SENDING_TO_PEER)
        .map(|_| encode(greedy).unwrap())
        .collect();
    assert_eq!(encode(greedy).unwrap_err(), Refused::Busy);
    assert!(read(encode(peer(2)).unwrap()).await.unwrap() > BLOB_BYTES);
    taken.pop();
    taken.push(encode(greedy).unwrap());
    assert_eq!(encode(greedy).unwrap_err(), Refused::Busy);
}

#[tokio::test]
async fn a_stalled_stream_counts_for_its_peer_until_it_is_closed() {
    let (_folder, service, digest) = service(Duration::from_millis(50)).await;
    let stalled: Vec<_> = (0..MAX_SENDING_TO_PEER)
        .map(|_| service.encode(peer(1), &digest, 0, 0).unwrap())
        .collect();
    let all = u32::try_from(MAX_SENDING).unwrap();
    let back = timeout(WAIT, service.places.all.acquire_many(all)).await;
    drop(back.unwrap().unwrap());
    let again = service.encode(peer(1), &digest, 0, 0);
    assert_eq!(again.unwrap_err(), Refused::Busy);
    drop(stalled);
    service.encode(peer(1), &digest, 0, 0).unwrap();
}

#[tokio::test]
async fn when_all_places_are_taken_a_newcomer_is_told_so() {
    let (_folder, service, digest) = service(SEND_TIMEOUT).await;
    let crowd = crowd(&service, &digest);
    let refused = service.encode(peer(200), &digest, 0, 0);
    assert_eq!(refused.unwrap_err(), Refused::Busy);
    drop(crowd);
    let all = u32::try_from(MAX_SENDING).unwrap();
    let back = timeout(WAIT, service.places.all.acquire_many(all)).await;
    drop(back.unwrap().unwrap());
    service.encode(peer(200), &digest, 0, 0).unwrap();
}
