//! Taking an encoding off a connection into a partial: one task reads, a blocking
//! thread checks and writes what was read before.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    task::JoinHandle,
    time::sleep,
};

use super::{
    HolderFault, StoreError,
    codec::Decoder,
    partial::{Partial, Untaken},
};

/// Bytes that are read before they are checked and written.
const CHUNK_BYTES: usize = 512 * 1024;
/// What has been read is checked and written after this long at the latest, so that
/// a slow holder's bytes are not lost with its connection.
const MAX_CHUNK_AGE: Duration = Duration::from_secs(1);
/// A partial and the decoder that feeds it.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) partial: Partial,
    pub(crate) decoder: Decoder,
    /// How long the holder may send nothing.
    pub(crate) patience: Duration,
}

/// How a transfer ended early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By the holder's fault.
    Holder(HolderFault),
    /// By our own.
    Store(StoreError),
}

type Taken = Result<(Intake, Vec<u8>), (Option<Intake>, Ended)>;

/// Reads one encoding to its end. The partial comes back unless a thread died.
pub(crate) async fn receive(
    io: &mut (impl AsyncRead + Unpin),
    intake: Intake,
    mut tell: impl FnMut(&Partial),
) -> (Option<Partial>, Result<(), Ended>) {
    let encoded = intake.decoder.remaining();
    let patience = intake.patience;
    let mut unread = encoded;
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    // What is not being worked on, and its work.
    let mut idle = Some((intake, Vec::with_capacity(CHUNK_BYTES)));
    let mut work: Option<JoinHandle<Taken>> = None;
    loop {
        let limit = CHUNK_BYTES.min(usize::try_from(unread).unwrap_or(usize::MAX));
        let read = fill(io, &mut buffer, limit, patience).await;
        unread -= buffer.len() as u64;
        if let Some(running) = work.take() {
            match joined(running).await {
                Ok(done) => {
                    tell(&done.0.partial);
                    idle = Some(done);
                }
                Err((intake, ended)) => return (intake.map(|intake| intake.partial), Err(ended)),
            }
        }
        let Some((intake, spare)) = idle.take() else {
            return (None, Err(lost_thread()));
        };
        let last = unread == 0 || read.is_err();
        let running = take(intake, std::mem::replace(&mut buffer, spare));
        if !last {
            work = Some(running);
            continue;
        }
        let (intake, _) = match joined(running).await {
            Ok(done) => done,
            Err((intake, ended)) => return (intake.map(|intake| intake.partial), Err(ended)),
        };
        tell(&intake.partial);
        let end = match read {
            Ok(()) => intake
                .decoder
                .finish()
                .map_err(|error| Ended::Holder(HolderFault::Corrupt(error))),
            Err(Stop::Stalled) => Err(Ended::Holder(HolderFault::Stalled(patience))),
            Err(Stop::Io(error)) => Err(Ended::Holder(HolderFault::Lost {
                received: encoded - unread,
                reason: error.to_string(),
            })),
        };
        return (Some(intake.partial), end);
    }
}

// The error holds the whole intake: it goes on from there with another holder.
#[allow(clippy::result_large_err)]
fn take(mut intake: Intake, mut bytes: Vec<u8>) -> JoinHandle<Taken> {
    tokio::task::spawn_blocking(
        move || match intake.partial.take(&mut intake.decoder, &bytes) {
            Ok(()) => {
                bytes.clear();
                Ok((intake, bytes))
            }
            Err(Untaken::Codec(error)) => {
                Err((Some(intake), Ended::Holder(HolderFault::Corrupt(error))))
            }
            Err(Untaken::Store(error)) => Err((Some(intake), Ended::Store(error))),
        },
    )
}

#[allow(clippy::result_large_err)]
async fn joined(running: JoinHandle<Taken>) -> Taken {
    running.await.unwrap_or_else(|_| Err((None, lost_thread())))
}

fn lost_thread() -> Ended {
    Ended::Store(StoreError::Io {
        action: "write",
        path: Default::default(),
        reason: "the thread that wrote has died".to_owned(),
    })
}

enum Stop {
    Io(io::Error),
    Stalled,
}

/// Reads until the buffer has `limit` bytes or what it has is old.
async fn fill(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    limit: usize,
    patience: Duration,
) -> Result<(), Stop> {
    let began = Instant::now();
    let mut heard = began;
    let stalled = sleep(patience);
    tokio::pin!(stalled);
    while buffer.len() < limit {
        let room = limit - buffer.len();
        let mut take = io.take(room as u64);
        let read = tokio::select! {
            biased;
            read = take.read_buf(buffer) => read,
            () = &mut stalled => {
                let silence = heard.elapsed();
                if silence >= patience {
                    return Err(Stop::Stalled);
                }
                // Re-armed here and not at every read: a timer costs more than a read.
                stalled.as_mut().reset((Instant::now() + (patience - silence)).into());
                continue;
            }
        };
        match read {
            Ok(0) => return Err(Stop::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => heard = Instant::now(),
            Err(error) => return Err(Stop::Io(error)),
        }
        if heard - began > MAX_CHUNK_AGE {
            break;
        }
    }
    Ok(())
}
