//! A blob as it is read and encoded, in chunks: each is read on a blocking thread
//! while the one before it is sent.

use std::{fs::File, io};

use tokio::task::JoinHandle;

use super::places::Place;
use crate::blob::{Held, codec::Encoder};

/// The chunks of one encoding. When it is dropped, nothing more is read.
pub(super) struct Chunks {
    /// A buffer that has been sent, for the chunk after next.
    spare: Option<Vec<u8>>,
    next: Option<JoinHandle<io::Result<Chunk>>>,
}

/// What is needed to read on. The blob stays, and its place is taken, for as long as
/// this lives.
pub(super) struct Reading {
    pub(super) encoder: Encoder<File, File>,
    pub(super) chunk_bytes: usize,
    pub(super) _held: Held,
    pub(super) _place: Place,
}

struct Chunk {
    buffer: Vec<u8>,
    filled: usize,
    rest: Option<Reading>,
}

impl Chunks {
    pub(super) fn of(reading: Reading) -> Self {
        Self {
            spare: None,
            next: Some(reading.next_chunk(Vec::new())),
        }
    }

    /// The next buffer and how much of it is filled. An empty blob has one empty
    /// chunk, which still says its size.
    pub(super) async fn next(&mut self) -> Option<io::Result<(Vec<u8>, usize)>> {
        let joined = self.next.as_mut()?.await;
        self.next = None;
        let chunk = match joined {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Some(Err(error)),
            Err(error) => return Some(Err(io::Error::other(error))),
        };
        let spare = self.spare.take().unwrap_or_default();
        self.next = chunk.rest.map(|rest| rest.next_chunk(spare));
        Some(Ok((chunk.buffer, chunk.filled)))
    }

    /// Takes a buffer back: memory that has been touched is much cheaper than new
    /// memory.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        self.spare = Some(buffer);
    }
}

impl Reading {
    fn next_chunk(mut self, mut buffer: Vec<u8>) -> JoinHandle<io::Result<Chunk>> {
        tokio::task::spawn_blocking(move || {
            if buffer.is_empty() {
                buffer = vec![0; self.chunk_bytes];
            }
            let (filled, more) = self.encoder.fill(&mut buffer)?;
            Ok(Chunk {
                buffer,
                filled,
                rest: more.then_some(self),
            })
        })
    }
}
