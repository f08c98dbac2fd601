//! Puts together what is written to a connection in small parts.
//!
//! Yamux writes the head of a frame, its body, and asks for a flush, for each frame of
//! 16 KiB; each would be a record of TLS and a call of the system of its own. Here they wait
//! until there are many, or nothing more comes: a flush that is asked for right after
//! something was written is put off by one turn of the task, in which more may be written.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

/// Bytes that are written at once: several records of TLS.
const BATCH: usize = 128 * 1024;
/// Room that is kept between two batches; most connections only say a little.
const KEPT: usize = 4 * 1024;

/// A connection whose writes are put together.
pub(super) struct Batched<T> {
    inner: T,
    waiting: Vec<u8>,
    /// Of those that wait, so many are written.
    written: usize,
    /// A flush was asked for since something was written.
    asked: bool,
}

impl<T> Batched<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            waiting: Vec::new(),
            written: 0,
            asked: false,
        }
    }
}

impl<T: AsyncWrite + Unpin> Batched<T> {
    /// Writes all that waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let rest = &self.waiting[self.written..];
            match ready!(Pin::new(&mut self.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        if self.waiting.len() <= KEPT {
            self.waiting.shrink_to(KEPT);
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Batched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // What a drain has begun comes to its end before anything is put behind it.
        if this.written > 0 || this.waiting.len() + bytes.len() > BATCH {
            ready!(this.poll_drain(context))?;
        }
        this.asked = false;
        if bytes.len() >= BATCH {
            return Pin::new(&mut this.inner).poll_write(context, bytes);
        }
        this.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.waiting.is_empty() && !this.asked {
            this.asked = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.inner).poll_close(context)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Batched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::{AsyncWriteExt as _, executor::block_on};

    use super::*;

    /// Remembers what is written to it at once; takes so many bytes, and no more until it is
    /// asked again.
    #[derive(Default)]
    struct Wire {
        writes: Vec<Vec<u8>>,
        most: usize,
        waits: bool,
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.waits = !self.waits;
            if self.most > 0 && self.waits {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let most = if self.most == 0 {
                usize::MAX
            } else {
                self.most
            };
            let count = bytes.len().min(most);
            self.writes.push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_flush_waits_for_what_comes_in_the_same_turn() {
        let mut wire = Batched::new(Wire::default());
        let context = &mut Context::from_waker(Waker::noop());
        for part in [&b"head"[..], b"body", b"head", b"body"] {
            assert!(Pin::new(&mut wire).poll_write(context, part).is_ready());
            assert!(Pin::new(&mut wire).poll_flush(context).is_pending());
        }
        assert!(wire.inner.writes.is_empty());
        assert!(Pin::new(&mut wire).poll_flush(context).is_ready());
        assert_eq!(wire.inner.writes, [b"headbodyheadbody"]);
        // Nothing waits, and nothing is put off.
        assert!(Pin::new(&mut wire).poll_flush(context).is_ready());
    }

    #[test]
    fn every_byte_comes_in_its_order_however_the_wire_takes_it() {
        let wire = Wire {
            most: 1000,
            ..Wire::default()
        };
        let mut wire = Batched::new(wire);
        let mut sent = Vec::new();
        block_on(async {
            for (turn, size) in [1, BATCH - 1, 12, BATCH, 2 * BATCH + 3, 16_384, 5, 0]
                .into_iter()
                .enumerate()
            {
                let part: Vec<u8> = (0..size).map(|at| (at * 7 + turn) as u8).collect();
                wire.write_all(&part).await.unwrap();
                sent.extend(part);
                if turn % 3 == 0 {
                    wire.flush().await.unwrap();
                }
            }
            wire.close().await.unwrap();
        });
        assert_eq!(wire.inner.writes.concat(), sent);
        let room = wire.waiting.capacity();
        assert!(room <= 2 * BATCH, "{room}");
    }

    #[test]
    fn a_connection_that_says_little_keeps_little_room() {
        let mut wire = Batched::new(Wire::default());
        block_on(async {
            wire.write_all(&[1; BATCH - 1]).await.unwrap();
            wire.flush().await.unwrap();
            assert!(wire.waiting.capacity() >= BATCH - 1, "more may follow");
            wire.write_all(&[1; 100]).await.unwrap();
            wire.flush().await.unwrap();
        });
        assert!(wire.waiting.capacity() <= KEPT);
    }
}
