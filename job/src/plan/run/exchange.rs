//! What goes into a run, what comes out, and what it refuses.

use embermesh_crypto::{Epoch, TaskIndex};
use serde::{Deserialize, Serialize};

use crate::plan::{NodeName, Value};

/// What can happen to a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A node has begun with an attempt.
    Started {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        epoch: Epoch,
        /// Which node.
        node: NodeName,
    },
    /// The attempt is alive.
    Progress {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        epoch: Epoch,
    },
    /// The attempt has its result.
    Done {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        epoch: Epoch,
        /// The result.
        value: Value,
        /// On how many samples it rests, if it says so.
        samples: Option<u64>,
    },
    /// The attempt has failed.
    Failed {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        epoch: Epoch,
        /// Why.
        reason: String,
        /// Whether another attempt may do better.
        transient: bool,
    },
    /// A node is gone, and with it what it ran.
    Lost {
        /// Which.
        node: NodeName,
    },
    /// The owner ends the plan.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Time has gone on.
    Tick,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Start an attempt. What it is to do and what it reads are in the run.
    Start {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        epoch: Epoch,
        /// Where it wants to run.
        node: Option<NodeName>,
        /// Where it should not: where it failed, and where the other tasks are
        /// if the plan keeps them apart.
        avoid: Vec<NodeName>,
    },
    /// Stop an attempt whose result nobody waits for.
    Cancel {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        epoch: Epoch,
        /// Where it runs, if that is known.
        node: Option<NodeName>,
        /// Why.
        reason: String,
    },
    /// The plan has ended: [`Run::ended`](super::Run::ended) says how.
    Ended,
}

/// Why an input changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The plan has no such task.
    #[error("the plan has no task {0}")]
    NoTask(TaskIndex),
    /// It comes from an attempt that is not the newest one.
    #[error("task {task}: attempt {asked} is not the current attempt {current}")]
    StaleEpoch {
        /// The task.
        task: TaskIndex,
        /// The attempt that it names.
        asked: Epoch,
        /// The attempt that counts.
        current: Epoch,
    },
    /// No attempt of the task is alive.
    #[error("task {0} has no attempt that is alive")]
    NotLive(TaskIndex),
    /// The attempt is on another node.
    #[error("task {task} runs on {has}, not on {said}")]
    WrongNode {
        /// The task.
        task: TaskIndex,
        /// Where it is.
        has: NodeName,
        /// Where the report comes from.
        said: NodeName,
    },
    /// Another task of a plan that keeps its tasks apart is on the node.
    #[error("task {task} may not run on {node}: task {other} has it")]
    NotApart {
        /// The task.
        task: TaskIndex,
        /// The node.
        node: NodeName,
        /// Who has it.
        other: TaskIndex,
    },
    /// The plan keeps its tasks apart and must know where each one is.
    #[error("task {0} has a result and nobody said which node began with it")]
    NotStarted(TaskIndex),
    /// The plan has ended.
    #[error("the plan has ended")]
    Ended,
}

impl Refused {
    /// The stable word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoTask(_) => "no_task",
            Self::StaleEpoch { .. } => "stale_epoch",
            Self::NotLive(_) => "not_live",
            Self::WrongNode { .. } => "wrong_node",
            Self::NotApart { .. } => "not_apart",
            Self::NotStarted(_) => "not_started",
            Self::Ended => "ended",
        }
    }
}
