//! Scripts: a client's program, run and watched.
//!
//! The two runtimes have a sandbox each. A WebAssembly module runs in the worker's
//! own process, inside its fences: it needs no network, no other process and no more
//! of the system than a training does. A Python program runs in namespaces of its
//! own, which bubblewrap makes; it is started before the worker fences itself in,
//! and what is left of the worker only reads its pipes, counts what it takes, and
//! kills it.
//!
//! | module | what it is |
//! |---|---|
//! | `layout` | the folder of a script: program, inputs, working folder |
//! | `wasm`, `reins` | a module on a thread, under WASI preview 1 |
//! | `python`, `confine`, `tasks` | a program in namespaces, and the step into them |
//! | `watch` | what both are watched by: log, ceilings, cancel |
//! | `pipes`, `text` | what a script writes, as pieces of text |
//! | `taken`, `folder` | what it takes: memory, processes, time, disk |
//! | `results` | what of its folder is a result |
//! | `probe` | whether a runtime works on this machine |
//!
//! A script has one attempt (see [`embermesh_job::spec::Script`]), so its log is
//! numbered as it comes.

mod failed;
mod folder;
mod layout;
mod pipes;
pub mod probe;
mod reins;
mod results;
mod taken;
mod text;
mod wasm;
mod watch;

#[cfg(target_os = "linux")]
pub(crate) mod confine;
#[cfg(target_os = "linux")]
mod python;
#[cfg(target_os = "linux")]
mod tasks;

use embermesh_job::event::EventKind;
use embermesh_job::spec::{JobSpec, Runtime, Script, Work};

pub use self::failed::ScriptFailed;
use self::layout::Layout;
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::pipe::{WorkOrder, WorkSummary};

/// A script that was started before the worker fenced itself in.
pub(crate) struct Begun {
    #[cfg(target_os = "linux")]
    python: (Layout, python::Running),
}

impl Begun {
    /// The process that the worker must be able to watch and to end.
    pub(crate) fn pid(&self) -> u32 {
        #[cfg(target_os = "linux")]
        {
            self.python.1.pid()
        }
        #[cfg(not(target_os = "linux"))]
        0
    }
}

/// Starts what cannot be started inside the worker's fences; nothing for other work.
/// A spec that is not valid is left for the job to say so.
pub(crate) fn begin(order: &WorkOrder) -> Result<Option<Begun>, WorkFailed> {
    let Ok(JobSpec {
        work: Work::Script(script),
        ..
    }) = JobSpec::from_canonical(order.spec.as_bytes())
    else {
        return Ok(None);
    };
    if script.runtime != Runtime::Python {
        return Ok(None);
    }
    #[cfg(target_os = "linux")]
    {
        let layout = Layout::make(&script, order)?;
        let running = python::start(&script, &layout, order)?;
        Ok(Some(Begun {
            python: (layout, running),
        }))
    }
    #[cfg(not(target_os = "linux"))]
    Err(ScriptFailed::NoRuntime("Python programs run on Linux only".to_owned()).into())
}

/// Runs a script to its end, and makes results of what it left.
pub(crate) fn run(
    script: &Script,
    begun: Option<Begun>,
    job: &mut Job<'_>,
) -> Result<WorkSummary, WorkFailed> {
    job.log.fleeting(EventKind::Started {
        device: format!("{}, {}", job.device.name, script.runtime),
        parameters: 0,
        total_steps: 1,
        samples: script.inputs.len() as u64,
    });
    let layout = match (script.runtime, begun) {
        (Runtime::Wasm, _) => {
            let layout = Layout::make(script, job.order)?;
            let (running, pipes) = wasm::start(script, &layout, job.order)?;
            watch::watch(script, &layout, running, pipes, job)?;
            layout
        }
        #[cfg(target_os = "linux")]
        (
            Runtime::Python,
            Some(Begun {
                python: (layout, mut running),
            }),
        ) => {
            let pipes = running.pipes()?;
            watch::watch(script, &layout, running, pipes, job)?;
            layout
        }
        (Runtime::Python, _) => {
            let message = "a Python program needs a worker of its own".to_owned();
            return Err(ScriptFailed::NoRuntime(message).into());
        }
    };
    results::give(script, &layout, job)?;
    Ok(WorkSummary {
        steps: 1,
        samples: script.inputs.len() as u64,
        loss: None,
        accuracy: None,
        next_seq: job.log.next(),
    })
}
