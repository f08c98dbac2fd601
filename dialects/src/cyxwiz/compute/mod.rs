//! Operations over tensors, as they are asked here, turned into one computation of ours.
//!
//! - `op`: an operation and its parameters. `file`: tensors as a safetensors file.
//!
//! An operation reads its own tensors in their order; one that has none reads what the
//! one before it gave. The parameter `inputs` says it otherwise: names with commas
//! between them, `#0` for its own first tensor, `a` for what operation `a` gave, `a.part`
//! where that has several parts, `a#0` for a tensor of `a`. The parts of a gradient are
//! numbered as what it is derived by. What comes back of a graph is what no operation
//! reads.

mod file;
mod op;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use embermesh_crypto::Digest;
use embermesh_job::{
    program::Op,
    spec::{
        self, Compute, Input, JobSpec, Limits, MAX_OPERATIONS, MAX_SPEC_LEN, MAX_TENSORS,
        Requirements, Work, output_bytes,
    },
    units::{Bytes as Amount, Millis},
};

pub(super) use self::file::results;
use super::{code, tensor::Tensor};
use crate::{Failure, port::node::execution::Order};

/// The parameter that says what an operation reads.
const INPUTS: &str = "inputs";
/// The longest id of an operation, in bytes.
const MAX_ID: usize = 48;
/// Parameters of one operation.
const MAX_PARAMETERS: usize = 32;
/// Bytes of one parameter.
const MAX_PARAMETER: usize = 4096;
/// Bytes of all results, so that an answer is no larger than a request.
const MAX_RESULT_BYTES: u64 = 64 << 20;
/// Memory of a worker that computes nothing, in bytes.
const WORKER_MEMORY: u64 = 512 << 20;
/// How often a worker holds what it computes with: as a file, as numbers, on its device.
const COPIES: u64 = 3;
/// What a file of results has beside the numbers, in bytes.
const HEADER_ROOM: u64 = 1 << 20;
/// How long a computation may take, in milliseconds.
const WALL_MS: u64 = 60_000;
/// What such a job is called.
const NAME: &str = "cyxwiz-compute";

/// One operation, as either form of the wire has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// What the caller calls it.
    pub(super) id: String,
    /// The number of its type.
    pub(super) kind: i32,
    pub(super) inputs: Vec<Tensor>,
    pub(super) parameters: BTreeMap<String, String>,
    /// The number of the device that it is to run on.
    pub(super) device: i32,
}

/// A computation, and what its results are called, in their order.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) order: Order,
    pub(super) results: Vec<Given>,
}

/// Something that an operation gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// What callers call it.
    pub(super) said: String,
    /// What it is called in the computation.
    name: String,
}

/// An operation cannot be.
fn refuse(id: &str, reason: impl std::fmt::Display) -> Failure {
    Failure::invalid(format!("operation {id:?}: {reason}"))
}

/// The computation of a graph: its operations, in an order of their names where one is
/// given.
pub(super) fn plan(asked: Vec<Asked>, order: &[String]) -> Result<Planned, Failure> {
    bounded(&asked)?;
    let asked = ordered(asked, order)?;
    let names = Names::of(&asked)?;
    let mut read = BTreeSet::new();
    let mut operations = Vec::with_capacity(asked.len());
    let mut gives = Vec::with_capacity(asked.len());
    for (at, one) in asked.iter().enumerate() {
        let from = names
            .operands(&asked, at, &gives)
            .map_err(|why| refuse(&one.id, why))?;
        let rank = from.first().and_then(|first| names.rank(first));
        let op = op::op(one.kind, &one.parameters, rank).map_err(|why| refuse(&one.id, why))?;
        read.extend(from.iter().cloned());
        let operation = spec::Operation::new(op, from).named(one.id.clone());
        gives.push(given(&operation));
        operations.push(operation);
    }
    let results: Vec<Given> = gives
        .into_iter()
        .flatten()
        .filter(|given| !read.contains(&given.name))
        .collect();
    let device = device(&asked)?;
    let (bytes, tensors) = file::write(&asked, &names)?;
    let input = Input {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
    };
    let compute = Compute {
        tensors: tensors.into_iter().map(|tensor| tensor.of(input)).collect(),
        operations,
        results: results.iter().map(|given| given.name.clone()).collect(),
        prove: None,
    };
    let inputs = if compute.tensors.is_empty() {
        BTreeMap::new()
    } else {
        BTreeMap::from([(input.digest, bytes)])
    };
    let spec = sized(compute, device)?;
    Ok(Planned {
        order: Order { spec, inputs },
        results,
    })
}

/// What is counted before anything is read.
fn bounded(asked: &[Asked]) -> Result<(), Failure> {
    if asked.is_empty() || asked.len() > MAX_OPERATIONS {
        let message = format!("operations: give 1 to {MAX_OPERATIONS}");
        return Err(Failure::invalid(message));
    }
    let tensors: usize = asked.iter().map(|one| one.inputs.len()).sum();
    if tensors > MAX_TENSORS {
        let message = format!("inputs: {tensors} tensors are more than {MAX_TENSORS}");
        return Err(Failure::invalid(message));
    }
    for one in asked {
        if one.id.len() > MAX_ID {
            return Err(refuse(
                &shown(&one.id),
                format_args!("an id has {MAX_ID} bytes at most"),
            ));
        }
        let long = |(name, value): (&String, &String)| name.len().max(value.len()) > MAX_PARAMETER;
        if one.parameters.len() > MAX_PARAMETERS || one.parameters.iter().any(long) {
            let why =
                format!("parameters: {MAX_PARAMETERS} at most, of {MAX_PARAMETER} bytes each");
            return Err(refuse(&shown(&one.id), why));
        }
    }
    Ok(())
}

/// A name that is too long to be one is not said back whole.
pub(super) fn shown(id: &str) -> String {
    id.chars().take(64).collect()
}

/// The operations in the order in which they are to be done.
fn ordered(asked: Vec<Asked>, order: &[String]) -> Result<Vec<Asked>, Failure> {
    if order.is_empty() {
        return Ok(asked);
    }
    let wrong = |why: String| Failure::invalid(format!("execution_order: {why}"));
    if order.len() != asked.len() {
        let why = format!("it names {} operations of {}", order.len(), asked.len());
        return Err(wrong(why));
    }
    let mut waiting: BTreeMap<String, Asked> =
        asked.into_iter().map(|one| (one.id.clone(), one)).collect();
    let next = |id: &String| {
        let why = || format!("{:?} is no operation, or is named twice", shown(id));
        waiting.remove(id).ok_or_else(|| wrong(why()))
    };
    order.iter().map(next).collect()
}

/// What an operation gives.
fn given(operation: &spec::Operation) -> Vec<Given> {
    let id = operation.name.clone().unwrap_or_default();
    let parts = operation.parts();
    if parts.is_empty() {
        return vec![Given {
            said: id.clone(),
            name: id,
        }];
    }
    let numbered = matches!(operation.op, Op::Gradient(_));
    let part = |(number, part): (usize, String)| Given {
        name: format!("{id}.{part}"),
        said: if numbered {
            format!("{id}.{number}")
        } else {
            format!("{id}.{part}")
        },
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// The backend that all of it runs on.
fn device(asked: &[Asked]) -> Result<Requirements, Failure> {
    let mut named = asked.iter().filter(|one| one.device != 0);
    let Some(first) = named.next() else {
        return Ok(Requirements::default());
    };
    if let Some(other) = named.find(|one| one.device != first.device) {
        let why = "target_device: all operations run on one device";
        return Err(refuse(&other.id, why));
    }
    let device = code::device(first.device)
        .map_err(|why| refuse(&first.id, format_args!("target_device: {why}")))?;
    Ok(Requirements {
        device,
        ..Requirements::default()
    })
}

/// The job of a computation, with limits by its size.
fn sized(compute: Compute, requires: Requirements) -> Result<JobSpec, Failure> {
    let planned = compute
        .plan()
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let output = output_bytes(&planned.program);
    if output > MAX_RESULT_BYTES {
        let message = format!(
            "the results have {}, and an answer has {} at most",
            Amount(output),
            Amount(MAX_RESULT_BYTES)
        );
        return Err(Failure::invalid(message));
    }
    let peak = compute.peak_bytes(&planned.program);
    let spec = JobSpec {
        name: NAME.to_owned(),
        limits: Limits {
            memory: Amount(peak.saturating_mul(COPIES).saturating_add(WORKER_MEMORY)),
            wall: Millis(WALL_MS),
            cpu: None,
            output: Amount(output + HEADER_ROOM),
        },
        work: Work::Compute(compute),
        requires,
        attempts: 1,
    };
    spec.validate()
        .map_err(|error| Failure::invalid(error.to_string()))?;
    if spec.canonical().len() > MAX_SPEC_LEN {
        let message = format!("operations: they say more than {MAX_SPEC_LEN} bytes");
        return Err(Failure::invalid(message));
    }
    Ok(spec)
}

/// What everything is called.
struct Names {
    /// Each operation's tensors: the name of each, and how many axes it has.
    tensors: Vec<Vec<(String, usize)>>,
    /// The place of each operation.
    places: BTreeMap<String, usize>,
}

impl Names {
    fn of(asked: &[Asked]) -> Result<Self, Failure> {
        let mut places = BTreeMap::new();
        for (at, one) in asked.iter().enumerate() {
            if places.insert(one.id.clone(), at).is_some() {
                return Err(refuse(&shown(&one.id), "another operation has this id"));
            }
        }
        // Whatever an operation is called, no tensor is.
        let mut free = (0_usize..)
            .map(|number| format!("t{number}"))
            .filter(|name| !places.contains_key(name));
        let mut tensors = Vec::with_capacity(asked.len());
        for one in asked {
            let ranks = one.inputs.iter().map(|tensor| tensor.shape.len());
            // The ranks first: a name is taken for each of them and no more.
            tensors.push(
                ranks
                    .zip(free.by_ref())
                    .map(|(rank, name)| (name, rank))
                    .collect(),
            );
        }
        drop(free);
        Ok(Self { tensors, places })
    }

    /// How many axes a tensor has; nothing for what is computed.
    fn rank(&self, name: &str) -> Option<usize> {
        let mut all = self.tensors.iter().flatten();
        all.find(|(known, _)| known == name).map(|(_, rank)| *rank)
    }

    /// What an operation reads, after others that give something.
    fn operands(
        &self,
        asked: &[Asked],
        at: usize,
        gives: &[Vec<Given>],
    ) -> Result<Vec<String>, String> {
        let own = || self.tensors[at].iter().map(|(name, _)| name.clone());
        if let Some(said) = asked[at].parameters.get(INPUTS) {
            let names = said.split(',').map(str::trim);
            return names.map(|name| self.operand(name, at, gives)).collect();
        }
        if !self.tensors[at].is_empty() {
            return Ok(own().collect());
        }
        let before = at.checked_sub(1).and_then(|before| asked.get(before));
        let before = before.ok_or("inputs: it reads nothing: give it a tensor")?;
        self.operand(&before.id, at, gives).map(|name| vec![name])
    }

    fn operand(&self, name: &str, at: usize, gives: &[Vec<Given>]) -> Result<String, String> {
        let Some((id, number)) = name.split_once('#') else {
            let id = name.split_once('.').map_or(name, |(id, _)| id);
            let place = self.places.get(id);
            let place =
                place.ok_or_else(|| format!("{INPUTS}: {:?} is no operation", shown(name)))?;
            let given = gives.get(*place);
            let given = given.ok_or_else(|| format!("{INPUTS}: {id:?} is not done by then"))?;
            // By its id alone, the first of its parts is meant.
            let part = if name == id {
                given.first()
            } else {
                given.iter().find(|given| given.said == name)
            };
            let part =
                part.ok_or_else(|| format!("{INPUTS}: {id:?} has no part {:?}", shown(name)))?;
            return Ok(part.name.clone());
        };
        let of = if id.is_empty() {
            Some(&at)
        } else {
            self.places.get(id)
        };
        let tensor = of.zip(number.parse::<usize>().ok());
        let tensor = tensor.and_then(|(of, number)| self.tensors[*of].get(number));
        tensor
            .map(|(name, _)| name.clone())
            .ok_or_else(|| format!("{INPUTS}: {:?} is no tensor", shown(name)))
    }
}
