//! The receiving end of gRPC's `FetchBlob`: chunks in, checked bytes out.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use blake3::Hash;
use bytes::Bytes;
use embermesh_crypto::digest::Digest;
use futures::Stream;

use super::{
    CodecError,
    codec::{Decoder, Item},
    geometry::{Groups, MAX_BLOB_BYTES},
};

/// Bytes of a blob that have been checked against its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where in the blob they belong.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

/// Checks the chunks of a range of a blob of `size` bytes as they come. The range is
/// the one that was asked for, 0 as its length meaning to the end; bytes of the
/// groups around it are checked and left out. After an error the stream ends.
///
/// A size that nobody vouches for may be a holder's claim: what comes out is checked
/// either way, and a false size fails on the last group at the latest.
pub fn decode<S, E>(digest: &Digest, size: u64, offset: u64, length: u64, chunks: S) -> Decode<S, E>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: From<CodecError>,
{
    let groups = (size <= MAX_BLOB_BYTES)
        .then(|| Groups::covering(size, &[(offset, length)]))
        .flatten();
    let end = match length {
        0 => size,
        length => offset.saturating_add(length).min(size),
    };
    Decode {
        decoder: groups.map(|groups| Decoder::new(Hash::from_bytes(*digest.as_bytes()), &groups)),
        chunks,
        wanted: (offset, end),
        ready: VecDeque::new(),
        error: None,
    }
}

/// A stream of checked bytes; see [`decode`].
#[derive(Debug)]
pub struct Decode<S, E> {
    /// `None` once it is over.
    decoder: Option<Decoder>,
    chunks: S,
    wanted: (u64, u64),
    /// At most what one chunk held.
    ready: VecDeque<Verified>,
    error: Option<E>,
}

impl<S, E: From<CodecError>> Decode<S, E> {
    fn push(&mut self, chunk: &Bytes) {
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        let (start, end) = self.wanted;
        let ready = &mut self.ready;
        let pushed = decoder.push::<CodecError>(chunk, |item| {
            if let Item::Data { offset, data } = item {
                let from = start.max(offset);
                let to = end.min(offset + data.len() as u64);
                if from < to {
                    // Both lie within the group, which lies within memory.
                    let cut = (from - offset) as usize..(to - offset) as usize;
                    ready.push_back(Verified {
                        offset: from,
                        data: Bytes::copy_from_slice(&data[cut]),
                    });
                }
            }
            Ok(())
        });
        if let Err(error) = pushed {
            self.fail(error.into());
        }
    }

    fn fail(&mut self, error: E) {
        self.decoder = None;
        self.error = Some(error);
    }
}

impl<S, E> Stream for Decode<S, E>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: From<CodecError> + Unpin,
{
    type Item = Result<Verified, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(verified) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(verified)));
            }
            if let Some(error) = self.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(decoder) = &self.decoder else {
                return Poll::Ready(None);
            };
            let finished = decoder.finish();
            match ready!(Pin::new(&mut self.chunks).poll_next(cx)) {
                Some(Ok(chunk)) => self.push(&chunk),
                Some(Err(error)) => self.fail(error),
                None => {
                    self.decoder = None;
                    if let Err(error) = finished {
                        self.error = Some(error.into());
                    }
                }
            }
        }
    }
}
