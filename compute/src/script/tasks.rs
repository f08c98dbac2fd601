//! A limit on how many processes a script can have, held by the kernel.
//!
//! The watch over a script counts, and a script that makes processes as fast as it can
//! would outrun it: so there is a limit under which it cannot come. A namespace counts
//! the processes of an ordinary user by itself, and a shell's `ulimit` inside is all
//! that it takes. Of root it counts none, and there a control group must do it.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Where control groups of processes are, by the kernel's two forms of them.
const PARENTS: [&str; 3] = [
    "/sys/fs/cgroup/pids",
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
];

/// How the groups of scripts begin. Each is named for the process that made it.
const PREFIX: &str = "embermesh-script-";

/// Puts this process, and all that it will start, under a limit, where it is root's.
/// The groups of scripts that have ended are removed on the way.
///
/// # Errors
/// When nothing here can limit root's processes: then no program is to be run as root.
pub(super) fn limit(most: u64) -> Result<(), Error> {
    if !rustix::process::getuid().is_root() {
        return Ok(());
    }
    let mut refused = Error::from(ErrorKind::NotFound);
    for parent in PARENTS.map(Path::new) {
        sweep(parent);
        match enter(parent, most) {
            Ok(()) => return Ok(()),
            Err(error) => refused = error,
        }
    }
    Err(Error::other(format!(
        "the number of root's processes cannot be limited here ({refused}): run the node as a user of its own, or where it can make control groups"
    )))
}

fn enter(parent: &Path, most: u64) -> Result<(), Error> {
    let group = parent.join(format!("{PREFIX}{}", std::process::id()));
    // One of this name may be left of a process that had this number before.
    fs::create_dir(&group).or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })?;
    let entered = fs::write(group.join("pids.max"), most.to_string())
        .and_then(|()| fs::write(group.join("cgroup.procs"), std::process::id().to_string()));
    if entered.is_err() {
        let _ = fs::remove_dir(&group);
    }
    entered
}

/// Removes groups that nobody is in and whose maker is gone: one that lives may be about
/// to enter. The kernel keeps those that somebody is in.
fn sweep(parent: &Path) {
    let Ok(groups) = fs::read_dir(parent) else {
        return;
    };
    for group in groups.flatten() {
        let name = group.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker).exists()) {
            let _ = fs::remove_dir(group.path());
        }
    }
}
