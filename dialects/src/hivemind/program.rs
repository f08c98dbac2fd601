//! What a task's bytes are: Python's source, or a zip archive with a program at its top.
//!
//! An archive is unpacked into the working folder before its program runs there, so that
//! it finds its files where it did, and what it changes comes back with the result.
//! Workers of the system get an archive in any case, as they always did.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write as _},
};

use bytes::Bytes;
use embermesh_crypto::Digest;
use embermesh_job::{
    spec::{Input, JobSpec, Limits, Requirements, Runtime, Script, Work},
    units,
};

use super::{MAX_RESULT, MAX_TASK, codec::Upload};
use crate::{ErrorCode, Failure, port::jobs::Submission};

/// The programs that are looked for, the first that is there is run; without any, the
/// first `.py` by its name.
const PROGRAMS: [&str; 5] = ["run.py", "main.py", "app.py", "index.py", "start.py"];
/// How every zip archive begins.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// The most files of an archive.
const MAX_FILES: usize = 20_000;
/// The longest id of a task, in characters.
const MAX_ID: usize = 128;
/// The most memory that a task can ask for, in GB.
const MAX_MEMORY_GB: i32 = 4096;
/// What the archive is called beside the program's inputs.
const ARCHIVE: &str = "task.zip";
/// Unpacks the archive into the working folder and becomes the program in it.
const UNPACK: &str = "\
import os, sys, zipfile
with zipfile.ZipFile('/inputs/task.zip') as task:
    task.extractall('/work')
os.execv(sys.executable, [sys.executable, os.path.join('/work', sys.argv[1])])
";

/// The job that a task is, and the archive that a worker takes.
pub(super) fn submission(upload: Upload) -> Result<(Submission, Bytes), Failure> {
    task_id(&upload.task_id)?;
    if upload.data.is_empty() {
        return Err(Failure::invalid(
            "the task has no data: send Python source or a zip archive",
        ));
    }
    if upload.data.len() > MAX_TASK {
        let message = format!("a task has {MAX_TASK} bytes at most");
        return Err(Failure::new(ErrorCode::Exhausted, message));
    }
    let mut inputs = BTreeMap::new();
    let mut keep = |bytes: Bytes| {
        let input = Input {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        inputs.insert(input.digest, bytes);
        input
    };
    let zipped = ZIP.iter().any(|head| upload.data.starts_with(head));
    let (program, args, files, package) = if zipped {
        let program = find(&upload.data)?;
        let archive = keep(upload.data.clone());
        let unpack = keep(Bytes::from_static(UNPACK.as_bytes()));
        let files = [(ARCHIVE.to_owned(), archive)].into();
        (unpack, vec![program], files, upload.data.clone())
    } else {
        if std::str::from_utf8(&upload.data).is_err() || upload.data.contains(&0) {
            return Err(Failure::invalid(
                "the task is neither a zip archive nor Python source in UTF-8",
            ));
        }
        let program = keep(upload.data.clone());
        (program, Vec::new(), BTreeMap::new(), archive(&upload.data)?)
    };
    let spec = JobSpec {
        name: upload.task_id.clone(),
        work: Work::Script(Script {
            runtime: Runtime::Python,
            program,
            entry: None,
            args,
            env: BTreeMap::new(),
            stdin: None,
            inputs: files,
            outputs: Vec::new(),
            archive: true,
            cpu: None,
            fuel: None,
        }),
        requires: requirements(&upload)?,
        limits: limits(&upload)?,
        attempts: 1,
    };
    let job = Submission {
        payment: None,
        foreign_id: Some(upload.task_id),
        spec,
        inputs,
        notes: BTreeMap::new(),
    };
    Ok((job, package))
}

/// Source as an archive with one program.
fn archive(source: &[u8]) -> Result<Bytes, Failure> {
    let write = || -> zip::result::ZipResult<Vec<u8>> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("main.py", zip::write::SimpleFileOptions::default())?;
        zip.write_all(source)?;
        Ok(zip.finish()?.into_inner())
    };
    let archive = write().map_err(|error| {
        tracing::error!(%error, "source could not be put into an archive");
        Failure::new(
            ErrorCode::Internal,
            "the task could not be put into an archive",
        )
    })?;
    Ok(archive.into())
}

/// Refuses an id that is no name. It is no path here; whoever makes one of it elsewhere
/// stays in his folder.
fn task_id(id: &str) -> Result<(), Failure> {
    let length = id.chars().count();
    let path = id.starts_with('.') || id.contains(['/', '\\']);
    if length == 0 || length > MAX_ID || path || id.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "give the task an id of 1 to {MAX_ID} characters that is no path: without / and \\ and no dot first"
        )));
    }
    Ok(())
}

/// The program of an archive.
fn find(data: &[u8]) -> Result<String, Failure> {
    let invalid = |error: zip::result::ZipError| {
        Failure::invalid(format!("the zip archive cannot be read: {error}"))
    };
    let archive = zip::ZipArchive::new(Cursor::new(data)).map_err(invalid)?;
    if archive.len() > MAX_FILES {
        return Err(Failure::invalid(format!(
            "the zip archive has more than {MAX_FILES} files"
        )));
    }
    let mut top = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(invalid)?;
        if !name.contains(['/', '\\']) {
            top.push(name.into_owned());
        }
    }
    top.sort();
    if top.iter().any(|name| name == "run.sh") {
        return Err(Failure::invalid(
            "run.sh is not run: shells have no place here; bring a run.py",
        ));
    }
    let named = PROGRAMS
        .iter()
        .find(|&&name| top.iter().any(|file| file == name));
    let any = || {
        top.iter()
            .find(|name| name.ends_with(".py") && !name.starts_with('-'))
    };
    named
        .map(|&name| name.to_owned())
        .or_else(|| any().cloned())
        .ok_or_else(|| {
            let names = PROGRAMS.join(", ");
            Failure::invalid(format!(
                "the zip archive has no program at its top: bring one of {names}, or another .py"
            ))
        })
}

fn requirements(upload: &Upload) -> Result<Requirements, Failure> {
    let any = |text: &str| text.is_empty() || text.eq_ignore_ascii_case("any");
    if upload.gpu_score > 0 || upload.gpu_memory_gb > 0 || !any(&upload.gpu_name) {
        let message = "programs run on the processor here: ask for no graphics card";
        return Err(Failure::new(ErrorCode::Exhausted, message));
    }
    Ok(Requirements {
        region: Some(upload.location.clone()).filter(|location| !any(location)),
        ..Requirements::default()
    })
}

fn limits(upload: &Upload) -> Result<Limits, Failure> {
    let mut limits = Limits {
        output: units::Bytes(MAX_RESULT),
        ..Limits::default()
    };
    match upload.memory_gb {
        0 => {}
        1..=MAX_MEMORY_GB => {
            limits.memory = units::Bytes(u64::from(upload.memory_gb.unsigned_abs()) << 30);
        }
        _ => {
            return Err(Failure::invalid(format!(
                "ask for 1 to {MAX_MEMORY_GB} GB of memory"
            )));
        }
    }
    Ok(limits)
}
