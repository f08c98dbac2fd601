//! Whole runs in this process, and what of them must be the same each time.

use embermesh_compute::pipe::{WorkOrder, WorkSummary, WorkerEvent, WorkerEventKind};
use embermesh_compute::{WorkFailed, run_in_process};
use embermesh_job::event::{EventKind, Progress};

/// What a run in this process came to.
pub(crate) struct Run {
    pub(crate) events: Vec<WorkerEvent>,
    pub(crate) summary: WorkSummary,
    pub(crate) artifact: Vec<u8>,
}

pub(crate) fn run(order: &WorkOrder) -> Result<Run, WorkFailed> {
    let mut events = Vec::new();
    let summary = run_in_process(order, &mut |event| events.push(event))?;
    let artifact = std::fs::read(order.workdir.join("model.safetensors")).unwrap_or_default();
    Ok(Run {
        events,
        summary,
        artifact,
    })
}

pub(crate) fn refusal(order: &WorkOrder) -> WorkFailed {
    match run(order) {
        Ok(_) => panic!("the order was not refused"),
        Err(failed) => failed,
    }
}

/// An event without what clocks and folders put into it.
pub(crate) fn essence(event: &WorkerEvent) -> (u64, String) {
    let text = match &event.kind {
        WorkerEventKind::Plain(EventKind::Progress(progress)) => {
            let timeless = Progress {
                samples_per_second: 0.0,
                remaining_ms: 0,
                ..*progress
            };
            format!("{timeless:?}")
        }
        WorkerEventKind::Checkpoint { step, next_seq, .. } => format!("{step} {next_seq}"),
        WorkerEventKind::Artifact { name, .. } => name.clone(),
        WorkerEventKind::Plain(kind) => format!("{kind:?}"),
    };
    (event.seq, text)
}

pub(crate) fn checkpoints(events: &[WorkerEvent]) -> Vec<(u64, std::path::PathBuf, u64)> {
    events
        .iter()
        .filter_map(|event| match &event.kind {
            WorkerEventKind::Checkpoint {
                step,
                path,
                next_seq,
            } => Some((*step, path.clone(), *next_seq)),
            _ => None,
        })
        .collect()
}
