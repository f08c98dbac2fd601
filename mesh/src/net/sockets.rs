//! TCP as libp2p has it, with two things more: sockets have room for long links, and who dials
//! from the port that it listens on does without that port where another program has it at
//! another address of this machine. To the system that is a conflict, and libp2p would dial
//! nobody while it lasts.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
    tcp,
};

use crate::buffers;

/// The transport.
pub(super) struct Sockets {
    config: tcp::Config,
    inner: tcp::tokio::Transport,
}

impl Sockets {
    pub(super) fn new(config: tcp::Config) -> Self {
        let inner = tcp::tokio::Transport::new(config.clone());
        Self { config, inner }
    }
}

/// A connection that has just been made.
fn made(socket: tcp::tokio::TcpStream) -> tcp::tokio::TcpStream {
    buffers::widen(&socket.0);
    socket
}

impl Transport for Sockets {
    type Output = tcp::tokio::TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Self::Output>>;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        at: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, at)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        to: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let dialled = self.inner.dial(to.clone(), options)?;
        let config = self.config.clone();
        let dialled = async move {
            let error = match dialled.await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
                other => return other.map(made),
            };
            tracing::debug!(address = %to, %error, "dialled from another port than the own one");
            let port_use = PortUse::New;
            let options = DialOpts {
                port_use,
                ..options
            };
            // It listens nowhere, and has no port to dial from.
            match tcp::tokio::Transport::new(config).dial(to, options) {
                Ok(dialled) => dialled.await.map(made),
                Err(_) => Err(error),
            }
        };
        Ok(dialled.boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let event = Pin::new(&mut self.inner).poll(context);
        event.map(|event| {
            event.map_upgrade(|upgrade| upgrade.map(|socket| socket.map(made)).boxed())
        })
    }
}
