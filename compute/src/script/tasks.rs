//! A limit on how many processes a script can have, held by the kernel.
//!
//! The watch over a script counts, and a script that makes processes as fast as it can
//! would outrun it: so there is a limit under which it cannot come. A namespace counts
//! the processes of an ordinary user by itself, and a shell's `ulimit` inside is all
//! that it takes. Of root it counts none, and there a control group must do it.

use std::fs;
use std::io::{Error, Write as _};
use std::path::Path;
use std::time::Duration;

/// Where control groups of processes are, by the kernel's two forms of them.
const PARENTS: [&str; 3] = [
    "/sys/fs/cgroup/pids",
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
];

/// How the groups of scripts begin. Each is named for the process that made it.
const PREFIX: &str = "embermesh-script-";

/// How often a group is made before it is given up, and how long to wait in between.
const TRIES: u32 = 10;
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Puts this process, and all that it will start, under a limit, where it is root's.
/// The groups of scripts that have ended are removed on the way.
///
/// # Errors
/// When nothing here can limit root's processes: then no program is to be run as root.
pub(super) fn limit(most: u64) -> Result<(), Error> {
    if !rustix::process::getuid().is_root() {
        return Ok(());
    }
    let mut refused = Vec::new();
    for parent in PARENTS.map(Path::new) {
        sweep(parent);
        match enter(parent, most) {
            Ok(()) => return Ok(()),
            Err(error) => refused.push(format!("{}: {error}", parent.display())),
        }
    }
    let refused = refused.join("; ");
    Err(Error::other(format!(
        "the number of root's processes cannot be limited here ({refused}): run the node as a user of its own, or where it can make control groups"
    )))
}

/// Another process that sweeps may be taking a group of this name away just now, so a
/// group that could not be entered is made again.
fn enter(parent: &Path, most: u64) -> Result<(), Error> {
    // A folder without this file is none of the kernel's: what is written there limits
    // nothing.
    fs::metadata(parent.join("cgroup.procs"))?;
    let group = parent.join(format!("{PREFIX}{}", std::process::id()));
    let mut tries = 1;
    loop {
        // One of this name may be left of a process that had this number before.
        let _ = fs::remove_dir(&group);
        let entered = fs::create_dir(&group)
            .and_then(|()| write(&group.join("pids.max"), most))
            .and_then(|()| write(&group.join("cgroup.procs"), std::process::id().into()));
        match entered {
            Err(_) if tries < TRIES => tries += 1,
            Err(error) => {
                let _ = fs::remove_dir(&group);
                return Err(error);
            }
            Ok(()) => return Ok(()),
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// Writes to a file that the kernel has made.
fn write(file: &Path, number: u64) -> Result<(), Error> {
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    file.write_all(number.to_string().as_bytes())
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
