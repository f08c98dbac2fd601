//! What is claimed of an execution, and what whoever verifies it knows himself.

use embermesh_crypto::{Digest, Epoch, JobId, PeerId};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::merkle;
use crate::program::{Op, Program, Value};

/// The domain of a tensor's digest.
const TENSOR: &[u8] = b"embermesh proof tensor v1\0";
/// The domain of the digest of all that a program is given.
const INPUT: &[u8] = b"embermesh proof input v1\0";

/// One try at a job on one node. A commitment names the one that it was made in, so that
/// a proof cannot be shown for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Attempt {
    /// The job.
    #[n(0)]
    pub job: JobId,
    /// The node that executed it.
    #[n(1)]
    pub node: PeerId,
    /// Which of the tries.
    #[n(2)]
    pub epoch: Epoch,
}

impl Attempt {
    /// Its bytes in what is hashed; all attempts have as many.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let epoch = self.epoch.0.to_le_bytes();
        [&self.job.as_bytes()[..], self.node.as_bytes(), &epoch].concat()
    }
}

/// A commitment to a whole execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Commitment {
    /// The root of the tree of its steps.
    #[n(0)]
    pub root: Digest,
    /// How many steps it has.
    #[n(1)]
    pub steps: u32,
    /// The digest of the spec that was executed.
    #[n(2)]
    pub spec: Digest,
    /// The digest of the tensors that it began with.
    #[n(3)]
    pub input: Digest,
    /// In which attempt.
    #[n(4)]
    pub attempt: Attempt,
}

/// What one step is claimed to have done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StepLeaf {
    /// Which step.
    #[n(0)]
    pub step: u32,
    /// The digests of its operands.
    #[n(1)]
    pub reads: Vec<Digest>,
    /// The digests of what it gave.
    #[n(2)]
    pub gives: Vec<Digest>,
}

impl StepLeaf {
    /// Its hash in the tree of an attempt. No two attempts have a hash in common, so
    /// whoever would pass one's tree off as the other's has to have all that is in it.
    #[must_use]
    pub fn hash(&self, attempt: &Attempt) -> Digest {
        let mut bytes = attempt.bytes();
        bytes.extend(self.step.to_le_bytes());
        for digests in [&self.reads, &self.gives] {
            // Counts first, so that no two steps have the same bytes.
            bytes.extend((digests.len() as u64).to_le_bytes());
            for digest in digests {
                bytes.extend(digest.as_bytes());
            }
        }
        merkle::leaf(&bytes)
    }
}

/// A step, shown to be in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Opening {
    /// The step.
    #[n(0)]
    pub leaf: StepLeaf,
    /// From it to the root.
    #[n(1)]
    pub path: Vec<Digest>,
}

/// The numbers of a tensor, as little-endian 32-bit floats.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Numbers(#[n(0)] pub minicbor::bytes::ByteVec);

impl Numbers {
    /// Those numbers.
    #[must_use]
    pub fn of(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self(bytes.into())
    }

    /// The numbers; nothing when the bytes are not whole ones.
    #[must_use]
    pub fn values(&self) -> Option<Vec<f32>> {
        let (whole, []) = self.0.as_chunks::<4>() else {
            return None;
        };
        Some(
            whole
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        )
    }

    /// Their digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Digest::hasher();
        hasher.update(TENSOR).update(&self.0);
        hasher.finalize()
    }
}

/// A proof of one execution of a gang.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proof {
    /// The version of this form.
    #[n(0)]
    pub version: u8,
    /// What all of the gang committed to, by rank.
    #[n(1)]
    pub gang: Vec<Commitment>,
    /// Whose proof it is.
    #[n(2)]
    pub rank: u32,
    /// How many steps are opened, if the execution has as many.
    #[n(3)]
    pub opened: u32,
    /// The opened steps and those that they rest on, ascending.
    #[n(4)]
    pub openings: Vec<Opening>,
    /// The tensors that opened steps read and gave, by ascending digest.
    #[n(5)]
    pub tensors: Vec<Numbers>,
}

/// What a proof is about, as the one who verifies it knows it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The digest of the spec.
    pub spec: Digest,
    /// The program that the spec asks for.
    pub program: &'a Program,
    /// The digests of the tensors that it begins with: its inputs, then what it brings
    /// along.
    given: Vec<Digest>,
}

/// A program whose steps do not stand by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSteps {
    /// It has none.
    #[error("the program has no steps")]
    Empty,
    /// A gradient rests on the whole of a computation.
    #[error("step {0} is a gradient, which cannot be executed by itself")]
    Gradient(usize),
    /// It begins with other tensors than those at hand.
    #[error("the program begins with {wants} tensors, and there are {has}")]
    Given {
        /// How many it begins with.
        wants: usize,
        /// How many there are.
        has: usize,
    },
}

impl<'a> Subject<'a> {
    /// A program with the digests of what it begins with: its inputs, then its constants.
    ///
    /// # Errors
    /// [`NoSteps`] for a program that cannot be proven step by step.
    pub fn new(spec: Digest, program: &'a Program, given: Vec<Digest>) -> Result<Self, NoSteps> {
        if program.steps.is_empty() {
            return Err(NoSteps::Empty);
        }
        let is_gradient = |op: &Op| matches!(op, Op::Gradient(_));
        if let Some(place) = program.steps.iter().position(|step| is_gradient(&step.op)) {
            return Err(NoSteps::Gradient(place));
        }
        let wants = program.inputs.len() + program.constants.len();
        let has = given.len();
        if has != wants {
            return Err(NoSteps::Given { wants, has });
        }
        Ok(Self {
            spec,
            program,
            given,
        })
    }

    /// The places of the tensors that it begins with, in their order.
    pub(super) fn begins(program: &Program) -> impl Iterator<Item = Value> + '_ {
        let constants = program.constants.iter().map(|constant| constant.value);
        program.inputs.iter().copied().chain(constants)
    }

    /// The digest of a tensor that it begins with.
    pub(super) fn given(&self, value: Value) -> Option<Digest> {
        let place = Self::begins(self.program).position(|begin| begin == value)?;
        self.given.get(place).copied()
    }

    /// The digest of all that it begins with.
    #[must_use]
    pub fn input(&self) -> Digest {
        let mut hasher = Digest::hasher();
        hasher.update(INPUT);
        for digest in &self.given {
            hasher.update(digest.as_bytes());
        }
        hasher.finalize()
    }

    /// The step that gives a tensor, and as which of its results.
    pub(super) fn maker(&self, value: Value) -> Option<(usize, usize)> {
        let mut steps = self.program.steps.iter().enumerate();
        steps.find_map(|(place, step)| {
            let at = step.gives.iter().position(|give| *give == value)?;
            Some((place, at))
        })
    }
}
