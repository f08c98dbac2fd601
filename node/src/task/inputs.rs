//! Brings to this node what the work needs: inputs, and the checkpoint to go on
//! from.
//!
//! A blob may be here, with a holder that the order names, with one that the DHT
//! names, or on its way from the client. So a fetch that fails is tried again, and
//! whatever arrives by another way ends the wait.

use std::time::Duration;

use embermesh_crypto::digest::Digest;
use embermesh_job::{address::BlobRef, event::Notice, spec::Input};
use embermesh_mesh::{
    blob::{FetchError, Held, Progress, Want},
    road::Target,
};
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::Log;
use crate::site::Site;

/// How long a blob may be nowhere, and none of it arrive, before the attempt gives
/// up.
const MISSING_WAIT: Duration = Duration::from_secs(20);

/// How long to wait between two tries to find one.
const RETRY: Duration = Duration::from_secs(1);

/// The least time between two notices of how far a fetch is.
const NOTICE_EVERY: Duration = Duration::from_millis(250);

/// Why an input is not here.
#[derive(Debug, Error)]
pub(super) enum NoInput {
    /// Its size is another than the spec says: no node can run the job.
    #[error("input {digest} has {has} bytes and the spec says {says}")]
    WrongSize { digest: Digest, has: u64, says: u64 },
    /// The store has no room.
    #[error("input {digest} cannot be kept: {reason}")]
    NoRoom { digest: Digest, reason: String },
    /// Nobody could give it.
    #[error("input {digest} ({size} bytes) was not brought here, and nothing of it came for {} s: {reason}; put it to this node, or keep its holder running", MISSING_WAIT.as_secs())]
    Missing {
        digest: Digest,
        size: u64,
        reason: String,
    },
}

/// Brings blobs here, one after the other, and keeps them from being evicted.
pub(super) async fn bring(
    site: &Site,
    log: &Log,
    inputs: &[Input],
    hints: &[BlobRef],
    cancel: &CancellationToken,
) -> Result<Vec<Held>, NoInput> {
    let mut held = Vec::with_capacity(inputs.len());
    for input in inputs {
        held.push(bring_one(site, log, input, hints, cancel).await?);
    }
    Ok(held)
}

async fn bring_one(
    site: &Site,
    log: &Log,
    input: &Input,
    hints: &[BlobRef],
    cancel: &CancellationToken,
) -> Result<Held, NoInput> {
    let Input { digest, size } = *input;
    let me = site.me();
    let holders = hints
        .iter()
        .filter(|hint| hint.digest == digest)
        .flat_map(|hint| &hint.holders)
        .filter(|holder| holder.peer != me)
        .map(Target::from)
        .collect();
    let want = Want {
        digest,
        size: Some(size),
        holders,
    };
    let mut alive = Instant::now();
    let mut brought = site.brought.subscribe();
    loop {
        brought.mark_unchanged();
        match site.blobs.hold(&digest) {
            Ok(held) if held.size() == size => return Ok(held),
            Ok(held) => {
                let has = held.size();
                return Err(NoInput::WrongSize {
                    digest,
                    has,
                    says: size,
                });
            }
            Err(_) => {}
        }
        let Tried { end, moved } = try_fetch(site, log, &want, &mut brought, cancel).await;
        let reason = match end {
            Ok(()) => continue,
            Err(_) if site.blobs.contains(&digest) => continue,
            Err(FetchError::Store(error)) => {
                let reason = error.to_string();
                return Err(NoInput::NoRoom { digest, reason });
            }
            Err(error) => error.to_string(),
        };
        let now = Instant::now();
        if moved {
            alive = now;
        }
        let uploaded = site.arriving.last(&digest).unwrap_or(alive);
        let deadline = alive.max(uploaded) + MISSING_WAIT;
        if now >= deadline || cancel.is_cancelled() {
            return Err(NoInput::Missing {
                digest,
                size,
                reason,
            });
        }
        let again = deadline.min(now + RETRY);
        let _ = timeout_at(again, brought.changed()).await;
    }
}

/// How a fetch ended, and whether anything came of it.
struct Tried {
    end: Result<(), FetchError>,
    moved: bool,
}

/// Fetches, unless the blob comes by another way meanwhile.
async fn try_fetch(
    site: &Site,
    log: &Log,
    want: &Want,
    brought: &mut watch::Receiver<u64>,
    cancel: &CancellationToken,
) -> Tried {
    let (progress, seen) = watch::channel(Progress::default());
    let stop = cancel.child_token();
    let arrived = async {
        while !site.blobs.contains(&want.digest) {
            if brought.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut fetching = Box::pin(fetch(site, log, want, (&progress, seen.clone()), &stop));
    let end = tokio::select! {
        biased;
        end = &mut fetching => end,
        () = arrived => {
            // It is told rather than dropped, so that what has come is left in order.
            stop.cancel();
            fetching.await
        }
    };
    let moved = seen.borrow().received > 0;
    Tried { end, moved }
}

async fn fetch(
    site: &Site,
    log: &Log,
    want: &Want,
    (progress, mut seen): (&watch::Sender<Progress>, watch::Receiver<Progress>),
    cancel: &CancellationToken,
) -> Result<(), FetchError> {
    let tell = async {
        while seen.changed().await.is_ok() {
            let received = seen.borrow_and_update().received;
            log.notify(Notice::FetchingInput {
                digest: want.digest,
                size: want.size.unwrap_or_default(),
                received,
            });
            sleep(NOTICE_EVERY).await;
        }
        std::future::pending::<()>().await;
    };
    let fetching = Box::pin(
        site.fetcher
            .fetch(&site.blobs, want, Some(progress), cancel),
    );
    tokio::select! {
        biased;
        end = fetching => end.map(|_| ()),
        () = tell => Ok(()),
    }
}
