//! A model on its way in: a file that grows, and what its bytes hash to.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::registry::{Piece, Whole},
};
use embermesh_storage::folder::private_options;

use super::{
    Models, Writing,
    checksum::{self, Hashers, Hashes},
    file_failed, remove_if_there,
};

/// Bytes read at once while what came earlier is hashed again.
const READ: usize = 256 << 10;

/// A model that arrives. All of it blocks. Nobody else writes the model while it lives.
pub(super) struct Incoming {
    file: File,
    part: PathBuf,
    hashers: Hashers,
    at: u64,
    size: u64,
    _writing: Writing,
}

impl Incoming {
    /// Begins at the start, or goes on where an earlier upload broke off.
    pub(super) fn open(
        models: &Models,
        writing: Writing,
        offset: u64,
        size: u64,
    ) -> Result<Self, Failure> {
        let part = models.part(writing.number);
        let mut file = private_options()
            .create(true)
            .truncate(offset == 0)
            .open(&part)
            .map_err(|error| file_failed(&error))?;
        let mut hashers = Hashers::new();
        let at = hash(&mut file, &mut hashers).map_err(|error| file_failed(&error))?;
        if at != offset {
            return Err(elsewhere(offset, at));
        }
        Ok(Self {
            file,
            part,
            hashers,
            at,
            size,
            _writing: writing,
        })
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// `Precondition` when it does not follow; everything else is as [`Self::drop_all`]
    /// leaves it.
    pub(super) fn take(&mut self, piece: &Piece) -> Result<(), Failure> {
        if piece.offset != self.at {
            return Err(elsewhere(piece.offset, self.at));
        }
        let length = piece.data.len() as u64;
        if self.at.saturating_add(length) > self.size {
            let message = format!("data: more than the {} bytes that were said", self.size);
            return Err(self.drop_all(message));
        }
        self.hashers.update(&piece.data);
        if let Some(said) = &piece.checksum {
            checksum::check(said)?;
            let is_right = Hashes::of(&piece.data).are(said)
                || (piece.is_last && self.hashers.hashes().are(said));
            if !is_right {
                let message = format!("checksum: not that of the {length} bytes at {}", self.at);
                return Err(self.drop_all(message));
            }
        }
        self.file
            .write_all(&piece.data)
            .map_err(|error| file_failed(&error))?;
        self.at += length;
        if piece.is_last && self.at < self.size {
            let message = format!("is_final: {} of {} bytes are here", self.at, self.size);
            return Err(self.drop_all(message));
        }
        Ok(())
    }

    /// Makes the model of it, where all bytes are here and are what was said of them.
    pub(super) fn finish(
        mut self,
        models: &Models,
        number: i64,
        said: Option<&str>,
        now: UnixMillis,
    ) -> Result<Whole, Failure> {
        if self.at < self.size {
            let message = format!(
                "the bytes ended at {} of {}: go on from there, or begin anew at 0",
                self.at, self.size
            );
            return Err(Failure::new(ErrorCode::Precondition, message));
        }
        let hashes = self.hashers.hashes();
        if said.is_some_and(|said| !hashes.are(said)) {
            let message = "the bytes are not those of the checksum that was said of the model";
            return Err(self.drop_all(message.to_owned()));
        }
        let keep = || -> io::Result<()> {
            self.file.sync_all()?;
            std::fs::rename(&self.part, models.path(number))?;
            File::open(&models.root)?.sync_all()
        };
        keep().map_err(|error| file_failed(&error))?;
        Ok(Whole {
            digest: hashes.blake3,
            sha256: hashes.sha256,
            size: self.size,
            at: now,
        })
    }

    /// The bytes are not what was said: none of them is kept.
    fn drop_all(&mut self, message: String) -> Failure {
        if let Err(error) = remove_if_there(&self.part) {
            tracing::error!(%error, "a refused upload stays on the disk");
        }
        Failure::invalid(message)
    }
}

/// Hashes what is in a file, which is then at its end.
fn hash(file: &mut File, hashers: &mut Hashers) -> io::Result<u64> {
    let mut buffer = vec![0; READ];
    let mut at = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(at);
        }
        hashers.update(&buffer[..read]);
        at += read as u64;
    }
}

fn elsewhere(offset: u64, at: u64) -> Failure {
    let message = format!(
        "offset: {offset} does not follow: {at} bytes are here; go on from there, or begin anew at 0"
    );
    Failure::new(ErrorCode::Precondition, message)
}
