//! The tasks of a plan, and the rules that every plan keeps.

use std::{collections::BTreeMap, fmt, time::Duration};

use embermesh_crypto::TaskIndex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Combine, InvalidPlan, MAX_ATTEMPTS, MAX_NAME, MAX_RETRIES, MAX_TASKS, MAX_TIMEOUT,
    invalid::field,
};

/// The largest weight of a task.
const MAX_WEIGHT: f64 = 1e9;

/// What whoever drives a plan calls a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    /// A name of 1 to [`MAX_NAME`] bytes.
    ///
    /// # Errors
    /// [`InvalidPlan::NodeName`] for any other.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidPlan> {
        let name = name.into();
        if (1..=MAX_NAME).contains(&name.len()) {
            Ok(Self(name))
        } else {
            Err(InvalidPlan::NodeName(name.len()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// Where a task would like to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Anywhere.
    #[default]
    Any,
    /// There, and elsewhere after it has failed there.
    Prefer(NodeName),
    /// There and nowhere else.
    Only(NodeName),
    /// On the node of the task that was done first among those that it reads,
    /// the next one after it has failed there.
    First,
}

/// A task of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task<T> {
    /// What it is called; unique in its plan.
    pub name: String,
    /// Whose results it is given.
    pub reads: Vec<String>,
    /// For whom else it waits.
    pub after: Vec<String>,
    /// Where.
    pub wish: Wish,
    /// How long one attempt may take, from its start to its result.
    pub timeout: Duration,
    /// How many attempts it has.
    pub attempts: u32,
    /// What its result counts for in votes and averages that weigh.
    pub weight: f64,
    /// What there is to do; the engine does not look at it.
    pub what: T,
}

/// How many of the tasks must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Every one.
    All,
    /// So many; the others are waited for until the plan's time is over.
    Quorum(usize),
}

/// What a plan does when a task has failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It fails.
    Fail,
    /// The task runs again, and with it those whose results it read, for their
    /// results may be why it failed; so many times in the whole plan.
    RollBack(u32),
}

/// A plan as its maker writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft<T> {
    /// The tasks.
    pub tasks: Vec<Task<T>>,
    /// What becomes of their results.
    pub combine: Combine,
    /// How many must be done.
    pub need: Need,
    /// What a failure does.
    pub on_failure: OnFailure,
    /// Whether no two tasks may run on one node.
    pub apart: bool,
    /// How long an attempt counts as alive without another word.
    pub lease: Duration,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// A plan that keeps the rules: bounded, without cycles, every name known.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<T> {
    draft: Draft<T>,
    reads: Vec<Vec<usize>>,
    waits: Vec<Vec<usize>>,
}

impl<T> Plan<T> {
    /// Checks a draft.
    ///
    /// # Errors
    /// [`InvalidPlan`], which names the task that breaks a rule.
    pub fn new(draft: Draft<T>) -> Result<Self, InvalidPlan> {
        let count = draft.tasks.len();
        if !(1..=MAX_TASKS).contains(&count) {
            return Err(InvalidPlan::Tasks(count));
        }
        let names = names(&draft.tasks)?;
        let mut reads = Vec::with_capacity(count);
        let mut waits = Vec::with_capacity(count);
        for task in &draft.tasks {
            check_task(task)?;
            let read = places(task, &task.reads, &names)?;
            let mut wait = read.clone();
            for place in places(task, &task.after, &names)? {
                if !wait.contains(&place) {
                    wait.push(place);
                }
            }
            reads.push(read);
            waits.push(wait);
        }
        let plan = Self {
            draft,
            reads,
            waits,
        };
        plan.check_cycles()?;
        plan.check_whole()?;
        Ok(plan)
    }

    /// What it was made of.
    #[must_use]
    pub const fn draft(&self) -> &Draft<T> {
        &self.draft
    }

    /// The tasks, in order.
    #[must_use]
    pub fn tasks(&self) -> &[Task<T>] {
        &self.draft.tasks
    }

    /// One task.
    #[must_use]
    pub fn task(&self, task: TaskIndex) -> Option<&Task<T>> {
        self.draft.tasks.get(usize::try_from(task.0).ok()?)
    }

    /// Whose results a task reads.
    pub(super) fn reads(&self, task: usize) -> &[usize] {
        &self.reads[task]
    }

    /// For whom a task waits.
    pub(super) fn waits(&self, task: usize) -> &[usize] {
        &self.waits[task]
    }

    /// Goes back along what each task waits for until a task comes again
    /// (Kahn's algorithm finds those that are on no cycle first).
    fn check_cycles(&self) -> Result<(), InvalidPlan> {
        let count = self.waits.len();
        let mut free = vec![false; count];
        loop {
            let next = (0..count)
                .find(|&task| !free[task] && self.waits[task].iter().all(|&wait| free[wait]));
            match next {
                Some(task) => free[task] = true,
                None => break,
            }
        }
        let Some(stuck) = free.iter().position(|free| !free) else {
            return Ok(());
        };
        // Each task that is stuck waits for one that is, so the way closes.
        let mut way = vec![stuck];
        let start = loop {
            let last = way[way.len() - 1];
            let Some(&next) = self.waits[last].iter().find(|&&wait| !free[wait]) else {
                break 0;
            };
            if let Some(start) = way.iter().position(|&seen| seen == next) {
                way.push(next);
                break start;
            }
            way.push(next);
        };
        let round: Vec<&str> = way[start..]
            .iter()
            .map(|&task| self.draft.tasks[task].name.as_str())
            .collect();
        Err(InvalidPlan::Cycle {
            task: round[0].to_owned(),
            round: round.join(" <- "),
        })
    }

    fn check_whole(&self) -> Result<(), InvalidPlan> {
        let draft = &self.draft;
        let tasks = draft.tasks.len();
        if let Need::Quorum(least) = draft.need {
            if !(1..=tasks).contains(&least) {
                return Err(InvalidPlan::Quorum { least, tasks });
            }
            if let Some(place) = self.waits.iter().position(|waits| !waits.is_empty()) {
                let task = draft.tasks[place].name.clone();
                return Err(InvalidPlan::QuorumInOrder { task });
            }
        }
        if let OnFailure::RollBack(retries) = draft.on_failure
            && retries > MAX_RETRIES
        {
            return Err(InvalidPlan::Retries(retries));
        }
        for (place, task) in draft.tasks.iter().enumerate() {
            if task.wish == Wish::First && self.reads[place].is_empty() {
                let task = task.name.clone();
                return Err(InvalidPlan::FirstOfNone { task });
            }
        }
        if draft.apart {
            self.check_apart()?;
        }
        for (name, span) in [("lease", draft.lease), ("timeout", draft.timeout)] {
            if !is_span(span) {
                return Err(field(name, "it is not from 1 ms to 30 days"));
            }
        }
        draft.combine.check()
    }

    fn check_apart(&self) -> Result<(), InvalidPlan> {
        let mut taken = BTreeMap::new();
        for task in &self.draft.tasks {
            if let Wish::Only(node) = &task.wish
                && let Some(other) = taken.insert(node, &task.name)
            {
                return Err(InvalidPlan::NotApart {
                    task: task.name.clone(),
                    other: other.clone(),
                });
            }
        }
        Ok(())
    }
}

fn is_span(span: Duration) -> bool {
    (Duration::from_millis(1)..=MAX_TIMEOUT).contains(&span)
}

fn names<T>(tasks: &[Task<T>]) -> Result<BTreeMap<&str, usize>, InvalidPlan> {
    let mut names = BTreeMap::new();
    for (place, task) in tasks.iter().enumerate() {
        if !(1..=MAX_NAME).contains(&task.name.len()) {
            let name = task.name.chars().take(16).collect();
            return Err(InvalidPlan::Name { place, name });
        }
        if names.insert(task.name.as_str(), place).is_some() {
            return Err(InvalidPlan::SameName(task.name.clone()));
        }
    }
    Ok(names)
}

fn places<T>(
    task: &Task<T>,
    list: &[String],
    names: &BTreeMap<&str, usize>,
) -> Result<Vec<usize>, InvalidPlan> {
    let mut places = Vec::with_capacity(list.len().min(MAX_TASKS));
    for after in list {
        let fault = |fault: fn(String, String) -> InvalidPlan| {
            fault(task.name.clone(), after.chars().take(MAX_NAME).collect())
        };
        let Some(&place) = names.get(after.as_str()) else {
            return Err(fault(|task, after| InvalidPlan::Unknown { task, after }));
        };
        if places.contains(&place) {
            return Err(fault(|task, after| InvalidPlan::Twice { task, after }));
        }
        places.push(place);
    }
    Ok(places)
}

fn check_task<T>(task: &Task<T>) -> Result<(), InvalidPlan> {
    let name = || task.name.clone();
    if !(1..=MAX_ATTEMPTS).contains(&task.attempts) {
        return Err(InvalidPlan::Attempts {
            task: name(),
            attempts: task.attempts,
        });
    }
    if !is_span(task.timeout) {
        return Err(InvalidPlan::Timeout { task: name() });
    }
    if !(task.weight > 0.0 && task.weight <= MAX_WEIGHT) {
        return Err(InvalidPlan::Weight { task: name() });
    }
    Ok(())
}

impl<T: Serialize> Serialize for Plan<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.draft.serialize(s)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Plan<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(Draft::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
