//! What becomes of the results of a plan's tasks.

use std::collections::BTreeMap;

use embermesh_crypto::TaskIndex;
use serde::{Deserialize, Serialize};

use super::{InvalidPlan, Value, average::Average, invalid::field, run::Failure, vote::Vote};

/// What becomes of the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// The result of the plan's last task is the result of the plan.
    Last,
    /// The results stand beside each other: a JSON object by the tasks' names.
    Each,
    /// The answers are voted on.
    Vote(Vote),
    /// The results are brought together, number by number.
    Average(Average),
}

/// The results of a plan, brought together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Combined {
    /// What came out; nothing while an expert has to look at the answers.
    pub output: Option<Value>,
    /// The share of the asked weight that agrees, 0 to 1, where there was a
    /// vote.
    pub agreement: Option<f64>,
    /// Who agreed with the output.
    pub agreed: Vec<TaskIndex>,
    /// Whose answer is beyond doubt another than that of most others.
    pub accused: Vec<TaskIndex>,
    /// Whether an expert has to choose among the answers.
    pub needs_review: bool,
}

/// One result, as a combination sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) task: TaskIndex,
    pub(super) name: &'a str,
    pub(super) weight: f64,
    pub(super) samples: Option<u64>,
    pub(super) value: &'a Value,
}

/// All that was asked, of those without an answer too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How many tasks.
    pub(super) tasks: usize,
    /// Their weight.
    pub(super) weight: f64,
}

impl Combined {
    pub(super) const fn of(output: Value) -> Self {
        Self {
            output: Some(output),
            agreement: None,
            agreed: Vec::new(),
            accused: Vec::new(),
            needs_review: false,
        }
    }
}

impl Combine {
    /// The rules of its numbers.
    pub(super) fn check(&self) -> Result<(), InvalidPlan> {
        match self {
            Self::Last | Self::Each => Ok(()),
            Self::Vote(vote) => vote.check(),
            Self::Average(average) => average.check(),
        }
    }
}

/// Brings answers together, in the order of their tasks.
pub(super) fn combine(
    how: &Combine,
    answers: &[Answer<'_>],
    asked: Asked,
    seed: &[u8; 32],
) -> Result<Combined, Failure> {
    let Some(last) = answers.last() else {
        return Err(unfit("there are none"));
    };
    match how {
        Combine::Last => Ok(Combined::of(last.value.clone())),
        Combine::Each => each(answers),
        Combine::Vote(vote) => vote.count(answers, asked),
        Combine::Average(average) => average.of(answers, seed).map(Combined::of),
    }
}

fn each(answers: &[Answer<'_>]) -> Result<Combined, Failure> {
    let fields: BTreeMap<&str, serde_json::Value> = answers
        .iter()
        .map(|answer| Ok((answer.name, json(answer)?)))
        .collect::<Result<_, Failure>>()?;
    let object = fields
        .into_iter()
        .map(|(name, json)| (name.to_owned(), json));
    Ok(Combined::of(Value::Json(object.collect())))
}

fn json(answer: &Answer<'_>) -> Result<serde_json::Value, Failure> {
    match answer.value {
        Value::Json(json) => Ok(json.clone()),
        Value::Numbers(numbers) => Ok(numbers.iter().copied().collect()),
        Value::Rows(_) => Err(unfit(format!("that of `{}` is a proof", answer.name))),
    }
}

pub(super) fn unfit(reason: impl Into<String>) -> Failure {
    Failure::Unfit {
        reason: reason.into(),
    }
}

/// A share: above 0, 1 at most.
pub(super) fn check_share(name: &'static str, share: f64) -> Result<(), InvalidPlan> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(field(name, format!("{share} is not above 0 to 1")))
}
