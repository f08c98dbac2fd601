//! The rules of plans, of the engine, and of the shapes that are built on it.

mod engine;
mod numbers;
mod phases;
mod rules;
mod simulation;
mod votes;

use std::time::Duration;

use embermesh_crypto::{Epoch, TaskIndex, UnixMillis};
use serde_json::json;

use super::*;

const NOW: UnixMillis = UnixMillis(1_000);

const PATIENCE: Patience = Patience {
    lease: Duration::from_secs(10),
    task: Duration::from_secs(60),
    plan: Duration::from_secs(600),
};

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn task(name: &str, reads: &[&str]) -> Task<()> {
    Task {
        name: name.to_owned(),
        reads: reads.iter().map(|&read| read.to_owned()).collect(),
        after: Vec::new(),
        wish: Wish::Any,
        timeout: PATIENCE.task,
        attempts: 2,
        weight: 1.0,
        what: (),
    }
}

fn draft(tasks: Vec<Task<()>>) -> Draft<()> {
    Draft {
        tasks,
        combine: Combine::Last,
        need: Need::All,
        on_failure: OnFailure::Fail,
        apart: false,
        lease: PATIENCE.lease,
        timeout: PATIENCE.plan,
    }
}

fn begin<T>(plan: Plan<T>) -> (Run<T>, Vec<Output>) {
    Run::start(plan, Epoch(0), [7; 32], NOW)
}

fn started(task: u32, epoch: u64, on: &str) -> Input {
    Input::Started {
        task: TaskIndex(task),
        epoch: Epoch(epoch),
        node: node(on),
    }
}

fn progress(task: u32, epoch: u64) -> Input {
    Input::Progress {
        task: TaskIndex(task),
        epoch: Epoch(epoch),
    }
}

fn done(task: u32, epoch: u64, json: serde_json::Value) -> Input {
    Input::Done {
        task: TaskIndex(task),
        epoch: Epoch(epoch),
        value: Value::Json(json),
        samples: None,
    }
}

fn failed(task: u32, epoch: u64, transient: bool) -> Input {
    Input::Failed {
        task: TaskIndex(task),
        epoch: Epoch(epoch),
        reason: "broken".into(),
        transient,
    }
}

/// The attempts that outputs start.
fn starts(outputs: &[Output]) -> Vec<(u32, u64)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Start { task, epoch, .. } => Some((task.0, epoch.0)),
            _ => None,
        })
        .collect()
}

/// The attempts that outputs cancel.
fn cancels(outputs: &[Output]) -> Vec<(u32, u64)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Cancel { task, epoch, .. } => Some((task.0, epoch.0)),
            _ => None,
        })
        .collect()
}

fn output(run: &Run<impl Sized>) -> serde_json::Value {
    match run.ended() {
        Some(Ended::Done(Combined {
            output: Some(Value::Json(json)),
            ..
        })) => json.clone(),
        other => json!({ "unexpected": format!("{other:?}") }),
    }
}

fn failure(run: &Run<impl Sized>) -> (&'static str, String) {
    match run.ended() {
        Some(Ended::Failed(failure)) => (failure.code(), failure.to_string()),
        other => ("not failed", format!("{other:?}")),
    }
}
