//! Provers that dial in, and the proofs that gangs of them make.
//!
//! The rules of a proof are `job::plan::proving`'s, a pure state machine; here it is
//! driven. A gang is chosen and taken in one step, so no two proofs share a prover. On
//! the wire a round is known by its job's name alone, so a round that is dealt again has
//! another name, and what is still said of the one before is not heard.
//!
//! A prover whose connection breaks while it works has a grace to come back to its work;
//! then, or when it is silent, it is lost, and its proof is dealt again among others. One
//! task looks after all provers; a stream has none of its own.
//!
//! - `settings`: how long things may take.
//! - `roster`: who is there and who works on what: pure.
//! - `seat`: one prover's place.
//! - `sweep`: heartbeats, and provers that are lost.
//! - `drive`: the task that drives a proof; `orders`: what it tells the gang.
//! - `rows`: proofs in the database.
//! - `verbs`: the port.

mod drive;
mod orders;
mod roster;
mod rows;
mod seat;
mod settings;
mod sweep;
#[cfg(test)]
mod tests;
mod verbs;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use embermesh_dialects::port::provers::ProofState;
use embermesh_job::plan::{NodeName, Row, proving::Phase};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};

use roster::Roster;
pub use settings::{InvalidSettings, ProvingSettings};

/// Words of provers and owners that wait for a proof.
const SAID: usize = 256;

/// Something for a proof to hear.
#[derive(Debug)]
pub(crate) enum Said {
    /// A prover has done its part of a phase, or has nothing to give.
    Answer {
        prover: NodeName,
        /// Of which round.
        round: Arc<str>,
        phase: Phase,
        given: Result<Vec<Row>, String>,
    },
    /// A prover cannot go on.
    Error {
        prover: NodeName,
        round: Arc<str>,
        reason: String,
    },
    /// A prover is gone.
    Lost { prover: NodeName, round: Arc<str> },
    /// The owner ends it.
    Cancel,
}

/// A word, and the proof that is to hear it.
type Note = (mpsc::Sender<Said>, Said);

/// A prover's part of a round, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) prover: String,
    /// Whose prover it is.
    pub(crate) holder: String,
    /// How many units it has.
    pub(crate) units: usize,
}

/// How a proof that is driven looks.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    state: ProofState,
    gang: Vec<Share>,
    message: String,
}

/// A proof that is driven: the way in, and how it looks.
#[derive(Clone)]
pub(crate) struct Driven {
    said: mpsc::Sender<Said>,
    shown: watch::Receiver<Shown>,
}

/// Every prover that is there and every proof that is driven.
pub(crate) struct Hall {
    settings: ProvingSettings,
    roster: Mutex<Roster>,
    open: Mutex<HashMap<String, Driven>>,
    /// Tells proofs without a gang that a prover is free.
    free: watch::Sender<()>,
    /// Tells the sweep that there is something to do at once.
    swept: Notify,
}

impl Hall {
    pub(crate) fn new(settings: ProvingSettings) -> Self {
        Self {
            roster: Mutex::new(Roster::new(settings)),
            settings,
            open: Mutex::default(),
            free: watch::Sender::new(()),
            swept: Notify::new(),
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Driven>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
