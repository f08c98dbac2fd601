//! The proof of a network key on the TLS road: after the handshake, before anything else
//! is read, each end sends a MAC of what only this connection has.
//!
//! The MAC is BLAKE3, keyed, over TLS's exported keying material (RFC 8446, section 7.5)
//! and the side that sends it. So a proof is of no use on another connection, is not the
//! answer to itself, and says nothing of the key. The client proves first: a server
//! answers nobody who has not.

use std::io;

use rustls::ConnectionCommon;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::membership::NetworkKey;

/// What the keying material is exported for.
const LABEL: &[u8] = b"EXPORTER-embermesh-network-key";
/// Bytes of a proof.
const PROOF_BYTES: usize = 32;

/// The proofs of the two ends of one connection.
pub(crate) struct Proofs {
    of_client: blake3::Hash,
    of_server: blake3::Hash,
}

impl Proofs {
    /// What both ends of a connection whose handshake is over have to send.
    pub(crate) fn of<Side>(key: &NetworkKey, session: &ConnectionCommon<Side>) -> io::Result<Self> {
        let material = session
            .export_keying_material([0; 32], LABEL, None)
            .map_err(io::Error::other)?;
        Ok(Self::from_material(key, &material))
    }

    fn from_material(key: &NetworkKey, material: &[u8; 32]) -> Self {
        let key = key.road_key();
        let proof = |side: &[u8]| {
            blake3::Hasher::new_keyed(&key)
                .update(material)
                .update(side)
                .finalize()
        };
        Self {
            of_client: proof(b"client"),
            of_server: proof(b"server"),
        }
    }

    /// Proves this end, which called, and has the other prove itself.
    pub(crate) async fn call<S>(&self, stream: &mut S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        send(stream, self.of_client).await?;
        expect(stream, self.of_server).await
    }

    /// Has the caller prove itself, then proves this end.
    pub(crate) async fn answer<S>(&self, stream: &mut S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        expect(stream, self.of_client).await?;
        send(stream, self.of_server).await
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, proof: blake3::Hash) -> io::Result<()> {
    stream.write_all(proof.as_bytes()).await?;
    stream.flush().await
}

async fn expect<S: AsyncRead + Unpin>(stream: &mut S, proof: blake3::Hash) -> io::Result<()> {
    let mut bytes = [0; PROOF_BYTES];
    stream.read_exact(&mut bytes).await?;
    // In constant time.
    if proof == blake3::Hash::from_bytes(bytes) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the other end has another network key, or none",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> NetworkKey {
        let digits = format!("{byte:02x}").repeat(32);
        format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}\n")
            .parse()
            .unwrap()
    }

    async fn meet(caller: Proofs, answerer: Proofs) -> (io::Result<()>, io::Result<()>) {
        let (mut a, mut b) = tokio::io::duplex(256);
        let called = async move { caller.call(&mut a).await };
        let answered = async move { answerer.answer(&mut b).await };
        tokio::join!(called, answered)
    }

    #[tokio::test]
    async fn two_with_one_key_on_one_connection_let_each_other_in() {
        let proofs = || Proofs::from_material(&key(1), &[7; 32]);
        let (called, answered) = meet(proofs(), proofs()).await;
        called.unwrap();
        answered.unwrap();
    }

    #[tokio::test]
    async fn another_key_another_connection_or_an_echo_prove_nothing() {
        let ours = || Proofs::from_material(&key(1), &[7; 32]);
        for theirs in [
            Proofs::from_material(&key(2), &[7; 32]),
            Proofs::from_material(&key(1), &[8; 32]),
            // Who sends back what was sent.
            Proofs {
                of_client: ours().of_server,
                of_server: ours().of_client,
            },
        ] {
            let (called, answered) = meet(theirs, ours()).await;
            assert!(called.is_err());
            let error = answered.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        let echo = Proofs {
            of_client: ours().of_client,
            of_server: ours().of_client,
        };
        let (called, _) = meet(ours(), echo).await;
        assert_eq!(called.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
