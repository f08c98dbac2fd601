//! Direct computation: operations over tensors that the spec brings, and what of
//! it comes back.

mod operation;
mod part;
mod prove;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    operation::Operation,
    part::Part,
    prove::Prove,
    tensor::{MAX_TENSORS, Tensor},
};
use super::{
    Input, InvalidSpec, Limits, Requirements,
    invalid::{field, within},
};
use crate::{
    program::{Builder, InvalidProgram, Op, Program, Value},
    units::Bytes,
};

/// The most operations of one computation.
pub const MAX_OPERATIONS: usize = 1024;
/// The most results of one computation.
pub const MAX_RESULTS: usize = 64;
/// The longest name of a tensor or an operation, in bytes.
const MAX_NAME: usize = 48;
/// Bytes of a number.
const NUMBER: u64 = 4;
/// The name of what one of a gang has committed to, within its job and as a file.
pub const COMMITMENT: &str = "commitment.bin";
/// The name of the proof of an execution, within its job and as a file.
pub const PROOF: &str = "proof.bin";

/// Operations over tensors, done once, in their order. Each reads tensors of the
/// spec and results of operations before it, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compute<I = Input> {
    /// What there is at first.
    pub tensors: Vec<Tensor<I>>,
    /// What is done.
    pub operations: Vec<Operation>,
    /// The names of what comes back; the last operation's results by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<String>,
    /// Asks for a proof of the execution, as [`PROOF`].
    #[serde(default = "unproven", skip_serializing_if = "Option::is_none")]
    pub prove: Option<Prove<I>>,
}

fn unproven<I>() -> Option<Prove<I>> {
    None
}

/// A computation, checked: the program and what its results are called.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What is done. Its constants are the tensors of the spec, in their order.
    pub program: Program,
    /// What the outputs of the program are called.
    pub names: Vec<String>,
}

impl Compute {
    pub(super) fn validate(
        &self,
        requires: &Requirements,
        limits: &Limits,
    ) -> Result<(), InvalidSpec> {
        let planned = self.plan()?;
        if let Some(prove) = &self.prove {
            prove.validate(&planned.program, requires, limits)?;
        }
        let peak = self.peak_bytes(&planned.program);
        if peak > limits.memory.0 {
            return Err(field(
                "limits.memory",
                format!(
                    "the computation needs about {}, and the limit is {}",
                    Bytes(peak),
                    limits.memory
                ),
            ));
        }
        let output = output_bytes(&planned.program);
        if output > limits.output.0 {
            return Err(field(
                "limits.output",
                format!(
                    "the results have {}, and the limit is {}",
                    Bytes(output),
                    limits.output
                ),
            ));
        }
        Ok(())
    }
}

/// The bytes of all results.
#[must_use]
pub fn output_bytes(program: &Program) -> u64 {
    program
        .outputs
        .iter()
        .map(|value| program.type_of(*value).len().saturating_mul(NUMBER))
        .fold(0, u64::saturating_add)
}

impl<I> Compute<I> {
    /// Whether it derives something.
    #[must_use]
    pub fn has_gradients(&self) -> bool {
        let is_gradient = |operation: &Operation| matches!(operation.op, Op::Gradient(_));
        self.operations.iter().any(is_gradient)
    }

    /// An upper estimate of the memory that it takes, in bytes.
    #[must_use]
    pub fn peak_bytes(&self, program: &Program) -> u64 {
        if let Some(prove) = &self.prove {
            prove.peak_bytes(program)
        } else if self.has_gradients() {
            program.cost.peak_bytes_with_gradients()
        } else {
            program.cost.peak_bytes()
        }
    }

    /// Its program, with every shape checked.
    ///
    /// # Errors
    /// [`InvalidSpec`], which names the tensor or the operation.
    pub fn plan(&self) -> Result<Planned, InvalidSpec> {
        let most = MAX_TENSORS as u64;
        within("tensors", self.tensors.len() as u64, 0, most)?;
        let most = MAX_OPERATIONS as u64;
        within("operations", self.operations.len() as u64, 1, most)?;
        let mut known = Names::default();
        let mut builder = Builder::default();
        for (number, tensor) in self.tensors.iter().enumerate() {
            let of = tensor
                .check()
                .and_then(|of| known.free(&tensor.name).map(|()| of))
                .map_err(|reason| {
                    let shown: String = tensor.name.chars().take(MAX_NAME).collect();
                    field("tensors", format!("{} {shown:?}: {reason}", number + 1))
                })?;
            let value = builder.constant(&tensor.name, of)?;
            known.tensors.push(value);
            known.values.insert(tensor.name.clone(), value);
        }
        let mut last = Vec::new();
        for (number, operation) in self.operations.iter().enumerate() {
            last = known.append(&mut builder, number, operation)?;
        }
        let names = if self.results.is_empty() {
            last
        } else {
            self.results.clone()
        };
        within("results", names.len() as u64, 1, MAX_RESULTS as u64)?;
        let mut outputs = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(field("results", format!("{name:?} is named twice")));
            }
            let value = known
                .find(name)
                .map_err(|reason| field("results", reason))?;
            outputs.push(value);
        }
        Ok(Planned {
            program: builder.finish(&outputs),
            names,
        })
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        let files = self.tensors.iter().map(|tensor| tensor.file.as_ref());
        let parts = self.part().map(Part::input_refs);
        files.flatten().chain(parts.into_iter().flatten()).collect()
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Compute<J>, E> {
        let tensors = self.tensors.into_iter();
        Ok(Compute {
            tensors: tensors
                .map(|tensor| tensor.try_map(name))
                .collect::<Result<_, E>>()?,
            operations: self.operations,
            results: self.results,
            prove: self.prove.map(|prove| prove.try_map(name)).transpose()?,
        })
    }
}

/// What has a name so far.
#[derive(Default)]
struct Names {
    values: BTreeMap<String, Value>,
    /// The tensors of the spec.
    tensors: Vec<Value>,
    /// How often each word has named an operation.
    counts: BTreeMap<&'static str, usize>,
    /// Whether something has been derived.
    has_gradient: bool,
}

impl Names {
    /// Whether a new thing may be called that.
    fn free(&self, name: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            return Err(format!(
                "a name has 1 to {MAX_NAME} letters, digits, - or _"
            ));
        }
        if self.values.contains_key(name) {
            return Err("something else has this name".to_owned());
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Value, String> {
        self.values.get(name).copied().ok_or_else(|| {
            let shown: String = name.chars().take(2 * MAX_NAME).collect();
            let closest = self
                .values
                .keys()
                .map(|known| (strsim::jaro_winkler(&shown, known), known))
                .filter(|(likeness, _)| *likeness >= 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match closest {
                Some((_, known)) => {
                    format!("{shown:?} is nothing that there is by then: did you mean {known:?}?")
                }
                None => format!("{shown:?} is nothing that there is by then"),
            }
        })
    }

    /// Checks an operation, appends it, and gives the names of its results.
    fn append(
        &mut self,
        builder: &mut Builder,
        number: usize,
        operation: &Operation,
    ) -> Result<Vec<String>, InvalidSpec> {
        let word = operation.op.word();
        let count = self.counts.entry(word).or_default();
        *count += 1;
        let name = match &operation.name {
            Some(name) => name.clone(),
            None => format!("{word}_{count}"),
        };
        let refuse = |reason: String| {
            let shown: String = name.chars().take(MAX_NAME).collect();
            let reason = format!("{word} {} {shown:?}: {reason}", number + 1);
            field("operations", reason)
        };
        self.free(&name).map_err(refuse)?;
        let reads = operation
            .from
            .iter()
            .map(|from| self.find(from))
            .collect::<Result<Vec<_>, _>>()
            .map_err(refuse)?;
        if let (Op::Gradient(_), Some(by)) = (&operation.op, reads.get(1..)) {
            if std::mem::replace(&mut self.has_gradient, true) {
                return Err(refuse(
                    "there is one gradient already: derive one number by all tensors at once"
                        .to_owned(),
                ));
            }
            if by.iter().any(|value| !self.tensors.contains(value)) {
                return Err(refuse("derives by tensors of the spec only".to_owned()));
            }
        }
        let gives = builder
            .apply(&name, operation.op.clone(), &reads)
            .map_err(|InvalidProgram { reason, .. }| refuse(reason))?;
        let parts = operation.parts();
        let names: Vec<String> = if gives.len() == 1 && parts.is_empty() {
            vec![name.clone()]
        } else {
            parts.iter().map(|part| format!("{name}.{part}")).collect()
        };
        for (name, value) in names.iter().zip(&gives) {
            self.values.insert(name.clone(), *value);
        }
        if let Some(first) = gives.first() {
            self.values.insert(name, *first);
        }
        Ok(names)
    }
}
