//! A key, made ready to prove itself over TLS.

use std::{fmt, sync::Arc};

use embermesh_crypto::{ids::PeerId, keys::Keypair};
use rustls::{ClientConfig, ServerConfig};

use super::{Protocol, RoadError};
use crate::{membership::Membership, tls::Proving};

/// The identity of this process on the TLS road. Making one costs a key and a
/// signature, so that a process makes one and clones it.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    keypair: Arc<Keypair>,
    proving: Proving,
}

impl Identity {
    /// Makes the certificate and the TLS settings that go with a key, for a mesh that is
    /// for everybody.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn new(keypair: Arc<Keypair>) -> Result<Self, RoadError> {
        Self::member(keypair, Membership::default())
    }

    /// The same for a mesh with members: only they are called and answered.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn member(keypair: Arc<Keypair>, membership: Membership) -> Result<Self, RoadError> {
        let secret =
            libp2p::identity::Keypair::from_protobuf_encoding(&keypair.to_libp2p_protobuf())
                .map_err(|error| refused(&error))?;
        let proving = Proving::new(&secret, membership).map_err(|error| refused(&error))?;
        let inner = Arc::new(Inner { keypair, proving });
        Ok(Self { inner })
    }

    /// The peer id that is proven.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.inner.keypair.peer_id()
    }

    /// The key behind it.
    #[must_use]
    pub fn keypair(&self) -> &Arc<Keypair> {
        &self.inner.keypair
    }

    pub(crate) fn membership(&self) -> &Membership {
        self.inner.proving.membership()
    }

    /// Settings to answer peers, for the protocols that are served.
    pub(crate) fn server(&self, protocols: &[Protocol]) -> Result<Arc<ServerConfig>, RoadError> {
        let alpn: Vec<&[u8]> = protocols.iter().map(|one| one.alpn()).collect();
        let config = self.inner.proving.server(&alpn);
        config.map_err(|error| refused(&error))
    }

    /// Settings to call a peer, and nobody else if `expected` is given.
    pub(crate) fn client(
        &self,
        expected: Option<PeerId>,
        protocol: Protocol,
    ) -> Result<Arc<ClientConfig>, RoadError> {
        let config = self.inner.proving.client(expected, protocol.alpn());
        config.map_err(|error| refused(&error))
    }
}

fn refused(error: &dyn fmt::Display) -> RoadError {
    RoadError::Identity(error.to_string())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("peer", &self.peer_id())
            .finish_non_exhaustive()
    }
}
