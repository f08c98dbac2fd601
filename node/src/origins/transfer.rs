//! Bytes of an origin as they come: never more than were named, each wait bounded,
//! and after a cut from where it was cut.

use std::time::Duration;

use bytes::Bytes;
use embermesh_crypto::digest::Hasher;
use embermesh_job::spec::{Input, Location};
use embermesh_mesh::blob::{StoreError, Upload};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::OriginFault;

/// How long an origin may take to answer, and between two of its bytes.
const STALL: Duration = Duration::from_secs(30);

/// The slowest pace that is waited for over a whole transfer, in bytes per second.
const SLOWEST: u64 = 32 * 1024;

/// Cuts in a row without a byte between them, before it is given up.
const MAX_CUTS: u32 = 4;

/// How long to wait after a cut, at first; each time it is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// Something that can be read from an offset on.
pub(super) trait Readable: Sync {
    /// Asks for the bytes from `offset` on.
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<Opened, Cut>>;
}

/// An answer whose bytes come.
pub(super) struct Opened {
    /// Where its first byte belongs.
    pub(super) offset: u64,
    /// The size of the whole, where the origin says it.
    pub(super) size: Option<u64>,
    pub(super) body: Box<dyn Body>,
}

/// The bytes of an answer.
pub(super) trait Body: Send {
    /// The next bytes; none at the end. Cancel safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Cut>>;
}

/// Why an answer did not come, or stopped.
#[derive(Debug)]
pub(super) enum Cut {
    /// It may go on when asked again.
    Passing(String),
    /// It will not.
    Final(String),
}

/// Where the bytes go.
#[allow(clippy::large_enum_variant, reason = "there is one of a transfer")]
pub(super) enum Sink {
    /// Into the store, which checks their digest.
    Store(Upload),
    /// Into a digest alone, `most` bytes.
    Hash { hasher: Box<Hasher>, most: u64 },
}

/// One transfer.
pub(super) struct Transfer<'a> {
    origin: String,
    /// Bytes that must come, where that is known.
    size: Option<u64>,
    received: u64,
    sink: Sink,
    tell: &'a mut (dyn FnMut(u64) + Send),
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        origin: &Location,
        size: Option<u64>,
        sink: Sink,
        tell: &'a mut (dyn FnMut(u64) + Send),
    ) -> Self {
        Self {
            origin: shown(origin),
            size,
            received: 0,
            sink,
            tell,
        }
    }

    /// Reads to the end.
    pub(super) async fn run(&mut self, from: &dyn Readable) -> Result<(), OriginFault> {
        let most = self.size.unwrap_or(match &self.sink {
            Sink::Hash { most, .. } => *most,
            Sink::Store(_) => u64::MAX,
        });
        let end = Instant::now() + STALL + Duration::from_secs(most / SLOWEST);
        let mut cuts = 0;
        loop {
            let before = self.received;
            let reason = match timeout_at(end, self.once(from, most)).await {
                Err(_) => {
                    return Err(
                        self.failed(format!("{} bytes came, which is too slow", self.received))
                    );
                }
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Stopped::Fault(fault))) => return Err(fault),
                Ok(Err(Stopped::Cut(Cut::Final(reason)))) => return Err(self.failed(reason)),
                Ok(Err(Stopped::Cut(Cut::Passing(reason)))) => reason,
            };
            cuts = if self.received > before { 1 } else { cuts + 1 };
            if cuts > MAX_CUTS {
                return Err(self.failed(reason));
            }
            tracing::debug!(
                origin = self.origin,
                received = self.received,
                reason,
                "a fetch was cut"
            );
            sleep(PAUSE * 2_u32.pow(cuts - 1)).await;
        }
    }

    /// One answer, from where the last one stopped.
    async fn once(&mut self, from: &dyn Readable, most: u64) -> Result<(), Stopped> {
        let opened = timeout(STALL, from.open(self.received)).await;
        let mut opened = opened.map_err(|_| stalled())??;
        if let (Some(says), Some(size)) = (opened.size, self.size)
            && says != size
        {
            return Err(self
                .other(format!("it has {says} bytes, and the job says {size}"))
                .into());
        }
        // An origin that knows no ranges begins at the beginning.
        let mut skip = match self.received.checked_sub(opened.offset) {
            Some(skip) => skip,
            None => return Err(Cut::Final("it left bytes out".to_owned()).into()),
        };
        loop {
            let next = timeout(STALL, opened.body.next()).await;
            let Some(mut bytes) = next.map_err(|_| stalled())?? else {
                break;
            };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.split_off(known);
            skip -= known as u64;
            if bytes.is_empty() {
                continue;
            }
            self.received += bytes.len() as u64;
            if self.received > most {
                return Err(self.other(format!("it has more than {most} bytes")).into());
            }
            match &mut self.sink {
                Sink::Store(upload) => upload.write(&bytes).await.map_err(OriginFault::Store)?,
                Sink::Hash { hasher, .. } => {
                    hasher.update(&bytes);
                }
            }
            (self.tell)(self.received);
        }
        match self.size.or(opened.size) {
            Some(size) if self.received < size => {
                let reason = format!("it ended after {} of {size} bytes", self.received);
                Err(Cut::Passing(reason).into())
            }
            _ => Ok(()),
        }
    }

    /// Puts what came in its place.
    pub(super) async fn store(self) -> Result<(), OriginFault> {
        let Sink::Store(upload) = self.sink else {
            return Ok(());
        };
        match upload.finish().await {
            Ok(_) => Ok(()),
            Err(error @ (StoreError::WrongHash { .. } | StoreError::WrongSize { .. })) => {
                Err(OriginFault::Other {
                    origin: self.origin,
                    reason: error.to_string(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What came.
    pub(super) fn measured(self) -> Result<Input, OriginFault> {
        match self.sink {
            Sink::Hash { hasher, .. } if self.received > 0 => Ok(Input {
                digest: hasher.finalize(),
                size: self.received,
            }),
            _ => Err(OriginFault::Failed {
                origin: self.origin,
                reason: "it is empty".to_owned(),
            }),
        }
    }

    pub(super) fn failed(&self, reason: String) -> OriginFault {
        OriginFault::Failed {
            origin: self.origin.clone(),
            reason,
        }
    }

    fn other(&self, reason: String) -> OriginFault {
        OriginFault::Other {
            origin: self.origin.clone(),
            reason,
        }
    }
}

enum Stopped {
    Cut(Cut),
    Fault(OriginFault),
}

impl From<Cut> for Stopped {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

impl From<OriginFault> for Stopped {
    fn from(fault: OriginFault) -> Self {
        Self::Fault(fault)
    }
}

fn stalled() -> Cut {
    Cut::Passing(format!("nothing came for {} s", STALL.as_secs()))
}

/// An origin as it may be shown: a query may carry a key.
pub(super) fn shown(origin: &Location) -> String {
    let text = origin.to_string();
    match text.split_once('?') {
        Some((before, _)) => format!("{before}?..."),
        None => text,
    }
}
