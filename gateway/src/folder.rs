//! The files of a job: its inputs until it has ended, and then what it made.
//!
//! A job's folder is named by its number, which is ours; no name that a client gives is
//! ever a path.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use embermesh_crypto::Digest;
use embermesh_dialects::port::jobs::LogPiece;
use embermesh_storage::folder::private_options;
use serde::{Deserialize, Serialize};

/// What was said that an open job has written, a line a piece.
const REPORTED: &str = "reported.jsonl";
/// How long that grows before only the newest of it is kept, in bytes.
const MAX_REPORTED: u64 = 8 << 20;

/// The folders of all jobs.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    root: PathBuf,
}

/// A piece of a log, as a file has it.
#[derive(Serialize, Deserialize)]
struct Line {
    at: embermesh_crypto::UnixMillis,
    stream: embermesh_job::event::LogStream,
    text: String,
}

impl From<LogPiece> for Line {
    fn from(piece: LogPiece) -> Self {
        Self {
            at: piece.at,
            stream: piece.stream,
            text: piece.text,
        }
    }
}

impl From<Line> for LogPiece {
    fn from(line: Line) -> Self {
        Self {
            at: line.at,
            stream: line.stream,
            text: line.text,
        }
    }
}

impl Folders {
    pub(crate) fn new(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    fn of(&self, number: i64) -> PathBuf {
        self.root.join(number.to_string())
    }

    /// Keeps the inputs of a job. They are durable when this returns.
    pub(crate) fn keep(&self, number: i64, inputs: &BTreeMap<Digest, Bytes>) -> io::Result<()> {
        let folder = self.of(number).join("inputs");
        fs::create_dir_all(&folder)?;
        for (digest, bytes) in inputs {
            let mut options = private_options();
            let mut file = options
                .create(true)
                .truncate(true)
                .open(folder.join(digest.to_string()))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        fs::File::open(&folder)?.sync_all()
    }

    /// Keeps an input that is a file of this gateway already, on the same disk: as the
    /// same bytes under another name. It is durable when this returns.
    pub(crate) fn link(&self, number: i64, digest: Digest, file: &Path) -> io::Result<()> {
        let folder = self.of(number).join("inputs");
        fs::create_dir_all(&folder)?;
        let input = folder.join(digest.to_string());
        match fs::hard_link(file, &input) {
            // A file system without links.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                fs::copy(file, &input)?;
                fs::File::open(&input)?.sync_all()?;
            }
            linked => linked?,
        }
        fs::File::open(&folder)?.sync_all()
    }

    /// The inputs that are kept.
    pub(crate) fn inputs(&self, number: i64) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(self.of(number).join("inputs")) {
            Ok(files) => files.map(|file| Ok(file?.path())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Where an input is, by its digest.
    pub(crate) fn input(&self, number: i64, digest: &str) -> PathBuf {
        self.of(number).join("inputs").join(digest)
    }

    /// Where a result of a job is, or will be.
    pub(crate) fn result(&self, number: i64, digest: &Digest) -> PathBuf {
        self.of(number).join("results").join(digest.to_string())
    }

    /// Makes room for the results.
    pub(crate) fn prepare_results(&self, number: i64) -> io::Result<()> {
        fs::create_dir_all(self.of(number).join("results"))
    }

    /// Keeps a result that somebody brings. It is durable when this returns.
    pub(crate) fn keep_result(&self, number: i64, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.prepare_results(number)?;
        let path = self.result(number, digest);
        // Whole or not at all, under its name.
        let draft = path.with_extension("new");
        let mut file = private_options().create(true).truncate(true).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        fs::File::open(self.of(number).join("results"))?.sync_all()
    }

    /// Keeps what somebody says that a job has written, after all that was said before;
    /// where that is long, `so_far` takes its place. It is durable when this returns.
    pub(crate) fn append(
        &self,
        number: i64,
        piece: LogPiece,
        so_far: Vec<LogPiece>,
    ) -> io::Result<()> {
        let path = self.of(number).join(REPORTED);
        let long = fs::metadata(&path).is_ok_and(|file| file.len() > MAX_REPORTED);
        let pieces = if long { so_far } else { Vec::new() };
        let mut text = Vec::new();
        for piece in pieces.into_iter().chain([piece]) {
            // Before it, so that what a crash has cut is a line by itself.
            text.push(b'\n');
            serde_json::to_writer(&mut text, &Line::from(piece))?;
        }
        if long {
            let draft = path.with_extension("new");
            let mut file = private_options().create(true).truncate(true).open(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            return fs::rename(&draft, &path);
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&path)?;
        file.write_all(&text)?;
        file.sync_data()
    }

    /// What was said that a job has written.
    pub(crate) fn reported(&self, number: i64) -> io::Result<Vec<LogPiece>> {
        let text = match fs::read(self.of(number).join(REPORTED)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // What a crash has cut was not acknowledged.
        let lines = text.split(|byte| *byte == b'\n');
        let whole = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        Ok(whole.map(LogPiece::from).collect())
    }

    /// The job has ended: its inputs go, and what it wrote stays.
    pub(crate) fn end(&self, number: i64, log: Vec<LogPiece>) -> io::Result<()> {
        let folder = self.of(number);
        fs::create_dir_all(&folder)?;
        let lines: Vec<Line> = log.into_iter().map(Line::from).collect();
        fs::write(folder.join("log.json"), serde_json::to_vec(&lines)?)?;
        match fs::remove_file(folder.join(REPORTED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::remove_dir_all(folder.join("inputs")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What a job that has ended had written.
    pub(crate) fn log(&self, number: i64) -> io::Result<Vec<LogPiece>> {
        let bytes = match fs::read(self.of(number).join("log.json")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let lines: Vec<Line> = serde_json::from_slice(&bytes)?;
        Ok(lines.into_iter().map(LogPiece::from).collect())
    }

    /// Forgets all of a job.
    pub(crate) fn remove(&self, number: i64) -> io::Result<()> {
        match fs::remove_dir_all(self.of(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Some bytes of a file, as far as it has them.
pub(crate) fn read(path: &Path, range: &Range<u64>) -> io::Result<Bytes> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    let end = range.end.min(size);
    let length = end.saturating_sub(range.start);
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::UnixMillis;
    use embermesh_job::event::LogStream;

    use super::*;

    fn piece(text: &str) -> LogPiece {
        LogPiece {
            at: UnixMillis(1),
            stream: LogStream::Stdout,
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_was_reported_comes_back_without_what_a_crash_cut() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::new(folder.path().to_owned()).unwrap();
        folders.keep(1, &BTreeMap::new()).unwrap();
        assert!(folders.reported(1).unwrap().is_empty());
        for text in ["one\n", "two\n"] {
            folders.append(1, piece(text), Vec::new()).unwrap();
        }
        let path = folder.path().join("1").join(REPORTED);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"\n{\"at\":1,"].concat()).unwrap();
        folders.append(1, piece("2.5\n"), Vec::new()).unwrap();
        assert_eq!(
            folders.reported(1).unwrap(),
            [piece("one\n"), piece("two\n"), piece("2.5\n")]
        );
        // Where it is long, what is known of it takes its place.
        let long = usize::try_from(MAX_REPORTED).unwrap() + 1;
        fs::write(&path, vec![b'x'; long]).unwrap();
        folders
            .append(1, piece("three\n"), vec![piece("two\n")])
            .unwrap();
        assert_eq!(
            folders.reported(1).unwrap(),
            [piece("two\n"), piece("three\n")]
        );
        folders.end(1, Vec::new()).unwrap();
        assert!(folders.reported(1).unwrap().is_empty());
    }

    #[test]
    fn a_result_is_whole_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::new(folder.path().to_owned()).unwrap();
        let digest = Digest::of(b"zip");
        folders.keep_result(1, &digest, b"zip").unwrap();
        let bytes = read(&folders.result(1, &digest), &(0..u64::MAX)).unwrap();
        assert_eq!(&bytes[..], b"zip");
        assert_eq!(
            fs::read_dir(folder.path().join("1/results"))
                .unwrap()
                .count(),
            1
        );
    }
}
