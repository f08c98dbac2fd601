//! A file of a proof, verified with nothing but the inputs of its job: what it says is
//! checked, and every opened step executed again.

use std::collections::BTreeMap;

use embermesh_job::{
    crypto::Digest,
    proof::{
        Attempt, Checked, Commitment, NoProof, Proof, Proven, Refused, Subject,
        claim::{NoSteps, Numbers},
        verify,
    },
    spec::{Compute, InvalidSpec, JobSpec, Planned, Work},
};

use super::{Disproven, recheck};
use crate::{
    calculate,
    failure::{InvalidWeights, WorkFailed},
    weights,
};

/// Why a proof is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// It cannot be read.
    #[error(transparent)]
    NoProof(#[from] NoProof),
    /// The spec that it brings is none.
    #[error("the spec in the proof is refused: {0}")]
    Spec(#[from] InvalidSpec),
    /// The spec that it brings asks for no proof.
    #[error("the spec in the proof asks for no proof")]
    NotAsked,
    /// An input of the job is not at hand.
    #[error("the job read a file that is not here: give it as an input ({0})")]
    InputAbsent(Digest),
    /// An input that is there is not what the spec says.
    #[error("an input of the job: {0}")]
    Input(String),
    /// The program cannot be proven.
    #[error(transparent)]
    Steps(#[from] NoSteps),
    /// There is not a proof of each member.
    #[error("the proof is of {has} members, and {wants} have committed")]
    Members {
        /// Whose proofs are there.
        has: usize,
        /// Who has committed.
        wants: usize,
    },
    /// A proof is of another gang, or of another's rank.
    #[error("the proof of member {0} is not one of this gang")]
    OtherGang(usize),
    /// Two members are one node.
    #[error("members {0} and {1} are the same node, so they are no gang")]
    SameNode(usize, usize),
    /// Something does not fit.
    #[error("{}{refused}", of(*member))]
    Refused {
        /// Whose proof it is; nothing where there is one alone.
        member: Option<usize>,
        /// What.
        refused: Refused,
    },
    /// A step gives something else.
    #[error("{}{disproven}", of(*member))]
    Disproven {
        /// Whose proof it is; nothing where there is one alone.
        member: Option<usize>,
        /// Which step.
        disproven: Disproven,
    },
    /// Two members have come to different results.
    #[error("member {member} came to another {name:?} than member 0")]
    Results {
        /// Who.
        member: usize,
        /// Which result.
        name: String,
    },
    /// The file of results is none.
    #[error("the file of results: {0}")]
    NoResults(#[from] InvalidWeights),
    /// A result in a file is not the one that was proven.
    #[error("the result {0:?} in the file is not the one that was proven")]
    OtherResult(String),
}

/// How a refusal names the one whose proof it is.
fn of(member: Option<usize>) -> String {
    member.map_or_else(String::new, |member| format!("member {member}: "))
}

/// A proof that holds.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What was executed.
    pub spec: JobSpec,
    /// Who executed it, and in which attempt, by rank. Whoever opens all steps could be
    /// anybody: that it was this node, only its receipt says.
    pub members: Vec<Attempt>,
    /// How many steps there are.
    pub steps: u32,
    /// How many of them each opened, and were executed again.
    pub opened: u32,
    /// What came out: names, and the digests of the numbers.
    pub results: Vec<(String, Digest)>,
}

/// What a file says was executed, and what whoever verifies it knows himself.
struct Claimed {
    spec: JobSpec,
    digest: Digest,
    planned: Planned,
    /// How many steps must be opened.
    opened: u32,
    /// The digests of what it began with.
    given: Vec<Digest>,
}

impl Claimed {
    fn read(spec: &str, input: impl FnMut(Digest) -> Option<Vec<u8>>) -> Result<Self, Unproven> {
        let digest = Digest::of(spec.as_bytes());
        let spec = JobSpec::from_canonical(spec.as_bytes())?;
        let Work::Compute(compute) = &spec.work else {
            return Err(Unproven::NotAsked);
        };
        let asked = compute.prove.as_ref().ok_or(Unproven::NotAsked)?;
        let opened = asked.opened;
        let planned = compute.plan()?;
        let given = begins(compute, &planned, input)?;
        Ok(Self {
            spec,
            digest,
            planned,
            opened,
            given,
        })
    }

    /// Verifies the proof of one of a gang, and executes what it opens again.
    fn check(&self, proof: &Proof, gang: &[Commitment], rank: usize) -> Result<Checked, Unproven> {
        let program = &self.planned.program;
        let subject = Subject::new(self.digest, program, self.given.clone())?;
        let member = (gang.len() > 1).then_some(rank);
        let own = u32::try_from(rank).is_ok_and(|rank| rank == proof.rank);
        if proof.gang != *gang || !own {
            return Err(Unproven::OtherGang(rank));
        }
        let checked = verify(proof, &subject, self.opened);
        let checked = checked.map_err(|refused| Unproven::Refused { member, refused })?;
        recheck(program, &checked)
            .map_err(|disproven| Unproven::Disproven { member, disproven })?;
        Ok(checked)
    }
}

/// Verifies a file; `input` gives the bytes of an input of the job, if they are at hand.
///
/// # Errors
/// [`Unproven`], which names what does not hold.
pub fn verify_file(
    file: &[u8],
    input: impl FnMut(Digest) -> Option<Vec<u8>>,
) -> Result<Verified, Unproven> {
    let Proven { spec, proofs } = Proven::from_file(file)?;
    let claimed = Claimed::read(&spec, input)?;
    let gang = &proofs[0].gang;
    if gang.len() != proofs.len() {
        return Err(Unproven::Members {
            has: proofs.len(),
            wants: gang.len(),
        });
    }
    let nodes = gang.iter().map(|commitment| commitment.attempt.node);
    let mut seen = BTreeMap::new();
    for (rank, node) in nodes.enumerate() {
        if let Some(before) = seen.insert(node, rank) {
            return Err(Unproven::SameNode(before, rank));
        }
    }
    let mut outputs: Option<Vec<Digest>> = None;
    for (rank, proof) in proofs.iter().enumerate() {
        let checked = claimed.check(proof, gang, rank)?;
        agree(&mut outputs, checked, rank, &claimed.planned.names)?;
    }
    let steps = u32::try_from(claimed.planned.program.steps.len()).unwrap_or(u32::MAX);
    let opened = proofs.iter().map(|proof| proof.opened.min(steps)).min();
    let digests = outputs.unwrap_or_default();
    Ok(Verified {
        members: gang.iter().map(|commitment| commitment.attempt).collect(),
        steps,
        opened: opened.unwrap_or_default(),
        results: claimed.planned.names.into_iter().zip(digests).collect(),
        spec: claimed.spec,
    })
}

/// Verifies the file of the proof of one member alone, by what all have committed to and
/// the spec that is proven.
///
/// # Errors
/// [`Unproven`], which names what does not hold.
pub fn verify_member(
    file: &[u8],
    spec: &JobSpec,
    gang: &[Commitment],
    rank: usize,
    input: impl FnMut(Digest) -> Option<Vec<u8>>,
) -> Result<(), Unproven> {
    let proven = Proven::from_file(file)?;
    let claimed = Claimed::read(&proven.spec, input)?;
    match proven.proofs.as_slice() {
        [proof] if claimed.spec == *spec => claimed.check(proof, gang, rank).map(|_| ()),
        _ => Err(Unproven::OtherGang(rank)),
    }
}

impl Verified {
    /// Whether a file of results, as safetensors, has what was proven and nothing else.
    ///
    /// # Errors
    /// [`Unproven::NoResults`] and [`Unproven::OtherResult`].
    pub fn check_results(&self, file: &[u8]) -> Result<(), Unproven> {
        let file = weights::parse(file)?;
        for (name, proven) in &self.results {
            let found = file.tensor(name);
            let found = found.map_err(|_| InvalidWeights::Missing(name.clone()))?;
            if Numbers(found.data().to_vec().into()).digest() != *proven {
                return Err(Unproven::OtherResult(name.clone()));
            }
        }
        let known = |name: &str| self.results.iter().any(|(proven, _)| proven == name);
        Ok(weights::no_others(&file, known)?)
    }
}

/// The digests of what a computation begins with.
fn begins(
    compute: &Compute,
    planned: &Planned,
    mut input: impl FnMut(Digest) -> Option<Vec<u8>>,
) -> Result<Vec<Digest>, Unproven> {
    let mut absent = None;
    let given = calculate::given(compute, &planned.program, |wanted| {
        let bytes = input(wanted.digest);
        bytes.ok_or_else(|| {
            absent = Some(wanted.digest);
            WorkFailed::InputAbsent(wanted.digest.to_string())
        })
    });
    let given = given.map_err(|error| match absent {
        Some(digest) => Unproven::InputAbsent(digest),
        None => Unproven::Input(error.to_string()),
    })?;
    Ok(given
        .iter()
        .map(|values| Numbers::of(values).digest())
        .collect())
}

/// Takes in what a member came to, which must be what those before came to.
fn agree(
    outputs: &mut Option<Vec<Digest>>,
    checked: Checked,
    member: usize,
    names: &[String],
) -> Result<(), Unproven> {
    let Some(before) = outputs else {
        *outputs = Some(checked.outputs);
        return Ok(());
    };
    let mut each = names.iter().zip(before.iter().zip(&checked.outputs));
    match each.find(|(_, (before, now))| before != now) {
        None => Ok(()),
        Some((name, _)) => Err(Unproven::Results {
            member,
            name: name.clone(),
        }),
    }
}
