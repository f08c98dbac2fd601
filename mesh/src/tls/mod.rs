//! TLS 1.3 that proves a peer's key, as libp2p's specification has it (specs/tls): the
//! settings of both ways that it is used here, straight to a port and below the streams of
//! the mesh.
//!
//! - `proof` reads peer ids out of certificates.

pub(crate) mod proof;

use std::{fmt, sync::Arc};

use embermesh_crypto::ids::PeerId;
use rustls::{
    CipherSuite, ClientConfig, NoKeyLog, ServerConfig, SupportedCipherSuite,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};

use self::proof::PeerVerifier;
use crate::membership::Membership;

/// A key, made ready to prove itself. Making one costs a key and a signature.
pub(crate) struct Proving {
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
    membership: Membership,
}

/// Why a key cannot prove itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unprovable(String);

impl Unprovable {
    fn from(error: &dyn fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl Proving {
    /// Makes the certificate and chooses the algorithms.
    pub(crate) fn new(
        key: &libp2p::identity::Keypair,
        membership: Membership,
    ) -> Result<Self, Unprovable> {
        let (certificate, key) =
            libp2p_tls::certificate::generate(key).map_err(|error| Unprovable::from(&error))?;
        let provider = Arc::new(provider());
        let signer = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| Unprovable::from(&error))?;
        let certified = Arc::new(CertifiedKey::new(vec![certificate], signer));
        Ok(Self {
            provider,
            certified,
            membership,
        })
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    fn verifier(&self, expected: Option<PeerId>) -> PeerVerifier {
        PeerVerifier {
            expected,
            membership: self.membership.clone(),
        }
    }

    /// Settings to answer peers, for the protocols that are served.
    pub(crate) fn server(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Unprovable> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| Unprovable::from(&error))?
            .with_client_cert_verifier(Arc::new(self.verifier(None)))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
                &self.certified,
            ))));
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.key_log = Arc::new(NoKeyLog);
        Ok(Arc::new(config))
    }

    /// Settings to call a peer, and nobody else if `expected` is given.
    pub(crate) fn client(
        &self,
        expected: Option<PeerId>,
        alpn: &[u8],
    ) -> Result<Arc<ClientConfig>, Unprovable> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| Unprovable::from(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(expected)))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
                &self.certified,
            ))));
        config.alpn_protocols = vec![alpn.to_vec()];
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
