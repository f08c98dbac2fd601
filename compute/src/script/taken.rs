//! What a script takes of the machine, as the kernel counts it: memory, threads and
//! processes, processor time.

use std::time::Duration;

/// What was taken when it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes of memory that are its own: not the code that it shares with others, and
    /// what its processes share, as after a fork, once.
    pub(crate) memory: u64,
    /// Threads of all its processes.
    pub(crate) tasks: u64,
    /// Processor time, that of its ended children too.
    pub(crate) cpu: Duration,
}

/// What a process and all that descend from it take. Stops to look when there are
/// more than `most` threads: then their number is all that matters.
#[cfg(target_os = "linux")]
pub(crate) fn of_tree(root: u32, most: u64) -> Taken {
    let mut taken = Taken::default();
    let mut pids = vec![root];
    while let Some(pid) = pids.pop() {
        // What is gone meanwhile is counted in its parent's time.
        taken.add(of_process(pid).unwrap_or_default());
        if taken.tasks > most {
            break;
        }
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            pids.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    taken
}

/// What one process takes.
#[cfg(target_os = "linux")]
fn of_process(pid: u32) -> Option<Taken> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Taken {
        memory: share_of_memory(pid).unwrap_or_else(|| resident(&status)),
        tasks: number(&status, "Threads:").unwrap_or(1),
        cpu: processor_time(&format!("/proc/{pid}/stat")).unwrap_or_default(),
    })
}

/// Bytes of a process's memory, a page that it shares with others divided among them
/// (the "proportional set size" of proc(5)); none where the kernel does not say, or
/// the process keeps others from looking.
#[cfg(target_os = "linux")]
fn share_of_memory(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = number(&rollup, "Pss_Anon:")? + number(&rollup, "Pss_Shmem:")?;
    Some(kib * 1024)
}

/// The same with every shared page in full.
#[cfg(target_os = "linux")]
fn resident(status: &str) -> u64 {
    let kib = number(status, "RssAnon:").unwrap_or(0) + number(status, "RssShmem:").unwrap_or(0);
    kib * 1024
}

/// The number after a key of a file of /proc.
#[cfg(target_os = "linux")]
fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// What this process takes.
#[cfg(target_os = "linux")]
pub(crate) fn of_this() -> Taken {
    of_process(std::process::id()).unwrap_or_default()
}

/// Elsewhere nobody counts: the runtime's own ceilings must do.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of_this() -> Taken {
    Taken::default()
}

/// Time in user and kernel mode, with that of children that were waited for.
#[cfg(target_os = "linux")]
fn processor_time(stat: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(stat).ok()?;
    // The second field is the program's name, which may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let a_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(ticks.saturating_mul(1000) / a_second))
}

impl Taken {
    #[cfg(target_os = "linux")]
    fn add(&mut self, other: Self) {
        self.memory = self.memory.saturating_add(other.memory);
        self.tasks += other.tasks;
        self.cpu += other.cpu;
    }

    /// What was taken since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            memory: self.memory.saturating_sub(before.memory),
            tasks: self.tasks.saturating_sub(before.tasks),
            cpu: self.cpu.saturating_sub(before.cpu),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_counted_with_its_children() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 600 & echo up; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = [0; 3];
        let mut stdout = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut stdout, &mut word).unwrap();
        let taken = of_tree(child.id(), 100);
        assert!(taken.tasks >= 2 && taken.memory > 0, "{taken:?}");
        assert_eq!(of_tree(child.id(), 1).tasks, taken.tasks.min(2));
        let pids = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()));
        for pid in pids.unwrap().split_ascii_whitespace() {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        child.wait().unwrap();
        assert_eq!(of_tree(child.id(), 100), Taken::default());
        assert!(of_this().memory > 0);
    }

    #[test]
    fn what_a_fork_shares_is_counted_once() {
        let script = "exec 3<&0; x=$(head -c 33554432 /dev/zero | tr '\\0' a); \
                      (echo up; read y) <&3 & wait; : $x";
        let mut parent = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = [0; 3];
        let mut stdout = parent.stdout.take().unwrap();
        std::io::Read::read_exact(&mut stdout, &mut word).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", parent.id())).unwrap();
        let alone = resident(&status);
        let taken = of_tree(parent.id(), 100);
        drop(parent.stdin.take());
        parent.wait().unwrap();
        assert_eq!(taken.tasks, 2);
        assert!(alone >= 32 << 20, "{alone}");
        assert!(
            taken.memory >= 32 << 20 && taken.memory < alone + (8 << 20),
            "{taken:?}, {alone}"
        );
    }
}
