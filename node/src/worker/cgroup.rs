//! A control group around a worker at work, where the system lets this user make one:
//! the kernel's own ceiling on memory of every kind and on threads, beside the limits of
//! the process and the daemon's look at it.
//!
//! Both versions are served. Under the second a daemon may have groups for its workers
//! where its own group lies in one that has been handed to it (systemd's
//! `DelegateSubgroup=`), or at the root. Nothing is moved that is not a worker.
//!
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// How the names of our groups begin.
const PREFIX: &str = "embermesh-worker-";

/// Threads and processes of a worker at most; the daemon's own look allows as many.
const MAX_TASKS: u64 = 2048;

/// How many times what a job may take its group may: the other ceilings come first, and
/// say why. This one is for what they do not see, or see too late.
const SLACK: u64 = 2;

/// Memory that the kernel holds for a process beside its own: tables and stacks.
const OVERHEAD: u64 = 64 << 20;

/// How often the group of a process that is being ended is tried to be removed.
const REMOVE_TRIES: u32 = 50;
const REMOVE_EVERY: Duration = Duration::from_millis(100);

/// Which files say what, by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where groups of a kind can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    version: Version,
    folder: PathBuf,
}

/// Where groups for memory and for tasks can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    memory: Option<Place>,
    tasks: Option<Place>,
}

static PLACES: LazyLock<Places> = LazyLock::new(|| {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let places = Places::find(Path::new(ROOT), &own);
    places.tidy();
    places
});

/// What the kernel's groups bound of a worker here, in words.
pub(crate) fn describe() -> &'static str {
    match (&PLACES.memory, &PLACES.tasks) {
        (Some(_), Some(_)) => "memory and threads, by control groups",
        (Some(_), None) => "memory, by control groups",
        (None, Some(_)) => "threads, by control groups",
        (None, None) => "nothing: this user may not make control groups",
    }
}

impl Places {
    fn find(root: &Path, own: &str) -> Self {
        let mut places = Self::default();
        for line in own.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let path = path.trim_start_matches('/');
            let has = |name| controllers.split(',').any(|controller| controller == name);
            if controllers.is_empty() {
                let base = second(root, path);
                places.memory = places
                    .memory
                    .or_else(|| second_has(base.as_ref(), "memory"));
                places.tasks = places.tasks.or_else(|| second_has(base.as_ref(), "pids"));
            }
            if has("memory") {
                places.memory = first(root, "memory", path).or(places.memory);
            }
            if has("pids") {
                places.tasks = first(root, "pids", path).or(places.tasks);
            }
        }
        places
    }

    fn all(&self) -> impl Iterator<Item = &Place> {
        self.memory.iter().chain(&self.tasks)
    }

    /// Removes the groups that a daemon left behind. One with a process stays.
    fn tidy(&self) {
        for place in self.all() {
            for entry in fs::read_dir(&place.folder).into_iter().flatten().flatten() {
                let ours = entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| name.starts_with(PREFIX));
                if ours {
                    emptied(&entry.path());
                }
            }
        }
    }
}

/// A folder of the first version, if it may be written to.
fn first(root: &Path, controller: &str, path: &str) -> Option<Place> {
    let mounted = root.join(controller);
    // In a container the path is often that of the host.
    let folder = [mounted.join(path), mounted]
        .into_iter()
        .find(|folder| folder.is_dir())?;
    writable(&folder).then_some(Place {
        version: Version::One,
        folder,
    })
}

/// A folder of the second version whose children may have controllers: the one above
/// the daemon's, or the root.
fn second(root: &Path, path: &str) -> Option<PathBuf> {
    let mounted = [root.join("unified"), root.to_owned()]
        .into_iter()
        .find(|root| root.join("cgroup.controllers").is_file())?;
    let folder = mounted.join(path);
    let above = if path.is_empty() {
        folder
    } else {
        folder.parent()?.to_owned()
    };
    writable(&above).then_some(above)
}

fn second_has(folder: Option<&PathBuf>, controller: &str) -> Option<Place> {
    let folder = folder?;
    let given = fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
    let has = given.split_whitespace().any(|given| given == controller);
    has.then(|| Place {
        version: Version::Two,
        folder: folder.clone(),
    })
}

fn writable(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        false
    }
}

/// The group of one worker, removed with the value.
#[derive(Debug)]
pub(crate) struct Group {
    memory: Option<Place>,
    tasks: Option<Place>,
}

impl Group {
    /// Puts a process into a group of its own that may take so much memory beside what
    /// it has. `None` where none can be made: the other ceilings hold.
    pub(crate) fn around(pid: u32, memory_bytes: u64) -> Option<Self> {
        Self::within(&PLACES, pid, memory_bytes)
    }

    fn within(places: &Places, pid: u32, memory_bytes: u64) -> Option<Self> {
        let name = format!("{PREFIX}{pid}");
        let made = |place: &Option<Place>, limits: &dyn Fn(&Place) -> std::io::Result<()>| {
            let place = place.as_ref()?;
            let group = Place {
                version: place.version,
                folder: place.folder.join(&name),
            };
            let entered = fs::create_dir(&group.folder)
                .or_else(|error| match error.kind() {
                    // Both kinds are one folder under the second version.
                    std::io::ErrorKind::AlreadyExists => Ok(()),
                    _ => Err(error),
                })
                .and_then(|()| limits(&group))
                .and_then(|()| fs::write(group.folder.join("cgroup.procs"), pid.to_string()));
            if let Err(error) = entered {
                tracing::debug!(%error, group = %group.folder.display(), "no control group");
                let _ = fs::remove_dir(&group.folder);
                return None;
            }
            Some(group)
        };
        let most = memory_bytes
            .saturating_mul(SLACK)
            .saturating_add(OVERHEAD)
            .to_string();
        let memory = made(&places.memory, &|group| match group.version {
            Version::One => fs::write(group.folder.join("memory.limit_in_bytes"), &most),
            Version::Two => {
                // What is swapped out is taken too; where there is no swap, no file.
                let _ = fs::write(group.folder.join("memory.swap.max"), "0");
                fs::write(group.folder.join("memory.max"), &most)
            }
        });
        let tasks = made(&places.tasks, &|group| {
            fs::write(group.folder.join("pids.max"), MAX_TASKS.to_string())
        });
        (memory.is_some() || tasks.is_some()).then_some(Self { memory, tasks })
    }

    /// Whether the kernel has ended a process of the group for its memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        let Some(memory) = &self.memory else {
            return false;
        };
        let file = match memory.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let said = fs::read_to_string(memory.folder.join(file)).unwrap_or_default();
        said.lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    }

    fn folders(&self) -> Vec<PathBuf> {
        let places = self.memory.iter().chain(&self.tasks);
        places.map(|place| place.folder.clone()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let left = left(self.folders());
        // A process that was killed is in its group until it is reaped.
        if let (false, Ok(runtime)) = (left.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(remove(left));
        }
    }
}

/// Removes what can be removed, and gives the rest.
fn left(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut left = folders;
    left.retain(|folder| !emptied(folder) && folder.exists());
    left
}

/// Removes a group, and first those inside it, which a worker has made for its program.
/// The kernel keeps what a process is in.
fn emptied(group: &Path) -> bool {
    for inside in fs::read_dir(group).into_iter().flatten().flatten() {
        if inside.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(inside.path());
        }
    }
    fs::remove_dir(group).is_ok()
}

async fn remove(folders: Vec<PathBuf>) {
    let mut rest = folders;
    for _ in 0..REMOVE_TRIES {
        tokio::time::sleep(REMOVE_EVERY).await;
        rest = left(rest);
        if rest.is_empty() {
            return;
        }
    }
    tracing::debug!(?rest, "control groups are left for the next start");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_group_goes_with_those_inside_it() {
        let root = root();
        let group = root.path().join("embermesh-worker-1");
        fs::create_dir_all(group.join("embermesh-script-2")).unwrap();
        assert_eq!(left(vec![group.clone()]), Vec::<PathBuf>::new());
        assert!(!group.exists());
    }

    #[test]
    fn both_versions_are_found_where_they_may_be_used() {
        let first = root();
        fs::create_dir_all(first.path().join("memory/a/b")).unwrap();
        fs::create_dir_all(first.path().join("pids")).unwrap();
        let places = Places::find(first.path(), "8:pids:/gone\n4:cpu,memory:/a/b\n0::/\n");
        let memory = places.memory.unwrap();
        assert_eq!(memory.version, Version::One);
        assert!(memory.folder.ends_with("memory/a/b"));
        assert!(places.tasks.unwrap().folder.ends_with("pids"));

        let second = root();
        let own = second.path().join("ours/daemon");
        fs::create_dir_all(&own).unwrap();
        fs::write(second.path().join("cgroup.controllers"), "memory pids").unwrap();
        let given = second.path().join("ours/cgroup.subtree_control");
        fs::write(&given, "cpu memory pids\n").unwrap();
        let places = Places::find(second.path(), "0::/ours/daemon\n");
        let memory = places.memory.unwrap();
        assert_eq!(memory.version, Version::Two);
        assert!(memory.folder.ends_with("ours"));
        assert_eq!(places.tasks.as_ref(), Some(&memory));
        // A group that has not been handed to us is left alone.
        fs::write(&given, "\n").unwrap();
        assert_eq!(
            Places::find(second.path(), "0::/ours/daemon\n"),
            Places::default()
        );
        assert_eq!(
            Places::find(&root().path().join("none"), "0::/\n"),
            Places::default()
        );
    }

    #[test]
    fn limits_are_written_before_the_process_is_in() {
        let root = root();
        let place = |version| {
            Some(Place {
                version,
                folder: root.path().to_owned(),
            })
        };
        let places = Places {
            memory: place(Version::Two),
            tasks: place(Version::Two),
        };
        let group = Group::within(&places, 77, 1 << 20).unwrap();
        let folder = root.path().join("embermesh-worker-77");
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("memory.max"), ((2 << 20) + OVERHEAD).to_string());
        assert_eq!(read("pids.max"), "2048");
        assert_eq!(read("cgroup.procs"), "77");
        assert!(!group.out_of_memory());
        fs::write(folder.join("memory.events"), "oom 2\noom_kill 1\n").unwrap();
        assert!(group.out_of_memory());
        // Where nothing can be made, nothing is.
        let nowhere = Places {
            memory: Some(Place {
                version: Version::One,
                folder: root.path().join("none"),
            }),
            tasks: None,
        };
        assert!(Group::within(&nowhere, 77, 1).is_none());
    }
}
