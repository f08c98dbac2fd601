//! A task's results as one zip archive: its working folder, its other results, and what it
//! has written, as `task_logs.txt`.

use std::{
    collections::BTreeSet,
    io::{Cursor, Read as _, Write as _},
    path::{Component, Path},
};

use bytes::Bytes;
use embermesh_job::{event::LogStream, spec::ARCHIVE};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::MAX_RESULT;
use crate::{ErrorCode, Failure, port::jobs::LogPiece};

/// What a task has written, in the archive.
const LOG: &str = "task_logs.txt";
/// The most files of a working folder that are given back.
const MAX_FILES: usize = 100_000;

/// Packs results. It is work for a blocking thread.
pub(super) fn pack(artifacts: &[(String, Bytes)], log: &str) -> Result<Bytes, Failure> {
    let mut pack = Pack {
        zip: ZipWriter::new(Cursor::new(Vec::new())),
        names: BTreeSet::new(),
    };
    for (name, bytes) in artifacts {
        if name == ARCHIVE {
            pack.unpack(bytes).map_err(|error| damaged(&error))?;
        } else {
            pack.add(name, 0o644, bytes)?;
        }
    }
    pack.add(LOG, 0o644, log.as_bytes())?;
    let made = pack.zip.finish().map_err(|error| damaged(&error))?;
    Ok(Bytes::from(made.into_inner()))
}

struct Pack {
    zip: ZipWriter<Cursor<Vec<u8>>>,
    names: BTreeSet<String>,
}

impl Pack {
    /// Adds the files of a tar archive; what is no file, or lies outside, is left out.
    fn unpack(&mut self, archive: &[u8]) -> std::io::Result<()> {
        let mut tar = tar::Archive::new(archive);
        for entry in tar.entries()?.take(MAX_FILES) {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let Some(name) = inside(&entry.path()?) else {
                continue;
            };
            let mode = entry.header().mode()?;
            let mut bytes = Vec::new();
            entry.by_ref().take(MAX_RESULT).read_to_end(&mut bytes)?;
            self.add(&name, mode & 0o777, &bytes)
                .map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    /// Adds a file. Of two with one name the first stays.
    fn add(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(mode);
        self.zip
            .start_file(name, options)
            .map_err(|error| damaged(&error))?;
        self.zip.write_all(bytes).map_err(|error| damaged(&error))
    }
}

/// A path below the folder, with slashes.
fn inside(path: &Path) -> Option<String> {
    let parts = path.components().map(|part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    });
    let parts: Option<Vec<_>> = parts.collect();
    parts
        .map(|parts| parts.join("/"))
        .filter(|name| !name.is_empty())
}

/// What a caller reads of an archive that cannot be made.
fn damaged(error: &dyn std::fmt::Display) -> Failure {
    tracing::error!(%error, "the results of a task could not be packed");
    Failure::new(ErrorCode::Internal, "the results could not be packed")
}

/// The lines of a log, each stream's by themselves however its pieces were cut. The last
/// line of a stream counts even without an end.
pub(super) fn lines(log: &[LogPiece]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut out, mut err) = (String::new(), String::new());
    for piece in log {
        let open = match piece.stream {
            LogStream::Stdout => &mut out,
            LogStream::Stderr => &mut err,
        };
        for part in piece.text.split_inclusive('\n') {
            open.push_str(part);
            if let Some(line) = open.strip_suffix('\n') {
                lines.push(line.strip_suffix('\r').unwrap_or(line).to_owned());
                open.clear();
            }
        }
    }
    lines.extend([out, err].into_iter().filter(|line| !line.is_empty()));
    lines
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::UnixMillis;

    use super::*;

    fn piece(stream: LogStream, text: &str) -> LogPiece {
        LogPiece {
            at: UnixMillis(0),
            stream,
            text: text.to_owned(),
        }
    }

    #[test]
    fn every_line_is_given_once_however_the_log_was_cut() {
        let log = [
            piece(LogStream::Stdout, "one\ntw"),
            piece(LogStream::Stderr, "warning\r\n"),
            piece(LogStream::Stdout, "o\n\nlast"),
        ];
        assert_eq!(lines(&log), ["one", "warning", "two", "", "last"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn a_folder_becomes_a_zip_and_nothing_outside_of_it_does() {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, mode) in [("a/run.sh", 0o755), ("b.txt", 0o644), ("b.txt", 0o644)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(mode);
            tar.append_data(&mut header, name, &b"data"[..]).unwrap();
        }
        // The builder refuses such a name, so it is written into the header.
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../../etc");
        header.set_size(4);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, &b"evil"[..]).unwrap();
        let tar = Bytes::from(tar.into_inner().unwrap());
        let artifacts = [
            (ARCHIVE.to_owned(), tar),
            ("model.bin".to_owned(), Bytes::from_static(b"weights")),
        ];
        let packed = pack(&artifacts, "hello\n").unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(packed.to_vec())).unwrap();
        let mut names = Vec::new();
        for index in 0..zip.len() {
            let file = zip.by_index(index).unwrap();
            names.push(file.name().unwrap().into_owned());
        }
        assert_eq!(names, ["a/run.sh", "b.txt", "model.bin", "task_logs.txt"]);
        assert_eq!(zip.by_index(0).unwrap().unix_mode(), Some(0o100_755));
        let mut text = String::new();
        let mut log = zip.by_name("task_logs.txt").unwrap();
        log.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\n");
        assert_eq!(pack(&artifacts, "hello\n").unwrap(), packed);
    }

    #[test]
    fn an_archive_that_is_damaged_is_a_fault_and_not_an_empty_result() {
        let artifacts = [(ARCHIVE.to_owned(), Bytes::from(vec![7; 1024]))];
        assert_eq!(pack(&artifacts, "").unwrap_err().code, ErrorCode::Internal);
    }
}
