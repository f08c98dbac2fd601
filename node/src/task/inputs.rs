//! Brings to this node what the work needs: inputs, and the checkpoint to go on
//! from.
//!
//! An input may have an origin, from which this node fetches it where its owner
//! allows that. Any other blob may be here, with a holder that the order names, with one that the DHT
//! names, or on its way from the client. So a fetch that fails is tried again, and
//! whatever arrives by another way ends the wait.

use std::{path::PathBuf, time::Duration};

use embermesh_crypto::digest::Digest;
use embermesh_job::{
    address::BlobRef,
    event::Notice,
    spec::{Input, Location, Origin},
};
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
use crate::{origins::OriginFault, site::Site};

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
    /// What lies at its origin is something else: no node can run the job.
    #[error(transparent)]
    Other(OriginFault),
    /// This node may not look at its origin, and no peer has it.
    #[error("{0}")]
    NotAllowed(OriginFault),
    /// Its origin did not give it, and no peer has it.
    #[error("{0}")]
    NotGiven(OriginFault),
    /// The store has no room.
    #[error("an input cannot be kept: {reason}")]
    NoRoom { reason: String },
    /// Nobody could give it.
    #[error("input {digest} ({size} bytes) was not brought here, and nothing of it came for {} s: {reason}; put it to this node, or keep its holder running", MISSING_WAIT.as_secs())]
    Missing {
        digest: Digest,
        size: u64,
        reason: String,
    },
}

/// Where inputs may be.
pub(super) struct Places<'a> {
    /// Who holds them.
    pub(super) hints: &'a [BlobRef],
    /// Where they lie that nobody sends.
    pub(super) origins: &'a [Origin],
}

/// Files that the owner of this node shares and the job reads where they lie.
pub(super) async fn shared(
    site: &Site,
    inputs: &mut Vec<Input>,
    origins: &[Origin],
) -> Result<Vec<(Digest, PathBuf)>, NoInput> {
    let mut found = Vec::new();
    for origin in origins {
        let Some(location @ Location::Shared { .. }) = parsed(origin) else {
            continue;
        };
        let at = inputs
            .iter()
            .position(|input| input.digest == origin.digest);
        if let Some(at) = at {
            let path = site.origins.shared(&location, inputs[at]).await?;
            found.push((origin.digest, path));
            inputs.remove(at);
        }
    }
    Ok(found)
}

/// The spec was validated: every origin is one.
fn parsed(origin: &Origin) -> Option<Location> {
    origin.from.parse().ok()
}

impl From<OriginFault> for NoInput {
    fn from(fault: OriginFault) -> Self {
        match fault {
            OriginFault::NotAllowed { .. } => Self::NotAllowed(fault),
            OriginFault::Other { .. } => Self::Other(fault),
            OriginFault::Failed { .. } => Self::NotGiven(fault),
            OriginFault::Store(_) => Self::NoRoom {
                reason: fault.to_string(),
            },
        }
    }
}

/// Brings blobs here, one after the other, and keeps them from being evicted.
pub(super) async fn bring(
    site: &Site,
    log: &Log,
    inputs: &[Input],
    places: &Places<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Held>, NoInput> {
    let mut held = Vec::with_capacity(inputs.len());
    for input in inputs {
        held.push(bring_one(site, log, input, places, cancel).await?);
    }
    Ok(held)
}

async fn bring_one(
    site: &Site,
    log: &Log,
    input: &Input,
    places: &Places<'_>,
    cancel: &CancellationToken,
) -> Result<Held, NoInput> {
    let Input { digest, size } = *input;
    let me = site.me();
    let holders = places
        .hints
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
    let mut origin = places
        .origins
        .iter()
        .find(|origin| origin.digest == digest)
        .and_then(parsed);
    let mut origin_fault = None;
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
        if let Some(fault) = origin_fault.take() {
            // A peer may have fetched it before.
            return match try_fetch(site, log, &want, &mut brought, cancel).await.end {
                Ok(()) => continue,
                Err(_) => Err(NoInput::from(fault)),
            };
        }
        if let Some(location) = origin.take() {
            let fetching = Box::pin(from_origin(site, log, &location, *input));
            match cancel.run_until_cancelled(fetching).await {
                Some(Ok(())) => site.blob_brought(),
                Some(Err(fault @ (OriginFault::Other { .. } | OriginFault::Store(_)))) => {
                    return Err(fault.into());
                }
                Some(Err(fault)) => origin_fault = Some(fault),
                None => {
                    let reason = "the attempt was stopped".to_owned();
                    return Err(NoInput::Missing {
                        digest,
                        size,
                        reason,
                    });
                }
            }
            continue;
        }
        let Tried { end, moved } = try_fetch(site, log, &want, &mut brought, cancel).await;
        let reason = match end {
            Ok(()) => continue,
            Err(_) if site.blobs.contains(&digest) => continue,
            Err(FetchError::Store(error)) => {
                let reason = error.to_string();
                return Err(NoInput::NoRoom { reason });
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

/// Fetches from an origin, and tells how far it is.
async fn from_origin(
    site: &Site,
    log: &Log,
    location: &Location,
    input: Input,
) -> Result<(), OriginFault> {
    let mut told: Option<Instant> = None;
    let mut tell = |received| {
        if told.is_none_or(|told| told.elapsed() >= NOTICE_EVERY) {
            told = Some(Instant::now());
            log.notify(Notice::FetchingInput {
                digest: input.digest,
                size: input.size,
                received,
            });
        }
    };
    site.origins
        .fetch(location, input, &site.blobs, &mut tell)
        .await
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
