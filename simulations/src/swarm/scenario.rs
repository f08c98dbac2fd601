//! What a scenario file says. Unknown keys are refused, and so is a number out of bounds.

use std::{collections::BTreeMap, ops::RangeInclusive, path::Path, time::Duration};

use serde::Deserialize;

/// How many meshes there may be.
pub const NODES: RangeInclusive<usize> = 4..=5_000;
/// How long anything may be waited for, in seconds.
const PATIENCE_S: RangeInclusive<u64> = 1..=3_600;
/// How long a byte may take from one mesh to another, in milliseconds.
const DELAY_MS: RangeInclusive<u64> = 0..=2_000;
/// How long the mesh may settle, in seconds.
const SETTLE_S: RangeInclusive<u64> = 0..=3_600;
/// How long a phase may last, in seconds.
const SPAN_S: RangeInclusive<u64> = 1..=3_600;
/// How many of anything else there may be.
const COUNT: RangeInclusive<usize> = 1..=100_000;

/// A scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in the report.
    pub title: String,
    /// Decides who does what.
    pub seed: u64,
    /// Meshes at the start.
    pub nodes: usize,
    /// Of these, how many the others join through; each knows three of them.
    pub bootstrap: usize,
    /// How long a byte takes from one mesh to another.
    #[serde(default)]
    pub delay_ms: u64,
    /// How long the mesh may settle once all know each other, before anything is tried.
    #[serde(default)]
    pub settle_s: u64,
    /// How long anything is waited for.
    pub patience_s: u64,
    /// What is tried.
    pub what: What,
    /// What is asked of measures, by their names: at most this much.
    #[serde(default)]
    pub at_most: BTreeMap<String, f64>,
}

/// What is tried.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// All start at once; then some more join.
    Join(Join),
    /// Adverts change, and so do as many messages of stock gossip.
    Spread(Spread),
    /// Members leave and others come.
    Churn(Churn),
    /// The network is cut in two, and heals.
    Partition(Partition),
    /// Many identities of one owner send what no honest peer sends, and crowd in on one.
    Sybils(Sybils),
    /// More adverts come than anybody can take.
    Flood(Flood),
    /// Nothing happens.
    Idle(Idle),
}

/// See [`What::Join`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// How many join the mesh once it stands, one after the other.
    pub joiners: usize,
}

/// See [`What::Spread`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Adverts that change, and messages of stock gossip.
    pub messages: usize,
    /// Time between two.
    pub every_ms: u64,
    /// Peers that each peer of stock gossip dials: it finds none by itself.
    pub stock_dials: usize,
}

/// See [`What::Churn`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Members that leave in ten minutes, in hundredths; as many come.
    pub percent_in_ten_minutes: f64,
    /// Of those that leave, how many lose power instead of saying goodbye, in hundredths.
    pub crash_percent: f64,
    /// How long it goes on.
    pub span_s: u64,
}

/// See [`What::Partition`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// How long the cut lasts.
    pub cut_s: u64,
    /// Connections over the cut are reset, instead of falling silent.
    pub resets: bool,
}

/// See [`What::Sybils`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sybils {
    /// Hostile identities; all of them connect with one victim.
    pub identities: usize,
    /// Adverts of each hostile kind that each of them sends.
    pub adverts_each: usize,
    /// Connections that the victim takes in all.
    pub victim_connections: u32,
    /// Honest adverts that change meanwhile.
    pub honest_changes: usize,
}

/// See [`What::Flood`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// Adverts a second that are offered.
    pub per_second: usize,
    /// How long it goes on.
    pub span_s: u64,
    /// Identities that send them; one that is turned away is replaced.
    pub senders: usize,
}

/// See [`What::Idle`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// How long it is looked at.
    pub span_s: u64,
}

/// Why a scenario file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidScenario {
    /// It cannot be read.
    #[error("cannot read {path}: {source}; name a file of simulations/scenarios, or one like it")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what a scenario looks like.
    #[error("{path}: {source}")]
    Malformed {
        /// The file.
        path: String,
        /// Where, and why.
        source: Box<toml::de::Error>,
    },
    /// A number is out of bounds.
    #[error("{name} is {value}: write a number from {least} to {most}")]
    OutOfBounds {
        /// The key.
        name: &'static str,
        /// What the file says.
        value: String,
        /// The least.
        least: String,
        /// The most.
        most: String,
    },
    /// There is no such measure.
    #[error(
        "at_most names {name}, which this kind of scenario does not measure; it measures {known}"
    )]
    UnknownMeasure {
        /// What the file says.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Scenario {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// When it is no scenario, or a number of it is out of bounds.
    pub fn read(path: &Path) -> Result<Self, InvalidScenario> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| InvalidScenario::Unreadable {
            path: name.clone(),
            source,
        })?;
        Self::parse(&text, &name)
    }

    /// Reads a scenario from its text; `name` is what errors call it.
    ///
    /// # Errors
    /// Those of [`Scenario::read`].
    pub fn parse(text: &str, name: &str) -> Result<Self, InvalidScenario> {
        let scenario: Self = toml::from_str(text).map_err(|source| InvalidScenario::Malformed {
            path: name.to_owned(),
            source: Box::new(source),
        })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Checks every number; needed again after one was changed.
    ///
    /// # Errors
    /// When one is out of bounds.
    pub fn check(&self) -> Result<(), InvalidScenario> {
        within("nodes", self.nodes, NODES)?;
        within("bootstrap", self.bootstrap, 1..=self.nodes)?;
        within("delay_ms", self.delay_ms, DELAY_MS)?;
        within("settle_s", self.settle_s, SETTLE_S)?;
        within("patience_s", self.patience_s, PATIENCE_S)?;
        self.what.check()?;
        let known = self.what.measures();
        for name in self.at_most.keys() {
            if !known.contains(&name.as_str()) {
                return Err(InvalidScenario::UnknownMeasure {
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        Ok(())
    }

    /// How long anything is waited for.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_s)
    }

    /// How long a byte takes from one mesh to another.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

impl What {
    /// The kind, in one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Spread(_) => "spread",
            Self::Churn(_) => "churn",
            Self::Partition(_) => "partition",
            Self::Sybils(_) => "sybils",
            Self::Flood(_) => "flood",
            Self::Idle(_) => "idle",
        }
    }

    /// The measures that a limit may be set on.
    fn measures(&self) -> &'static [&'static str] {
        match self {
            Self::Join(_) => &["all_at_once_max_s", "joiner_p50_s", "joiner_max_s"],
            Self::Spread(_) => &[
                "receives_per_delivery",
                "all_nodes_p50_s",
                "all_nodes_max_s",
            ],
            Self::Churn(_) => &["stale_percent", "stale_after_goodbye_percent"],
            Self::Partition(_) => &["whole_after_heal_s"],
            Self::Sybils(_) => &["forwarded", "honest_max_s", "turned_away_max_s"],
            Self::Flood(_) => &["grown_mib", "honest_max_s", "table_max"],
            Self::Idle(_) => &["cpu_percent_per_node", "mib_per_node", "kb_per_s_per_node"],
        }
    }

    fn check(&self) -> Result<(), InvalidScenario> {
        match self {
            Self::Join(join) => within("joiners", join.joiners, COUNT),
            Self::Spread(spread) => {
                within("messages", spread.messages, COUNT)?;
                within("every_ms", spread.every_ms, 1..=60_000)?;
                within("stock_dials", spread.stock_dials, 1..=100)
            }
            Self::Churn(churn) => {
                let percent = churn.percent_in_ten_minutes;
                within("percent_in_ten_minutes", percent, 0.1..=10_000.0)?;
                within("crash_percent", churn.crash_percent, 0.0..=100.0)?;
                within("span_s", churn.span_s, SPAN_S)
            }
            Self::Partition(partition) => within("cut_s", partition.cut_s, SPAN_S),
            Self::Sybils(sybils) => {
                within("identities", sybils.identities, 1..=10_000)?;
                within("adverts_each", sybils.adverts_each, 1..=1_000)?;
                within("victim_connections", sybils.victim_connections, 8..=4_096)?;
                within("honest_changes", sybils.honest_changes, COUNT)
            }
            Self::Flood(flood) => {
                within("per_second", flood.per_second, COUNT)?;
                within("span_s", flood.span_s, SPAN_S)?;
                within("senders", flood.senders, 1..=1_000)
            }
            Self::Idle(idle) => within("span_s", idle.span_s, SPAN_S),
        }
    }
}

fn within<T: PartialOrd + ToString>(
    name: &'static str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<(), InvalidScenario> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(InvalidScenario::OutOfBounds {
        name,
        value: value.to_string(),
        least: bounds.start().to_string(),
        most: bounds.end().to_string(),
    })
}
