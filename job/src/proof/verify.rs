//! From a proof to the steps that have to be executed again: everything that can be
//! verified without executing anything.

use std::collections::BTreeMap;

use embermesh_crypto::Digest;

use super::{
    Commitment, MAX_GANG, Opening, Proof, Subject, challenge::draw, claim::StepLeaf, form::VERSION,
    merkle,
};

/// A step to execute again: from what it read it must give what it gave, as far as
/// devices agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// Which step of the program.
    pub step: usize,
    /// The numbers of its operands.
    pub reads: Vec<Vec<f32>>,
    /// The numbers that it gave.
    pub gives: Vec<Vec<f32>>,
}

/// A proof in which everything fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The steps that it opens.
    pub again: Vec<Again>,
    /// The digests of what came out, in the order of the program.
    pub outputs: Vec<Digest>,
}

/// Why a proof is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Of a version that is not known here.
    #[error("the proof is of version {0}, which is not known here")]
    Version(u8),
    /// Nobody, or too many, or not among them.
    #[error("the proof is of rank {rank} in a gang of {gang}")]
    Gang {
        /// Whose it says it is.
        rank: u32,
        /// Of how many.
        gang: usize,
    },
    /// Of another spec.
    #[error("the proof is of another spec")]
    Spec,
    /// Of other inputs.
    #[error("the proof began with other tensors")]
    Input,
    /// The program has another number of steps.
    #[error("the proof has {has} steps, and the program {wants}")]
    Steps {
        /// What it has.
        has: u32,
        /// What the program has.
        wants: usize,
    },
    /// Fewer steps are opened than must be.
    #[error("{has} steps are opened, of {wants} that must be")]
    TooFewOpened {
        /// How many.
        has: u32,
        /// How many must be.
        wants: u32,
    },
    /// Steps are missing, there twice, or there without a reason.
    #[error("step {0} has to be opened and is not")]
    Missing(u32),
    /// One that nobody asked for.
    #[error("step {0} is opened twice, out of order, or without being asked for")]
    Unasked(u32),
    /// Its path does not lead to the root.
    #[error("step {0} is not in the tree that was committed to")]
    NotInTree(u32),
    /// It has other operands or results than the program's step.
    #[error("step {0} has another number of tensors than the program gives it")]
    Shape(u32),
    /// It read something else than was given to it.
    #[error("step {step} read another tensor {operand} than was made for it")]
    Link {
        /// Which step.
        step: u32,
        /// Which of its operands.
        operand: usize,
    },
    /// The numbers of a tensor of an opened step are not there, or not as many.
    #[error("the numbers of a tensor of step {0} are not there")]
    Numbers(u32),
    /// Numbers that no opened step has.
    #[error("the proof brings {0} tensors that it does not need, or that are out of order")]
    Spare(usize),
}

/// Verifies a proof with at least so many steps opened, or all. What is left is to execute
/// [`Checked::again`].
///
/// # Errors
/// [`Refused`], which names what does not fit.
pub fn verify(proof: &Proof, subject: &Subject<'_>, least: u32) -> Result<Checked, Refused> {
    let commitment = committed(proof, subject)?;
    if proof.opened < least.min(commitment.steps) {
        return Err(Refused::TooFewOpened {
            has: proof.opened,
            wants: least,
        });
    }
    let drawn = draw(&proof.gang, proof.rank, commitment.steps, proof.opened);
    let leaves = leaves(proof, &commitment)?;
    let leaf_of = |place: usize| {
        let step = u32::try_from(place).unwrap_or(u32::MAX);
        let leaf = leaves.get(&step).copied();
        leaf.ok_or(Refused::Missing(step))
    };
    let mut asked = drawn.clone();
    let mut numbers = Tensors::of(proof)?;
    let mut again = Vec::with_capacity(drawn.len());
    for &step in &drawn {
        let place = usize::try_from(step).unwrap_or(usize::MAX);
        let leaf = leaf_of(place)?;
        let of = &subject.program.steps[place];
        for ((operand, value), read) in of.reads.iter().enumerate().zip(&leaf.reads) {
            let made = match subject.maker(*value) {
                Some((maker, at)) => {
                    asked.insert(u32::try_from(maker).unwrap_or(u32::MAX));
                    leaf_of(maker)?.gives.get(at).copied()
                }
                None => subject.given(*value),
            };
            if made != Some(*read) {
                return Err(Refused::Link { step, operand });
            }
        }
        let mut take = |digests: &[Digest], values: &[crate::program::Value]| {
            let tensors = digests.iter().zip(values);
            tensors
                .map(|(digest, value)| {
                    let length = subject.program.type_of(*value).len();
                    let numbers = numbers.take(digest).filter(|it| it.len() as u64 == length);
                    numbers.ok_or(Refused::Numbers(step))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        again.push(Again {
            step: place,
            reads: take(&leaf.reads, &of.reads)?,
            gives: take(&leaf.gives, &of.gives)?,
        });
    }
    let mut outputs = Vec::with_capacity(subject.program.outputs.len());
    for output in &subject.program.outputs {
        let digest = match subject.maker(*output) {
            Some((maker, at)) => {
                asked.insert(u32::try_from(maker).unwrap_or(u32::MAX));
                leaf_of(maker)?.gives.get(at).copied()
            }
            None => subject.given(*output),
        };
        outputs.extend(digest);
    }
    if let Some(step) = leaves.keys().find(|step| !asked.contains(step)) {
        return Err(Refused::Unasked(*step));
    }
    numbers.done()?;
    Ok(Checked { again, outputs })
}

/// The commitment of the one whose proof it is, if it is about the subject. Nothing is
/// said of the others': theirs are part of the challenge alone.
fn committed(proof: &Proof, subject: &Subject<'_>) -> Result<Commitment, Refused> {
    if proof.version != VERSION {
        return Err(Refused::Version(proof.version));
    }
    let gang = proof.gang.len();
    let place = usize::try_from(proof.rank).unwrap_or(usize::MAX);
    let commitment = proof.gang.get(place).copied().filter(|_| gang <= MAX_GANG);
    let commitment = commitment.ok_or(Refused::Gang {
        rank: proof.rank,
        gang,
    })?;
    if commitment.spec != subject.spec {
        return Err(Refused::Spec);
    }
    if commitment.input != subject.input() {
        return Err(Refused::Input);
    }
    let wants = subject.program.steps.len();
    if usize::try_from(commitment.steps).ok() != Some(wants) {
        return Err(Refused::Steps {
            has: commitment.steps,
            wants,
        });
    }
    for opening in &proof.openings {
        let step = opening.leaf.step;
        let place = usize::try_from(step).unwrap_or(usize::MAX);
        let of = subject.program.steps.get(place);
        let of = of.ok_or(Refused::Unasked(step))?;
        let leaf = &opening.leaf;
        if leaf.reads.len() != of.reads.len() || leaf.gives.len() != of.gives.len() {
            return Err(Refused::Shape(step));
        }
    }
    Ok(commitment)
}

/// Every step that is shown, each in the tree.
fn leaves<'a>(
    proof: &'a Proof,
    commitment: &Commitment,
) -> Result<BTreeMap<u32, &'a StepLeaf>, Refused> {
    let count = usize::try_from(commitment.steps).unwrap_or(usize::MAX);
    let mut leaves = BTreeMap::new();
    for Opening { leaf, path } in &proof.openings {
        let step = leaf.step;
        if leaves
            .last_key_value()
            .is_some_and(|(last, _)| *last >= step)
        {
            return Err(Refused::Unasked(step));
        }
        let place = usize::try_from(step).unwrap_or(usize::MAX);
        if merkle::climb(leaf.hash(&commitment.attempt), place, count, path)
            != Some(commitment.root)
        {
            return Err(Refused::NotInTree(step));
        }
        leaves.insert(step, leaf);
    }
    Ok(leaves)
}

/// The tensors of a proof, by digest, and which of them were needed.
struct Tensors {
    numbers: BTreeMap<Digest, (Option<Vec<f32>>, bool)>,
}

impl Tensors {
    fn of(proof: &Proof) -> Result<Self, Refused> {
        let mut numbers = BTreeMap::new();
        for tensor in &proof.tensors {
            let digest = tensor.digest();
            if numbers
                .last_key_value()
                .is_some_and(|(last, _)| *last >= digest)
            {
                return Err(Refused::Spare(1));
            }
            numbers.insert(digest, (tensor.values(), false));
        }
        Ok(Self { numbers })
    }

    fn take(&mut self, digest: &Digest) -> Option<Vec<f32>> {
        let (values, needed) = self.numbers.get_mut(digest)?;
        *needed = true;
        values.clone()
    }

    fn done(&self) -> Result<(), Refused> {
        let spare = self.numbers.values().filter(|(_, needed)| !needed).count();
        if spare > 0 {
            return Err(Refused::Spare(spare));
        }
        Ok(())
    }
}
