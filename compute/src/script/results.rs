//! What of a script's working folder is a result: the files that its spec names, and
//! the rest as one archive.
//!
//! The archive is a function of names, contents and whether a file may be run: the
//! same folder gives the same bytes. Links are left out.

use std::fs::{self, File};
use std::path::Path;

use embermesh_job::spec::{ARCHIVE, Script};
use tar::{Builder, EntryType, Header};

use super::ScriptFailed;
use super::folder::{Entry, walk};
use super::layout::Layout;
use crate::failure::{WorkFailed, at};
use crate::job::Job;
use crate::output::Output;

/// Makes results of what the program left. It and all its processes are gone.
pub(crate) fn give(script: &Script, layout: &Layout, job: &mut Job<'_>) -> Result<(), WorkFailed> {
    let mut left = job.order.ceilings.output_bytes;
    for (number, name) in script.outputs.iter().enumerate() {
        let made = layout.work.join(name);
        let size = match fs::symlink_metadata(&made) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => return Err(ScriptFailed::OutputMissing(name.clone()).into()),
        };
        left = left.checked_sub(size).ok_or(WorkFailed::Output {
            needed: size,
            ceiling: left,
        })?;
        let result = layout.root.join(format!("result-{number}"));
        fs::rename(&made, &result).map_err(at(&made))?;
        readable(&result)?;
        job.log.artifact(name, result);
    }
    if !script.archive {
        return Ok(());
    }
    let entries = walk(&layout.work)?;
    if entries.is_empty() {
        return Ok(());
    }
    let mut archive = Builder::new(Output::create(&layout.root.join(ARCHIVE), left)?);
    for entry in &entries {
        add(&mut archive, &layout.work, entry)?;
    }
    let path = layout.root.join(ARCHIVE);
    let output = archive.into_inner().map_err(at(&path))?;
    let path = output.finish()?;
    job.log.artifact(ARCHIVE, path);
    Ok(())
}

fn add(archive: &mut Builder<Output>, folder: &Path, entry: &Entry) -> Result<(), WorkFailed> {
    let path = folder.join(&entry.name);
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(if entry.metadata.is_dir() || runs(entry) {
        0o755
    } else {
        0o644
    });
    let added = if entry.metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        // As others write it, with the slash behind it.
        archive.append_data(&mut header, entry.name.join(""), std::io::empty())
    } else {
        readable(&path)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(entry.metadata.len());
        let file = File::open(&path).map_err(at(&path))?;
        archive.append_data(&mut header, &entry.name, file)
    };
    added.map_err(at(&path))
}

#[cfg(unix)]
fn runs(entry: &Entry) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    entry.metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn runs(_: &Entry) -> bool {
    false
}

/// Takes a program's word that nobody may read its result back.
#[cfg(unix)]
fn readable(path: &Path) -> Result<(), WorkFailed> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(at(path))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> Result<(), WorkFailed> {
    Ok(())
}
