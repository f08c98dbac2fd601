//! Giving blobs to peers, over the bulk framing and as chunks for gRPC.

use std::{
    fmt,
    fs::File,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use embermesh_crypto::{digest::Digest, ids::PeerId};
use futures::{Stream, future::poll_fn};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::timeout,
};

use super::{
    BlobStore, Held,
    codec::{Encoder, MAX_ITEM_BYTES},
    geometry::Groups,
    wire::{MAX_RANGES, Request, Response, Status},
};

/// Blobs that are being sent at one time.
const MAX_SENDING: usize = 64;
/// Bytes of the encoding that are read, and sent, at once on the bulk road.
const BULK_CHUNK_BYTES: usize = 512 * 1024;
/// Bytes of the encoding in one message of gRPC.
const GRPC_CHUNK_BYTES: usize = 256 * 1024;
/// How long a chunk may take to be taken by the other end.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may wait for its next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Says who may read which blob.
pub trait BlobGate: Send + Sync {
    /// Whether `peer` may read the blob. Asked for every request, whether the blob
    /// is here or not, so that a refusal tells nothing about that.
    fn may_read(&self, peer: PeerId, digest: &Digest) -> bool;
}

/// A gate that lets everybody read everything: a blob's digest is its capability.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl BlobGate for Open {
    fn may_read(&self, _: PeerId, _: &Digest) -> bool {
        true
    }
}

/// Why a request for a blob is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The gate said no.
    #[error("this peer may not read the blob")]
    NotAllowed,
    /// It is not here.
    #[error("the blob is not here")]
    NotFound,
    /// As many as may be are being sent.
    #[error("too many blobs are being sent; try again")]
    Busy,
    /// The range lies past the end.
    #[error("the range lies past the end of the blob")]
    BadRange,
    /// The disk refused.
    #[error("the blob cannot be read")]
    Unreadable,
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotAllowed => Self::Refused,
            Refused::NotFound => Self::NotFound,
            Refused::Busy => Self::Busy,
            Refused::BadRange => Self::BadRange,
            Refused::Unreadable => Self::Failed,
        }
    }
}

/// Serves the blobs of a store. Clones share their bounds.
#[derive(Clone)]
pub struct BlobService {
    store: BlobStore,
    gate: Arc<dyn BlobGate>,
    places: Arc<Semaphore>,
}

impl fmt::Debug for BlobService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobService")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl BlobService {
    /// Serves `store` to whom `gate` lets.
    #[must_use]
    pub fn new(store: BlobStore, gate: Arc<dyn BlobGate>) -> Self {
        Self {
            store,
            gate,
            places: Arc::new(Semaphore::new(MAX_SENDING)),
        }
    }

    /// A range of a blob, encoded, in chunks that fit a message of gRPC. A `length`
    /// of 0 reaches to the end. The groups of 16 KiB that hold the range are sent
    /// whole.
    ///
    /// # Errors
    /// When the peer may not read it, it is not here, or the range lies past its end.
    pub fn encode(
        &self,
        peer: PeerId,
        digest: &Digest,
        offset: u64,
        length: u64,
    ) -> Result<EncodedBlob, Refused> {
        self.begin(peer, digest, &[(offset, length)], GRPC_CHUNK_BYTES)
    }

    fn begin(
        &self,
        peer: PeerId,
        digest: &Digest,
        ranges: &[(u64, u64)],
        chunk_bytes: usize,
    ) -> Result<EncodedBlob, Refused> {
        if !self.gate.may_read(peer, digest) {
            return Err(Refused::NotAllowed);
        }
        let held = self.store.hold(digest).map_err(|_| Refused::NotFound)?;
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Refused::Busy)?;
        let size = held.size();
        let groups = Groups::covering(size, ranges).ok_or(Refused::BadRange)?;
        let (data, outboard) = held.open().map_err(|error| {
            tracing::warn!(%digest, %error, "cannot read a blob");
            Refused::Unreadable
        })?;
        // A blob of one group has no outboard, and nothing asks for it: any file will do.
        let outboard = match outboard {
            Some(outboard) => outboard,
            None => data.try_clone().map_err(|_| Refused::Unreadable)?,
        };
        let reading = Reading {
            // Two hashes at most for each group, and some above a lone one.
            chunk_bytes: chunk_bytes
                .min(
                    usize::try_from(groups.bytes())
                        .unwrap_or(usize::MAX)
                        .saturating_mul(2),
                )
                .saturating_add(2 * MAX_ITEM_BYTES),
            encoder: Encoder::new(&groups, data, outboard),
            _held: held,
            _place: place,
        };
        Ok(EncodedBlob {
            size,
            spare: None,
            next: Some(reading.next_chunk(Vec::new())),
        })
    }

    /// Answers the requests of one connection of the bulk framing until it ends.
    ///
    /// # Errors
    /// When the connection breaks, stalls, or makes no sense.
    pub async fn serve(
        &self,
        peer: PeerId,
        mut io: impl AsyncRead + AsyncWrite + Unpin,
    ) -> io::Result<()> {
        loop {
            let request = timeout(IDLE_TIMEOUT, Request::read(&mut io)).await;
            let Ok(request) = request else {
                return io.shutdown().await;
            };
            let Some(request) = request? else {
                return io.shutdown().await;
            };
            debug_assert!(
                request.ranges.len() <= MAX_RANGES,
                "the framing bounds them"
            );
            match self.begin(peer, &request.digest, &request.ranges, BULK_CHUNK_BYTES) {
                Ok(blob) => send(blob, &mut io).await?,
                Err(refused) => {
                    tracing::debug!(%peer, digest = %request.digest, %refused, "not served");
                    let status = Status::from(refused);
                    write(&mut io, &Response { status, size: 0 }.encode()).await?;
                }
            }
            io.flush().await?;
        }
    }
}

async fn send(mut blob: EncodedBlob, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let head = Response {
        status: Status::Sending,
        size: blob.size(),
    };
    write(io, &head.encode()).await?;
    while let Some(chunk) = poll_fn(|cx| blob.poll_chunk(cx)).await {
        let (buffer, filled) = chunk?;
        write(io, &buffer[..filled]).await?;
        // Memory that has been touched is much cheaper than new memory.
        blob.spare = Some(buffer);
    }
    Ok(())
}

async fn write(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    timeout(SEND_TIMEOUT, io.write_all(bytes))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A blob as it is read and encoded: a stream of chunks, each read while the one
/// before it is sent.
#[derive(Debug)]
pub struct EncodedBlob {
    size: u64,
    /// A buffer that has been sent, for the chunk after next.
    spare: Option<Vec<u8>>,
    next: Option<JoinHandle<io::Result<Chunk>>>,
}

/// A buffer, and how much of it is filled.
type Filled = (Vec<u8>, usize);

impl EncodedBlob {
    /// Bytes of the whole blob.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The next buffer and how much of it is filled. An empty blob has one empty
    /// chunk, which still says its size.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Filled>>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let joined = ready!(Pin::new(next).poll(cx));
        self.next = None;
        let chunk = match joined {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Poll::Ready(Some(Err(error))),
            Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
        };
        let spare = self.spare.take().unwrap_or_default();
        self.next = chunk.rest.map(|rest| rest.next_chunk(spare));
        Poll::Ready(Some(Ok((chunk.buffer, chunk.filled))))
    }
}

impl Stream for EncodedBlob {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = ready!(self.poll_chunk(cx));
        Poll::Ready(chunk.map(|chunk| {
            let (mut buffer, filled) = chunk?;
            buffer.truncate(filled);
            Ok(buffer.into())
        }))
    }
}

/// What is needed to read on.
struct Reading {
    encoder: Encoder<File, File>,
    chunk_bytes: usize,
    _held: Held,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Chunk {
    buffer: Vec<u8>,
    filled: usize,
    rest: Option<Reading>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl Reading {
    fn next_chunk(mut self, mut buffer: Vec<u8>) -> JoinHandle<io::Result<Chunk>> {
        tokio::task::spawn_blocking(move || {
            if buffer.is_empty() {
                buffer = vec![0; self.chunk_bytes];
            }
            let (filled, more) = self.encoder.fill(&mut buffer)?;
            Ok(Chunk {
                buffer,
                filled,
                rest: more.then_some(self),
            })
        })
    }
}
