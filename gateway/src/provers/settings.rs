//! How long things may take, between provers and this side.

use std::time::Duration;

use embermesh_job::plan::{MAX_TIMEOUT, proving::MAX_ROUNDS};

/// The waits of proofs and provers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvingSettings {
    /// How often a prover is asked whether it is there.
    pub heartbeat: Duration,
    /// How long a prover may say nothing before it counts as gone.
    pub silence: Duration,
    /// How long the work of a prover whose connection broke waits for it to come back.
    pub grace: Duration,
    /// How long a round after the first waits until there are provers for it.
    pub deal_wait: Duration,
    /// How long a prover may take for each phase.
    pub phase: Duration,
    /// How long a round may take.
    pub round: Duration,
    /// How many rounds a proof may take, at most [`MAX_ROUNDS`].
    pub rounds: u32,
}

impl Default for ProvingSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(30),
            // Three heartbeats, and what the road takes.
            silence: Duration::from_secs(95),
            // Provers of this system come back after 5 s.
            grace: Duration::from_secs(15),
            deal_wait: Duration::from_secs(60),
            phase: Duration::from_secs(1800),
            round: Duration::from_secs(2 * 3600),
            rounds: 3,
        }
    }
}

/// A setting under which no proof can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// A wait that is none, or has no end.
    #[error("{0} is not from 1 ms to 30 days")]
    Span(&'static str),
    /// Every prover would be gone before it was asked twice.
    #[error("silence is not longer than heartbeat")]
    Silence,
    /// No round, or too many.
    #[error("rounds is not from 1 to {MAX_ROUNDS}")]
    Rounds,
}

impl ProvingSettings {
    /// The same, if proofs can be made under them.
    ///
    /// # Errors
    /// [`InvalidSettings`], which names the one that is out of its bounds.
    pub fn checked(self) -> Result<Self, InvalidSettings> {
        let spans = [
            ("heartbeat", self.heartbeat),
            ("deal_wait", self.deal_wait),
            ("phase", self.phase),
            ("round", self.round),
        ];
        for (name, span) in spans {
            if span.is_zero() || span > MAX_TIMEOUT {
                return Err(InvalidSettings::Span(name));
            }
        }
        if self.silence <= self.heartbeat {
            return Err(InvalidSettings::Silence);
        }
        if !(1..=MAX_ROUNDS).contains(&self.rounds) {
            return Err(InvalidSettings::Rounds);
        }
        Ok(self)
    }
}
