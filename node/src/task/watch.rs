//! What a running job has taken, held against what it may: the daemon's own look,
//! whatever limits hold inside the worker.

use std::time::Duration;

use embermesh_compute::usage::Usage;
use embermesh_job::spec::Limits;

use super::{output::Workdir, run::End};

/// How often a running job is looked at. With the time to kill a process, what goes
/// over a ceiling is gone within a second.
pub(super) const EVERY: Duration = Duration::from_millis(250);

/// Threads that a worker may have: some for each of the cores of the largest machines.
const MAX_THREADS: u64 = 2048;

/// Checkpoints that may lie in a worker's folder at once, before the daemon has taken
/// them. Each is a copy of a state that lies in memory.
const CHECKPOINTS: u64 = 4;

/// Files that a worker's folder may have.
const MAX_FILES: usize = 4096;

/// Checks what the process has taken beside what an idle one has.
pub(super) fn used(usage: &Usage, idle_bytes: u64, limits: &Limits) -> Result<(), End> {
    let memory = usage.resident_bytes.saturating_sub(idle_bytes);
    if memory > limits.memory.0 {
        return Err(End::Gone {
            code: "out_of_memory",
            message: format!(
                "it used {memory} bytes of memory and may use {}: raise `limits.memory`",
                limits.memory.0
            ),
        });
    }
    if let Some(cpu) = limits.cpu
        && usage.cpu_ms > cpu.0
    {
        return Err(End::Impossible(format!(
            "it used {} ms of processor time and may use {}: raise `limits.cpu`",
            usage.cpu_ms, cpu.0
        )));
    }
    if usage.threads > MAX_THREADS {
        return Err(End::Gone {
            code: "out_of_resources",
            message: format!(
                "it had {} threads and may have {MAX_THREADS}",
                usage.threads
            ),
        });
    }
    Ok(())
}

/// Checks what lies in the worker's folder.
pub(super) fn made(workdir: &Workdir, limits: &Limits) -> Result<(), End> {
    let allowed = limits
        .memory
        .0
        .saturating_mul(CHECKPOINTS)
        .saturating_add(limits.output.0);
    let (files, bytes) = workdir.holds(MAX_FILES);
    if bytes > allowed || files > MAX_FILES {
        return Err(End::Impossible(format!(
            "it had {files} files of {bytes} bytes in its folder at once and may have {MAX_FILES} of {allowed} bytes: raise `limits.output`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use embermesh_job::units::{Bytes, Millis};

    use super::*;

    fn limits() -> Limits {
        Limits {
            memory: Bytes(1000),
            output: Bytes(1000),
            cpu: Some(Millis(500)),
            ..Limits::default()
        }
    }

    #[test]
    fn each_ceiling_is_named_with_what_to_raise() {
        let within = Usage {
            cpu_ms: 500,
            resident_bytes: 1100,
            peak_bytes: 9999,
            threads: 4,
        };
        assert!(used(&within, 100, &limits()).is_ok());
        let slow = Usage {
            cpu_ms: 501,
            ..within
        };
        let Err(End::Impossible(message)) = used(&slow, 100, &limits()) else {
            panic!("no end");
        };
        assert!(message.contains("limits.cpu"), "{message}");
        let large = Usage {
            resident_bytes: 1101,
            ..within
        };
        assert!(matches!(
            used(&large, 100, &limits()),
            Err(End::Gone {
                code: "out_of_memory",
                ..
            })
        ));
        let many = Usage {
            threads: 2049,
            ..within
        };
        assert!(matches!(
            used(&many, 100, &limits()),
            Err(End::Gone {
                code: "out_of_resources",
                ..
            })
        ));
    }

    #[test]
    fn what_lies_in_the_folder_is_counted_with_what_lies_below() {
        let dir = tempfile::tempdir().unwrap();
        let workdir = Workdir::make(dir.path().join("work")).unwrap();
        let below = workdir.path().join("below");
        std::fs::create_dir(&below).unwrap();
        std::fs::write(workdir.path().join("a"), vec![0; 3000]).unwrap();
        std::fs::write(below.join("b"), vec![0; 2000]).unwrap();
        assert_eq!(workdir.holds(10), (3, 5000));
        assert!(made(&workdir, &limits()).is_ok());
        std::fs::write(below.join("c"), [0]).unwrap();
        assert!(matches!(made(&workdir, &limits()), Err(End::Impossible(_))));
        // More than may be there are not all looked at.
        assert_eq!(workdir.holds(1).0, 2);
    }
}
