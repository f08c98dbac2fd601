//! Workers of foreign systems, and the tasks that they can run beside nodes of the mesh.
//!
//! A task goes to the mesh when a node there takes it, else to a worker that is alive, else
//! it waits for either. Which it will be is decided once: what is in the mesh stays there.
//! A worker is called where it registered from, so that nobody has this gateway call an
//! address that is not his own. It is sent a task under a name of this attempt, and what it
//! says of it is taken while it has it; a worker that is not heard of for a while is gone,
//! and the task begins anew at another.
//!
//! - `book`: who there is and who has what. Pure.
//! - `rows`: the same in the database.
//! - `verbs`, `reports`: the ports.
//! - `drive`: gives tasks away, takes them back, ends them.
//! - `pay`: what a worker is paid, by the minute.

mod book;
mod drive;
mod pay;
mod reports;
mod rows;
mod verbs;

use std::sync::{Mutex, MutexGuard, PoisonError};

use embermesh_job::units::MicroUnits;
use tokio::sync::{Notify, Semaphore};

use self::book::Book;

/// How many tasks are sent to workers at once: each is in memory while it is.
const GIVING: usize = 2;

/// The workers of a gateway.
#[derive(Debug)]
pub(crate) struct Desk {
    book: Mutex<Book>,
    /// Something has changed that may let a task begin.
    wake: Notify,
    giving: Semaphore,
    /// What an hour of a worker costs whoever has it work.
    price: MicroUnits,
}

impl Desk {
    pub(crate) fn new(price: MicroUnits) -> Self {
        Self {
            book: Mutex::default(),
            wake: Notify::new(),
            giving: Semaphore::new(GIVING),
            price,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
