//! A connection by any road, as bytes.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use embermesh_crypto::ids::PeerId;
use rustls::AlertDescription;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_rustls::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::{Caller, RoadKind, bounds::PREFACE_BYTES};
use crate::net::MeshStream;

/// A two-way stream of bytes by one of the roads.
pub struct RoadStream {
    carrier: Carrier,
    caller: Caller,
    /// The place among the connections of its kind, given back when it is dropped.
    place: Option<OwnedSemaphorePermit>,
    /// Ends the stream when the server has waited long enough for it to drain.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// What must still come before the stream may be quiet.
    preface: Option<Preface>,
}

/// The first bytes of a stream, which must come in time.
struct Preface {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

enum Carrier {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
    Mesh(Box<MeshStream>),
}

impl RoadStream {
    pub(crate) fn tls(stream: TlsStream<TcpStream>, peer: PeerId) -> Self {
        let remote = stream.get_ref().0.peer_addr().ok();
        Self::new(
            Carrier::Tls(Box::new(stream)),
            Some(peer),
            RoadKind::Tls,
            remote,
        )
    }

    pub(crate) fn plain(stream: TcpStream) -> Self {
        let remote = stream.peer_addr().ok();
        Self::new(Carrier::Plain(stream), None, RoadKind::Plain, remote)
    }

    pub(crate) fn mesh(stream: MeshStream) -> Self {
        let peer = stream.peer();
        Self::new(
            Carrier::Mesh(Box::new(stream)),
            Some(peer),
            RoadKind::Mesh,
            None,
        )
    }

    fn new(
        carrier: Carrier,
        peer: Option<PeerId>,
        road: RoadKind,
        remote: Option<SocketAddr>,
    ) -> Self {
        Self {
            carrier,
            caller: Caller { peer, road, remote },
            place: None,
            cut: None,
            preface: None,
        }
    }

    /// Ties the stream to a place among its kind and to the end of the server.
    pub(crate) fn bound_to(mut self, place: OwnedSemaphorePermit, cut: CancellationToken) -> Self {
        self.place = Some(place);
        self.cut = Some(Box::pin(cut.cancelled_owned()));
        self
    }

    /// Ends the stream unless the preface of HTTP/2 comes within this time: tonic would
    /// wait for it for ever, and a place would be taken by nobody.
    pub(crate) fn awaiting_preface(mut self, within: Duration) -> Self {
        self.preface = Some(Preface {
            missing: PREFACE_BYTES,
            deadline: Box::pin(sleep(within)),
        });
        self
    }

    /// Who is at the other end.
    #[must_use]
    pub const fn caller(&self) -> Caller {
        self.caller
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let cut = self
            .cut
            .as_mut()
            .is_some_and(|cut| cut.as_mut().poll(cx).is_ready());
        if cut {
            let stopped = io::Error::other("the server has stopped");
            return Err(stopped);
        }
        Ok(())
    }

    /// Counts what has come, or sees whether it comes too late.
    fn poll_preface(&mut self, cx: &mut Context<'_>, read: Poll<usize>) -> io::Result<()> {
        let Some(preface) = &mut self.preface else {
            return Ok(());
        };
        match read {
            Poll::Ready(bytes) => preface.missing = preface.missing.saturating_sub(bytes),
            Poll::Pending if preface.deadline.as_mut().poll(cx).is_ready() => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Poll::Pending => {}
        }
        if preface.missing == 0 {
            self.preface = None;
        }
        Ok(())
    }
}

impl fmt::Debug for RoadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoadStream")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

impl Connected for RoadStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

/// What an alert of the other end means. It comes after the handshake, in which a server
/// of TLS 1.3 does not wait for the client to hear of it.
fn plainly(error: io::Error) -> io::Error {
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref());
    match alert {
        Some(rustls::Error::AlertReceived(AlertDescription::AccessDenied)) => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is of a private mesh, and your peer id is not on its list of members: have its owner add it",
        ),
        _ => error,
    }
}

macro_rules! carried {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.carrier {
            Carrier::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            Carrier::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Carrier::Mesh(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for RoadStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        let before = buffer.filled().len();
        let read = carried!(self, stream => stream.poll_read(cx, buffer)).map_err(plainly)?;
        self.poll_preface(cx, read.map(|()| buffer.filled().len() - before))?;
        read.map(Ok)
    }
}

impl AsyncWrite for RoadStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        carried!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        carried!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Tls(stream) => stream.is_write_vectored(),
            Carrier::Plain(stream) => stream.is_write_vectored(),
            Carrier::Mesh(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    /// Far above what is measured, for a machine that is busy.
    const WAIT: Duration = Duration::from_secs(40);

    async fn pair() -> (TcpStream, RoadStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), RoadStream::plain(server.unwrap().0))
    }

    #[tokio::test]
    async fn without_its_preface_a_stream_ends() {
        let (mut client, server) = pair().await;
        let mut server = server.awaiting_preface(Duration::from_millis(50));
        // All but one byte of it is not enough.
        client.write_all(&[b'x'; PREFACE_BYTES - 1]).await.unwrap();
        let mut read = Vec::new();
        let end = timeout(WAIT, server.read_to_end(&mut read)).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn with_its_preface_a_stream_may_be_quiet() {
        let (mut client, server) = pair().await;
        let mut server = server.awaiting_preface(WAIT);
        for half in [[b'x'; PREFACE_BYTES / 2]; 2] {
            assert!(server.preface.is_some());
            client.write_all(&half).await.unwrap();
            let mut read = [0; PREFACE_BYTES / 2];
            timeout(WAIT, server.read_exact(&mut read))
                .await
                .unwrap()
                .unwrap();
        }
        assert!(server.preface.is_none(), "nothing is waited for any more");
    }
}
