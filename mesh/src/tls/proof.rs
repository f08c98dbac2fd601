//! Peer ids out of TLS certificates.
//!
//! The form is libp2p's (specs/tls): a self-signed certificate whose extension holds
//! the peer's public key and its signature over the certificate's key. `libp2p-tls`
//! parses and checks it; the verifier is our own for three reasons: it refuses a
//! peer other than the expected one before our own certificate is sent, and names
//! both; it takes ed25519 peers only; and it leaves the cipher suites to the
//! hardware, where libp2p's list begins with ChaCha20.

use std::{fmt, sync::Arc};

use embermesh_crypto::ids::PeerId;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::membership::Membership;

/// Checks that the other end is a peer, the expected one if there is one, and a member.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    pub(crate) expected: Option<PeerId>,
    pub(crate) membership: Membership,
}

/// Why a certificate was refused, to be found again inside rustls's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unproven {
    WrongPeer { expected: PeerId, found: PeerId },
    NotEd25519,
    NotMember { found: PeerId },
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPeer { expected, found } => {
                write!(f, "the peer is {found}, not {expected}")
            }
            Self::NotEd25519 => f.write_str("the peer's key is not an ed25519 key"),
            Self::NotMember { found } => {
                write!(f, "the peer {found} is not on the list of members")
            }
        }
    }
}

impl std::error::Error for Unproven {}

impl Unproven {
    fn into_rustls(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }

    /// The reason inside an error of a handshake.
    pub(crate) fn within(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

/// The peer that a checked certificate proves.
pub(crate) fn peer_of(certificate: &CertificateDer<'_>) -> Result<PeerId, Error> {
    let peer = libp2p_tls::certificate::parse(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?
        .peer_id();
    PeerId::from_multihash(&peer.to_bytes()).map_err(|_| Unproven::NotEd25519.into_rustls())
}

impl PeerVerifier {
    fn check(&self, leaf: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !more.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        let found = peer_of(leaf)?;
        match self.expected {
            Some(expected) if expected != found => {
                Err(Unproven::WrongPeer { expected, found }.into_rustls())
            }
            _ if self.membership.has(&found) => Ok(()),
            _ => Err(Unproven::NotMember { found }.into_rustls()),
        }
    }
}

/// The same refusal as an alert that says to a caller that it may not come in.
fn told(error: Error) -> Error {
    match Unproven::within(&error) {
        Some(Unproven::NotMember { found }) => {
            tracing::debug!(peer = %found, "refused a caller that is not a member");
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        }
        _ => error,
    }
}

fn check_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    libp2p_tls::certificate::parse(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?
        .verify_signature(signed.scheme, message, signed.signature())
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadSignature))?;
    Ok(HandshakeSignatureValid::assertion())
}

/// TLS 1.3 is the only version offered, so that this is never reached in earnest.
fn no_tls12() -> Error {
    Error::General("only TLS 1.3 proves a peer".to_owned())
}

/// What certificates may be signed with. The certificate's key is not the peer's:
/// libp2p makes an ECDSA key for it, others may take ed25519.
fn schemes() -> Vec<SignatureScheme> {
    vec![
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ED25519,
    ]
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map_err(told)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
