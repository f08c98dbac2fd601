//! What a worker may not do once it knows its job.
//!
//! Three fences, each of which holds when another is missing: limits on what
//! the process may take ([`limits`]), on what it may open ([`files`]), and on
//! what it may ask of the kernel ([`calls`]); and from its first moment it has
//! next to no privileges ([`privileges`]) and no descriptor but those of its pipe
//! ([`descriptors`]). The fences are raised after the order
//! has been read and before the first thread of the computation is spawned, so
//! that every thread inherits them. A GPU's driver has its threads and
//! descriptors by then and needs more of the kernel, so such a worker gets the
//! part that drivers can live with.
//!
//! Where a fence cannot be raised the worker says so in its
//! [`SandboxReport`]; whether that is good enough is the daemon's to decide.

use std::path::PathBuf;

use crate::pipe::SandboxReport;

#[cfg(target_os = "linux")]
pub(crate) mod calls;
#[cfg(target_os = "linux")]
pub(crate) mod descriptors;
#[cfg(target_os = "linux")]
pub(crate) mod files;
#[cfg(unix)]
pub(crate) mod limits;
#[cfg(target_os = "linux")]
pub(crate) mod privileges;

/// What the job needs from outside its process.
#[derive(Debug)]
pub(crate) struct Needs {
    /// Files or folders to read.
    pub(crate) read: Vec<PathBuf>,
    /// The folder to write to.
    pub(crate) write: PathBuf,
    /// Bytes that the job may allocate beside what the idle worker holds.
    pub(crate) memory_bytes: u64,
    /// Bytes of all results together.
    pub(crate) output_bytes: u64,
    /// Whether a driver lives in this process.
    pub(crate) driver: bool,
    /// The process of a script, in a sandbox of its own, that this one watches and
    /// may end.
    pub(crate) watches: Option<u32>,
}

/// Raises every fence that this system has.
#[cfg(target_os = "linux")]
pub(crate) fn enter(needs: &Needs) -> SandboxReport {
    let unprivileged = privileges::drop_all();
    SandboxReport {
        // A driver maps device memory into the process as data: a ceiling on
        // host memory would count what is not there.
        memory: match limits::file_size(needs.output_bytes, needs.memory_bytes) {
            Err(error) => format!("absent: the limit on files was refused ({error})"),
            Ok(()) if needs.driver => "not limited: the driver maps device memory".to_owned(),
            Ok(()) => limits::memory(needs.memory_bytes),
        },
        files: files::restrict(needs),
        // Last: raising the other fences takes calls that this one denies.
        calls: match unprivileged {
            Ok(()) => calls::restrict(needs.driver, needs.watches),
            Err(error) => format!("absent: capabilities were not given up ({error})"),
        },
    }
}

/// Raises every fence that this system has.
#[cfg(not(target_os = "linux"))]
pub(crate) fn enter(needs: &Needs) -> SandboxReport {
    let absent = "absent: Landlock and seccomp are parts of Linux".to_owned();
    SandboxReport {
        #[cfg(unix)]
        memory: limits::memory(needs.memory_bytes),
        #[cfg(not(unix))]
        memory: format!("absent: no limit of {} bytes here", needs.memory_bytes),
        files: absent.clone(),
        calls: absent,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
