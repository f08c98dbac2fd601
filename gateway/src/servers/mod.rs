//! Server nodes of a foreign system, and the jobs that they can run beside nodes of the
//! mesh.
//!
//! A job goes to the mesh when a node there takes it. Where none does and a server is
//! known, it waits for either; what is in the mesh stays there. A server is called where
//! it registered from, so that nobody has this gateway call an address that is not his
//! own. It speaks of a job by a name that is of one attempt; one that is not heard of for
//! a while is gone, and the job begins anew at another.
//!
//! A job's owner may come to its server himself. What he shows there is signed with a key
//! of that server's own, which is derived and so needs not be kept, and which no other
//! server has.
//!
//! - `book`: who there is and who has what. Pure.
//! - `rows`: the same in the database.
//! - `verbs`, `reports`: the ports.
//! - `drive`: gives jobs away, takes them back, ends them.
//! - `pay`: a job's budget, from which its server is paid at its end.
//! - `token`: what an owner shows to a server.

mod book;
mod drive;
mod pay;
mod reports;
mod rows;
mod token;
mod verbs;

use std::sync::{Mutex, MutexGuard, PoisonError};

use embermesh_job::units::MicroUnits;
use tokio::sync::{Notify, Semaphore};

use self::book::Book;

/// How many jobs are sent to servers at once: the data of each is in memory while it is.
const GIVING: usize = 2;

/// The servers of a gateway.
#[derive(Debug)]
pub(crate) struct Rack {
    book: Mutex<Book>,
    /// Something has changed that may let a job begin.
    wake: Notify,
    giving: Semaphore,
    /// What an hour costs of a server that does not say.
    price: MicroUnits,
}

impl Rack {
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
