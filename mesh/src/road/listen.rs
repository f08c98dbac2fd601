//! One TCP port: mutual TLS, and plaintext HTTP/2 where it is allowed.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Protocol, RoadError, RoadStream,
    bounds::{
        ACCEPT_PAUSE, HANDSHAKE_TIMEOUT, LISTEN_BACKLOG, MAX_BULK_CONNECTIONS, MAX_HANDSHAKES,
        MAX_PLAIN_CONNECTIONS, MAX_TLS_CONNECTIONS, PARTING_TIME, PREFACE_TIMEOUT, TCP_KEEPALIVE,
    },
    handshakes::Handshakes,
    membership::Proofs,
};
use crate::{buffers, membership::Membership, tls::proof};

/// First byte of a TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Where the TCP port of the roads is, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// The address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether plaintext HTTP/2 is taken, without an identity. `None` takes it on
    /// loopback addresses only.
    pub plaintext: Option<bool>,
    /// Connections in plaintext at one time, beside those of proven peers.
    pub plain_connections: usize,
    /// Connections of proven peers at one time.
    pub peer_connections: usize,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            plaintext: None,
            plain_connections: MAX_PLAIN_CONNECTIONS,
            peer_connections: MAX_TLS_CONNECTIONS,
        }
    }
}

/// A bound port that does not answer yet: its address is known before the services
/// that name it are made.
#[derive(Debug)]
pub struct Listener {
    pub(crate) tcp: TcpListener,
    pub(crate) plaintext: bool,
    plain_connections: usize,
    peer_connections: usize,
    address: SocketAddr,
}

impl Listener {
    /// Binds the port.
    ///
    /// # Errors
    /// When it is taken, foreign or forbidden.
    // Async because a socket must be made within a runtime, which a caller of a plain
    // function could forget.
    #[allow(clippy::unused_async)]
    pub async fn bind(config: &ListenConfig) -> Result<Self, RoadError> {
        let address = config.address;
        let bound = || -> io::Result<(TcpListener, SocketAddr)> {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A restarted server takes its port over from connections that linger.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let tcp = socket.listen(LISTEN_BACKLOG)?;
            let local = tcp.local_addr()?;
            Ok((tcp, local))
        };
        let (tcp, local) = bound().map_err(|error| RoadError::bind(address, &error))?;
        Ok(Self {
            tcp,
            plaintext: config.plaintext.unwrap_or(address.ip().is_loopback()),
            plain_connections: config.plain_connections,
            peer_connections: config.peer_connections,
            address: local,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Sets what every TCP connection of ours has: no delay for small writes, probes that find
/// a dead peer, and room for what a long link carries. A socket that refuses any of it still
/// works.
pub(crate) fn tune(tcp: &TcpStream) {
    buffers::widen(tcp);
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE)
        .with_interval(TCP_KEEPALIVE);
    let tuned = tcp
        .set_nodelay(true)
        .and_then(|()| SockRef::from(tcp).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot tune a connection");
    }
}

/// Accepts connections and hands them on, by what they turn out to be.
pub(crate) struct Acceptor {
    pub(crate) listener: Listener,
    pub(crate) tls: TlsAcceptor,
    pub(crate) membership: Membership,
    /// Where gRPC goes.
    pub(crate) grpc: mpsc::Sender<RoadStream>,
    /// Where bulk blobs go; `None` refuses them.
    pub(crate) bulk: Option<mpsc::Sender<RoadStream>>,
    pub(crate) cancel: CancellationToken,
    pub(crate) cut: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

/// Places for connections, by kind.
struct Places {
    tls: Arc<Semaphore>,
    plain: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

impl Acceptor {
    /// Accepts until it is cancelled.
    pub(crate) async fn run(self) {
        let handshakes = Handshakes::new(MAX_HANDSHAKES);
        let this = Arc::new(self);
        let places = Arc::new(Places {
            tls: Arc::new(Semaphore::new(this.listener.peer_connections)),
            plain: Arc::new(Semaphore::new(this.listener.plain_connections)),
            bulk: Arc::new(Semaphore::new(MAX_BULK_CONNECTIONS)),
        });
        loop {
            let accepted = tokio::select! {
                biased;
                () = this.cancel.cancelled() => return,
                accepted = this.accept() => accepted,
            };
            let Some((tcp, remote)) = accepted else {
                continue;
            };
            let handshake = handshakes.begin(remote.ip());
            let (worker, places) = (Arc::clone(&this), Arc::clone(&places));
            this.tracker.spawn(async move {
                let greeting = Box::pin(worker.greet(tcp, &places));
                let end = tokio::select! {
                    biased;
                    () = worker.cancel.cancelled() => return,
                    end = timeout(HANDSHAKE_TIMEOUT, greeting) => end,
                    () = handshake.evicted() => {
                        tracing::debug!(%remote, "gave up a handshake: another needs its place");
                        return;
                    }
                };
                drop(handshake);
                match end {
                    Ok(Ok((stream, queue))) => {
                        // The server is stopping when nobody takes it.
                        let _ = queue.send(stream).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%remote, %error, "refused a connection"),
                    Err(_) => tracing::debug!(%remote, "a handshake took too long"),
                }
            });
        }
    }

    async fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        match self.listener.tcp.accept().await {
            Ok(accepted) => Some(accepted),
            Err(error) if is_of_one_connection(&error) => None,
            Err(error) => {
                tracing::warn!(%error, pause = ?ACCEPT_PAUSE, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    /// Finds out what a connection is, and who.
    async fn greet(
        &self,
        tcp: TcpStream,
        places: &Places,
    ) -> io::Result<(RoadStream, mpsc::Sender<RoadStream>)> {
        tune(&tcp);
        let mut first = [0];
        if tcp.peek(&mut first).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        if first[0] != TLS_HANDSHAKE {
            if !self.plaintext() {
                return Err(io::Error::other("plaintext is turned off on this port"));
            }
            let place = take(&places.plain)?;
            let stream = RoadStream::plain(tcp).bound_to(place, self.cut.clone());
            return Ok((stream.awaiting_preface(PREFACE_TIMEOUT), self.grpc.clone()));
        }
        let mut stream = match self.tls.accept(tcp).into_fallible().await {
            Ok(stream) => stream,
            Err((error, tcp)) => {
                part(tcp).await;
                return Err(error);
            }
        };
        let session = stream.get_ref().1;
        let peer = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .ok_or_else(|| io::Error::other("the peer showed no certificate"))
            .and_then(|leaf| proof::peer_of(leaf).map_err(io::Error::other))?;
        if let Some(key) = self.membership.key() {
            let proofs = Proofs::of(key, session)?;
            proofs.answer(&mut stream).await?;
        }
        let session = stream.get_ref().1;
        let (queue, kind) = match session.alpn_protocol() {
            Some(alpn) if alpn == Protocol::Grpc.alpn() => (&self.grpc, &places.tls),
            Some(alpn) if alpn == Protocol::Blob.alpn() => (
                self.bulk
                    .as_ref()
                    .ok_or_else(|| io::Error::other("no blobs are served here"))?,
                &places.bulk,
            ),
            _ => return Err(io::Error::other("the peer agreed on no protocol")),
        };
        let is_grpc = session.alpn_protocol() == Some(Protocol::Grpc.alpn());
        let place = take(kind)?;
        let mut stream =
            RoadStream::tls(TlsStream::Server(stream), peer).bound_to(place, self.cut.clone());
        if is_grpc {
            stream = stream.awaiting_preface(PREFACE_TIMEOUT);
        }
        Ok((stream, queue.clone()))
    }

    const fn plaintext(&self) -> bool {
        self.listener.plaintext
    }
}

/// Lets the last word reach a caller that is turned away: a connection that is closed with
/// bytes unread is reset, and what was sent on it before is lost.
async fn part(mut tcp: TcpStream) {
    let mut sink = [0; 1024];
    let draining = async {
        tcp.shutdown().await?;
        while tcp.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever came of it, it is over.
    let _ = timeout(PARTING_TIME, draining).await;
}

fn take(places: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    Arc::clone(places)
        .try_acquire_owned()
        .map_err(|_| io::Error::other("every place for connections of its kind is taken"))
}

/// Whether a failed accept says something about that connection only.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
