//! Plans as this wire has them.

use std::time::{Duration, SystemTime};

use embermesh_crypto::UnixMillis;
use embermesh_job::{lifecycle::JobState, plan::Value};
use embermesh_proto::dim::{common, orchestrator as wire};
use serde_json::{Value as Json, json};

use super::config::Pattern;
use crate::port::plans::{PlanView, TaskView};

/// The note that names the pattern of a plan.
pub(super) const PATTERN: &str = "pattern";
/// The note that has the configuration of a plan.
pub(super) const CONFIG: &str = "config";

/// A moment by ISO 8601, in UTC; nothing for what has not been.
pub(super) fn iso(at: Option<UnixMillis>) -> String {
    let at = at.map(|at| SystemTime::UNIX_EPOCH + Duration::from_millis(at.0));
    at.map(|at| humantime::format_rfc3339_millis(at).to_string())
        .unwrap_or_default()
}

/// A time as "45.0s"; nothing for what has not been.
pub(super) fn span(from: Option<UnixMillis>, to: Option<UnixMillis>) -> String {
    let (Some(from), Some(to)) = (from, to) else {
        return String::new();
    };
    let millis = to.0.saturating_sub(from.0);
    format!("{}.{}s", millis / 1000, millis % 1000 / 100)
}

/// The pattern that a plan was submitted under.
pub(super) fn pattern(view: &PlanView) -> Option<Pattern> {
    Pattern::of(view.notes.get(PATTERN)?)
}

pub(super) const fn state(state: JobState) -> common::JobState {
    match state {
        JobState::Queued | JobState::Assigned => common::JobState::Pending,
        JobState::Running | JobState::Paused => common::JobState::Running,
        JobState::Succeeded => common::JobState::Completed,
        JobState::Failed => common::JobState::Failed,
        JobState::Cancelled => common::JobState::Cancelled,
    }
}

/// The word for a state.
pub(super) const fn word(state: JobState) -> &'static str {
    match state {
        JobState::Queued | JobState::Assigned => "pending",
        JobState::Running | JobState::Paused => "running",
        JobState::Succeeded => "completed",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

/// A value as JSON.
pub(super) fn value(value: &Value) -> Json {
    match value {
        Value::Json(json) => json.clone(),
        Value::Numbers(numbers) => numbers.iter().copied().collect(),
        Value::Rows(rows) => rows.iter().map(|row| json!(row.words)).collect(),
    }
}

fn task_value(task: &TaskView) -> Json {
    task.value.as_ref().map_or(Json::Null, value)
}

/// What came out, in the form of its pattern; nothing while nothing has.
pub(super) fn result(view: &PlanView) -> Option<Json> {
    let combined = view.combined.as_ref()?;
    let output = combined.output.as_ref().map_or(Json::Null, value);
    let done = || view.tasks.iter().filter(|task| task.state == "done");
    let pattern = pattern(view)?;
    Some(match pattern {
        Pattern::Collaborative => {
            let results: Vec<Json> = done()
                .map(|task| json!({"node_id": task.name, "result": task_value(task)}))
                .collect();
            json!({
                "pattern": pattern.word(),
                "job_id": view.id,
                "aggregation": {
                    "method": config(view, "/aggregation/method", "federated_averaging"),
                    "node_count": results.len(),
                    "node_results": results,
                    "aggregated_output": output,
                },
                "nodes_used": done().map(|task| &task.name).collect::<Vec<_>>(),
            })
        }
        Pattern::Comparative => {
            let results: Vec<Json> = done()
                .map(|task| json!({"model_id": task.name, "result": task_value(task)}))
                .collect();
            json!({
                "pattern": pattern.word(),
                "job_id": view.id,
                "consensus": {
                    "method": config(view, "/consensus/method", "majority_vote"),
                    "model_results": results,
                    "consensus_output": output,
                    "agreement_level": combined.agreement,
                    "needs_review": combined.needs_review,
                },
                "models_used": done().map(|task| &task.name).collect::<Vec<_>>(),
            })
        }
        Pattern::Chained => {
            let steps = view.tasks.iter().zip(1..).map(|(task, step)| {
                let name = task
                    .name
                    .split_once(": ")
                    .map_or(&*task.name, |(_, name)| name);
                json!({"step": step, "name": name, "result": task_value(task)})
            });
            json!({
                "pattern": pattern.word(),
                "job_id": view.id,
                "final_output": output,
                "pipeline_trace": steps.collect::<Vec<_>>(),
                "total_steps": view.tasks.len(),
                "steps_completed": (1..).zip(&view.tasks).filter(|(_, task)| task.state == "done").map(|(step, _)| step).collect::<Vec<u32>>(),
            })
        }
    })
}

/// A word of the configuration that the plan was made of.
fn config(view: &PlanView, pointer: &str, usual: &str) -> String {
    let config: Option<Json> = view
        .notes
        .get(CONFIG)
        .and_then(|text| serde_json::from_str(text).ok());
    let word = config.and_then(|config| config.pointer(pointer)?.as_str().map(str::to_owned));
    word.unwrap_or_else(|| usual.to_owned())
}

/// How far a plan is.
fn progress(view: &PlanView) -> common::JobProgress {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let done = view
        .tasks
        .iter()
        .filter(|task| task.state == "done")
        .count();
    let all = view.tasks.len();
    common::JobProgress {
        completed_steps: count(done),
        total_steps: count(all),
        percent_complete: count((done * 100).checked_div(all).unwrap_or_default()),
    }
}

fn node(task: &TaskView) -> common::NodeJobStatus {
    common::NodeJobStatus {
        node_id: task.node.clone().unwrap_or_default(),
        status: match task.state {
            "done" => "completed",
            "waiting" => "pending",
            other => other,
        }
        .to_owned(),
        execution_time: span(task.started_at, task.ended_at),
        error: task.reason.clone().unwrap_or_default(),
        started_at: iso(task.started_at),
        completed_at: iso(task.ended_at),
    }
}

/// When the first task of a plan began.
pub(super) fn began(view: &PlanView) -> Option<UnixMillis> {
    view.tasks.iter().filter_map(|task| task.started_at).min()
}

pub(super) fn status(view: &PlanView) -> wire::JobStatusResponse {
    let pattern = match pattern(view) {
        Some(Pattern::Collaborative) => common::Pattern::Collaborative,
        Some(Pattern::Comparative) => common::Pattern::Comparative,
        Some(Pattern::Chained) => common::Pattern::Chained,
        None => common::Pattern::Unspecified,
    };
    wire::JobStatusResponse {
        job_id: view.id.clone(),
        status: state(view.state).into(),
        pattern: pattern.into(),
        progress: Some(progress(view)),
        cost_actual: 0,
        result_json: result(view)
            .map(|json| json.to_string())
            .unwrap_or_default(),
        error: view.message.clone(),
        nodes: view.tasks.iter().map(node).collect(),
        created_at: iso(Some(view.submitted_at)),
        started_at: iso(began(view)),
        completed_at: iso(view.ended_at),
        estimated_completion: String::new(),
    }
}
