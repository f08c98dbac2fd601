//! The attempt's end of a resident model: asks to the worker, answers from it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use embermesh_compute::pipe::ToWorker;
use embermesh_job::ask::{Ask, Part};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Resident, Residents};
use crate::worker::{Worker, WorkerLost};

/// An ask on its way in.
pub(super) struct Asked {
    pub(super) ask: Box<Ask>,
    pub(super) parts: mpsc::Sender<Part>,
    /// Its place among those that may ask, until it is answered.
    pub(super) place: OwnedSemaphorePermit,
}

/// What the outside wants of a desk.
pub(crate) enum Wanted {
    /// An answer.
    Ask(Box<AskedFor>),
    /// Nothing more of some answers: their readers have gone.
    Sweep,
}

/// An ask that only a desk can take apart.
pub(crate) struct AskedFor(Asked);

/// An answer under way.
struct Open {
    parts: mpsc::Sender<Part>,
    _place: OwnedSemaphorePermit,
}

/// The attempt's end. The model is not resident any more once this is dropped, and
/// answers under way end with it.
pub(crate) struct Desk {
    resident: Arc<Resident>,
    hears: mpsc::Receiver<Asked>,
    residents: Residents,
    open: BTreeMap<u32, Open>,
    next: u32,
}

impl Desk {
    pub(super) fn new(
        resident: Arc<Resident>,
        hears: mpsc::Receiver<Asked>,
        residents: Residents,
    ) -> Self {
        Self {
            resident,
            hears,
            residents,
            open: BTreeMap::new(),
            next: 0,
        }
    }

    /// The model is loaded, and takes so much memory.
    pub(crate) fn loaded(&self, memory_bytes: u64) {
        self.measured(memory_bytes);
        self.resident.ready.store(true, Relaxed);
        self.residents.touch();
    }

    /// It takes so much memory now. An advert keeps what was so when it was loaded:
    /// it would change with every ask.
    pub(crate) fn measured(&self, memory_bytes: u64) {
        self.resident.memory.store(memory_bytes, Relaxed);
    }

    /// Takes no more asks: what is under way may end.
    pub(crate) fn close(&self) {
        self.resident.ready.store(false, Relaxed);
        self.residents.touch();
    }

    /// Ends all that is under way and takes the model from the list, before anybody
    /// hears of the end: the worker is gone, or about to be.
    pub(crate) fn end(&mut self) {
        self.close();
        self.residents.close(&self.resident);
        self.hears.close();
        while self.hears.try_recv().is_ok() {}
        self.open.clear();
    }

    /// Whether nothing is under way and nothing waits to be.
    pub(crate) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.hears.is_empty()
    }

    /// Asks answered, and tokens or rows made.
    pub(crate) fn served(&self) -> (u64, u64) {
        let counters = &self.resident.counters;
        (counters.answered.load(Relaxed), counters.made.load(Relaxed))
    }

    /// What is wanted next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Wanted {
        tokio::select! {
            biased;
            () = self.resident.gone.notified() => Wanted::Sweep,
            // The resident that this desk holds has the other end.
            Some(asked) = self.hears.recv() => Wanted::Ask(Box::new(AskedFor(asked))),
        }
    }

    /// Passes on what is wanted.
    pub(crate) async fn pass(
        &mut self,
        wanted: Wanted,
        worker: &mut Worker,
    ) -> Result<(), WorkerLost> {
        match wanted {
            Wanted::Sweep => self.sweep(worker).await,
            Wanted::Ask(asked) => {
                let AskedFor(Asked { ask, parts, place }) = *asked;
                if parts.is_closed() {
                    self.resident.counters.cancelled.fetch_add(1, Relaxed);
                    return Ok(());
                }
                let id = self.next;
                self.next = self.next.wrapping_add(1);
                worker.send(&ToWorker::Ask { id, ask }).await?;
                self.open.insert(
                    id,
                    Open {
                        parts,
                        _place: place,
                    },
                );
                Ok(())
            }
        }
    }

    /// Takes a part of an answer from the worker. Parts of an answer that was let go
    /// may still come, and are nobody's.
    pub(crate) async fn heard(
        &mut self,
        id: u32,
        part: Part,
        worker: &mut Worker,
    ) -> Result<(), WorkerLost> {
        let Some(open) = self.open.get(&id) else {
            return Ok(());
        };
        let counters = &self.resident.counters;
        let last = part.is_last();
        match &part {
            Part::Text(piece) if last => {
                counters
                    .prompt_tokens
                    .fetch_add(piece.prompt_tokens.into(), Relaxed);
                counters.made.fetch_add(piece.tokens.into(), Relaxed);
            }
            Part::Rows { answers, .. } => {
                counters.made.fetch_add(answers.len() as u64, Relaxed);
            }
            Part::Text(_) | Part::Refused(_) => {}
        }
        let refused = matches!(part, Part::Refused(_));
        let taken = open.parts.try_send(part).is_ok();
        if last {
            let counter = match (taken, refused) {
                (false, _) => &counters.cancelled,
                (true, true) => &counters.refused,
                (true, false) => &counters.answered,
            };
            counter.fetch_add(1, Relaxed);
            self.open.remove(&id);
        } else if !taken {
            self.let_go(id, worker).await?;
        }
        Ok(())
    }

    /// Lets go of answers whose readers have gone.
    async fn sweep(&mut self, worker: &mut Worker) -> Result<(), WorkerLost> {
        let gone: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| open.parts.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.let_go(id, worker).await?;
        }
        Ok(())
    }

    async fn let_go(&mut self, id: u32, worker: &mut Worker) -> Result<(), WorkerLost> {
        self.open.remove(&id);
        self.resident.counters.cancelled.fetch_add(1, Relaxed);
        worker.send(&ToWorker::Drop { id }).await
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.residents.close(&self.resident);
        let (answered, made) = self.served();
        tracing::info!(
            job = %self.resident.job,
            answered,
            made,
            refused = self.resident.counters.refused.load(Relaxed),
            cancelled = self.resident.counters.cancelled.load(Relaxed),
            "a model is not resident any more"
        );
    }
}
