//! How a worker is started: the program, and what it sees of the environment.

use std::{path::PathBuf, process::Stdio};

use embermesh_compute::{device::DeviceChoice, script::probe};
use embermesh_crypto::statement::Runtime;
use tokio::process::Command;

use crate::config::InvalidConfig;

/// Variables that a worker is given. The rest, secrets of the operator among it,
/// is not for workloads.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "RUST_BACKTRACE",
    "LD_LIBRARY_PATH",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "SystemRoot",
];

/// Beginnings of the names of variables that drivers read.
const PASSED_ON_PREFIXES: &[&str] = &[
    "CUDA_", "NVIDIA_", "VK_", "MESA_", "LIBGL_", "WGPU_", "CUBECL_",
];

/// A program and the words before the worker's own flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerCommand {
    pub(crate) program: PathBuf,
    pub(crate) words: Vec<String>,
}

impl WorkerCommand {
    /// The configured command, or this executable with the word `worker`.
    pub(crate) fn of(configured: &[String]) -> Result<Self, InvalidConfig> {
        let Some((program, words)) = configured.split_first() else {
            let program = std::env::current_exe().map_err(|error| {
                InvalidConfig::Worker(format!("this executable is not known: {error}"))
            })?;
            return Ok(Self {
                program,
                words: vec!["worker".to_owned()],
            });
        };
        let program = PathBuf::from(program);
        // A bare name is looked for in PATH, when it is started.
        if program.components().count() > 1 && !program.is_file() {
            let message = format!("{} is not a file", program.display());
            return Err(InvalidConfig::Worker(message));
        }
        Ok(Self {
            program,
            words: words.to_vec(),
        })
    }

    /// A worker for a device.
    pub(crate) fn serve(&self, device: DeviceChoice) -> Command {
        let mut command = self.bare();
        command.args(["--device", &device.to_string()]);
        command
    }

    /// A probe of a device.
    pub(crate) fn probe(&self, device: DeviceChoice) -> Command {
        let mut command = self.bare();
        command.args(["--probe", &device.to_string()]);
        command.stdin(Stdio::null());
        command
    }

    /// A look at what fences there are.
    pub(crate) fn fences(&self) -> Command {
        let mut command = self.bare();
        command.arg("--fences").stdin(Stdio::null());
        command
    }

    /// A probe of a runtime. It begins when its input ends, so that it can be put into
    /// its place before.
    pub(crate) fn probe_runtime(&self, runtime: Runtime) -> Command {
        let mut command = self.bare();
        command.args([probe::FLAG, runtime.as_str()]);
        command
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.words)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| {
                name.to_str().is_some_and(|name| {
                    PASSED_ON.contains(&name)
                        || PASSED_ON_PREFIXES
                            .iter()
                            .any(|prefix| name.starts_with(prefix))
                })
            }))
            .envs(embermesh_compute::worker::ENVIRONMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A group of its own: a Ctrl-C at the terminal is the daemon's to answer,
        // and whatever the worker starts dies with it.
        #[cfg(unix)]
        command.process_group(0);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_not_there_is_named_at_once() {
        let refused = WorkerCommand::of(&["/no/such/worker".to_owned()]).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("/no/such/worker") && text.contains("worker_command"),
            "{text}"
        );
        let this = WorkerCommand::of(&[]).unwrap();
        assert_eq!(this.words, ["worker"]);
    }
}
