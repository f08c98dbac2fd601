//! A task at one moment, from the last of what it has said.

use std::collections::BTreeMap;

use embermesh_crypto::token::TaskRef;
use embermesh_dialects::{
    Failure,
    port::{jobs::LogPiece, node::execution::TaskView},
};
use embermesh_job::event::{Event, EventKind};

use super::failure;
use crate::{service::tasks, site::Site, store::AttemptEnd, task::Found};

/// Events that are looked back at: results come last, and progress comes often.
const LOOK_BACK: u32 = 1024;

/// The task now.
pub(super) async fn of(site: &Site, found: &Found) -> Result<TaskView, Failure> {
    let state = tasks::state(site, found).await.map_err(failure::status)?;
    let task = TaskRef {
        job: found.key.job,
        task: found.key.task,
    };
    let head = found.log.head();
    let after = head.last.saturating_sub(u64::from(LOOK_BACK));
    let events = site.store.events(task, after, LOOK_BACK).await;
    let mut view = TaskView {
        job: found.key.job,
        state,
        pass: (0, 0),
        step: (0, 0),
        metrics: BTreeMap::new(),
        checkpoint: None,
        artifacts: Vec::new(),
        log: Vec::new(),
        message: String::new(),
    };
    for event in events.map_err(|error| failure::store(&error))? {
        hear(&mut view, event);
    }
    if let Some(AttemptEnd::Gone { code, message }) = head.end {
        view.message = format!("{code}: {message}");
    }
    Ok(view)
}

fn hear(view: &mut TaskView, event: Event) {
    let mut measure = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            view.metrics.insert(name.to_owned(), value);
        }
    };
    match event.kind {
        EventKind::Started { total_steps, .. } => view.step.1 = total_steps,
        EventKind::Progress(at) => {
            measure("loss", Some(at.loss));
            measure("accuracy", at.accuracy);
            view.pass = (at.pass, at.total_passes);
            view.step = (at.step, at.total_steps);
        }
        EventKind::EpochEnded {
            pass,
            train_loss,
            train_accuracy,
            holdout_loss,
            holdout_accuracy,
        } => {
            measure("loss", Some(train_loss));
            measure("accuracy", train_accuracy);
            measure("val_loss", holdout_loss);
            measure("val_accuracy", holdout_accuracy);
            view.pass.0 = pass;
        }
        EventKind::Evaluated { loss, accuracy, .. } => {
            measure("loss", Some(loss));
            measure("accuracy", accuracy);
        }
        EventKind::Metrics { values } => view.metrics.extend(values),
        EventKind::Checkpoint { step, digest, .. } => {
            view.checkpoint = Some(digest);
            view.step.0 = view.step.0.max(step);
        }
        EventKind::Artifact(artifact) => view.artifacts.push(artifact),
        EventKind::Logged { stream, text } => view.log.push(LogPiece {
            at: event.at,
            stream,
            text,
        }),
        EventKind::Finished { message, .. } => view.message = message,
        EventKind::Generated(_)
        | EventKind::Prepared { .. }
        | EventKind::Adjusted { .. }
        | EventKind::Stopped { .. }
        | EventKind::Loaded(_) => {}
    }
}
