//! Shards: parts of one work on several nodes, and an average of what comes
//! out. Missing parts are allowed down to a quorum.

use super::{
    Combine, Draft, InvalidPlan, Need, NodeName, OnFailure, Patience, Plan, Task, Wish,
    average::Average, invalid::field,
};

/// One part of the work.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard<T> {
    /// What it is called, such as the node's id; unique in its plan.
    pub name: String,
    /// The node whose data it is about, if it is about a node's data.
    pub node: Option<NodeName>,
    /// What its result counts for in a weighted average.
    pub weight: f64,
    /// The part.
    pub what: T,
}

/// Parts on several nodes and their average. All parts are waited for until the
/// plan's time is over; then `quorum` of them are enough, and with fewer the
/// plan fails. Nothing is made up for a missing part: it has no weight.
///
/// # Errors
/// [`InvalidPlan`]: among others for fewer than two parts.
pub fn collaborate<T>(
    shards: Vec<Shard<T>>,
    average: Average,
    quorum: usize,
    attempts: u32,
    patience: Patience,
) -> Result<Plan<T>, InvalidPlan> {
    if shards.len() < 2 {
        return Err(field("shards", "a collaboration needs at least 2"));
    }
    let tasks = shards
        .into_iter()
        .map(|shard| Task {
            name: shard.name,
            reads: Vec::new(),
            after: Vec::new(),
            wish: shard.node.map_or(Wish::Any, Wish::Only),
            timeout: patience.task,
            attempts,
            weight: shard.weight,
            what: shard.what,
        })
        .collect();
    Plan::new(Draft {
        tasks,
        combine: Combine::Average(average),
        need: Need::Quorum(quorum),
        on_failure: OnFailure::Fail,
        apart: false,
        lease: patience.lease,
        timeout: patience.plan,
    })
}
