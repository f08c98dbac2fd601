//! What a member of a gang does of a computation that several prove together: commit,
//! open what the commitments of all draw, and make one proof of all.

use serde::{Deserialize, Serialize};

use super::Compute;
use crate::{
    proof::MAX_GANG,
    spec::{
        Input, InvalidSpec, JobSpec, Work,
        invalid::{field, within},
    },
};

/// A part of a proof of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Part<I = Input> {
    /// Executes and commits, and opens nothing yet.
    Contribute,
    /// Executes again, and opens what the commitments of all draw for it.
    Prove {
        /// What all have committed to, by rank, one after another in one file.
        gang: I,
        /// Its own place among them.
        rank: u32,
    },
    /// Verifies the proofs of all, and makes one of them; executes opened steps and
    /// nothing else.
    Aggregate {
        /// The proofs, by rank.
        proofs: Vec<I>,
    },
}

impl<I> Part<I> {
    /// How many make the proof, as far as this part knows.
    pub(super) fn members(&self) -> u32 {
        match self {
            Self::Contribute | Self::Prove { .. } => 1,
            Self::Aggregate { proofs } => u32::try_from(proofs.len()).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        match self {
            Self::Contribute => Ok(()),
            Self::Prove { rank, .. } if *rank as usize >= MAX_GANG => Err(field(
                "prove.part.rank",
                format!("{rank} is not below {MAX_GANG}"),
            )),
            Self::Prove { .. } => Ok(()),
            Self::Aggregate { proofs } => {
                within("prove.part.proofs", proofs.len() as u64, 1, MAX_GANG as u64)
            }
        }
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        match self {
            Self::Contribute => Vec::new(),
            Self::Prove { gang, .. } => vec![gang],
            Self::Aggregate { proofs } => proofs.iter().collect(),
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Part<J>, E> {
        Ok(match self {
            Self::Contribute => Part::Contribute,
            Self::Prove { gang, rank } => Part::Prove {
                gang: name(gang)?,
                rank,
            },
            Self::Aggregate { proofs } => Part::Aggregate {
                proofs: proofs.into_iter().map(name).collect::<Result<_, E>>()?,
            },
        })
    }
}

impl<I> Compute<I> {
    /// The part of a proof of several that it is.
    #[must_use]
    pub fn part(&self) -> Option<&Part<I>> {
        self.prove.as_ref()?.part.as_ref()
    }
}

impl JobSpec {
    /// What a part is a part of: the same for all of a gang, wherever each runs. Any
    /// other spec is whole.
    #[must_use]
    pub fn whole(&self) -> Self {
        let mut whole = self.clone();
        if let Work::Compute(compute) = &mut whole.work
            && let Some(prove) = &mut compute.prove
            && prove.part.take().is_some()
        {
            whole.requires.nodes.clear();
            whole.requires.avoid.clear();
        }
        whole
    }
}
