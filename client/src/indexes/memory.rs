//! Which index has which job of this user, and where that runs: a folder with a file for
//! each. So a later command asks the right index, and while that is away goes straight to
//! the job's node. No more than [`MAX_HELD`] jobs; the oldest makes room.

use std::{io, path::PathBuf};

use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId, TaskIndex},
    time::UnixMillis,
};
use embermesh_job::{address::PeerAddress, assignment::NodeAssignment};
use serde::{Deserialize, Serialize};

use crate::{
    Client, ClientError, JobView,
    bounds::MAX_HELD,
    files::{at, bounded, make_private, make_room, write_whole},
};

/// The most bytes of one file.
const MAX_HELD_LEN: u64 = 64 * 1024;

/// A job that an index has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The job.
    pub job: JobId,
    /// What people call it.
    pub name: String,
    /// The digest of its canonical spec.
    pub spec: Digest,
    /// `host:port` of the index.
    pub index: String,
    /// The key of the index.
    pub index_peer: PeerId,
    /// The newest attempt that this side was told of; 0 before the first.
    pub epoch: Epoch,
    /// Its node.
    pub node: Option<PeerAddress>,
    /// Its token, which this key alone can use.
    pub token: String,
    /// When that expires.
    pub expires_at: UnixMillis,
}

impl Held {
    /// A job that an index has taken just now.
    #[must_use]
    pub fn new(client: &Client, job: &JobView) -> Self {
        Self {
            job: job.id,
            name: job.name.clone(),
            spec: job.spec_digest,
            index: client.target().address.clone(),
            index_peer: client.index_peer(),
            epoch: Epoch(0),
            node: None,
            token: String::new(),
            expires_at: UnixMillis(0),
        }
    }

    /// Takes an assignment in. False where it says nothing new.
    pub fn assign(&mut self, assignment: &NodeAssignment) -> bool {
        if (self.epoch, &self.token) == (assignment.epoch, &assignment.token) {
            return false;
        }
        self.epoch = assignment.epoch;
        self.node = Some(assignment.node.clone());
        self.token.clone_from(&assignment.token);
        self.expires_at = assignment.expires_at;
        true
    }

    /// The assignment that is remembered, which may have expired.
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
}

/// What this user remembers. Clones are the same folder.
#[derive(Clone, Debug)]
pub struct Memory {
    folder: PathBuf,
}

impl Memory {
    /// What is remembered in a folder, which is made when the first job is kept.
    #[must_use]
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Remembers a job as it stands.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, held: &Held) -> Result<(), ClientError> {
        let path = self.path(held.job);
        make_private(&self.folder).map_err(|error| at(&self.folder, "make the folder", error))?;
        if !path.exists() {
            make_room(&self.folder, MAX_HELD, &[])?;
        }
        let bytes = serde_json::to_vec(held).map_err(io::Error::other);
        let bytes = bytes.map_err(|error| at(&path, "write", error))?;
        write_whole(&path, &bytes).map_err(|error| at(&path, "write", error))
    }

    /// What is remembered of a job; `None` where nothing is, or nothing that can be read.
    #[must_use]
    pub fn find(&self, job: JobId) -> Option<Held> {
        let path = self.path(job);
        let bytes = match bounded(&path, MAX_HELD_LEN) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read,
        };
        let held = bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
        held.inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "what was remembered of a job is damaged"),
        )
        .ok()
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.folder.join(format!("{job}.json"))
    }
}

#[cfg(test)]
mod tests;
