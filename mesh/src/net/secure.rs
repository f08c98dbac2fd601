//! TLS below the streams of the mesh.
//!
//! On the wire it is libp2p's (specs/tls: `/tls/1.0.0`, ALPN `libp2p`), so that whoever has
//! `libp2p-tls` is understood. That library begins with ChaCha20 and writes down keys where a
//! variable of the environment says so; here the cipher is the one that the hardware computes,
//! and keys are never written.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, future::BoxFuture};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
};
use rustls::{ClientConfig, CommonState, ServerConfig, pki_types::ServerName};

use super::{address, batched::Batched};
use crate::{
    membership::Membership,
    tls::{Proving, Unprovable, proof},
};

/// The name by which the two ends agree on it.
const NAME: &str = "/tls/1.0.0";
const ALPN: &[u8] = b"libp2p";

/// Makes a connection one of a peer that has proven its key.
#[derive(Clone)]
pub(super) struct Secure {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Secure {
    /// With the key of this process.
    ///
    /// Whether the peer is a member, and the one that was called, is asked by the swarm.
    pub(super) fn new(key: &Keypair) -> Result<Self, Unprovable> {
        let proving = Proving::new(key, Membership::default())?;
        Ok(Self {
            server: proving.server(&[ALPN])?,
            client: proving.client(None, ALPN)?,
        })
    }
}

/// A connection that is secured; what is written is put together.
pub(super) type Secured<C> = Batched<TlsStream<C>>;

impl UpgradeInfo for Secure {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(NAME)
    }
}

impl<C> InboundConnectionUpgrade<C> for Secure
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            let stream = TlsAcceptor::from(self.server).accept(socket).await?;
            let peer = proven(stream.get_ref().1)?;
            Ok((peer, Batched::new(stream.into())))
        }
        .boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Secure
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            // No name is sent; the library wants one.
            let name = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let connector = TlsConnector::from(self.client);
            let stream = connector.connect(name, socket).await?;
            let peer = proven(stream.get_ref().1)?;
            Ok((peer, Batched::new(stream.into())))
        }
        .boxed()
    }
}

/// The peer at the other end of a handshake that has succeeded.
fn proven(state: &CommonState) -> io::Result<PeerId> {
    let certificate = state.peer_certificates().and_then(<[_]>::first);
    let certificate =
        certificate.ok_or_else(|| io::Error::other("the peer has shown no certificate"))?;
    let peer = proof::peer_of(certificate).map_err(io::Error::other)?;
    Ok(address::theirs(&peer))
}
