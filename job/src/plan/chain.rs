//! Chains: steps in a row, each fed with the client's data or with the output
//! of a step before it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Combine, Draft, InvalidPlan, Need, NodeName, OnFailure, Patience, Plan, Task, Wish,
    invalid::field,
};

/// What a step is fed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// What the client gave.
    ClientData,
    /// The output of the step with this number, from 1.
    Step(u32),
}

impl FromStr for Source {
    type Err = InvalidPlan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "client_data" {
            return Ok(Self::ClientData);
        }
        let number = text
            .strip_prefix("step_")
            .and_then(|rest| rest.strip_suffix("_output"))
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) if number > 0 => Ok(Self::Step(number)),
            _ => Err(InvalidPlan::Source(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientData => f.write_str("client_data"),
            Self::Step(number) => write!(f, "step_{number}_output"),
        }
    }
}

/// A step of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<T> {
    /// Its number: 1 for the first, then one after the other.
    pub number: u32,
    /// What it is called; two steps may be called the same.
    pub name: String,
    /// What it is fed with.
    pub source: Source,
    /// Where it runs, if that is asked for.
    pub node: Option<NodeName>,
    /// How long it may take; nothing for what the plan gives each.
    pub timeout: Option<Duration>,
    /// What it does.
    pub what: T,
}

/// The name of a step's task: its number makes it unique.
#[must_use]
pub fn task_name(number: u32, name: &str) -> String {
    format!("{number}: {name}")
}

/// Steps one after the other; the output of the last is that of the plan.
///
/// With [`OnFailure::RollBack`] a step that fails for good runs again together
/// with the step that fed it, whose output may be why it failed; the outputs
/// of the steps before stand.
///
/// # Errors
/// [`InvalidPlan`], which names the step: among others for numbers that do not
/// follow each other and for a step that reads a later one.
pub fn chain<T>(
    steps: Vec<Step<T>>,
    on_failure: OnFailure,
    attempts: u32,
    patience: Patience,
) -> Result<Plan<T>, InvalidPlan> {
    if steps.len() < 2 {
        return Err(field("pipeline", "a chain needs at least 2 steps"));
    }
    let mut names: Vec<String> = Vec::new();
    let mut tasks = Vec::new();
    for (step, place) in steps.into_iter().zip(1..) {
        let Step { number, name, .. } = step;
        if number != place {
            return Err(InvalidPlan::StepNumber {
                name,
                number,
                place,
            });
        }
        let reads = match step.source {
            Source::ClientData => Vec::new(),
            Source::Step(reads) => {
                let index = usize::try_from(reads).unwrap_or(usize::MAX);
                match index.checked_sub(1).and_then(|index| names.get(index)) {
                    Some(before) => vec![before.clone()],
                    None => {
                        return Err(InvalidPlan::StepReads {
                            name,
                            number,
                            reads,
                        });
                    }
                }
            }
        };
        let name = task_name(number, &name);
        tasks.push(Task {
            name: name.clone(),
            reads,
            after: names.last().cloned().into_iter().collect(),
            wish: step.node.map_or(Wish::Any, Wish::Only),
            timeout: step.timeout.unwrap_or(patience.task),
            attempts,
            weight: 1.0,
            what: step.what,
        });
        names.push(name);
    }
    Plan::new(Draft {
        tasks,
        combine: Combine::Last,
        need: Need::All,
        on_failure,
        apart: false,
        lease: patience.lease,
        timeout: patience.plan,
    })
}
