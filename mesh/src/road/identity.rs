//! A key, made ready to prove itself over TLS.

use std::{fmt, sync::Arc};

use embermesh_crypto::{ids::PeerId, keys::Keypair};
use rustls::{
    CipherSuite, ClientConfig, NoKeyLog, ServerConfig, SupportedCipherSuite,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{Protocol, RoadError, proof::PeerVerifier};
use crate::membership::Membership;

/// The identity of this process on the TLS road. Making one costs a key and a
/// signature, so that a process makes one and clones it.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    keypair: Arc<Keypair>,
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
    membership: Membership,
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
        let refuse = |error: &dyn fmt::Display| RoadError::Identity(error.to_string());
        let secret =
            libp2p::identity::Keypair::from_protobuf_encoding(&keypair.to_libp2p_protobuf())
                .map_err(|error| refuse(&error))?;
        let (certificate, key) =
            libp2p_tls::certificate::generate(&secret).map_err(|error| refuse(&error))?;
        let provider = Arc::new(provider());
        let signer = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| refuse(&error))?;
        let certified = Arc::new(CertifiedKey::new(vec![certificate], signer));
        Ok(Self {
            inner: Arc::new(Inner {
                keypair,
                provider,
                certified,
                membership,
            }),
        })
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
        &self.inner.membership
    }

    fn verifier(&self, expected: Option<PeerId>) -> PeerVerifier {
        PeerVerifier {
            expected,
            membership: self.inner.membership.clone(),
        }
    }

    /// Settings to answer peers, for the protocols that are served.
    pub(crate) fn server(&self, protocols: &[Protocol]) -> Result<Arc<ServerConfig>, RoadError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.inner.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| RoadError::Identity(error.to_string()))?
            .with_client_cert_verifier(Arc::new(self.verifier(None)))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
                &self.inner.certified,
            ))));
        config.alpn_protocols = protocols.iter().map(|one| one.alpn().to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.key_log = Arc::new(NoKeyLog);
        Ok(Arc::new(config))
    }

    /// Settings to call a peer, and nobody else if `expected` is given.
    pub(crate) fn client(
        &self,
        expected: Option<PeerId>,
        protocol: Protocol,
    ) -> Result<Arc<ClientConfig>, RoadError> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.inner.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| RoadError::Identity(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(expected)))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
                &self.inner.certified,
            ))));
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        // Each connection proves both keys anew: a resumed one would rest on a
        // ticket, and a handshake costs a millisecond.
        config.resumption = Resumption::disabled();
        // libp2p's specification: no server name is sent.
        config.enable_sni = false;
        config.key_log = Arc::new(NoKeyLog);
        Ok(Arc::new(config))
    }
}

/// The library's suites, the fastest first: AES with a key of 128 bits takes three
/// quarters of the time that it takes with 256, and nobody breaks either.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let is_first =
        |suite: &SupportedCipherSuite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(|suite| !is_first(suite));
    provider
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("peer", &self.peer_id())
            .finish_non_exhaustive()
    }
}
