//! The streams on which peers bring each other's tables up to date. What is asked
//! and answered is decided in [`crate::protocol`]; here the bytes move.

use std::{io, sync::Arc, time::Duration};

use embermesh_crypto::ids::PeerId;
use libp2p::StreamProtocol;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    MeshError,
    actor::Command,
    stream::{self, Control, Incoming, MeshStream},
};
use crate::protocol::{
    MAX_ADVERT_BYTES, MAX_ADVERTS,
    roster::Known,
    wire::{self, MAX_BATCH_BYTES, MAX_SUMMARY_BYTES, REFUSED, Summary},
};

/// The short name of the protocol.
pub(crate) const PROTOCOL: &str = "table/1";
/// Requests answered at once.
const MAX_ANSWERING: usize = 16;
/// One exchange takes this long at most, on either side.
const EXCHANGE_TIME: Duration = Duration::from_secs(10);
/// Bytes of adverts believed to make up one table.
const MAX_TABLE_BYTES: usize = MAX_ADVERTS * (MAX_ADVERT_BYTES + 16);

/// Answers requests until the mesh shuts down.
pub(crate) async fn serve(
    mut incoming: Incoming,
    commands: mpsc::WeakSender<Command>,
    tracker: TaskTracker,
    cancel: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_ANSWERING));
    while let Some(stream) = incoming.next().await {
        // Whoever comes when all slots are taken is dropped, and asks another peer.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            continue;
        };
        let commands = commands.clone();
        let answer = cancel.clone().run_until_cancelled_owned(async move {
            let peer = stream.peer();
            match timeout(EXCHANGE_TIME, answer(stream, commands)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a table request failed"),
                Err(_) => tracing::debug!(%peer, "a table request took too long"),
            }
            drop(slot);
        });
        tracker.spawn(answer);
    }
}

async fn answer(mut stream: MeshStream, commands: mpsc::WeakSender<Command>) -> io::Result<()> {
    let frame = read_frame(&mut stream, MAX_SUMMARY_BYTES).await?;
    let summary = Summary::decode(&frame.unwrap_or_default()).map_err(invalid)?;
    let (reply, table) = oneshot::channel();
    let command = Command::TableAsked {
        from: stream.peer(),
        summary,
        reply,
    };
    if !send(&commands, command).await {
        return Ok(());
    }
    let adverts: Option<Vec<Known>> = table.await.ok().flatten();
    let Some(adverts) = adverts else {
        stream.write_u32(REFUSED).await?;
        return stream.shutdown().await;
    };
    for batch in wire::batches(&adverts) {
        write_frame(&mut stream, &batch).await?;
    }
    stream.write_u32(0).await?;
    stream.shutdown().await
}

/// Asks a peer for what is missing, hands in what comes, and says how it ended.
pub(crate) async fn ask(
    mut control: Control,
    protocol: StreamProtocol,
    peer: PeerId,
    summary: Summary,
    commands: mpsc::WeakSender<Command>,
) {
    let exchange = request(&mut control, protocol, peer, &summary, &commands);
    let complete = match timeout(EXCHANGE_TIME, exchange).await {
        Ok(Ok(complete)) => complete,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a table exchange failed");
            false
        }
        Err(_) => {
            tracing::debug!(%peer, "a table exchange took too long");
            false
        }
    };
    send(
        &commands,
        Command::TableDone {
            from: peer,
            complete,
        },
    )
    .await;
}

async fn request(
    control: &mut Control,
    protocol: StreamProtocol,
    peer: PeerId,
    summary: &Summary,
    commands: &mpsc::WeakSender<Command>,
) -> Result<bool, MeshError> {
    let mut stream = stream::open(control, peer, protocol).await?;
    let broken = |error: io::Error| MeshError::Stream {
        peer,
        reason: error.to_string(),
    };
    write_frame(&mut stream, &summary.encode())
        .await
        .map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut received = 0;
    loop {
        let Some(frame) = read_frame(&mut stream, MAX_BATCH_BYTES)
            .await
            .map_err(broken)?
        else {
            return Ok(false);
        };
        if frame.is_empty() {
            return Ok(true);
        }
        received += frame.len();
        if received > MAX_TABLE_BYTES {
            return Err(broken(invalid("the table is larger than a table can be")));
        }
        let adverts = wire::decode_batch(&frame).map_err(|error| broken(invalid(error)))?;
        if !send(
            commands,
            Command::TableHeard {
                from: peer,
                adverts,
            },
        )
        .await
        {
            return Ok(false);
        }
    }
}

/// Hands a command to the actor; false once it is gone.
async fn send(commands: &mpsc::WeakSender<Command>, command: Command) -> bool {
    match commands.upgrade() {
        Some(commands) => commands.send(command).await.is_ok(),
        None => false,
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A frame, empty for the end; `None` for a refusal.
async fn read_frame(stream: &mut MeshStream, bound: usize) -> io::Result<Option<Vec<u8>>> {
    let length = stream.read_u32().await?;
    if length == REFUSED {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(invalid)?;
    if length > bound {
        return Err(invalid("the frame is larger than its bound"));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    Ok(Some(frame))
}

async fn write_frame(stream: &mut MeshStream, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(invalid)?;
    stream.write_u32(length).await?;
    stream.write_all(bytes).await
}
