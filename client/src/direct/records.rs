//! What this side remembers of the jobs that it has submitted without an index: a folder
//! with two files for each, the spec and where the job stands. No more than
//! [`MAX_RECORDS`] jobs; the one that was submitted first makes room.

use std::{
    io,
    path::{Path, PathBuf},
};

use embermesh_crypto::{
    ids::{Epoch, JobId, TaskIndex},
    time::UnixMillis,
};
use embermesh_job::{
    address::{Checkpoint, PeerAddress},
    assignment::NodeAssignment,
    event::Outcome,
    spec::{JobSpec, MAX_SPEC_LEN},
};
use serde::{Deserialize, Serialize};

use crate::{
    ClientError,
    bounds::MAX_RECORDS,
    files::{at, bounded, make_private, make_room, of_jobs, write_whole},
};

/// Bytes of a record beside its spec.
const MAX_RECORD_LEN: u64 = 256 * 1024;

/// A job that was submitted without an index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The job.
    pub job: JobId,
    /// What people call it.
    pub name: String,
    /// When it was submitted.
    pub submitted_at: UnixMillis,
    /// The newest attempt for which a node has given a permit; 0 before the first.
    pub epoch: Epoch,
    /// Attempts that have begun, as far as this side knows.
    pub begun: u32,
    /// The node of the newest attempt.
    pub node: Option<PeerAddress>,
    /// The permit of the newest attempt, which this key alone can use.
    pub token: String,
    /// When that expires.
    pub expires_at: UnixMillis,
    /// The newest checkpoints, the newest last, from which another node can go on.
    pub checkpoints: Vec<Checkpoint>,
    /// How it ended, if it has.
    pub ended: Option<Outcome>,
}

impl Record {
    /// A job that no node has yet.
    #[must_use]
    pub fn new(job: JobId, spec: &JobSpec, now: UnixMillis) -> Self {
        Self {
            job,
            name: spec.name.clone(),
            submitted_at: now,
            epoch: Epoch(0),
            begun: 0,
            node: None,
            token: String::new(),
            expires_at: UnixMillis(0),
            checkpoints: Vec::new(),
            ended: None,
        }
    }

    /// The permit of the newest attempt, which may have expired.
    #[must_use]
    pub fn assignment(&self) -> Option<NodeAssignment> {
        Some(NodeAssignment {
            job: self.job,
            task: TaskIndex(0),
            epoch: self.epoch,
            node: self.node.clone()?,
            token: self.token.clone(),
            expires_at: self.expires_at,
        })
    }

    pub(super) fn assign(&mut self, assignment: &NodeAssignment) {
        self.epoch = assignment.epoch;
        self.node = Some(assignment.node.clone());
        self.token.clone_from(&assignment.token);
        self.expires_at = assignment.expires_at;
    }
}

/// The records of this user. Clones are the same folder.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// The records in a folder, which is made when the first is kept.
    #[must_use]
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Begins to remember a job.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn begin(&self, record: &Record, spec: &[u8]) -> Result<(), ClientError> {
        make_private(&self.folder).map_err(|error| at(&self.folder, "make the folder", error))?;
        make_room(&self.folder, MAX_RECORDS, &["spec"])?;
        self.write(&self.spec_path(record.job), spec)?;
        self.keep(record)
    }

    /// Remembers where a job stands.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, record: &Record) -> Result<(), ClientError> {
        let bytes = serde_json::to_vec(record).map_err(io::Error::other);
        let bytes = bytes.map_err(|error| at(&self.folder, "write", error))?;
        self.write(&self.path(record.job), &bytes)
    }

    /// What is remembered of a job; `None` where nothing is.
    ///
    /// # Errors
    /// When its files cannot be read, or are damaged.
    pub fn find(&self, job: JobId) -> Result<Option<Record>, ClientError> {
        self.read(&self.path(job))
    }

    /// The canonical spec of a job.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn spec(&self, job: JobId) -> Result<Vec<u8>, ClientError> {
        let path = self.spec_path(job);
        let read = bounded(&path, MAX_SPEC_LEN as u64);
        read.map_err(|error| at(&path, "read", error))
    }

    /// Every job that is remembered, the newest first. A damaged record is passed over.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self) -> Result<Vec<Record>, ClientError> {
        let mut records = Vec::new();
        for path in of_jobs(&self.folder)? {
            match self.read(&path) {
                Ok(record) => records.extend(record),
                Err(error) => tracing::warn!(%error, "a record of a job is damaged"),
            }
        }
        records.sort_by_key(|record| std::cmp::Reverse((record.submitted_at, record.job)));
        Ok(records)
    }

    fn read(&self, path: &Path) -> Result<Option<Record>, ClientError> {
        let bytes = match bounded(path, MAX_RECORD_LEN) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| at(path, "read", error))?,
        };
        let record = serde_json::from_slice(&bytes);
        record
            .map(Some)
            .map_err(|error| at(path, "read", io::Error::other(error)))
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.folder.join(format!("{job}.json"))
    }

    fn spec_path(&self, job: JobId) -> PathBuf {
        self.folder.join(format!("{job}.spec"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
        write_whole(path, bytes).map_err(|error| at(path, "write", error))
    }
}

#[cfg(test)]
mod tests;
