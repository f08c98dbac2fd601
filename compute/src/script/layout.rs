//! The folder of a script on the disk: its program and its inputs, checked against
//! their digests while they are laid out, and its empty working folder.
//!
//! Inputs are copied rather than linked, so that nothing that a script could do to
//! its own files reaches the node's blobs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use embermesh_job::crypto::Digest;
use embermesh_job::spec::{Input, Script};

use crate::failure::{WorkFailed, at};
use crate::pipe::WorkOrder;

/// Bytes that are copied at once.
const PIECE: usize = 256 * 1024;

/// Where the parts of a script lie.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Of the whole attempt; results are made here.
    pub(crate) root: PathBuf,
    /// The program.
    pub(crate) program: PathBuf,
    /// The files that it may read.
    pub(crate) inputs: PathBuf,
    /// The folder that it begins in and may write to.
    pub(crate) work: PathBuf,
    /// What it reads on its standard input.
    pub(crate) stdin: PathBuf,
}

impl Layout {
    /// Lays a script out in the order's folder.
    pub(crate) fn make(script: &Script, order: &WorkOrder) -> Result<Self, WorkFailed> {
        let root = order.workdir.clone();
        let layout = Self {
            program: root.join("program"),
            inputs: root.join("inputs"),
            work: root.join("work"),
            stdin: root.join("stdin"),
            root,
        };
        for folder in [&layout.inputs, &layout.work] {
            fs::create_dir(folder).map_err(at(folder))?;
        }
        copy(script.program, order, &layout.program)?;
        for (name, input) in &script.inputs {
            // The spec's rules for names keep this below the folder.
            let path = layout.inputs.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(at(folder))?;
            }
            copy(*input, order, &path)?;
        }
        let text = script.stdin.as_deref().unwrap_or_default();
        fs::write(&layout.stdin, text).map_err(at(&layout.stdin))?;
        Ok(layout)
    }

    /// What the program is to read on its standard input.
    pub(crate) fn open_stdin(&self) -> Result<File, WorkFailed> {
        File::open(&self.stdin).map_err(at(&self.stdin))
    }
}

/// Copies an input and checks that it is what the spec names.
fn copy(input: Input, order: &WorkOrder, to: &Path) -> Result<(), WorkFailed> {
    let path = order
        .inputs
        .get(&input.digest)
        .ok_or_else(|| WorkFailed::InputAbsent(input.digest.to_string()))?;
    let mut source = File::open(path).map_err(at(path))?.take(input.size + 1);
    let mut target = File::create_new(to).map_err(at(to))?;
    let mut hasher = Digest::hasher();
    let mut piece = vec![0; PIECE];
    loop {
        let count = source.read(&mut piece).map_err(at(path))?;
        if count == 0 {
            break;
        }
        hasher.update(&piece[..count]);
        target.write_all(&piece[..count]).map_err(at(to))?;
    }
    let found = hasher.finalize();
    if found != input.digest {
        return Err(WorkFailed::InputCorrupt {
            expected: input.digest.to_string(),
            found: found.to_string(),
        });
    }
    Ok(())
}
