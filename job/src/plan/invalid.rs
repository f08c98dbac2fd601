//! Why a plan is refused.

use super::{MAX_ATTEMPTS, MAX_NAME, MAX_RETRIES, MAX_TASKS};

/// A plan that is refused; where a task is at fault, the error names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// None, or too many.
    #[error("a plan has 1 to {MAX_TASKS} tasks, this one has {0}")]
    Tasks(usize),
    /// A name that is empty or too long.
    #[error("task {place}: `{name}` is not a name of 1 to {MAX_NAME} bytes")]
    Name {
        /// Which, from 0.
        place: usize,
        /// What it is called, cut off.
        name: String,
    },
    /// A node's name that is empty or too long.
    #[error("a node's name has 1 to {MAX_NAME} bytes, this one has {0}")]
    NodeName(usize),
    /// Two tasks of one name.
    #[error("two tasks are called `{0}`")]
    SameName(String),
    /// A task that waits for one that is not there.
    #[error("task `{task}` waits for `{after}`, which is no task of the plan")]
    Unknown {
        /// Which.
        task: String,
        /// For whom.
        after: String,
    },
    /// Tasks that wait for each other.
    #[error("task `{task}` waits for itself: {round}")]
    Cycle {
        /// One of them.
        task: String,
        /// The way round, as `a <- b <- a`.
        round: String,
    },
    /// A task names one twice.
    #[error("task `{task}` names `{after}` twice")]
    Twice {
        /// Which.
        task: String,
        /// Whom.
        after: String,
    },
    /// Too few or too many attempts.
    #[error("task `{task}` has {attempts} attempts, of 1 to {MAX_ATTEMPTS} allowed")]
    Attempts {
        /// Which.
        task: String,
        /// How many.
        attempts: u32,
    },
    /// A time that is zero or too long.
    #[error("task `{task}`: its timeout is not from 1 ms to 30 days")]
    Timeout {
        /// Which.
        task: String,
    },
    /// A weight that is no positive number.
    #[error("task `{task}`: its weight is not a positive number of at most a billion")]
    Weight {
        /// Which.
        task: String,
    },
    /// The first of tasks that do not exist.
    #[error("task `{task}` wants the node of the first that it reads, and reads none")]
    FirstOfNone {
        /// Which.
        task: String,
    },
    /// A quorum among tasks that wait for each other.
    #[error("task `{task}` waits for another, so a quorum cannot leave one out")]
    QuorumInOrder {
        /// Which.
        task: String,
    },
    /// A quorum that is nobody, or more than all.
    #[error("the quorum is {least}, of {tasks} tasks")]
    Quorum {
        /// What is asked.
        least: usize,
        /// How many there are.
        tasks: usize,
    },
    /// Too many rollbacks.
    #[error("a plan may roll back {MAX_RETRIES} times at most, not {0}")]
    Retries(u32),
    /// Two tasks on one node in a plan that keeps them apart.
    #[error("task `{task}` wants the node of `{other}`, and the plan keeps its tasks apart")]
    NotApart {
        /// Which.
        task: String,
        /// Whose node.
        other: String,
    },
    /// A number of the plan that is out of its bounds.
    #[error("`{field}`: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// A step whose number is not the next one.
    #[error("step `{name}` has number {number}, its place is {place}: steps count from 1")]
    StepNumber {
        /// Which.
        name: String,
        /// What it says.
        number: u32,
        /// What it should say.
        place: u32,
    },
    /// A step that reads one which comes later, or itself.
    #[error(
        "step `{name}` (number {number}) reads the output of step {reads}, which is not before it"
    )]
    StepReads {
        /// Which.
        name: String,
        /// Its number.
        number: u32,
        /// What it reads.
        reads: u32,
    },
    /// A source that is neither the client's data nor a step's output.
    #[error("`{0}` is no source: `client_data`, or `step_1_output` and so on")]
    Source(String),
}

pub(super) fn field(field: &'static str, reason: impl Into<String>) -> InvalidPlan {
    InvalidPlan::Field {
        field,
        reason: reason.into(),
    }
}
