//! A computation that is proven: executed on the processor with every tensor kept,
//! committed to, and opened where its own commitment draws.

use burn::tensor::Tensor;
use embermesh_job::program::Program;
use embermesh_job::proof::{Proven, Trace};
use embermesh_job::spec::{PROOF, Prove};

use crate::failure::WorkFailed;
use crate::job::Job;
use crate::program;
use crate::proven::execute;

/// What came out of an execution, and the file of its proof.
pub(super) struct Executed {
    pub(super) results: Vec<Tensor<1>>,
    proof: Vec<u8>,
}

impl Executed {
    /// Writes the proof down as an artifact.
    pub(super) fn keep(self, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        job.artifact(PROOF, &self.proof)
    }
}

/// Executes a program on what it begins with, and proves it.
pub(super) fn run(
    prove: Prove,
    program: &Program,
    given: Vec<Vec<f32>>,
    job: &Job<'_>,
) -> Result<Executed, WorkFailed> {
    let internal = |reason: String| WorkFailed::Internal(format!("there is no proof: {reason}"));
    let attempt = job.order.attempt;
    let attempt = attempt.ok_or_else(|| internal("nobody said of which attempt".to_owned()))?;
    let values = execute(program, given).map_err(|error| WorkFailed::Data(error.into()))?;
    let results = program.outputs.iter().map(|output| {
        let numbers = values[output.place()].clone();
        program::on(&job.device.device, numbers)
    });
    let results = results.collect();
    let trace = Trace::new(job.digest, program, &values, attempt);
    let trace = trace.map_err(|error| internal(error.to_string()))?;
    drop(values);
    let gang = [trace.commitment()];
    let proof = trace.prove(&gang, 0, prove.opened);
    let proof = proof.map_err(|error| internal(error.to_string()))?;
    let proven = Proven {
        spec: job.order.spec.clone(),
        proofs: vec![proof],
    };
    let proof = proven.to_bytes();
    let proof = proof.map_err(|error| internal(error.to_string()))?;
    Ok(Executed { results, proof })
}
