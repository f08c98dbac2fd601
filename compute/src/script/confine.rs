//! The step between the worker and bubblewrap: `worker --confine ORDER`, a process
//! that lowers its own limits, which all that comes after it inherits, and then becomes
//! the program that it is told.
//!
//! It exists because limits are a process's own to lower, and the worker needs its own.

use std::io::Error;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Resource, setpriority_process};
use serde::{Deserialize, Serialize};

use super::tasks;
use crate::sandbox::limits::lower;

/// The flag.
pub(crate) const FLAG: &str = "--confine";

/// How much more the machine's other work counts than a script's processes, as a nice
/// value: a script with many of them must not starve who watches it.
const NICE: i32 = 10;

/// What to become, and within which limits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confine {
    /// Private memory of each process, in bytes.
    pub(crate) memory_bytes: u64,
    /// The longest file, in bytes.
    pub(crate) file_bytes: u64,
    /// Threads and processes together.
    pub(crate) tasks: u64,
    /// Processor time of each process, in seconds.
    pub(crate) cpu_s: Option<u64>,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
}

/// The command of that step: this executable, called as the worker was.
pub(crate) fn command(confine: &Confine) -> Result<Command, Error> {
    let order = serde_json::to_string(confine)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words()).arg(FLAG).arg(order).env_clear();
    Ok(command)
}

/// The words of this process before the worker's own flags, such as "worker".
fn words() -> impl Iterator<Item = String> {
    std::env::args()
        .skip(1)
        .take_while(|word| !word.starts_with("--"))
}

/// Lowers the limits and becomes the program. Comes back only when that fails.
pub(crate) fn main(order: &str) -> Error {
    let confine: Confine = match serde_json::from_str(order) {
        Ok(confine) => confine,
        Err(error) => return error.into(),
    };
    if let Err(error) = enter(&confine) {
        return error;
    }
    Command::new(&confine.program)
        .args(&confine.args)
        .env_clear()
        .exec()
}

fn enter(confine: &Confine) -> Result<(), Error> {
    tasks::limit(confine.tasks)?;
    lower(Resource::Data, confine.memory_bytes)?;
    lower(Resource::Fsize, confine.file_bytes)?;
    if let Some(seconds) = confine.cpu_s {
        lower(Resource::Cpu, seconds)?;
    }
    // Both only make it worse off, and help where they are allowed.
    let _ = setpriority_process(None, NICE);
    // When the machine runs out of memory, this goes first.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}
