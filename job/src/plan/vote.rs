//! Votes: which of several answers is the answer, and who gave another.
//!
//! Answers need not be equal to the bit. An answer's voters are those whose
//! answer is [`alike`] to it; the answer with the greatest weight of voters
//! wins, the earlier task's among equals. Whoever was asked and is silent
//! agrees with nobody.

use embermesh_crypto::TaskIndex;
use serde::{Deserialize, Serialize};

use super::{
    Combined, InvalidPlan,
    alike::{Tolerance, alike},
    combine::{Answer, Asked, check_share},
    run::Failure,
};

/// How much wider than agreement the doubt is that protects from an
/// accusation: an answer between one and this many tolerances from the winner
/// has lost the vote and is not accused.
pub const DOUBT: f64 = 4.0;

/// The fewest agreeing answers that can accuse another.
const JURY: usize = 2;

/// How answers are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Each answer counts once.
    MajorityVote,
    /// Each answer counts by its task's weight.
    WeightedVote,
    /// As a majority, but where too few agree the answers go to an expert and
    /// the plan ends without an output of its own.
    ExpertReview,
}

impl Method {
    /// The word for it on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MajorityVote => "majority_vote",
            Self::WeightedVote => "weighted_vote",
            Self::ExpertReview => "expert_review",
        }
    }
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// How answers are weighed.
    pub method: Method,
    /// The share of the weight that must agree, above 0 to 1.
    pub min_agreement: f64,
    /// What counts as the same answer.
    pub tolerance: Tolerance,
}

impl Vote {
    /// What is asked for where nothing is said: three of four must agree, to
    /// what single precision can.
    #[must_use]
    pub const fn of(method: Method) -> Self {
        Self {
            method,
            min_agreement: 0.75,
            tolerance: Tolerance::SINGLE,
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidPlan> {
        check_share("min_agreement", self.min_agreement)?;
        self.tolerance.check()
    }

    pub(super) fn count(&self, answers: &[Answer<'_>], asked: Asked) -> Result<Combined, Failure> {
        let weight = |answer: &Answer<'_>| match self.method {
            Method::WeightedVote => answer.weight,
            Method::MajorityVote | Method::ExpertReview => 1.0,
        };
        #[allow(clippy::cast_precision_loss, reason = "a plan has few tasks")]
        let asked = match self.method {
            Method::WeightedVote => asked.weight,
            Method::MajorityVote | Method::ExpertReview => asked.tasks as f64,
        };
        let mut best = 0;
        let mut most = f64::MIN;
        for (place, candidate) in answers.iter().enumerate() {
            let voters = answers
                .iter()
                .filter(|answer| alike(answer.value, candidate.value, self.tolerance));
            let sum = voters.map(weight).sum();
            if sum > most {
                (best, most) = (place, sum);
            }
        }
        let level = (most / asked).clamp(0.0, 1.0);
        let winner = answers[best].value;
        let agreed: Vec<_> = answers
            .iter()
            .filter(|answer| alike(answer.value, winner, self.tolerance))
            .map(|answer| answer.task)
            .collect();
        let accused = self.accused(answers, best, agreed.len());
        let reached = level >= self.min_agreement;
        if !reached && self.method != Method::ExpertReview {
            return Err(Failure::NoAgreement {
                level,
                wanted: self.min_agreement,
            });
        }
        Ok(Combined {
            output: reached.then(|| winner.clone()),
            agreement: Some(level),
            agreed,
            accused: if reached { accused } else { Vec::new() },
            needs_review: !reached,
        })
    }

    /// Whose answer is far from that of a majority. Two answers that differ
    /// accuse nobody: either may be wrong.
    fn accused(&self, answers: &[Answer<'_>], best: usize, agreed: usize) -> Vec<TaskIndex> {
        if agreed < JURY || agreed * 2 <= answers.len() {
            return Vec::new();
        }
        let doubt = self.tolerance.times(DOUBT);
        let winner = answers[best].value;
        answers
            .iter()
            .filter(|answer| !alike(answer.value, winner, doubt))
            .map(|answer| answer.task)
            .collect()
    }
}
