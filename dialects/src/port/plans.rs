//! Jobs of several tasks, each of which asks a model.

use std::collections::BTreeMap;

use embermesh_crypto::UnixMillis;
use embermesh_job::{
    lifecycle::JobState,
    plan::{Combined, Plan, Value},
};
use serde::{Deserialize, Serialize};

use super::Principal;
use crate::Failure;

/// What one task asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Which model, by name or by its job's id.
    pub model: String,
    /// What it is asked: a text, an object with `prompt` or `messages` and options, rows
    /// of numbers. Without it, what the task reads.
    pub data: Option<serde_json::Value>,
    /// What of the answer counts.
    pub want: Want,
}

/// What of an answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Numbers, which can be averaged: of each row its probabilities or outputs.
    Numbers,
    /// The verdict, which can be voted on: of each row its class, or the text.
    Verdict,
}

/// A plan to take on.
#[derive(Clone, Debug)]
pub struct PlanSubmission {
    /// The name that the caller has chosen for it.
    pub foreign_id: Option<String>,
    /// What is to be done.
    pub plan: Plan<Question>,
    /// What only the dialect needs, given back with the plan.
    pub notes: BTreeMap<String, String>,
}

/// One task of a plan at one moment.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// What it is called.
    pub name: String,
    /// Where it is, or was.
    pub node: Option<String>,
    /// `waiting`, `running`, `done` or `failed`.
    pub state: &'static str,
    /// Its result.
    pub value: Option<Value>,
    /// Why it failed.
    pub reason: Option<String>,
    /// When its newest attempt began.
    pub started_at: Option<UnixMillis>,
    /// When it was done.
    pub ended_at: Option<UnixMillis>,
}

/// A plan at one moment.
#[derive(Clone, Debug)]
pub struct PlanView {
    /// What the caller calls it.
    pub id: String,
    /// Whose it is.
    pub owner: Principal,
    /// Where it stands.
    pub state: JobState,
    /// Its tasks, in order.
    pub tasks: Vec<TaskView>,
    /// What came out, once it has ended well.
    pub combined: Option<Combined>,
    /// Why it failed.
    pub message: String,
    /// When it was taken on.
    pub submitted_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// As submitted.
    pub notes: BTreeMap<String, String>,
}

/// The verbs over plans. An id is what [`PlanView::id`] says.
#[tonic::async_trait]
pub trait Plans: Send + Sync + 'static {
    /// Takes a plan on. It is durable when this returns.
    async fn submit_plan(&self, who: &Principal, plan: PlanSubmission)
    -> Result<PlanView, Failure>;

    /// A plan of the caller's.
    async fn plan(&self, who: &Principal, id: &str) -> Result<PlanView, Failure>;

    /// Plans of the caller's in one of some states (none means all), the newest first:
    /// `most` of them after leaving out `skip`, and how many there are in all.
    async fn plans(
        &self,
        who: &Principal,
        states: &[JobState],
        skip: usize,
        most: usize,
    ) -> Result<(Vec<PlanView>, u64), Failure>;

    /// Waits until a plan has ended.
    async fn plan_ended(&self, who: &Principal, id: &str) -> Result<PlanView, Failure>;

    /// Ends a plan.
    async fn cancel_plan(&self, who: &Principal, id: &str) -> Result<PlanView, Failure>;
}
