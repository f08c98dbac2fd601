//! A result that is written as it is made, and never beyond what the job may
//! make. It takes its name once it is whole.

use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use crate::failure::{WorkFailed, at};

/// A file that is being made.
pub(crate) struct Output {
    file: BufWriter<File>,
    /// What it is called until it is whole.
    partial: PathBuf,
    path: PathBuf,
    written: u64,
    ceiling: u64,
}

impl Output {
    /// Begins a file of at most `ceiling` bytes.
    pub(crate) fn create(path: &Path, ceiling: u64) -> std::result::Result<Self, WorkFailed> {
        let partial = path.with_extension("partial");
        let file = File::create(&partial).map_err(at(&partial))?;
        Ok(Self {
            file: BufWriter::new(file),
            partial,
            path: path.to_owned(),
            written: 0,
            ceiling,
        })
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name.
    pub(crate) fn finish(mut self) -> std::result::Result<PathBuf, WorkFailed> {
        self.file.flush().map_err(at(&self.partial))?;
        std::fs::rename(&self.partial, &self.path).map_err(at(&self.path))?;
        Ok(self.path)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.written.saturating_add(bytes.len() as u64) > self.ceiling {
            return Err(Error::new(
                ErrorKind::FileTooLarge,
                format!(
                    "the result is more than the {} bytes that the job may make; raise limits.output",
                    self.ceiling
                ),
            ));
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}
