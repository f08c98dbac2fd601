//! From an execution to a proof.

use std::collections::{BTreeMap, BTreeSet};

use embermesh_crypto::Digest;

use super::{
    Attempt, Commitment, MAX_GANG, Opening, Proof, Subject,
    challenge::draw,
    claim::{NoSteps, Numbers, StepLeaf},
    form::VERSION,
    merkle,
};
use crate::program::{Program, Value};

/// Everything that an execution computed, and its tree.
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    program: &'a Program,
    /// The numbers of each tensor, by its place.
    tensors: Vec<Numbers>,
    leaves: Vec<StepLeaf>,
    hashes: Vec<Digest>,
    commitment: Commitment,
}

/// Why there is no proof of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// The program cannot be proven step by step.
    #[error(transparent)]
    Steps(#[from] NoSteps),
    /// The numbers are not those of the program's tensors.
    #[error("tensor {0} of the execution has not the length that the program gives it")]
    Tensor(usize),
    /// Nobody, or too many.
    #[error("a gang has 1 to {MAX_GANG} members, not {0}")]
    Gang(usize),
    /// The gang has another commitment at this rank.
    #[error("the gang has another commitment at rank {0}")]
    Rank(u32),
}

impl<'a> Trace<'a> {
    /// A trace of what was computed in an attempt: the numbers of each tensor of the
    /// program, by its place.
    ///
    /// # Errors
    /// [`NotProven::Steps`] and [`NotProven::Tensor`].
    pub fn new(
        spec: Digest,
        program: &'a Program,
        values: &[Vec<f32>],
        attempt: Attempt,
    ) -> Result<Self, NotProven> {
        for (place, of) in program.types.iter().enumerate() {
            let has = values.get(place).map_or(0, |values| values.len() as u64);
            if has != of.len() || values.len() != program.types.len() {
                return Err(NotProven::Tensor(place));
            }
        }
        let tensors: Vec<Numbers> = values.iter().map(|values| Numbers::of(values)).collect();
        let digests: Vec<Digest> = tensors.iter().map(Numbers::digest).collect();
        let of = |values: &[Value]| {
            let digests = values.iter().map(|value| digests[value.place()]);
            digests.collect::<Vec<_>>()
        };
        let given = Subject::begins(program).map(|value| digests[value.place()]);
        let subject = Subject::new(spec, program, given.collect())?;
        let steps = (0..).zip(&program.steps);
        let leaves: Vec<StepLeaf> = steps
            .map(|(place, step)| StepLeaf {
                step: place,
                reads: of(&step.reads),
                gives: of(&step.gives),
            })
            .collect();
        let hashes: Vec<Digest> = leaves.iter().map(|leaf| leaf.hash(&attempt)).collect();
        let commitment = Commitment {
            root: merkle::root(&hashes),
            steps: u32::try_from(leaves.len()).unwrap_or(u32::MAX),
            spec,
            input: subject.input(),
            attempt,
        };
        Ok(Self {
            program,
            tensors,
            leaves,
            hashes,
            commitment,
        })
    }

    /// What it commits to.
    #[must_use]
    pub const fn commitment(&self) -> Commitment {
        self.commitment
    }

    /// The proof of one of a gang, once all have committed, with so many steps opened.
    ///
    /// # Errors
    /// [`NotProven::Gang`] and [`NotProven::Rank`].
    pub fn prove(&self, gang: &[Commitment], rank: u32, opened: u32) -> Result<Proof, NotProven> {
        if !(1..=MAX_GANG).contains(&gang.len()) {
            return Err(NotProven::Gang(gang.len()));
        }
        let place = usize::try_from(rank).unwrap_or(usize::MAX);
        if gang.get(place) != Some(&self.commitment) {
            return Err(NotProven::Rank(rank));
        }
        let drawn = draw(gang, rank, self.commitment.steps, opened);
        let mut makers = BTreeMap::new();
        for (place, step) in self.program.steps.iter().enumerate() {
            makers.extend(step.gives.iter().map(|give| (*give, place)));
        }
        let mut shown = BTreeSet::new();
        let mut tensors = BTreeMap::new();
        for step in drawn {
            let place = usize::try_from(step).unwrap_or(usize::MAX);
            let step = &self.program.steps[place];
            shown.insert(place);
            shown.extend(step.reads.iter().filter_map(|read| makers.get(read)));
            for value in step.reads.iter().chain(&step.gives) {
                let tensor = &self.tensors[value.place()];
                tensors.insert(tensor.digest(), tensor.clone());
            }
        }
        // What came out is shown with the steps that gave it.
        let outputs = self.program.outputs.iter();
        shown.extend(outputs.filter_map(|output| makers.get(output)));
        let openings = shown.into_iter().map(|place| Opening {
            leaf: self.leaves[place].clone(),
            path: merkle::path(&self.hashes, place),
        });
        Ok(Proof {
            version: VERSION,
            gang: gang.to_vec(),
            rank,
            opened,
            openings: openings.collect(),
            tensors: tensors.into_values().collect(),
        })
    }
}
