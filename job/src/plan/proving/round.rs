//! One round: the plan of its three phases, and what counts as a result in each.

use serde::{Deserialize, Serialize};

use crate::plan::{
    Combine, Draft, Failure, Input, InvalidPlan, MAX_ATTEMPTS, Need, NodeName, OnFailure, Patience,
    Plan, Run, Task, Value, Wish, gang::Gang, gang::Member,
};

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Each commits to its part.
    Contribute,
    /// Each proves its part under the challenge of all.
    Prove,
    /// One makes a single proof of all.
    Aggregate,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contribute => "contribute",
            Self::Prove => "prove",
            Self::Aggregate => "aggregate",
        }
    }
}

/// What a task of a round is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The phase.
    pub phase: Phase,
    /// The worker's place in the gang; nothing for the aggregation.
    pub rank: Option<u32>,
    /// How many workers there are.
    pub workers: u32,
    /// Which units.
    pub units: Vec<u32>,
}

/// The plan of a round.
pub(super) fn plan(gang: &Gang, patience: Patience) -> Result<Plan<Part>, InvalidPlan> {
    let members = gang.members();
    let workers = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let all = |phase: Phase| (0..workers).map(|rank| name(phase, rank)).collect();
    let task = |phase, rank: u32, member: &Member, reads| Task {
        name: name(phase, rank),
        reads,
        after: Vec::new(),
        wish: Wish::Only(member.name.clone()),
        timeout: patience.task,
        // The next attempt has another worker, and so another round.
        attempts: 1,
        weight: 1.0,
        what: Part {
            phase,
            rank: Some(rank),
            workers,
            units: member.units.clone(),
        },
    };
    let ranked = || (0..).zip(members);
    let mut tasks: Vec<_> = ranked()
        .map(|(rank, member)| task(Phase::Contribute, rank, member, Vec::new()))
        .collect();
    tasks.extend(
        ranked().map(|(rank, member)| task(Phase::Prove, rank, member, all(Phase::Contribute))),
    );
    tasks.push(Task {
        name: Phase::Aggregate.as_str().to_owned(),
        reads: all(Phase::Prove),
        after: Vec::new(),
        wish: Wish::First,
        timeout: patience.task,
        attempts: workers.clamp(1, MAX_ATTEMPTS),
        weight: 1.0,
        what: Part {
            phase: Phase::Aggregate,
            rank: None,
            workers,
            units: Vec::new(),
        },
    });
    Plan::new(Draft {
        tasks,
        combine: Combine::Last,
        need: Need::All,
        on_failure: OnFailure::Fail,
        apart: false,
        lease: patience.lease,
        timeout: patience.plan,
    })
}

fn name(phase: Phase, rank: u32) -> String {
    format!("{} {rank}", phase.as_str())
}

/// The phase that a round is in: the first that is not done.
pub(super) fn phase(run: &Run<Part>) -> Phase {
    let tasks = run.plan().tasks().iter().zip(run.findings());
    tasks
        .filter(|(_, finding)| finding.value.is_none())
        .map(|(task, _)| task.what.phase)
        .min()
        .unwrap_or(Phase::Aggregate)
}

/// An input as the round takes it: a result that is none is a failure, and that
/// of an aggregator is one that another need not repeat.
pub(super) fn checked(run: &Run<Part>, input: Input) -> Input {
    let phase = |task| run.plan().task(task).map(|task| task.what.phase);
    let empty = |value: &Value| match value {
        Value::Rows(rows) => rows.is_empty() || rows.iter().any(|row| row.words.is_empty()),
        Value::Json(_) | Value::Numbers(_) => true,
    };
    match input {
        Input::Done {
            task, epoch, value, ..
        } if empty(&value) => Input::Failed {
            task,
            epoch,
            reason: "its result has no words of a proof".to_owned(),
            transient: phase(task) == Some(Phase::Aggregate),
        },
        Input::Failed {
            task,
            epoch,
            reason,
            transient,
        } => Input::Failed {
            task,
            epoch,
            reason,
            transient: transient || phase(task) == Some(Phase::Aggregate),
        },
        other => other,
    }
}

/// The workers through whom a round failed.
pub(super) fn culprits(run: &Run<Part>, failure: &Failure) -> Vec<NodeName> {
    let tasks = run.plan().tasks().iter().zip(run.findings());
    tasks
        .filter(|(task, finding)| match failure {
            Failure::Task { task: name, .. } => task.name == *name,
            // Out of time: whoever still worked.
            _ => finding.state == "failed",
        })
        .flat_map(|(task, finding)| match &task.wish {
            Wish::Only(node) => vec![node.clone()],
            // Each that aggregated and could not.
            _ => run.failed_on(finding.task).to_vec(),
        })
        .collect()
}
