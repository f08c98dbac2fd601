//! A computation that is proven: executed on the processor with every tensor kept,
//! committed to, and opened where commitments draw, its own or those of a gang.

use burn::tensor::Tensor;
use embermesh_job::crypto::Digest;
use embermesh_job::program::Program;
use embermesh_job::proof::{
    Attempt, Commitment, MAX_PROOF, Proof, Proven, Trace,
    form::{commitments, committed},
};
use embermesh_job::spec::{COMMITMENT, Input, JobSpec, PROOF, Part, Prove};

use crate::dataset::load;
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::program;
use crate::proven::{execute, offline};

/// What came of a proven work: results, if it has executed the program for them, and a
/// file beside them.
pub(super) struct Executed {
    pub(super) results: Option<Vec<Tensor<1>>>,
    name: &'static str,
    file: Vec<u8>,
}

impl Executed {
    /// Writes the file down as an artifact.
    pub(super) fn keep(self, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        job.artifact(self.name, &self.file)
    }
}

/// What is proven, and in which attempt.
struct Asked<'a> {
    program: &'a Program,
    /// The spec that is proven, which is not that of the job where that is a part.
    whole: String,
    opened: u32,
    attempt: Attempt,
}

/// Executes a program on what it begins with, and proves it; or does its part of that.
pub(super) fn run(
    prove: &Prove,
    program: &Program,
    given: Vec<Vec<f32>>,
    job: &Job<'_>,
) -> Result<Executed, WorkFailed> {
    let attempt = job.order.attempt;
    let attempt = attempt.ok_or_else(|| internal("nobody said of which attempt"))?;
    let spec = JobSpec::from_canonical(job.order.spec.as_bytes())
        .map_err(|error| WorkFailed::Spec(error.to_string()))?;
    let whole = String::from_utf8(spec.whole().canonical()).map_err(internal)?;
    let asked = Asked {
        program,
        whole,
        opened: prove.opened,
        attempt,
    };
    match &prove.part {
        None => asked.execute(given, job, |asked, trace| {
            asked.open(trace, &[trace.commitment()], 0)
        }),
        Some(Part::Contribute) => {
            let mut executed = asked.execute(given, job, |_, trace| {
                let file = commitments(&[trace.commitment()]).map_err(internal)?;
                Ok((COMMITMENT, file))
            })?;
            executed.results = None;
            Ok(executed)
        }
        Some(Part::Prove { gang, rank }) => asked.prove(*gang, *rank, given, job),
        Some(Part::Aggregate { proofs }) => asked.aggregate(proofs, job),
    }
}

impl Asked<'_> {
    /// Executes the program, and makes a file of its trace.
    fn execute(
        &self,
        given: Vec<Vec<f32>>,
        job: &Job<'_>,
        file: impl FnOnce(&Self, &Trace<'_>) -> Result<(&'static str, Vec<u8>), WorkFailed>,
    ) -> Result<Executed, WorkFailed> {
        let values = execute(self.program, given);
        let values = values.map_err(|error| WorkFailed::Data(error.into()))?;
        let results = self.program.outputs.iter().map(|output| {
            let numbers = values[output.place()].clone();
            program::on(&job.device.device, numbers)
        });
        let results = Some(results.collect());
        let spec = Digest::of(self.whole.as_bytes());
        let trace = Trace::new(spec, self.program, &values, self.attempt).map_err(internal)?;
        drop(values);
        let (name, file) = file(self, &trace)?;
        Ok(Executed {
            results,
            name,
            file,
        })
    }

    /// The proof of one of a gang.
    fn open(
        &self,
        trace: &Trace<'_>,
        gang: &[Commitment],
        rank: u32,
    ) -> Result<(&'static str, Vec<u8>), WorkFailed> {
        let proof = trace.prove(gang, rank, self.opened).map_err(internal)?;
        Ok((PROOF, self.file(vec![proof])?))
    }

    fn file(&self, proofs: Vec<Proof>) -> Result<Vec<u8>, WorkFailed> {
        let proven = Proven {
            spec: self.whole.clone(),
            proofs,
        };
        proven.to_bytes().map_err(internal)
    }

    /// Executes again what this node has committed to, and opens what the gang draws.
    fn prove(
        mut self,
        gang: Input,
        rank: u32,
        given: Vec<Vec<f32>>,
        job: &Job<'_>,
    ) -> Result<Executed, WorkFailed> {
        let refuse = |reason: String| WorkFailed::Spec(format!("prove.part.gang: {reason}"));
        if gang.size > MAX_PROOF as u64 {
            return Err(refuse("it is too large".to_owned()));
        }
        let gang = committed(&load::input(gang, job.order)?);
        let gang = gang.map_err(|error| refuse(error.to_string()))?;
        let mine = gang.get(rank as usize);
        let mine = mine.ok_or_else(|| refuse(format!("it has no member {rank}")))?;
        if mine.attempt.node != self.attempt.node {
            return Err(refuse(format!("member {rank} is another node")));
        }
        // The attempt in which it was committed to.
        self.attempt = mine.attempt;
        self.execute(given, job, |asked, trace| {
            if trace.commitment() != *mine {
                let reason = format!("member {rank} has committed to something else");
                return Err(refuse(reason));
            }
            asked.open(trace, &gang, rank)
        })
    }

    /// Verifies the proofs of a gang, and makes one of them.
    fn aggregate(&self, inputs: &[Input], job: &Job<'_>) -> Result<Executed, WorkFailed> {
        let refuse = |reason: String| WorkFailed::Spec(format!("prove.part.proofs: {reason}"));
        let mut proofs = Vec::with_capacity(inputs.len());
        for (member, input) in inputs.iter().enumerate() {
            if input.size > MAX_PROOF as u64 {
                return Err(refuse(format!("that of member {member} is too large")));
            }
            let named = |reason: String| refuse(format!("that of member {member}: {reason}"));
            let one = Proven::from_bytes(&load::input(*input, job.order)?);
            let one = one.map_err(|error| named(error.to_string()))?;
            if one.spec != self.whole {
                return Err(named("it is of another spec".to_owned()));
            }
            proofs.extend(one.proofs);
        }
        let file = self.file(proofs)?;
        let verified = offline::verify_file(&file, |wanted| {
            let path = job.order.inputs.get(&wanted)?;
            std::fs::read(path).ok()
        });
        verified.map_err(|error| refuse(error.to_string()))?;
        Ok(Executed {
            results: None,
            name: PROOF,
            file,
        })
    }
}

fn internal(reason: impl ToString) -> WorkFailed {
    WorkFailed::Internal(format!("there is no proof: {}", reason.to_string()))
}
