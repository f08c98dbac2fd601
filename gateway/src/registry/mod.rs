//! Models that foreign clients keep here, for themselves or for everybody.
//!
//! What is said of a model is a row, its bytes are a file that is named by the row's
//! number: no name that a client gives is ever a path. Bytes arrive in a file of their
//! own, are hashed on the way, and become the model when all of them are there and are
//! what was said. What has arrived of a broken upload stays, and counts as its owner's.
//!
//! - `rows`: the database.
//! - `incoming`: a model on its way in; `outgoing`: on its way out.
//! - `checksum`: what a client says that bytes hash to.
//! - `verbs`: the port.

mod checksum;
mod incoming;
mod outgoing;
mod rows;
mod verbs;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use embermesh_dialects::{ErrorCode, Failure};

use crate::failure::store_failed;

pub(crate) use self::verbs::fresh_id;

/// The files of all models, and which of them somebody writes.
#[derive(Clone, Debug)]
pub(crate) struct Models {
    root: PathBuf,
    /// The bytes that the models of one owner may have together.
    quota: u64,
    written: Arc<Mutex<HashSet<i64>>>,
}

/// The right to write one model, until it is dropped.
#[derive(Debug)]
struct Writing {
    written: Arc<Mutex<HashSet<i64>>>,
    number: i64,
}

impl Models {
    pub(crate) fn new(root: PathBuf, quota: u64) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self {
            root,
            quota,
            written: Arc::default(),
        })
    }

    /// Where a model is once it is whole.
    pub(crate) fn path(&self, number: i64) -> PathBuf {
        self.root.join(number.to_string())
    }

    /// Where it is until then.
    fn part(&self, number: i64) -> PathBuf {
        self.root.join(format!("{number}.part"))
    }

    /// How many bytes of a model have come.
    fn received(&self, number: i64) -> u64 {
        fs::metadata(self.part(number)).map_or(0, |part| part.len())
    }

    /// Makes the caller the only one who writes a model.
    fn write(&self, number: i64) -> Option<Writing> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(number).then(|| Writing {
            written: Arc::clone(&self.written),
            number,
        })
    }

    /// Forgets the bytes of a model.
    fn remove(&self, number: i64) -> io::Result<()> {
        remove_if_there(&self.part(number))?;
        remove_if_there(&self.path(number))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.remove(&self.number);
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a failed file operation means to a client: a full disk is told.
fn file_failed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            tracing::error!(%error, "no space left for models");
            let message =
                "the disk of this registry is full: go on when its operator has made room";
            Failure::new(ErrorCode::Exhausted, message)
        }
        _ => store_failed(error),
    }
}
