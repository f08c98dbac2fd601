//! Samples that stay with the client, on their way through the daemon: the worker's
//! questions out to whoever feeds the task, the answers in to the worker.
//!
//! The daemon reads no sample. It knows how many bytes each question expects, takes
//! them in order and passes them on in small parts, so that it holds one part and
//! never an answer; what is too long, too short or out of turn ends the feeder, and
//! the work waits for another. Whether the bytes are numbers is for the worker to say,
//! which is fenced in.

use std::{
    collections::VecDeque,
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use embermesh_compute::{
    MAX_ASKS,
    frame::{MAX_PART, Part},
};
use embermesh_job::spec::{ClientData, JobSpec};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};

/// Parts that wait for the worker's pipe.
const PARTS: usize = 2;

/// How long a question may wait before its wait is told of.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a feeder that was asked may send nothing.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// How long what may be awaited.
#[derive(Clone, Copy)]
struct Waits {
    /// A question, before its wait is told of.
    patience: Duration,
    /// A feeder that was asked.
    silence: Duration,
    /// Data that is away.
    data: Duration,
}

/// Why a feeder is sent away.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NotFed {
    #[error("another client feeds the task now")]
    Replaced,
    #[error("the task has ended")]
    Ended,
    #[error("samples for question {ask} came, and {expected} is to be answered")]
    OutOfTurn { ask: u64, expected: u64 },
    #[error("nothing was asked, and samples came")]
    Unasked,
    #[error("a part of samples has 1 to {MAX_PART} bytes, and {0} came")]
    Part(usize),
    #[error(
        "question {ask} expects {expected} bytes, and more came: give each sample as the spec says"
    )]
    TooMuch { ask: u64, expected: u64 },
    #[error("no samples came for too long")]
    Silent,
}

/// A worker asked for what it may not.
#[derive(Debug, Error)]
pub(crate) enum BadWant {
    #[error("it asked for samples, and its data stays nowhere")]
    NoClient,
    #[error("it asked more than {MAX_ASKS} questions at once")]
    TooMany,
    #[error("its question {0} is out of turn")]
    OutOfTurn(u64),
    #[error("it asked for no sample, or for one that there is not")]
    NoSample,
}

/// A question to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) ask: u64,
    pub(crate) samples: Vec<u32>,
}

/// The exchange of one task. Whoever feeds it and the task share it.
pub(crate) struct Exchange {
    said: ClientData,
    record: u64,
    total: u32,
    state: Mutex<State>,
    /// Changes with every question, feeder and end.
    changed: watch::Sender<u64>,
    parts: mpsc::Sender<Part>,
    /// Since when what is asked has not come on; none while nothing is.
    hungry: watch::Sender<Option<Instant>>,
    waits: Waits,
}

#[derive(Default)]
struct State {
    asks: VecDeque<Want>,
    /// The newest question.
    last: u64,
    /// Bytes that have come for the first of them.
    came: u64,
    /// Counts the feeders; only the newest is heard.
    feeder: u64,
    ended: bool,
}

/// The task's end of an exchange.
pub(crate) struct Table {
    exchange: Arc<Exchange>,
    parts: mpsc::Receiver<Part>,
    hungry: watch::Receiver<Option<Instant>>,
    told: bool,
}

/// What comes of data that stays with the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// Bytes for the worker.
    Part(Part),
    /// A wait.
    Wait(Wait),
}

/// What there is to say of a wait for data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Begins,
    Ends,
    /// It has been as long as it may.
    Over,
}

/// What a task needs of its data that stays with the client; `None` where all of it
/// travels.
pub(crate) fn table(spec: &JobSpec, bound: Duration) -> Option<Table> {
    let waits = Waits {
        patience: PATIENCE.min(bound),
        silence: SILENCE,
        data: bound,
    };
    spec.client_data().map(|said| Table::new(said, waits))
}

impl Table {
    fn new(said: &ClientData, waits: Waits) -> Self {
        let (parts, coming) = mpsc::channel(PARTS);
        let (hungry, seen) = watch::channel(None);
        Self {
            exchange: Arc::new(Exchange {
                said: said.clone(),
                record: said.record_bytes(),
                total: said.total(),
                state: Mutex::default(),
                changed: watch::Sender::new(0),
                parts,
                hungry,
                waits,
            }),
            parts: coming,
            hungry: seen,
            told: false,
        }
    }

    pub(crate) fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.exchange)
    }

    /// The next bytes for the worker, or what there is to say of a wait for them.
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Served {
        loop {
            let since = *self.hungry.borrow_and_update();
            let now = Instant::now();
            let Waits { patience, data, .. } = self.exchange.waits;
            let (due, word) = match (since, self.told) {
                (None, false) => (None, Wait::Begins),
                (None, true) => (Some(now), Wait::Ends),
                (Some(since), false) => (Some(since + patience), Wait::Begins),
                (Some(since), true) if since + patience > now => (Some(now), Wait::Ends),
                (Some(since), true) => (Some(since + data), Wait::Over),
            };
            let when = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                biased;
                part = self.parts.recv() => match part {
                    Some(part) => return Served::Part(part),
                    // The exchange that this value holds has the other end.
                    None => future::pending::<()>().await,
                },
                changed = self.hungry.changed() => if changed.is_err() {
                    future::pending::<()>().await;
                },
                () = when => {
                    self.told = word != Wait::Ends;
                    return Served::Wait(word);
                }
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.exchange.state().ended = true;
        self.exchange.touch();
    }
}

impl Exchange {
    /// What the spec says of the data.
    pub(crate) const fn said(&self) -> &ClientData {
        &self.said
    }

    /// The worker asks.
    pub(crate) fn want(&self, ask: u64, samples: Vec<u32>) -> Result<(), BadWant> {
        if samples.is_empty() || samples.iter().any(|sample| *sample >= self.total) {
            return Err(BadWant::NoSample);
        }
        let mut state = self.state();
        if state.asks.len() >= MAX_ASKS {
            return Err(BadWant::TooMany);
        }
        if ask != state.last + 1 {
            return Err(BadWant::OutOfTurn(ask));
        }
        state.last = ask;
        if state.asks.is_empty() {
            self.hungry.send_replace(Some(Instant::now()));
        }
        state.asks.push_back(Want { ask, samples });
        drop(state);
        self.touch();
        Ok(())
    }

    /// A client comes to feed; whoever did before is sent away.
    pub(crate) fn feeder(self: &Arc<Self>) -> Feeder {
        let mut state = self.state();
        state.feeder += 1;
        state.came = 0;
        let number = state.feeder;
        drop(state);
        self.touch();
        Feeder {
            exchange: Arc::clone(self),
            number,
            told: 0,
            heard: Instant::now(),
        }
    }

    fn touch(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that feeds a task.
pub(crate) struct Feeder {
    exchange: Arc<Exchange>,
    number: u64,
    /// The newest question that it has been told.
    told: u64,
    /// When it last gave something, or had nothing to give.
    heard: Instant,
}

impl Feeder {
    /// The next question. Ends when it is no longer wanted, or has owed an answer and
    /// given nothing of it for too long. Cancel safe.
    pub(crate) async fn want(&mut self) -> Result<Want, NotFed> {
        let mut changed = self.exchange.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let owes = {
                let state = self.exchange.state();
                self.stands(&state)?;
                let owes = state.asks.front().is_some_and(|want| want.ask <= self.told);
                if !owes {
                    self.heard = Instant::now();
                }
                let next = state.asks.iter().find(|want| want.ask > self.told);
                if let Some(want) = next.cloned() {
                    self.told = want.ask;
                    return Ok(want);
                }
                owes
            };
            match timeout_at(self.heard + self.exchange.waits.silence, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(NotFed::Ended),
                Err(_) if owes => return Err(NotFed::Silent),
                Err(_) => {}
            }
        }
    }

    /// Takes some bytes of the answer that is due.
    pub(crate) async fn give(&mut self, ask: u64, bytes: Vec<u8>) -> Result<(), NotFed> {
        if bytes.is_empty() || bytes.len() > MAX_PART {
            return Err(NotFed::Part(bytes.len()));
        }
        let exchange = Arc::clone(&self.exchange);
        // Before the lock: the worker may take its time, and it asks meanwhile.
        let Ok(place) = exchange.parts.reserve().await else {
            return Err(NotFed::Ended);
        };
        let mut state = exchange.state();
        self.stands(&state)?;
        let due = state.asks.front().ok_or(NotFed::Unasked)?;
        if due.ask != ask || ask > self.told {
            let expected = due.ask;
            return Err(NotFed::OutOfTurn { ask, expected });
        }
        let expected = due.samples.len() as u64 * exchange.record;
        let offset = state.came;
        let came = offset + bytes.len() as u64;
        if came > expected {
            return Err(NotFed::TooMuch { ask, expected });
        }
        place.send(Part { ask, offset, bytes });
        if came == expected {
            state.asks.pop_front();
            state.came = 0;
        } else {
            state.came = came;
        }
        let now = Instant::now();
        exchange
            .hungry
            .send_replace((!state.asks.is_empty()).then_some(now));
        self.heard = now;
        Ok(())
    }

    fn stands(&self, state: &State) -> Result<(), NotFed> {
        if state.ended {
            return Err(NotFed::Ended);
        }
        if state.feeder != self.number {
            return Err(NotFed::Replaced);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
