//! What goes wrong in a world: read from a file, or the plan that is built in.

use serde::Deserialize;

/// The plan that is built in.
const BUILT_IN: &str = include_str!("../storm.toml");

/// How a network treats messages. By default as in quiet times: gossip that a slow
/// connection has no room for is lost now and then, everything else arrives.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The share of gossip that is lost, beside the other losses.
    pub gossip_loss: f64,
    /// The share of all messages that is lost.
    pub loss: f64,
    /// The share that arrives twice.
    pub duplicates: f64,
    /// The share that is late, and is overtaken by later ones.
    pub late: f64,
    /// How late at most, in milliseconds.
    pub late_ms: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            gossip_loss: 0.05,
            loss: 0.0,
            duplicates: 0.0,
            late: 0.0,
            late_ms: 0,
        }
    }
}

/// A storm: what goes wrong and how often. When, the seed decides.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Honest nodes, those who come late among them.
    pub nodes: usize,
    /// Of these, who join while the network is in two.
    pub late_nodes: usize,
    /// Of these, whose clocks are off by more than is allowed.
    pub wrong_clocks: usize,
    /// Lying nodes, beside the honest ones.
    pub liars: usize,
    /// Things that no honest peer does.
    pub lies: usize,
    /// Jobs.
    pub jobs: usize,
    /// Payments from one account to another, beside what jobs cost.
    pub payments: usize,
    /// How far the clock of a node may be off, either way, in milliseconds.
    pub skew_ms: u64,
    /// Crashes of nodes.
    pub node_crashes: usize,
    /// Crashes of the index.
    pub index_crashes: usize,
    /// How long the network is in two, in seconds.
    pub partition_s: u64,
    /// What becomes of messages.
    pub messages: Faults,
}

/// A plan that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPlan {
    /// It is no plan.
    #[error("the plan cannot be read: {0}")]
    Unreadable(#[from] toml::de::Error),
    /// A number in it makes no sense.
    #[error("the plan's `{what}` must be {rule}")]
    Number {
        /// Which.
        what: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// When it is none, has an unknown key, or a number that makes no sense.
    pub fn parse(text: &str) -> Result<Self, InvalidPlan> {
        let plan: Self = toml::from_str(text)?;
        plan.checked()
    }

    /// The plan that is built in.
    ///
    /// # Errors
    /// Never, as a test sees.
    pub fn built_in() -> Result<Self, InvalidPlan> {
        Self::parse(BUILT_IN)
    }

    /// The plan, if it can be played.
    ///
    /// # Errors
    /// The first number that makes no sense.
    pub fn checked(self) -> Result<Self, InvalidPlan> {
        let honest = self
            .nodes
            .saturating_sub(self.late_nodes + self.wrong_clocks);
        let share = |share: f64| (0.0..=0.5).contains(&share);
        let rules = [
            (
                "nodes",
                honest >= 4,
                "at least 4 more than those who are late or off",
            ),
            (
                "nodes",
                self.nodes + self.liars <= 500,
                "500 with the liars at most",
            ),
            (
                "jobs",
                (1..=10_000).contains(&self.jobs),
                "from 1 to 10,000",
            ),
            (
                "skew_ms",
                self.skew_ms <= 14_000,
                "14,000 at most: two clocks may be 30 s apart",
            ),
            (
                "partition_s",
                self.partition_s <= 240,
                "240 at most: adverts live for 300",
            ),
            (
                "messages.gossip_loss",
                share(self.messages.gossip_loss),
                "from 0 to 0.5",
            ),
            ("messages.loss", share(self.messages.loss), "from 0 to 0.5"),
            (
                "messages.duplicates",
                share(self.messages.duplicates),
                "from 0 to 0.5",
            ),
            ("messages.late", share(self.messages.late), "from 0 to 0.5"),
            (
                "messages.late_ms",
                self.messages.late_ms <= 5_000,
                "5,000 at most",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((what, _, rule)) => Err(InvalidPlan::Number { what, rule }),
            None => Ok(self),
        }
    }
}

/// A rule that is broken on purpose, in tests alone: each must be seen by a check, or
/// the check sees nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Nodes start an attempt however often they are asked to.
    SkipFence,
    /// The index answers before its commit is durable, and loses the commit in a crash.
    AnswerEarly,
    /// The index's store loses the row of an open hold.
    LoseHold,
    /// Nodes leave an event out of a stream.
    SkipEvent,
    /// A node's table is not woken any more, so that what expires stays in it.
    StuckTable,
    /// Nodes do not dial again whom they were cut off from.
    NoRedial,
    /// Somebody has a node's key, and signs an advert with it.
    StolenKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_that_is_built_in_can_be_played() {
        let plan = Plan::built_in().unwrap();
        assert!(plan.index_crashes > 0 && plan.liars > 0 && plan.partition_s >= 60);
    }

    #[test]
    fn unknown_keys_and_impossible_numbers_are_refused() {
        let with = |from: &str, to: &str| Plan::parse(&BUILT_IN.replacen(from, to, 1));
        let text = |error: InvalidPlan| error.to_string();
        assert!(text(with("jobs", "jobz").unwrap_err()).contains("jobz"));
        let odd = Plan {
            nodes: 3,
            ..Plan::built_in().unwrap()
        };
        assert!(text(odd.checked().unwrap_err()).contains("`nodes`"));
        let mut odd = Plan::built_in().unwrap();
        odd.messages.loss = f64::NAN;
        assert!(text(odd.checked().unwrap_err()).contains("`messages.loss`"));
    }
}
