//! Direct computation: operations over tensors that the spec brings, done once, and
//! proven where that is asked for (`prove`).

mod prove;

use std::collections::{BTreeMap, btree_map::Entry};

use burn::tensor::Tensor;
use embermesh_job::crypto::Digest;
use embermesh_job::event::{EventKind, MAX_METRIC_NAME, MAX_METRICS};
use embermesh_job::program::{Kind, MAX_EXACT, Program};
use embermesh_job::spec::{Compute, Input, Planned, Tensor as Given};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::dataset::load;
use crate::failure::{InvalidWeights, WorkFailed};
use crate::job::Job;
use crate::pipe::WorkSummary;
use crate::program;
use crate::weights::{self, Named};

/// The name of the result, within the job and as a file.
pub(crate) const ARTIFACT: &str = "results.safetensors";

/// Does the computation of an order.
pub(crate) fn run(compute: &Compute, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let planned = compute
        .plan()
        .map_err(|error| WorkFailed::Spec(error.to_string()))?;
    let program = &planned.program;
    let steps = program.steps.len() as u64;
    let device = job.device.device.clone();
    job.log.plain(EventKind::Started {
        device: job.device.name.clone(),
        parameters: program.cost.parameters,
        total_steps: steps,
        samples: 0,
    });
    let given = given(compute, program, |input| load::input(input, job.order))?;
    let (results, executed) = match &compute.prove {
        None => {
            let constants = given.into_iter().map(|values| program::on(&device, values));
            let constants: Vec<_> = constants.collect();
            let results = program::run(program, &constants, Vec::new(), &device);
            let results = results.map_err(|error| WorkFailed::Data(error.into()))?;
            (Some(results), None)
        }
        Some(asked) => {
            let mut executed = prove::run(asked, program, given, job)?;
            (executed.results.take(), Some(executed))
        }
    };
    let shown = match results {
        Some(results) => keep(&planned, results, job)?,
        None => BTreeMap::new(),
    };
    if let Some(executed) = executed {
        executed.keep(job)?;
    }
    if !shown.is_empty() {
        job.log.plain(EventKind::Metrics { values: shown });
    }
    Ok(WorkSummary {
        steps,
        samples: 0,
        loss: None,
        accuracy: None,
        next_seq: job.log.next(),
    })
}

/// Writes the results down, and gives those that can be shown as measures.
fn keep(
    planned: &Planned,
    results: Vec<Tensor<1>>,
    job: &mut Job<'_>,
) -> Result<BTreeMap<String, f64>, WorkFailed> {
    let program = &planned.program;
    let mut shown = BTreeMap::new();
    let mut named = Vec::with_capacity(results.len());
    for ((name, value), x) in planned.names.iter().zip(&program.outputs).zip(results) {
        let x = x.without_autodiff();
        let shape = program.type_of(*value).shape.clone();
        show(&mut shown, name, &x)?;
        named.push(Named {
            name: name.clone(),
            shape,
            value: x,
        });
    }
    let bytes = weights::encode(&named, record(job.digest))?;
    job.artifact(ARTIFACT, &bytes)?;
    Ok(shown)
}

/// The numbers of each tensor that a computation begins with, in its order; `bytes` gives
/// the file of an input.
///
/// # Errors
/// What `bytes` gives, and [`WorkFailed::Tensor`] for a tensor that is not in its file as
/// the spec says.
pub(crate) fn given(
    compute: &Compute,
    program: &Program,
    mut bytes: impl FnMut(Input) -> Result<Vec<u8>, WorkFailed>,
) -> Result<Vec<Vec<f32>>, WorkFailed> {
    let mut files = BTreeMap::<Digest, Vec<u8>>::new();
    let mut given = Vec::with_capacity(compute.tensors.len());
    for (tensor, constant) in compute.tensors.iter().zip(&program.constants) {
        let shape = &program.type_of(constant.value).shape;
        given.push(match (tensor.file, &tensor.values) {
            (Some(input), _) => {
                if let Entry::Vacant(slot) = files.entry(input.digest) {
                    slot.insert(bytes(input)?);
                }
                let bytes = files.get(&input.digest).map(Vec::as_slice);
                read(tensor, shape, bytes.unwrap_or_default())?
            }
            (None, values) => {
                let values = values.iter().flatten();
                values.map(|&value| value as f32).collect()
            }
        });
    }
    Ok(given)
}

/// What the file of results says of itself.
fn record(spec: Digest) -> String {
    serde_json::json!({ "spec": spec, "work": "compute" }).to_string()
}

/// Takes small results as measures, as far as there is room for all of one.
fn show(shown: &mut BTreeMap<String, f64>, name: &str, x: &Tensor<1>) -> Result<(), WorkFailed> {
    let count = x.dims()[0];
    if shown.len() + count > MAX_METRICS || name.len() + 4 > MAX_METRIC_NAME {
        return Ok(());
    }
    let values = x
        .try_to_vec_as::<f32>()
        .map_err(|error| WorkFailed::Internal(format!("{name} cannot be read: {error}")))?;
    for (at, value) in values.into_iter().enumerate() {
        let key = if count == 1 {
            name.to_owned()
        } else {
            format!("{name}[{at}]")
        };
        shown.insert(key, f64::from(value));
    }
    Ok(())
}

/// A tensor of a safetensors file, which must have the kind and shape that the spec
/// says.
fn read<I>(tensor: &Given<I>, shape: &[usize], bytes: &[u8]) -> Result<Vec<f32>, WorkFailed> {
    let refuse = |reason: String| WorkFailed::Tensor {
        name: tensor.name.clone(),
        reason,
    };
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| refuse(InvalidWeights::Format(error).to_string()))?;
    let view = file
        .tensor(tensor.key())
        .map_err(|_| refuse(format!("its file has no {:?}", tensor.key())))?;
    if view.shape() != shape {
        return Err(refuse(format!(
            "it has the shape {:?} in its file, and {shape:?} in the spec",
            view.shape()
        )));
    }
    let data = view.data();
    let values = match (tensor.kind, view.dtype()) {
        (Kind::Float, Dtype::F32) => {
            let (parts, _) = data.as_chunks();
            parts.iter().map(|part| f32::from_le_bytes(*part)).collect()
        }
        (Kind::Int, Dtype::I64) => {
            let (parts, _) = data.as_chunks();
            let values = parts.iter().map(|part| exact(i64::from_le_bytes(*part)));
            values.collect::<Result<Vec<_>, _>>().map_err(refuse)?
        }
        (Kind::Int, Dtype::I32) => {
            let (parts, _) = data.as_chunks();
            let values = parts
                .iter()
                .map(|part| exact(i32::from_le_bytes(*part).into()));
            values.collect::<Result<Vec<_>, _>>().map_err(refuse)?
        }
        (Kind::Bool, Dtype::BOOL) => data.iter().map(|&byte| f32::from(byte.min(1))).collect(),
        (kind, dtype) => {
            return Err(refuse(format!(
                "it is of type {dtype:?} in its file, and of kind {kind:?} in the spec: floats are F32, whole numbers I32 or I64, truths BOOL"
            )));
        }
    };
    Ok(values)
}

/// A whole number that is exact as a float.
fn exact(value: i64) -> Result<f32, String> {
    if (-MAX_EXACT..=MAX_EXACT).contains(&value) {
        return Ok(value as f32);
    }
    Err(format!(
        "{value} is beyond 2^24, where whole numbers are not exact"
    ))
}
