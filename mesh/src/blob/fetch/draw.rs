//! One fetch under way: what has come, who has been asked, what they did.

use embermesh_crypto::{digest::Digest, ids::PeerId};
use tokio::sync::watch;

use super::{Fetched, Fetcher, MAX_HOLDERS, Progress, Want, place::Place};
use crate::{
    blob::{
        FetchError, HolderFault, StoreError, Trial,
        error::holder_name,
        geometry::{Groups, MAX_BLOB_BYTES},
        partial::Partial,
        receive::Ended,
        source::{Source, next_groups},
    },
    road::{self, Protocol, RoadKind, Target},
};

/// One fetch under way.
pub(super) struct Fetch<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) digest: Digest,
    /// As the caller knows it.
    size: Option<u64>,
    place: &'a Place,
    pub(super) partial: Option<Partial>,
    resumed: Option<u64>,
    pub(super) from: Vec<(PeerId, RoadKind)>,
    trials: Vec<Trial>,
    pub(super) progress: Option<&'a watch::Sender<Progress>>,
}

impl<'a> Fetch<'a> {
    /// Opens what has come before, where the size is known.
    pub(super) async fn begin(
        fetcher: &'a Fetcher,
        want: &Want,
        place: &'a Place,
        progress: Option<&'a watch::Sender<Progress>>,
    ) -> Result<Self, StoreError> {
        let mut fetch = Self {
            fetcher,
            digest: want.digest,
            size: want.size,
            place,
            partial: None,
            resumed: None,
            from: Vec::new(),
            trials: Vec::new(),
            progress,
        };
        let size = match want.size {
            Some(size) => Some(size),
            None => place.known_size(&want.digest).await,
        };
        if let Some(size) = size {
            fetch.open(size).await?;
        }
        Ok(fetch)
    }

    /// What to say when nobody is left to ask.
    pub(super) fn failed(self) -> FetchError {
        if self.trials.is_empty() {
            return FetchError::NoHolder(self.digest);
        }
        FetchError::NoneCould {
            digest: self.digest,
            trials: self.trials,
        }
    }

    pub(super) fn present(&self) -> u64 {
        self.partial.as_ref().map_or(0, Partial::present_bytes)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|partial| partial.missing().is_empty())
    }

    async fn open(&mut self, size: u64) -> Result<(), StoreError> {
        if size > MAX_BLOB_BYTES {
            return Err(StoreError::StorageFull {
                needed: size,
                free: MAX_BLOB_BYTES,
            });
        }
        let partial = self
            .keep_or_leave_nothing(self.place.open(self.digest, size).await)
            .await?;
        self.resumed.get_or_insert(partial.present_bytes());
        self.partial = Some(partial);
        Ok(())
    }

    /// A disk without room must not be left with half a blob on it.
    async fn keep_or_leave_nothing<T>(&self, end: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &end
            && error.is_full()
        {
            self.place.discard(self.digest).await?;
        }
        end
    }

    pub(super) async fn commit(mut self) -> Result<Fetched, FetchError> {
        let partial = self
            .partial
            .take()
            .ok_or(FetchError::NoHolder(self.digest))?;
        let size = partial.size();
        let path = self
            .keep_or_leave_nothing(self.place.commit(partial).await)
            .await?;
        if let Some(progress) = self.progress {
            progress.send_modify(|now| (now.received, now.size) = (size, size));
        }
        Ok(Fetched {
            digest: self.digest,
            size,
            path,
            resumed: self.resumed.unwrap_or(0),
            from: self.from,
        })
    }

    /// Asks one holder for what is missing. Says whether it may be asked again.
    pub(super) async fn ask(&mut self, holder: &Target) -> Result<bool, FetchError> {
        let before = self.present();
        let mut end = self.draw_from(holder).await;
        if self.size.is_none() && matches!(end, Err(Ended::Holder(HolderFault::WrongSize { .. }))) {
            // Two holders' words about the size differ, and what has come rests on the
            // earlier one. It is given up, so that a false word cannot stand for ever.
            self.give_up_what_has_come().await?;
            end = self.draw_from(holder).await;
        }
        let fault = match end {
            Ok(()) => return Ok(false),
            Err(Ended::Store(error)) => return Err(self.broken(error).await),
            Err(Ended::Holder(fault)) => fault,
        };
        tracing::debug!(%holder, digest = %self.digest, %fault, "a holder failed");
        if self.size.is_none() && matches!(fault, HolderFault::Corrupt(_)) {
            // The size was this holder's word, and that is worth nothing now.
            self.give_up_what_has_come().await?;
        }
        let again = fault.may_pass() || self.present() > before && !is_lie(&fault);
        self.note(holder, fault);
        Ok(again)
    }

    /// Remembers what was wrong with a holder.
    pub(super) fn note(&mut self, holder: &Target, fault: HolderFault) {
        self.trials.push(Trial {
            holder: holder_name(holder.peer, holder.tls.first()),
            fault,
        });
        if self.trials.len() > MAX_HOLDERS {
            self.trials.remove(0);
        }
    }

    /// Gives a fetch up that cannot keep what comes.
    pub(super) async fn broken(&mut self, error: StoreError) -> FetchError {
        self.partial = None;
        let error = self.keep_or_leave_nothing::<()>(Err(error)).await;
        let error = error.err().unwrap_or(StoreError::NotFound(self.digest));
        error.into()
    }

    async fn give_up_what_has_come(&mut self) -> Result<(), StoreError> {
        self.partial = None;
        self.place.discard(self.digest).await
    }

    async fn draw_from(&mut self, holder: &Target) -> Result<(), Ended> {
        let Fetcher {
            identity,
            mesh,
            choice,
            patience,
        } = self.fetcher;
        let opened = road::open(identity, holder, mesh.as_ref(), *choice, Protocol::Blob)
            .await
            .map_err(|error| Ended::Holder(error.into()))?;
        let (peer, road) = (opened.peer, opened.road);
        let mut source = Source {
            stream: opened.stream,
            digest: self.digest,
            patience: *patience,
        };
        while !self.is_whole() {
            let groups = self.partial.as_ref().map(next_groups);
            let size = source.ask(groups.as_ref()).await.map_err(Ended::Holder)?;
            if self.partial.is_none() {
                self.open_claimed(size).await?;
            }
            let groups = groups.unwrap_or_else(|| Groups::all(size));
            self.tell(peer, road);
            let Some(partial) = self.partial.take() else {
                return Ok(());
            };
            let progress = self.progress;
            let tell = |partial: &Partial| {
                if let Some(progress) = progress {
                    progress.send_modify(|now| now.received = partial.present_bytes());
                }
            };
            let before = partial.present_bytes();
            let (partial, end) = source.take(partial, &groups, tell).await;
            self.partial = partial;
            if self.present() > before && self.from.last() != Some(&(peer, source.road())) {
                self.from.push((peer, source.road()));
            }
            end?;
        }
        Ok(())
    }

    /// Begins under the size that a holder claims, where the caller knows none. That
    /// it does not fit here is the claim's fault, not the store's.
    async fn open_claimed(&mut self, size: u64) -> Result<(), Ended> {
        let free = self.place.free_bytes().await;
        if free.is_some_and(|free| size > free) {
            return Err(Ended::Holder(HolderFault::Oversize(size)));
        }
        match self.open(size).await {
            Err(error) if error.is_full() => Err(Ended::Holder(HolderFault::Oversize(size))),
            other => other.map_err(Ended::Store),
        }
    }

    fn tell(&self, peer: PeerId, road: RoadKind) {
        if let Some(progress) = self.progress {
            progress.send_replace(Progress {
                received: self.present(),
                size: self.partial.as_ref().map_or(0, Partial::size),
                holder: Some(peer),
                road: Some(road),
            });
        }
    }
}

/// Whether a fault is one that no honest holder has.
pub(super) const fn is_lie(fault: &HolderFault) -> bool {
    matches!(
        fault,
        HolderFault::Corrupt(_)
            | HolderFault::WrongSize { .. }
            | HolderFault::Oversize(_)
            | HolderFault::Malformed(_)
    )
}
