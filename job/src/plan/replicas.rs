//! Replicas: the same question to several models or nodes, and a vote.

use super::{
    Combine, Draft, InvalidPlan, Need, NodeName, OnFailure, Patience, Plan, Task, Wish,
    alike::Tolerance,
    invalid::field,
    vote::{Method, Vote},
};

/// The fewest nodes of an audit: of two that differ either may be wrong.
pub const MIN_AUDITORS: usize = 3;

/// One of those who answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica<T> {
    /// What it is called, such as the model's id; unique in its plan.
    pub name: String,
    /// Where it runs, if that is asked for.
    pub node: Option<NodeName>,
    /// What its answer counts for in a weighted vote.
    pub weight: f64,
    /// The question.
    pub what: T,
}

/// Several answers to one question, on one node or on several, and a vote. With
/// a quorum the vote does not wait for the slowest beyond the plan's time.
///
/// # Errors
/// [`InvalidPlan`]: among others for fewer than two.
pub fn compare<T>(
    replicas: Vec<Replica<T>>,
    vote: Vote,
    need: Need,
    attempts: u32,
    patience: Patience,
) -> Result<Plan<T>, InvalidPlan> {
    if replicas.len() < 2 {
        return Err(field("replicas", "a comparison needs at least 2"));
    }
    plan(replicas, vote, need, false, attempts, patience)
}

/// The same work on several nodes that audit each other: a node is accused when
/// its answer is beyond doubt another than that of most, and never for what
/// another device rounds otherwise. No two runs are on one node.
///
/// # Errors
/// [`InvalidPlan`]: among others for fewer than [`MIN_AUDITORS`].
pub fn audit<T: Clone>(
    what: &T,
    runs: usize,
    tolerance: Tolerance,
    attempts: u32,
    patience: Patience,
) -> Result<Plan<T>, InvalidPlan> {
    if !(MIN_AUDITORS..=super::MAX_TASKS).contains(&runs) {
        let reason = format!("an audit has {MIN_AUDITORS} to {} runs", super::MAX_TASKS);
        return Err(field("runs", reason));
    }
    let replicas = (1..=runs)
        .map(|run| Replica {
            name: format!("run-{run}"),
            node: None,
            weight: 1.0,
            what: what.clone(),
        })
        .collect();
    let vote = Vote {
        method: Method::MajorityVote,
        min_agreement: majority(runs),
        tolerance,
    };
    let need = Need::Quorum(runs / 2 + 1);
    plan(replicas, vote, need, true, attempts, patience)
}

/// The least share of so many that is more than half of them.
fn majority(runs: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a plan has few tasks")]
    let share = (runs / 2 + 1) as f64 / runs as f64;
    share
}

fn plan<T>(
    replicas: Vec<Replica<T>>,
    vote: Vote,
    need: Need,
    apart: bool,
    attempts: u32,
    patience: Patience,
) -> Result<Plan<T>, InvalidPlan> {
    let tasks = replicas
        .into_iter()
        .map(|replica| Task {
            name: replica.name,
            reads: Vec::new(),
            after: Vec::new(),
            wish: replica.node.map_or(Wish::Any, Wish::Only),
            timeout: patience.task,
            attempts,
            weight: replica.weight,
            what: replica.what,
        })
        .collect();
    Plan::new(Draft {
        tasks,
        combine: Combine::Vote(vote),
        need,
        on_failure: OnFailure::Fail,
        apart,
        lease: patience.lease,
        timeout: patience.plan,
    })
}
