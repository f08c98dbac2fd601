//! Blobs by the bulk framing, out of a holder's store.

use std::sync::Arc;

use bytes::Bytes;
use embermesh_crypto::digest::Digest;
use embermesh_mesh::{
    blob::{BlobService, BlobStore, CodecError, Fetcher, Open, Want, decode},
    road::{self, ListenConfig, Listener, Protocol, RoadChoice, RoadStream, Target},
};
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::{CHUNK_BYTES, Contender, folder, identity, noise};

pub(crate) async fn all(bytes: usize) -> Vec<Contender> {
    let (server, client) = (identity(1), identity(2));
    let data = noise(bytes);
    let digest = Digest::of(&data);
    let held = folder();
    let quota = 4 * bytes as u64 + (1 << 20);
    let store = BlobStore::open(held.path().join("store"), quota).unwrap();
    store.import_bytes(data).await.unwrap();
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
    let target = Target {
        peer: Some(server.peer_id()),
        tls: vec![listener.address().to_string()],
        mesh: Vec::new(),
    };
    let blobs = BlobService::new(store, Arc::new(Open));
    let cancel = CancellationToken::new();
    let serving = road::serve(
        listener,
        &server,
        None,
        Routes::default(),
        Some(blobs),
        cancel,
    );
    let serving = serving.unwrap();
    tokio::spawn(async move {
        let _held = held;
        serving.ended().await;
    });
    let opening = {
        let (client, target) = (client.clone(), target.clone());
        move || {
            let (client, target) = (client.clone(), target.clone());
            async move {
                let choice = RoadChoice::Tls;
                road::open(&client, &target, None, choice, Protocol::Blob)
                    .await
                    .unwrap()
                    .stream
            }
        }
    };
    let again = opening.clone();
    let received = Contender::new("bulk road, received", move || {
        let opening = opening();
        async move {
            let mut stream = ask(opening.await, &digest).await;
            let mut buffer = vec![0; CHUNK_BYTES];
            let mut left = encoded_bytes(bytes);
            while left > 0 {
                left -= stream.read(&mut buffer).await.unwrap();
            }
        }
    });
    let checked = Contender::new("bulk road, checked as it arrives", move || {
        let opening = again();
        async move {
            let stream = ask(opening.await, &digest).await;
            let begin = (stream, encoded_bytes(bytes));
            let chunks = futures::stream::unfold(begin, |(mut stream, left)| async move {
                let mut buffer = vec![0; CHUNK_BYTES.min(left)];
                stream.read_exact(&mut buffer).await.unwrap();
                let left = left - buffer.len();
                let more = !buffer.is_empty();
                more.then(|| (Ok::<_, CodecError>(Bytes::from(buffer)), (stream, left)))
            });
            let mut got = 0;
            let mut pieces = decode(&digest, bytes as u64, 0, 0, Box::pin(chunks));
            while let Some(piece) = pieces.next().await {
                got += piece.unwrap().data.len();
            }
            assert_eq!(got, bytes);
        }
    });
    let fetcher = Fetcher::new(client, None);
    let kept = folder();
    let store = BlobStore::open(kept.path().join("store"), quota).unwrap();
    let cleaned = store.clone();
    let stored = Contender::new("bulk road, checked, into a store", move || {
        let (fetcher, target, store) = (fetcher.clone(), target.clone(), store.clone());
        async move {
            let want = Want {
                digest,
                size: Some(bytes as u64),
                holders: vec![target],
            };
            let never = CancellationToken::new();
            fetcher.fetch(&store, &want, None, &never).await.unwrap();
        }
    })
    .then(move || {
        let _folder = &kept;
        assert!(cleaned.remove(&digest).unwrap());
    });
    vec![received, checked, stored]
}

/// Asks for the whole blob and reads the answer's head.
async fn ask(mut stream: RoadStream, digest: &Digest) -> RoadStream {
    let mut request = vec![1];
    request.extend_from_slice(digest.as_bytes());
    request.push(1);
    request.extend_from_slice(&[0; 16]);
    stream.write_all(&request).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 0);
    stream.read_u64_le().await.unwrap();
    stream
}

/// The data, and 64 bytes for each group of 16 KiB but one.
fn encoded_bytes(bytes: usize) -> usize {
    bytes + (bytes.div_ceil(16 * 1024) - 1) * 64
}
