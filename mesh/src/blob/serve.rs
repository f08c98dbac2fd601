//! Giving blobs to peers, over the bulk framing and as chunks for gRPC.
//!
//! - `chunks` reads and encodes, a chunk ahead of what is sent.
//! - `encoded` is the stream that gRPC reads at its own pace.
//! - `places` bounds how much is sent at one time, in all and to one peer.

mod chunks;
mod encoded;
mod places;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc, time::Duration};

use embermesh_crypto::{digest::Digest, ids::PeerId};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use self::encoded::EncodedBlob;
use self::{
    chunks::{Chunks, Reading},
    places::{Places, Share},
};
use super::{
    BlobStore,
    codec::{Encoder, MAX_ITEM_BYTES},
    geometry::Groups,
    wire::{MAX_RANGES, Request, Response, Status},
};

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
    places: Places,
    patience: Duration,
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
            places: Places::new(),
            patience: SEND_TIMEOUT,
        }
    }

    /// Gives a reader up, and what is held for it, once it has taken nothing for
    /// this long.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A range of a blob, encoded, in chunks that fit a message of gRPC. A `length`
    /// of 0 reaches to the end. The groups of 16 KiB that hold the range are sent
    /// whole. Must be called within a runtime.
    ///
    /// # Errors
    /// When the peer may not read it, it is not here, as many as may be are being
    /// sent, or the range lies past its end.
    pub fn encode(
        &self,
        peer: PeerId,
        digest: &Digest,
        offset: u64,
        length: u64,
    ) -> Result<EncodedBlob, Refused> {
        let sending = self.begin(peer, digest, &[(offset, length)], GRPC_CHUNK_BYTES)?;
        let Sending {
            size,
            chunks,
            share,
        } = sending;
        Ok(EncodedBlob::begin(size, chunks, share, self.patience))
    }

    fn begin(
        &self,
        peer: PeerId,
        digest: &Digest,
        ranges: &[(u64, u64)],
        chunk_bytes: usize,
    ) -> Result<Sending, Refused> {
        if !self.gate.may_read(peer, digest) {
            return Err(Refused::NotAllowed);
        }
        let held = self.store.hold(digest).map_err(|_| Refused::NotFound)?;
        let (place, share) = self.places.take(peer).ok_or(Refused::Busy)?;
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
        Ok(Sending {
            size,
            chunks: Chunks::of(reading),
            share,
        })
    }

    /// Answers the requests of one connection of the bulk framing until it ends, or
    /// until `stop`: then the request that is being answered is the last.
    ///
    /// # Errors
    /// When the connection breaks, stalls, or makes no sense.
    pub async fn serve(
        &self,
        peer: PeerId,
        mut io: impl AsyncRead + AsyncWrite + Unpin,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        loop {
            let reading = timeout(IDLE_TIMEOUT, Request::read(&mut io));
            let Some(Ok(request)) = stop.run_until_cancelled(reading).await else {
                return within(self.patience, io.shutdown()).await;
            };
            let Some(request) = request? else {
                return within(self.patience, io.shutdown()).await;
            };
            debug_assert!(
                request.ranges.len() <= MAX_RANGES,
                "the framing bounds them"
            );
            match self.begin(peer, &request.digest, &request.ranges, BULK_CHUNK_BYTES) {
                Ok(sending) => self.send(sending, &mut io).await?,
                Err(refused) => {
                    tracing::debug!(%peer, digest = %request.digest, %refused, "not served");
                    let status = Status::from(refused);
                    let head = Response { status, size: 0 }.encode();
                    within(self.patience, io.write_all(&head)).await?;
                }
            }
            within(self.patience, io.flush()).await?;
        }
    }

    async fn send(
        &self,
        mut sending: Sending,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let head = Response {
            status: Status::Sending,
            size: sending.size,
        };
        within(self.patience, io.write_all(&head.encode())).await?;
        while let Some(chunk) = sending.chunks.next().await {
            let (buffer, filled) = chunk?;
            within(self.patience, io.write_all(&buffer[..filled])).await?;
            sending.chunks.give_back(buffer);
        }
        Ok(())
    }
}

/// A blob that may be sent.
struct Sending {
    /// Bytes of the whole blob.
    size: u64,
    chunks: Chunks,
    share: Share,
}

/// Waits for the other end to take something, but not for ever.
async fn within(patience: Duration, taken: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(patience, taken)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
