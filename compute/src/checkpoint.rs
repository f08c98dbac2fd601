//! A job in mid-course as one safetensors file: the weights, learnt or not, the
//! optimiser's moments, and a record of where the work stood. An attempt that goes on from
//! it computes, on the same kind of CPU, bit for bit what the first would have.

use std::path::PathBuf;

use burn::tensor::Tensor;
use embermesh_job::crypto::Digest;
use embermesh_job::event::EventKind;
use embermesh_job::spec::Optimizer as Rule;
use serde::{Deserialize, Serialize};

use crate::failure::{InvalidWeights, WorkFailed};
use crate::metrics::Tally;
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::precision::Scaling;
use crate::train::patience::Patience;
use crate::weights::{self, METADATA_KEY, Named};

/// Names the format, so that another file is not taken for one of these.
const FORMAT: &str = "embermesh checkpoint 2";

/// Where the work stood, and what was said of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    format: String,
    /// The digest of the job's spec.
    spec: Digest,
    /// The number of the first event after this checkpoint.
    pub(crate) next_seq: u64,
    /// Where the work stood.
    pub(crate) standing: Standing,
    /// The newest events before the one that announces this checkpoint.
    pub(crate) history: Vec<(u64, EventKind)>,
}

/// Where a training stands between two steps, beside its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standing {
    /// Steps done.
    pub(crate) step: u64,
    /// Samples seen.
    pub(crate) seen: u64,
    /// Sums of the pass under way.
    pub(crate) pass: Tally,
    /// Sums since the last report.
    pub(crate) window: Tally,
    /// What the newest pass came to, over what judges it.
    pub(crate) last: Tally,
    /// The same of the best pass, where its weights are kept.
    pub(crate) best: Tally,
    /// What early stopping remembers.
    pub(crate) patience: Patience,
    /// What scales the loss, in half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scaling: Option<Scaling>,
    /// Learning rate and weight decay, as bits, once they were adjusted.
    adjusted: Option<(u64, u64)>,
}

impl Standing {
    /// Remembers what the optimiser was adjusted to.
    pub(crate) fn adjust(&mut self, rule: &Rule) {
        self.adjusted = Some((rule.lr().to_bits(), rule.weight_decay().to_bits()));
    }

    /// The rule with what was adjusted in it.
    fn rule(&self, rule: Rule) -> Result<Rule, InvalidWeights> {
        match self.adjusted {
            None => Ok(rule),
            Some((rate, decay)) => rule
                .adjusted(f64::from_bits(rate), f64::from_bits(decay))
                .map_err(|error| InvalidWeights::NotACheckpoint(error.to_string())),
        }
    }
}

impl Record {
    /// The record of a job's work.
    pub(crate) fn new(
        spec: Digest,
        next_seq: u64,
        standing: Standing,
        history: Vec<(u64, EventKind)>,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            spec,
            next_seq,
            standing,
            history,
        }
    }
}

/// The file's name within the work folder.
pub(crate) fn file_name(step: u64) -> PathBuf {
    PathBuf::from(format!("checkpoint-{step}.safetensors"))
}

/// The bytes of a checkpoint. `best` are the tensors of the best pass, where they
/// are kept.
pub(crate) fn encode(
    network: &Network,
    optimizer: &Optimizer,
    best: Option<&[Tensor<1>]>,
    record: &Record,
) -> Result<Vec<u8>, WorkFailed> {
    let mut tensors: Vec<Named> = network
        .tensors()
        .map(|parameter| Named {
            name: model_name(&parameter.name),
            shape: parameter.shape.clone(),
            value: parameter.value.clone(),
        })
        .collect();
    for (kind, word) in optimizer.kinds().iter().enumerate() {
        for (parameter, moment) in network.parameters().iter().zip(optimizer.moments(kind)) {
            tensors.push(Named {
                name: moment_name(word, &parameter.name),
                shape: parameter.shape.clone(),
                value: moment.clone(),
            });
        }
    }
    for (parameter, value) in network.tensors().zip(best.unwrap_or_default()) {
        tensors.push(Named {
            name: best_name(&parameter.name),
            shape: parameter.shape.clone(),
            value: value.clone(),
        });
    }
    let record = serde_json::to_string(record)
        .map_err(|error| WorkFailed::Internal(format!("the record does not encode: {error}")))?;
    weights::encode(&tensors, record)
}

/// Brings network and optimiser to where a checkpoint of this spec stood, and
/// gives its record. `best` takes the tensors of the best pass where there is one
/// to keep.
pub(crate) fn restore(
    bytes: &[u8],
    spec: Digest,
    network: &mut Network,
    optimizer: &mut Optimizer,
    best: Option<&mut Vec<Tensor<1>>>,
) -> Result<Record, InvalidWeights> {
    let record = read_record(bytes)?;
    if record.spec != spec {
        return Err(InvalidWeights::OtherSpec {
            found: record.spec.to_string(),
            expected: spec.to_string(),
        });
    }
    optimizer.adjust(record.standing.rule(optimizer.rule())?);
    let mut best = best.filter(|_| record.standing.patience.has_best());
    let file = weights::parse(bytes)?;
    let learnt = network.parameters().len();
    let tensors: Vec<(String, Vec<usize>)> = network
        .tensors()
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
        .collect();
    let mut known = Vec::new();
    for (index, (name, shape)) in tensors.iter().enumerate() {
        let stored = model_name(name);
        let value = weights::tensor(&file, &stored, shape, network.device())?;
        network.set(index, value);
        known.push(stored);
        let kinds = if index < learnt {
            optimizer.kinds()
        } else {
            Vec::new()
        };
        for (kind, word) in kinds.iter().enumerate() {
            let stored = moment_name(word, name);
            let value = weights::tensor(&file, &stored, shape, network.device())?;
            optimizer.set(kind, index, value);
            known.push(stored);
        }
        if let Some(best) = &mut best {
            let stored = best_name(name);
            best.push(weights::tensor(&file, &stored, shape, network.device())?);
            known.push(stored);
        }
    }
    weights::no_others(&file, |name| known.iter().any(|stored| stored == name))?;
    Ok(record)
}

fn read_record(bytes: &[u8]) -> Result<Record, InvalidWeights> {
    let (_, header) =
        safetensors::SafeTensors::read_metadata(bytes).map_err(InvalidWeights::Format)?;
    let text = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(METADATA_KEY))
        .ok_or_else(|| InvalidWeights::NotACheckpoint("it carries no record".to_owned()))?;
    let record: Record = serde_json::from_str(text)
        .map_err(|error| InvalidWeights::NotACheckpoint(error.to_string()))?;
    if record.format != FORMAT {
        return Err(InvalidWeights::NotACheckpoint(format!(
            "its format is {:?}, and {FORMAT:?} is read",
            record.format
        )));
    }
    Ok(record)
}

fn model_name(parameter: &str) -> String {
    format!("model/{parameter}")
}

fn best_name(parameter: &str) -> String {
    format!("best/{parameter}")
}

fn moment_name(kind: &str, parameter: &str) -> String {
    format!("optimizer/{kind}/{parameter}")
}
