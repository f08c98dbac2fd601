//! What the kernel says of processes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Clock ticks in a second of what `/proc` counts in, on every Linux.
const TICKS_PER_SECOND: u64 = 100;
/// Fields of `/proc/PID/stat` behind the name: the parent, and the time that was used
/// in the program and in the kernel.
const PARENT: usize = 1;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// Every process of this command that was started for a folder, which it has in its
/// arguments or as its home; a worker has it from the node that started it.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_embermesh")).unwrap();
    let mark = folder.to_string_lossy().into_owned();
    processes()
        .filter(|process| is(process, &program))
        .filter(|process| {
            // What may not be looked into has something to hide from its own user.
            let environment = fs::read(process.join("environ"));
            environment.map_or(true, |environment| {
                String::from_utf8_lossy(&environment).contains(&mark)
            }) || words(process).contains(&mark)
        })
        .map(|process| words(&process))
        .collect()
}

/// Whether a process runs this program. One that has ended and waits to be reaped
/// runs none.
fn is(process: &Path, program: &Path) -> bool {
    fs::read_link(process.join("exe")).is_ok_and(|running| {
        // A program that was built anew meanwhile.
        let running = running.to_string_lossy();
        Path::new(running.trim_end_matches(" (deleted)")) == program
    })
}

fn words(process: &Path) -> String {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

fn processes() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("stat").is_file())
}

/// The time that a process and its children have kept a core busy.
pub(crate) fn busy_time(pid: u32) -> Duration {
    let ticks: u64 = processes()
        .filter_map(|process| {
            let own = process.ends_with(pid.to_string());
            let stat = stat(&process)?;
            (own || stat[PARENT] == u64::from(pid)).then(|| stat[USER_TIME] + stat[SYSTEM_TIME])
        })
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// The fields behind the name; what is no number counts as 0.
fn stat(process: &Path) -> Option<Vec<u64>> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<u64> = fields
        .split_whitespace()
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    (fields.len() > SYSTEM_TIME).then_some(fields)
}

/// Bytes of memory that a process holds.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
