//! One connection. Whoever dialled holds the gate and the delay of both directions: the
//! listener is not told by libp2p who has dialled.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use tokio::time::Sleep;

use super::{Fabric, fabric::Way};

/// Bytes on their way in one direction of a connection.
const MAX_UNDER_WAY: usize = 256 * 1024;
/// Bytes taken from the other end at once.
const READ_BYTES: usize = 16 * 1024;

/// A connection, as one of its ends has it.
pub(super) struct Line<S> {
    inner: S,
    gate: Option<Gate>,
}

/// What stands between the two ends.
struct Gate {
    fabric: Fabric,
    id: u64,
    ports: (u64, u64),
    inbound: Lag,
    outbound: Lag,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The other end has closed its direction.
    ended: bool,
    /// The reader that the fabric wakes at the next cut, and since which epoch of it.
    reader: Option<(u64, Waker)>,
}

/// Bytes on their way.
#[derive(Default)]
struct Lag {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Lag {
    fn push(&mut self, due: Instant, piece: Vec<u8>) {
        self.bytes += piece.len();
        self.pieces.push_back((due, piece));
    }

    fn has_room(&self) -> bool {
        self.bytes < MAX_UNDER_WAY
    }

    fn due(&self) -> Option<Instant> {
        self.pieces.front().map(|(due, _)| *due)
    }

    fn first(&self, now: Instant) -> Option<&[u8]> {
        let (due, piece) = self.pieces.front()?;
        (*due <= now).then_some(piece.as_slice())
    }

    /// Takes bytes off the front.
    fn take(&mut self, count: usize) {
        self.bytes -= count;
        if let Some((_, piece)) = self.pieces.front_mut() {
            piece.drain(..count);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

impl<S> Line<S> {
    /// The listener's end.
    pub(super) fn plain(inner: S) -> Self {
        Self { inner, gate: None }
    }

    /// The end of `me`, who has dialled `them`.
    pub(super) fn gated(inner: S, fabric: Fabric, me: u64, them: u64) -> Self {
        let gate = Gate {
            id: fabric.next_line(),
            fabric,
            ports: (me, them),
            inbound: Lag::default(),
            outbound: Lag::default(),
            sleep: None,
            ended: false,
            reader: None,
        };
        Self {
            inner,
            gate: Some(gate),
        }
    }
}

impl Gate {
    /// Ready while the two can talk.
    fn open(&self, way: Way, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let (one, other) = self.ports;
        if self.fabric.joins(one, other) {
            return Poll::Ready(Ok(()));
        }
        if self.fabric.breaks() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.fabric.wait(self.id, way, cx.waker());
        // It may have healed in between.
        if self.fabric.joins(one, other) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Hands on what has been on its way for long enough.
    fn drain<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.open(Way::Out, cx))?;
        let now = Instant::now();
        while let Some(piece) = self.outbound.first(now) {
            let count = ready!(Pin::new(&mut *inner).poll_write(cx, piece))?;
            self.fabric.count(count);
            self.outbound.take(count);
        }
        if self.outbound.pieces.is_empty() {
            Pin::new(inner).poll_flush(cx)
        } else {
            Poll::Pending
        }
    }

    /// Takes in what the other end has sent.
    fn fill<S: AsyncRead + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        while !self.ended && self.inbound.has_room() {
            match Pin::new(&mut *inner).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(count)) => {
                    self.fabric.count(count);
                    let due = Instant::now() + self.fabric.delay();
                    self.inbound.push(due, buffer[..count].to_vec());
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Lets the reader hear of the next cut, so that a connection that breaks breaks at once.
    fn watch(&mut self, cx: &Context<'_>) {
        let epoch = self.fabric.epoch();
        let known = matches!(&self.reader, Some((at, waker))
            if *at == epoch && waker.will_wake(cx.waker()));
        if !known {
            self.fabric.wait(self.id, Way::In, cx.waker());
            self.reader = Some((epoch, cx.waker().clone()));
        }
    }

    /// Wakes the reader, who drives both directions, when the next piece is due.
    fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let next = [self.inbound.due(), self.outbound.due()];
        let Some(next) = next.into_iter().flatten().min() else {
            return;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next.into())));
        if sleep.deadline() != next.into() {
            sleep.as_mut().reset(next.into());
        }
        // A piece that is due and not gone waits for the other end or for the cut to heal.
        let _ = sleep.poll_unpin(cx);
    }

    fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        let piece = self.inbound.first(Instant::now())?;
        let count = piece.len().min(into.len());
        into[..count].copy_from_slice(&piece[..count]);
        self.inbound.take(count);
        Some(count)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, gate } = &mut *self;
        let Some(gate) = gate else {
            return Pin::new(inner).poll_read(cx, into);
        };
        if let Poll::Ready(Err(error)) = gate.drain(inner, cx) {
            return Poll::Ready(Err(error));
        }
        ready!(gate.open(Way::In, cx))?;
        gate.fill(inner, cx)?;
        if let Some(count) = gate.read(into) {
            return Poll::Ready(Ok(count));
        }
        if gate.ended && gate.inbound.pieces.is_empty() {
            return Poll::Ready(Ok(0));
        }
        gate.set_alarm(cx);
        gate.watch(cx);
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, gate } = &mut *self;
        let Some(gate) = gate else {
            return Pin::new(inner).poll_write(cx, bytes);
        };
        if !gate.outbound.has_room() {
            ready!(gate.drain(inner, cx))?;
        }
        let due = Instant::now() + gate.fabric.delay();
        gate.outbound.push(due, bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, gate } = &mut *self;
        let Some(gate) = gate else {
            return Pin::new(inner).poll_flush(cx);
        };
        // What is under way has left this process.
        match gate.drain(inner, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => {
                gate.set_alarm(cx);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, gate } = &mut *self;
        if let Some(gate) = gate {
            if gate.drain(inner, cx)?.is_pending() {
                gate.set_alarm(cx);
                return Poll::Pending;
            }
        }
        Pin::new(inner).poll_close(cx)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.fabric.forget(self.id);
    }
}
