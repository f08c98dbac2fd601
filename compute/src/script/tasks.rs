//! A limit on how many processes a script can have, held by the kernel.
//!
//! The watch over a script counts, and a script that makes processes as fast as it can
//! would outrun it: so there is a limit under which it cannot come. A namespace counts
//! the processes of an ordinary user by itself, and a shell's `ulimit` inside is all
//! that it takes. Of root it counts none, and there a control group must do it.
//!
//! A worker of a node has no capability with which root writes where others may not, so
//! it makes no group at the root of them. The node has put it into a group of its own,
//! though, in which it may make another; where the kernel gives groups inside that one
//! no limits (the second version does so), the limit of the node's group holds.

use std::fs::{self, OpenOptions};
use std::io::{Error, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Where control groups of processes are, by the kernel's two forms of them.
const PARENTS: [&str; 3] = [
    "/sys/fs/cgroup/pids",
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
];

/// The most processes that a group may have around a script without one of its own.
const AROUND: u64 = 4096;

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
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own_groups(&own);
    let mut refused = Error::from(ErrorKind::NotFound);
    for parent in own.iter().cloned().chain(PARENTS.map(PathBuf::from)) {
        sweep(&parent);
        match enter(&parent, most) {
            Ok(()) => return Ok(()),
            Err(error) => refused = error,
        }
    }
    if own
        .iter()
        .any(|group| limit_of(group).is_some_and(|limit| limit <= AROUND))
    {
        return Ok(());
    }
    Err(Error::other(format!(
        "the number of root's processes cannot be limited here ({refused}): run the node as a user of its own, or where it can make control groups"
    )))
}

/// The groups that this process is in, of the kind that counts processes.
fn own_groups(said: &str) -> Vec<PathBuf> {
    let lines = said.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let counts = controllers.is_empty() || controllers.split(',').any(|name| name == "pids");
        counts.then(|| path.trim_start_matches('/'))
    });
    lines
        .flat_map(|path| PARENTS.map(|parent| Path::new(parent).join(path)))
        .filter(|group| group.join("pids.max").is_file())
        .collect()
}

/// How many processes a group may have, if that is said.
fn limit_of(group: &Path) -> Option<u64> {
    fs::read_to_string(group.join("pids.max"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn enter(parent: &Path, most: u64) -> Result<(), Error> {
    let group = parent.join(format!("{PREFIX}{}", std::process::id()));
    // One of this name may be left of a process that had this number before.
    fs::create_dir(&group).or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })?;
    let entered = say(&group.join("pids.max"), most)
        .and_then(|()| say(&group.join("cgroup.procs"), std::process::id().into()));
    if entered.is_err() {
        let _ = fs::remove_dir(&group);
    }
    entered
}

/// Writes a number into a file that is there: a folder that is no group has none.
fn say(file: &Path, number: u64) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).open(file)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_group_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        enter(folder.path(), 8).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(limit_of(folder.path()), None);
    }

    #[test]
    fn only_groups_that_count_processes_are_its_own() {
        let said = "5:memory:/process\n8:pids:/none/such\n0::/\ngarbage\n";
        let groups = own_groups(said);
        // None of that name is there, and the root has no limit to say.
        assert!(groups.iter().all(|group| !group.ends_with("none/such")));
        assert!(groups.iter().all(|group| !group.ends_with("process")));
    }
}
