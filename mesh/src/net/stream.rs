//! Streams of the mesh, as tokio sees them, and the acceptance of inbound ones.

use std::{
    collections::HashMap,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use embermesh_crypto::ids::{NetworkName, PeerId};
use futures::StreamExt as _;
use libp2p::StreamProtocol;
use libp2p_stream::{IncomingStreams, OpenStreamError};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::{
    compat::{Compat, FuturesAsyncReadCompatExt as _},
    sync::{CancellationToken, WaitForCancellationFutureOwned},
};

use super::{MeshError, address, batched::Batched};

/// Inbound streams of one protocol that wait to be taken. Beyond it the newest is
/// dropped, and its peer sees a closed stream.
pub(crate) const ACCEPT_BACKLOG: usize = 64;
/// How long a stream may take to be negotiated on a connection that stands.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Letters of the short name of a protocol.
const MAX_PROTOCOL_NAME: usize = 64;

/// The way to open and to accept streams. Clones are the same.
#[derive(Clone)]
pub(crate) struct Control {
    inner: libp2p_stream::Control,
    pub(crate) lines: Lines,
}

impl Control {
    pub(crate) fn new(inner: libp2p_stream::Control) -> Self {
        Self {
            inner,
            lines: Lines::default(),
        }
    }
}

/// What ends the streams with each peer. A connection that this side closes does not wake
/// whoever reads from a stream on it (yamux 0.14), so they are told here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<HashMap<PeerId, Line>>>);

/// What all streams with one peer have in common.
#[derive(Clone, Debug, Default)]
struct Line {
    end: CancellationToken,
    /// Each stream holds a clone.
    users: Arc<()>,
}

impl Lines {
    fn of(&self, peer: PeerId) -> Line {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.entry(peer).or_default().clone()
    }

    /// Whether there is a stream with a peer, or one is being opened.
    pub(crate) fn is_used(&self, peer: &PeerId) -> bool {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .get(peer)
            .is_some_and(|line| Arc::strong_count(&line.users) > 1)
    }

    /// Ends every stream that there is with a peer.
    pub(crate) fn cut(&self, peer: &PeerId) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.remove(peer) {
            line.end.cancel();
        }
    }
}

/// A two-way stream of bytes with a peer whose key the transport has proven.
/// Flow control and multiplexing are the connection's.
pub struct MeshStream {
    peer: PeerId,
    inner: Compat<Batched<libp2p::Stream>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _user: Arc<()>,
}

impl MeshStream {
    fn new(peer: PeerId, stream: libp2p::Stream, line: Line) -> Self {
        Self {
            peer,
            inner: Batched::new(stream).compat(),
            cut: Box::pin(line.end.cancelled_owned()),
            _user: line.users,
        }
    }

    /// What has come of an operation; an error where it waits on a connection that was
    /// closed on this side.
    fn unless_cut<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            return done;
        }
        self.cut.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was closed for a better one, or because it was dead",
            ))
        })
    }

    /// The peer at the other end.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }
}

impl fmt::Debug for MeshStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshStream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for MeshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.unless_cut(cx, read)
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.unless_cut(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.unless_cut(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.unless_cut(cx, shut)
    }
}

/// Inbound streams of one protocol. Dropping it stops their acceptance.
#[derive(Debug)]
pub struct Incoming {
    streams: mpsc::Receiver<MeshStream>,
}

impl Incoming {
    /// The next stream; `None` once the mesh is shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<MeshStream> {
        self.streams.recv().await
    }
}

impl futures::Stream for Incoming {
    type Item = MeshStream;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.streams.poll_recv(cx)
    }
}

/// The whole name of a protocol: `rpc/1` becomes `/embermesh/<network>/rpc/1`, so
/// that peers of two networks have no protocol in common.
pub(crate) fn protocol_name(
    network: &NetworkName,
    short: &str,
) -> Result<StreamProtocol, MeshError> {
    let plain = short
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-._".contains(&b));
    if short.is_empty() || short.len() > MAX_PROTOCOL_NAME || !plain || short.starts_with('/') {
        return Err(MeshError::InvalidProtocol(short.to_owned()));
    }
    StreamProtocol::try_from_owned(format!("/embermesh/{network}/{short}"))
        .map_err(|_| MeshError::InvalidProtocol(short.to_owned()))
}

/// Registers a protocol. The returned future moves inbound streams into the queue
/// and must be spawned: libp2p drops a stream that is not taken at once, so the
/// queue, not the caller's speed, decides how many may wait.
pub(crate) fn accept(
    control: &mut Control,
    protocol: StreamProtocol,
    cancel: CancellationToken,
) -> Result<(Incoming, impl Future<Output = ()> + use<>), MeshError> {
    let lines = control.lines.clone();
    let inbound = control
        .inner
        .accept(protocol.clone())
        .map_err(|_| MeshError::AlreadyAccepting(protocol.to_string()))?;
    let (sender, streams) = mpsc::channel(ACCEPT_BACKLOG);
    Ok((
        Incoming { streams },
        pump(inbound, lines, sender, protocol, cancel),
    ))
}

async fn pump(
    mut inbound: IncomingStreams,
    lines: Lines,
    sender: mpsc::Sender<MeshStream>,
    protocol: StreamProtocol,
    cancel: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = sender.closed() => return,
            next = inbound.next() => next,
        };
        let Some((peer, stream)) = next else { return };
        let Some(peer) = address::ours(&peer) else {
            continue;
        };
        let stream = MeshStream::new(peer, stream, lines.of(peer));
        if sender.try_send(stream).is_err() {
            tracing::debug!(%peer, %protocol, "dropped an inbound stream: the backlog is full");
        }
    }
}

/// Opens a stream to a peer that is connected.
pub(crate) async fn open(
    control: &mut Control,
    peer: PeerId,
    protocol: StreamProtocol,
) -> Result<MeshStream, MeshError> {
    // Before it is opened: what is closed meanwhile is this one too.
    let line = control.lines.of(peer);
    let opening = control
        .inner
        .open_stream(address::theirs(&peer), protocol.clone());
    let stream = match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(OpenStreamError::UnsupportedProtocol(_))) => {
            return Err(MeshError::Unsupported {
                peer,
                protocol: protocol.to_string(),
            });
        }
        Ok(Err(error)) => {
            return Err(MeshError::Stream {
                peer,
                reason: error.to_string(),
            });
        }
        Err(_) => {
            return Err(MeshError::Timeout {
                what: format!("opening a stream to {peer}"),
                after: OPEN_TIMEOUT,
            });
        }
    };
    Ok(MeshStream::new(peer, stream, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_carry_the_network() {
        let network: NetworkName = "garden".parse().unwrap();
        assert_eq!(
            protocol_name(&network, "rpc/1").unwrap().as_ref(),
            "/embermesh/garden/rpc/1"
        );
        for bad in ["", "/rpc", "rpc 1", "größe", &"x".repeat(65)] {
            assert!(protocol_name(&network, bad).is_err(), "{bad}");
        }
    }
}
