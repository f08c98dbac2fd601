//! A job's configuration, read into a plan.

use std::time::Duration;

use embermesh_job::plan::{
    Combine, Draft, InvalidPlan, Need, NodeName, OnFailure, Patience, Plan, Task, Wish,
    average::{Average, Method as Averaging},
    chain::{Source, Step, chain},
    privacy::Privacy,
    replicas::{Replica, compare},
    shards::{Shard, collaborate},
    vote::{Method as Voting, Vote},
};
use serde_json::Value as Json;

use crate::{
    Failure,
    port::plans::{Question, Want},
};

/// How long a task may take, where the configuration does not say.
const USUAL_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest that it can say, in seconds.
const MAX_TIMEOUT: u64 = 24 * 3600;
/// How long an attempt counts as alive without a word.
const LEASE: Duration = Duration::from_secs(60);
/// Attempts of a task.
const ATTEMPTS: u32 = 3;
/// What the models are asked, in a configuration.
const DATA: &str = "input_data";
/// The longest configuration, in bytes.
pub(super) const MAX_CONFIG: usize = 4 << 20;

/// The three patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Collaborative,
    Comparative,
    Chained,
}

impl Pattern {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Collaborative => "collaborative",
            Self::Comparative => "comparative",
            Self::Chained => "chained",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        [Self::Collaborative, Self::Comparative, Self::Chained]
            .into_iter()
            .find(|pattern| pattern.word() == word)
    }
}

/// Reads a configuration.
pub(super) fn plan(pattern: Pattern, config_json: &str) -> Result<Plan<Question>, Failure> {
    if config_json.len() > MAX_CONFIG {
        let message = format!("config_json has more than {MAX_CONFIG} bytes");
        return Err(Failure::invalid(message));
    }
    let config: Json = serde_json::from_str(config_json)
        .map_err(|error| Failure::invalid(format!("config_json is not JSON: {error}")))?;
    if !config.is_object() {
        return Err(Failure::invalid("config_json: give an object"));
    }
    let config = Config(&config);
    let plan = match pattern {
        Pattern::Collaborative => collaborative(config)?,
        Pattern::Comparative => comparative(config)?,
        Pattern::Chained => chained(config)?,
    };
    plan.map_err(|error| Failure::invalid(format!("config_json: {error}")))
}

/// One question to one model.
pub(super) fn single(
    model: &str,
    data: Json,
    timeout: Duration,
) -> Result<Plan<Question>, InvalidPlan> {
    Plan::new(Draft {
        tasks: vec![Task {
            name: model.to_owned(),
            reads: Vec::new(),
            after: Vec::new(),
            wish: Wish::Any,
            timeout,
            attempts: ATTEMPTS,
            weight: 1.0,
            what: Question {
                model: model.to_owned(),
                data: Some(data),
                want: Want::Verdict,
            },
        }],
        combine: Combine::Last,
        need: Need::All,
        on_failure: OnFailure::Fail,
        apart: false,
        lease: LEASE,
        timeout,
    })
}

type Planned = Result<Result<Plan<Question>, InvalidPlan>, Failure>;

fn collaborative(config: Config<'_>) -> Planned {
    let model = config.text("model_id")?;
    let nodes = config.texts("nodes")?;
    let aggregation = config.part("aggregation");
    let method = match aggregation.optional("method")? {
        None | Some("federated_averaging") => Averaging::FederatedAveraging,
        Some("weighted_average") => Averaging::WeightedAverage,
        Some("median") => Averaging::Median,
        Some(other) => {
            let known = "federated_averaging, weighted_average or median";
            return Err(unknown("aggregation.method", other, known));
        }
    };
    let privacy = aggregation.part("differential_privacy");
    let privacy = match privacy.get("enabled") {
        Some(Json::Bool(true)) => Some(Privacy::of(privacy.number("epsilon")?.unwrap_or(1.0))),
        None | Some(Json::Bool(false)) => None,
        Some(_) => {
            return Err(wrong(
                "aggregation.differential_privacy.enabled",
                "true or false",
            ));
        }
    };
    let average = Average { method, privacy };
    // Nodes of the system have data of their own, so a collaboration may come without any.
    let data = config.get(DATA);
    let weights = aggregation.part("weights");
    let patience = config.patience()?;
    let shards = nodes
        .iter()
        .map(|node| {
            // What is given by node is that node's alone.
            let own = data.map(|data| data.get(*node).unwrap_or(data));
            Ok(Shard {
                name: (*node).to_owned(),
                node: Some(node_name(node)?),
                weight: weights.number(node)?.unwrap_or(1.0),
                what: Question {
                    model: model.to_owned(),
                    data: own.cloned(),
                    want: Want::Numbers,
                },
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let quorum = match config.number("quorum")? {
        None => shards.len(),
        Some(least) if least >= 1.0 && least.fract() == 0.0 && least <= 512.0 => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it was looked at"
            )]
            let least = least as usize;
            least
        }
        Some(_) => return Err(wrong("quorum", "a whole number of nodes")),
    };
    if let [shard] = shards.as_slice() {
        return Ok(alone(shard, average, patience));
    }
    Ok(collaborate(shards, average, quorum, ATTEMPTS, patience))
}

/// A collaboration of one: what the node says, through the same average and noise.
fn alone(
    shard: &Shard<Question>,
    average: Average,
    patience: Patience,
) -> Result<Plan<Question>, InvalidPlan> {
    Plan::new(Draft {
        tasks: vec![Task {
            name: shard.name.clone(),
            reads: Vec::new(),
            after: Vec::new(),
            wish: shard.node.clone().map_or(Wish::Any, Wish::Only),
            timeout: patience.task,
            attempts: ATTEMPTS,
            weight: shard.weight,
            what: shard.what.clone(),
        }],
        combine: Combine::Average(average),
        need: Need::All,
        on_failure: OnFailure::Fail,
        apart: false,
        lease: patience.lease,
        timeout: patience.plan,
    })
}

fn comparative(config: Config<'_>) -> Planned {
    let models = config.texts("model_ids")?;
    if models.len() < 2 {
        return Err(wrong("model_ids", "at least 2 models"));
    }
    let node = config.optional("node_id")?.map(node_name).transpose()?;
    let consensus = config.part("consensus");
    let method = match consensus.optional("method")? {
        None | Some("majority_vote") => Voting::MajorityVote,
        Some("weighted_vote") => Voting::WeightedVote,
        Some("expert_review") => Voting::ExpertReview,
        Some(other) => {
            let known = "majority_vote, weighted_vote or expert_review";
            return Err(unknown("consensus.method", other, known));
        }
    };
    let mut vote = Vote::of(method);
    if let Some(least) = consensus.number("min_agreement")? {
        vote.min_agreement = least;
    }
    let weights = consensus.part("weights");
    let data = config.data()?;
    let replicas = models
        .iter()
        .map(|model| {
            Ok(Replica {
                name: (*model).to_owned(),
                node: node.clone(),
                weight: weights.number(model)?.unwrap_or(1.0),
                what: Question {
                    model: (*model).to_owned(),
                    data: Some(data.clone()),
                    want: Want::Verdict,
                },
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let patience = config.patience()?;
    Ok(compare(replicas, vote, Need::All, ATTEMPTS, patience))
}

fn chained(config: Config<'_>) -> Planned {
    let Some(Json::Array(pipeline)) = config.get("pipeline") else {
        return Err(wrong("pipeline", "a list of steps"));
    };
    let patience = config.patience()?;
    let handling = config.part("error_handling");
    let retries = handling.number("max_retries")?.unwrap_or(3.0);
    let on_failure = match handling.optional("on_failure")? {
        None | Some("fail_fast") => OnFailure::Fail,
        Some("rollback_and_retry") => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the plan judges how many there may be"
            )]
            let retries = retries as u32;
            OnFailure::RollBack(retries)
        }
        Some(other) => {
            let known = "rollback_and_retry or fail_fast";
            return Err(unknown("error_handling.on_failure", other, known));
        }
    };
    let steps = pipeline
        .iter()
        .enumerate()
        .map(|(at, step)| step_of(config, Config(step), at, at + 1 == pipeline.len()))
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(chain(steps, on_failure, ATTEMPTS, patience))
}

fn step_of(
    config: Config<'_>,
    step: Config<'_>,
    at: usize,
    last: bool,
) -> Result<Step<Question>, Failure> {
    let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
    if let Some(said) = step.number("step")?
        && said != f64::from(number)
    {
        let message =
            format!("pipeline: the steps are numbered 1, 2, 3 …: step {number} says {said}");
        return Err(Failure::invalid(message));
    }
    let usual = if number == 1 {
        Source::ClientData
    } else {
        Source::Step(number - 1)
    };
    let source = match step.optional("input_source")? {
        None => usual,
        Some(text) => text.parse().map_err(|error: InvalidPlan| {
            Failure::invalid(format!("pipeline: step {number}: {error}"))
        })?,
    };
    let data = match source {
        Source::ClientData => Some(config.data()?.clone()),
        Source::Step(_) => None,
    };
    let timeout = step.seconds("timeout")?;
    Ok(Step {
        number,
        name: step.optional("name")?.unwrap_or("step").to_owned(),
        node: step.optional("node_id")?.map(node_name).transpose()?,
        source,
        timeout,
        what: Question {
            model: step.text("model_id")?.to_owned(),
            data,
            // What the last one says is the result; the others feed the next.
            want: if last { Want::Verdict } else { Want::Numbers },
        },
    })
}

fn node_name(text: &str) -> Result<NodeName, Failure> {
    NodeName::new(text).map_err(|error| Failure::invalid(format!("config_json: {error}")))
}

fn wrong(name: &str, what: &str) -> Failure {
    Failure::invalid(format!("config_json: {name}: give {what}"))
}

fn unknown(name: &str, said: &str, known: &str) -> Failure {
    Failure::invalid(format!(
        "config_json: {name}: {said:?} is not known: say {known}"
    ))
}

/// An object of the configuration; `null` for one that is not there.
#[derive(Clone, Copy)]
struct Config<'a>(&'a Json);

impl<'a> Config<'a> {
    /// A field, by either form of its name.
    fn get(self, name: &str) -> Option<&'a Json> {
        let found = self.0.get(name).or_else(|| self.0.get(camel(name)));
        found.filter(|value| !value.is_null())
    }

    fn part(self, name: &str) -> Self {
        Self(self.get(name).unwrap_or(&Json::Null))
    }

    fn optional(self, name: &str) -> Result<Option<&'a str>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a text")),
        }
    }

    fn text(self, name: &str) -> Result<&'a str, Failure> {
        self.optional(name)?.ok_or_else(|| wrong(name, "a text"))
    }

    fn texts(self, name: &str) -> Result<Vec<&'a str>, Failure> {
        let Some(Json::Array(list)) = self.get(name) else {
            return Err(wrong(name, "a list of texts"));
        };
        let texts: Option<Vec<&str>> = list.iter().map(Json::as_str).collect();
        let texts = texts.filter(|texts| !texts.is_empty());
        texts.ok_or_else(|| wrong(name, "a list of texts"))
    }

    fn number(self, name: &str) -> Result<Option<f64>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(wrong(name, "a number")),
            },
        }
    }

    fn seconds(self, name: &str) -> Result<Option<Duration>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(seconds) if (1..=MAX_TIMEOUT).contains(&seconds) => {
                    Ok(Some(Duration::from_secs(seconds)))
                }
                _ => Err(wrong(name, &format!("1 to {MAX_TIMEOUT} whole seconds"))),
            },
        }
    }

    /// What the models are asked.
    fn data(self) -> Result<&'a Json, Failure> {
        let message = "config_json has no input_data: give what the models are asked: a text, {\"prompt\": …}, or rows of numbers";
        self.get(DATA).ok_or_else(|| Failure::invalid(message))
    }

    fn patience(self) -> Result<Patience, Failure> {
        let task = self.seconds("timeout")?.unwrap_or(USUAL_TIMEOUT);
        Ok(Patience {
            lease: LEASE,
            task,
            plan: task * 4,
        })
    }
}

/// `snake_case` in `camelCase`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
