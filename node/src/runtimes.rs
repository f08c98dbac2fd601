//! Which programs of clients run here: what the owner allows, and of that what works.
//!
//! Nothing is allowed without the owner's word, and nothing that is allowed is offered
//! before a small program has run in it, in the very sandbox that a client's will have.

use std::time::Duration;

use embermesh_compute::script::probe::RuntimeReport;
use embermesh_crypto::statement::{Runtime, Runtimes};
use tokio::{io::AsyncReadExt as _, process::Child, time::timeout};

use crate::{
    config::AllowedRuntimes,
    worker::{Group, Spawner, WorkerCommand, end_group},
};

/// How long a small program may take, with all that starts it.
const PROBE_WAIT: Duration = Duration::from_secs(20);

/// Memory that a small program may take, in bytes.
const PROBE_MEMORY: u64 = 1 << 30;

/// Bytes of a probe's answer that are read.
const MAX_ANSWER: u64 = 16 * 1024;

/// Bytes of a fault that are kept.
const MAX_FAULT: usize = 300;

/// How a runtime stands on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The owner does not allow it.
    Off,
    /// It is allowed and does not work.
    Fault(String),
    /// It is offered.
    Works,
}

/// How every runtime stands, in the order of [`Runtime::ALL`]; by default they are off.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuntimeStandings {
    standings: Vec<(Runtime, Standing)>,
}

impl RuntimeStandings {
    /// Probes what is allowed.
    pub(crate) async fn probe(
        allowed: AllowedRuntimes,
        spawner: &Spawner,
        command: &WorkerCommand,
    ) -> Self {
        let mut standings = Vec::new();
        for runtime in Runtime::ALL {
            let standing = if !allowed.has(runtime) {
                Standing::Off
            } else {
                match Box::pin(probe(runtime, spawner, command)).await {
                    Ok(name) => {
                        tracing::info!(%runtime, name, "programs of clients may run");
                        Standing::Works
                    }
                    Err(fault) => {
                        tracing::warn!(%runtime, fault, "a runtime is allowed and does not work");
                        Standing::Fault(fault)
                    }
                }
            };
            standings.push((runtime, standing));
        }
        Self { standings }
    }

    /// What is offered.
    pub(crate) fn offered(&self) -> Runtimes {
        self.standings
            .iter()
            .filter(|(_, standing)| *standing == Standing::Works)
            .map(|(runtime, _)| *runtime)
            .collect()
    }

    /// How one stands.
    pub(crate) fn of(&self, runtime: Runtime) -> &Standing {
        self.standings
            .iter()
            .find(|(known, _)| *known == runtime)
            .map_or(&Standing::Off, |(_, standing)| standing)
    }
}

async fn probe(
    runtime: Runtime,
    spawner: &Spawner,
    command: &WorkerCommand,
) -> Result<String, String> {
    let mut child = spawner
        .spawn(command.probe_runtime(runtime))
        .await
        .map_err(|error| format!("the probe could not be started: {error}"))?;
    // Under what a worker is put for a program, and then it may begin.
    let _group = child.id().and_then(|pid| Group::around(pid, PROBE_MEMORY));
    drop(child.stdin.take());
    let answer = timeout(PROBE_WAIT, Box::pin(answer(&mut child))).await;
    // Whatever it said, nothing of it is left.
    end_group(&mut child).await;
    let answer = answer.map_err(|_| format!("it did not answer within {PROBE_WAIT:?}"))?;
    match serde_json::from_slice(&answer) {
        Ok(RuntimeReport::Works(name)) => Ok(name),
        Ok(RuntimeReport::Fault(fault)) => {
            let mut fault = fault.replace(char::is_control, " ");
            fault.truncate(fault.floor_char_boundary(MAX_FAULT));
            Err(fault)
        }
        Err(_) => Err("its probe died without an answer".to_owned()),
    }
}

async fn answer(child: &mut Child) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = stdout.take(MAX_ANSWER).read_to_end(&mut answer).await;
    }
    let _ = child.wait().await;
    answer
}
