//! Executions that can be proven step by step, and opened steps executed again.
//!
//! What a proof is and how it is verified is `job::proof`'s; here is what needs a device,
//! and [`offline`] does all of it for a file. Everything runs on the processor, which every
//! verifier has.

pub mod offline;

use burn::tensor::{Device, Tensor};
use embermesh_job::{
    plan::{
        Value,
        alike::{Tolerance, alike},
    },
    program::Program,
    proof::{Again, Checked},
};

use crate::program::{self, StepFailed};

/// Why an opened step is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Disproven {
    /// It gave something else.
    #[error("step {0} does not give what the proof says")]
    Wrong(usize),
    /// The program has no such step.
    #[error("the program has no step {0}")]
    NoStep(usize),
    /// It cannot be executed with the numbers that it read.
    #[error(transparent)]
    Failed(#[from] StepFailed),
}

/// Executes a program on its inputs and constants, in this order, and keeps the numbers of
/// every tensor, by its place. It takes the memory of all of them together.
///
/// # Errors
/// [`StepFailed`] when an operation cannot use the numbers that it got.
pub fn execute(program: &Program, given: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, StepFailed> {
    let device = Device::flex();
    let mut held: Vec<Option<Tensor<1>>> = vec![None; program.types.len()];
    let constants = program.constants.iter().map(|constant| constant.value);
    let begins = program.inputs.iter().copied().chain(constants);
    for (value, numbers) in begins.zip(given) {
        held[value.place()] = Some(program::on(&device, numbers));
    }
    for step in &program.steps {
        let operands = step.reads.iter().map(|value| held[value.place()].clone());
        let operands: Option<Vec<_>> = operands.collect();
        let operands = operands.ok_or_else(|| missing(&step.name))?;
        let gives = program::step(program, step, operands, &device)?;
        for (value, numbers) in step.gives.iter().zip(gives) {
            held[value.place()] = Some(numbers);
        }
    }
    held.into_iter()
        .map(|tensor| numbers(tensor.ok_or_else(|| missing("a tensor"))?))
        .collect()
}

/// Executes every opened step of a proof again, with the tolerance that processors of
/// different makes need.
///
/// # Errors
/// [`Disproven`], which names the step.
pub fn recheck(program: &Program, checked: &Checked) -> Result<(), Disproven> {
    let device = Device::flex();
    for again in &checked.again {
        let Again { step, reads, gives } = again;
        let of = program.steps.get(*step).ok_or(Disproven::NoStep(*step))?;
        let operands = reads.iter().map(|read| program::on(&device, read.clone()));
        let found = program::step(program, of, operands.collect(), &device)?;
        for (found, said) in found.into_iter().zip(gives) {
            if !same(&numbers(found)?, said) {
                return Err(Disproven::Wrong(*step));
            }
        }
    }
    Ok(())
}

/// Whether two executions of one step agree.
fn same(found: &[f32], said: &[f32]) -> bool {
    let bits = |numbers: &[f32]| numbers.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
    if bits(found) == bits(said) {
        return true;
    }
    let wide = |numbers: &[f32]| Value::Numbers(numbers.iter().copied().map(f64::from).collect());
    alike(&wide(found), &wide(said), Tolerance::SINGLE)
}

fn numbers(tensor: Tensor<1>) -> Result<Vec<f32>, StepFailed> {
    tensor.try_into_vec_as().map_err(|error| StepFailed {
        name: String::new(),
        word: "result",
        reason: format!("it cannot be read: {error}"),
    })
}

fn missing(name: &str) -> StepFailed {
    StepFailed {
        name: name.to_owned(),
        word: "operand",
        reason: "it is not there".to_owned(),
    }
}
