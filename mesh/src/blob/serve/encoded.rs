//! A blob on its way to a reader whose pace is not ours: a bounded queue of chunks,
//! and the task that fills it.
//!
//! On gRPC nobody tells us that a reader has stopped: its stream is just not polled
//! any more. So the task, not the stream, owns what others wait for, and gives it up
//! when the queue has been full for too long.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{chunks::Chunks, places::Share};

/// Chunks that are read ahead of the reader, beside the one in the task's hand.
const CHUNKS_AHEAD: usize = 1;

/// A blob as it is read and encoded: a stream of chunks, each read while the one
/// before it is sent. A reader that takes nothing for too long loses the blob, and
/// finds an error at the end of what was read ahead.
#[derive(Debug)]
pub struct EncodedBlob {
    size: u64,
    chunks: mpsc::Receiver<Bytes>,
    /// The task that fills the queue; `None` once its end has been told.
    pump: Option<AbortOnDropHandle<io::Result<()>>>,
    _share: Share,
}

impl EncodedBlob {
    /// Begins to read. Must be called within a runtime.
    pub(super) fn begin(size: u64, chunks: Chunks, share: Share, patience: Duration) -> Self {
        let (queue, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let pump = tokio::spawn(pump(chunks, queue, patience));
        Self {
            size,
            chunks: receiver,
            pump: Some(AbortOnDropHandle::new(pump)),
            _share: share,
        }
    }

    /// Bytes of the whole blob.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

async fn pump(
    mut chunks: Chunks,
    queue: mpsc::Sender<Bytes>,
    patience: Duration,
) -> io::Result<()> {
    while let Some(chunk) = chunks.next().await {
        let (mut buffer, filled) = chunk?;
        buffer.truncate(filled);
        match timeout(patience, queue.send(buffer.into())).await {
            Ok(Ok(())) => {}
            // The reader has gone, and asks for nothing more.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Ok(())
}

impl Stream for EncodedBlob {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(chunk) = ready!(self.chunks.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(chunk)));
        }
        // The queue is closed, so that the task has ended: how it did is the end.
        let Some(pump) = &mut self.pump else {
            return Poll::Ready(None);
        };
        let ended = ready!(Pin::new(pump).poll(cx));
        self.pump = None;
        Poll::Ready(match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(error) => Some(Err(io::Error::other(error))),
        })
    }
}
