//! The last bytes of what a worker wrote to stderr: its last words, when it dies
//! without others.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes that are kept.
const KEPT: usize = 4096;

/// A bounded tail that a reader fills. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
}

impl Tail {
    /// Reads until the end, so that the worker never waits for somebody to read.
    pub(crate) async fn fill(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; 1024];
        while let Ok(read) = from.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            self.push(&buffer[..read]);
        }
    }

    fn push(&self, read: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(read);
        let excess = bytes.len().saturating_sub(KEPT);
        bytes.drain(..excess);
    }

    /// What is kept, as text of printable characters.
    pub(crate) fn text(&self) -> String {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(bytes.make_contiguous()).into_owned();
        let printable = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        text.trim().chars().map(printable).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_and_nothing_more() {
        let tail = Tail::default();
        let mut words = vec![b'x'; 3 * KEPT];
        words.extend_from_slice(b"\x1b[31mthe last word\n");
        tail.clone().fill(words.as_slice()).await;
        let text = tail.text();
        assert!(text.len() <= KEPT);
        assert!(text.ends_with("the last word"), "{text}");
        assert!(!text.contains('\x1b'));
    }
}
