//! The form of a table exchange on a stream.
//!
//! The asker sends one frame, its summary; the answerer sends frames of adverts
//! and an empty frame as the end, or the refusal mark. A frame is its length (four
//! bytes, big endian) and that many bytes of CBOR.

use std::collections::BTreeMap;

use embermesh_crypto::ids::PeerId;
use minicbor::{Decoder, Encoder};

use super::{MAX_ADVERT_BYTES, MAX_ADVERTS, roster::Known};

/// Bytes of a summary frame: 32 of a peer id, at most nine of a number, and the
/// heads of the arrays, for a full table.
pub const MAX_SUMMARY_BYTES: usize = MAX_ADVERTS * 48 + 16;
/// Bytes of one frame of adverts.
pub const MAX_BATCH_BYTES: usize = 64 * 1024;
/// In place of a length: the exchange is refused, ask somebody else.
pub const REFUSED: u32 = u32::MAX;

/// A frame that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    /// More entries than a table can hold, or a frame larger than its bound.
    #[error("the frame is larger than its bound")]
    TooLarge,
    /// Not the CBOR that was agreed on.
    #[error("the frame is not a table exchange of this version")]
    Malformed,
}

/// What a peer holds: the number of the newest advert of each peer. Raw key bytes,
/// because nothing here is a claim: a number for a key that is none only means
/// that nothing is sent for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary(BTreeMap<[u8; 32], u64>);

impl FromIterator<([u8; 32], u64)> for Summary {
    fn from_iter<I: IntoIterator<Item = ([u8; 32], u64)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Summary {
    /// The number held for a peer.
    #[must_use]
    pub fn sequence_of(&self, peer: &[u8; 32]) -> Option<u64> {
        self.0.get(peer).copied()
    }

    /// Whether an advert of this peer with this number is held.
    #[must_use]
    pub fn covers(&self, peer: &PeerId, sequence: u64) -> bool {
        self.sequence_of(peer.as_bytes())
            .is_some_and(|known| known >= sequence)
    }

    /// What is held, by peer.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; 32], u64)> {
        self.0.iter().map(|(peer, sequence)| (peer, *sequence))
    }

    /// The number of peers named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of a summary frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 48 + 16);
        let mut encoder = Encoder::new(&mut bytes);
        let written = encoder.array(self.0.len() as u64).and_then(|encoder| {
            self.0
                .iter()
                .try_fold(encoder, |encoder, (peer, sequence)| {
                    encoder.array(2)?.bytes(peer)?.u64(*sequence)
                })
        });
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        bytes
    }

    /// Reads a summary frame.
    ///
    /// # Errors
    /// When it is too large, malformed, names a peer twice or out of order, or has
    /// bytes left over.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidFrame> {
        if bytes.len() > MAX_SUMMARY_BYTES {
            return Err(InvalidFrame::TooLarge);
        }
        let mut decoder = Decoder::new(bytes);
        let count = array_len(&mut decoder)?;
        if count > MAX_ADVERTS {
            return Err(InvalidFrame::TooLarge);
        }
        let mut entries = BTreeMap::new();
        let mut last: Option<[u8; 32]> = None;
        for _ in 0..count {
            if array_len(&mut decoder)? != 2 {
                return Err(InvalidFrame::Malformed);
            }
            let peer = decoder.bytes().map_err(|_| InvalidFrame::Malformed)?;
            let peer: [u8; 32] = peer.try_into().map_err(|_| InvalidFrame::Malformed)?;
            if last.is_some_and(|last| last >= peer) {
                return Err(InvalidFrame::Malformed);
            }
            last = Some(peer);
            let sequence = decoder.u64().map_err(|_| InvalidFrame::Malformed)?;
            entries.insert(peer, sequence);
        }
        at_end(&decoder, bytes)?;
        Ok(Self(entries))
    }
}

/// Adverts as frames, each within [`MAX_BATCH_BYTES`].
#[must_use]
pub fn batches(adverts: &[Known]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut batch: Vec<&[u8]> = Vec::new();
    // The array's head and each byte string's head take at most nine bytes.
    let mut size = 9;
    for advert in adverts {
        let cost = advert.bytes().len() + 9;
        if size + cost > MAX_BATCH_BYTES && !batch.is_empty() {
            frames.push(encode_batch(&batch));
            batch.clear();
            size = 9;
        }
        batch.push(advert.bytes());
        size += cost;
    }
    if !batch.is_empty() {
        frames.push(encode_batch(&batch));
    }
    frames
}

/// One frame of adverts, as exact signed bytes.
#[must_use]
pub fn encode_batch(adverts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(adverts.iter().map(|a| a.len() + 9).sum::<usize>() + 9);
    let mut encoder = Encoder::new(&mut bytes);
    let written = encoder.array(adverts.len() as u64).and_then(|encoder| {
        adverts
            .iter()
            .try_fold(encoder, |encoder, advert| encoder.bytes(advert))
    });
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
    bytes
}

/// Reads one frame of adverts. Nothing in them is checked yet but their size.
///
/// # Errors
/// When the frame or an advert in it is too large, or it is malformed.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Vec<u8>>, InvalidFrame> {
    if bytes.len() > MAX_BATCH_BYTES {
        return Err(InvalidFrame::TooLarge);
    }
    let mut decoder = Decoder::new(bytes);
    let count = array_len(&mut decoder)?;
    // Every byte string has a head of at least one byte.
    if count > bytes.len() {
        return Err(InvalidFrame::Malformed);
    }
    let mut adverts = Vec::with_capacity(count);
    for _ in 0..count {
        let advert = decoder.bytes().map_err(|_| InvalidFrame::Malformed)?;
        if advert.len() > MAX_ADVERT_BYTES {
            return Err(InvalidFrame::TooLarge);
        }
        adverts.push(advert.to_vec());
    }
    at_end(&decoder, bytes)?;
    Ok(adverts)
}

fn array_len(decoder: &mut Decoder<'_>) -> Result<usize, InvalidFrame> {
    let len = decoder.array().map_err(|_| InvalidFrame::Malformed)?;
    let len = len.ok_or(InvalidFrame::Malformed)?;
    usize::try_from(len).map_err(|_| InvalidFrame::TooLarge)
}

fn at_end(decoder: &Decoder<'_>, bytes: &[u8]) -> Result<(), InvalidFrame> {
    if decoder.position() == bytes.len() {
        Ok(())
    } else {
        Err(InvalidFrame::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_summary_comes_back(entries in proptest::collection::btree_map(any::<[u8; 32]>(), any::<u64>(), 0..50)) {
            let summary: Summary = entries.into_iter().collect();
            prop_assert_eq!(Summary::decode(&summary.encode()).unwrap(), summary);
        }

        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Summary::decode(&bytes);
            let _ = decode_batch(&bytes);
        }
    }

    #[test]
    fn a_full_table_fits_a_summary() {
        let full: Summary = (0..MAX_ADVERTS as u64)
            .map(|i| {
                let mut peer = [0; 32];
                peer[..8].copy_from_slice(&i.to_be_bytes());
                (peer, u64::MAX)
            })
            .collect();
        assert!(full.encode().len() <= MAX_SUMMARY_BYTES);
        assert_eq!(Summary::decode(&full.encode()).unwrap().len(), MAX_ADVERTS);
    }

    #[test]
    fn refuses_what_is_too_large_or_left_over() {
        let mut bytes = Summary::default().encode();
        bytes.push(0);
        assert_eq!(Summary::decode(&bytes), Err(InvalidFrame::Malformed));
        assert_eq!(
            Summary::decode(&vec![0; MAX_SUMMARY_BYTES + 1]),
            Err(InvalidFrame::TooLarge)
        );
        let large = vec![7u8; MAX_ADVERT_BYTES + 1];
        assert_eq!(
            decode_batch(&encode_batch(&[&large])),
            Err(InvalidFrame::TooLarge)
        );
        assert_eq!(decode_batch(&[0x9f]), Err(InvalidFrame::Malformed));
        // A head that promises more than the frame can hold.
        assert_eq!(
            decode_batch(&[0x9a, 0xff, 0xff, 0xff, 0xff]),
            Err(InvalidFrame::Malformed)
        );
    }

    #[test]
    fn a_peer_named_twice_is_refused() {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes);
        encoder.array(2).unwrap();
        for _ in 0..2 {
            encoder
                .array(2)
                .unwrap()
                .bytes(&[1; 32])
                .unwrap()
                .u64(5)
                .unwrap();
        }
        assert_eq!(Summary::decode(&bytes), Err(InvalidFrame::Malformed));
    }
}
