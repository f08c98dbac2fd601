//! A connection by any road, as bytes.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use embermesh_crypto::ids::PeerId;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::{Caller, RoadKind};
use crate::net::MeshStream;

/// A two-way stream of bytes by one of the roads.
pub struct RoadStream {
    carrier: Carrier,
    caller: Caller,
    /// The place among the connections of its kind, given back when it is dropped.
    place: Option<OwnedSemaphorePermit>,
    /// Ends the stream when the server has waited long enough for it to drain.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

enum Carrier {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
    Mesh(MeshStream),
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
        Self::new(Carrier::Mesh(stream), Some(peer), RoadKind::Mesh, None)
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
        }
    }

    /// Ties the stream to a place among its kind and to the end of the server.
    pub(crate) fn bound_to(mut self, place: OwnedSemaphorePermit, cut: CancellationToken) -> Self {
        self.place = Some(place);
        self.cut = Some(Box::pin(cut.cancelled_owned()));
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
        carried!(self, stream => stream.poll_read(cx, buffer))
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
