//! Jobs of several tasks, each of which asks a model.
//!
//! The rules are `job::plan`'s, a pure state machine; here it is driven: its attempts ask
//! models of the mesh as the plan's owner, and after each step it is written down, so
//! that a plan goes on after a restart. Attempts that were under way then are made anew.
//!
//! - `drive`: the task that drives a plan.
//! - `ask`: one attempt.
//! - `rows`: plans in the database.
//! - `verbs`: the port.

mod ask;
mod drive;
mod rows;
mod verbs;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use embermesh_dialects::port::plans::Question;
use embermesh_job::plan::{Run, run::Input};
use tokio::sync::{mpsc, watch};

/// Words of attempts and owners that wait for a plan.
const INPUTS: usize = 256;

/// A plan that is driven: the way in, and how it looks.
#[derive(Clone)]
pub(crate) struct Driven {
    inputs: mpsc::Sender<Input>,
    run: watch::Receiver<Arc<Run<Question>>>,
}

/// The plans that are driven, by their numbers.
#[derive(Default)]
pub(crate) struct Plans {
    open: Mutex<HashMap<i64, Driven>>,
}

impl Plans {
    fn open(&self) -> MutexGuard<'_, HashMap<i64, Driven>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, number: i64) -> Option<Driven> {
        self.open().get(&number).cloned()
    }

    fn len(&self) -> usize {
        self.open().len()
    }
}
