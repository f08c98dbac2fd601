//! Weights as safetensors: what a job makes, what an evaluation reads, and the
//! tensors within a checkpoint.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use embermesh_job::crypto::Digest;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use serde::{Deserialize, Serialize};

use crate::dataset::fit::Fitted;
use crate::failure::{InvalidWeights, WorkFailed, at};
use crate::network::Network;

/// The one key of a file's metadata that is ours. There is only one because
/// the keys of a safetensors header have no order, and the same weights must
/// be the same bytes.
pub(crate) const METADATA_KEY: &str = "embermesh";

/// Bytes of an element: everything is `f32`.
const ELEMENT: usize = size_of::<f32>();

/// What a training says of its weights, beside the tensors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The digest of the job's spec.
    pub(crate) spec: Digest,
    /// Steps done.
    pub(crate) steps: u64,
    /// The scale of the samples that it saw, where the data asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fitted: Option<Fitted>,
}

/// The record of a file, where it is one of ours.
pub(crate) fn record(bytes: &[u8]) -> Option<Record> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let text = header.metadata().as_ref()?.get(METADATA_KEY)?;
    serde_json::from_str(text).ok()
}

/// A tensor on its way to a file.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) value: Tensor<1>,
}

/// The tensors of a network, ready to be written.
pub(crate) fn of(network: &Network) -> Vec<Named> {
    network
        .tensors()
        .map(|parameter| Named {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            value: parameter.value.clone(),
        })
        .collect()
}

/// The bytes of a file with these tensors and this record. A function of its
/// arguments: the same weights give the same bytes.
pub(crate) fn encode(tensors: &[Named], record: String) -> Result<Vec<u8>, WorkFailed> {
    let mut bytes = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let values = tensor.value.try_to_vec_as::<f32>().map_err(|error| {
            WorkFailed::Internal(format!("{} cannot be read: {error}", tensor.name))
        })?;
        bytes.push(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
    }
    let internal = |error| WorkFailed::Internal(format!("weights cannot be encoded: {error}"));
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(internal)?;
        views.push((tensor.name.as_str(), view));
    }
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), record)]);
    safetensors::serialize(views, Some(metadata)).map_err(internal)
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WorkFailed> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes).map_err(at(&partial))?;
    std::fs::rename(&partial, path).map_err(at(path))
}

/// Replaces the tensors of a network by those of a file, which must hold exactly
/// these.
pub(crate) fn load(network: &mut Network, bytes: &[u8]) -> Result<(), InvalidWeights> {
    let file = parse(bytes)?;
    let wanted: Vec<(String, Vec<usize>)> = network
        .tensors()
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
        .collect();
    for (index, (name, shape)) in wanted.iter().enumerate() {
        let value = tensor(&file, name, shape, network.device())?;
        network.set(index, value);
    }
    no_others(&file, |name| wanted.iter().any(|(known, _)| known == name))
}

/// Parses a file.
pub(crate) fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>, InvalidWeights> {
    SafeTensors::deserialize(bytes).map_err(InvalidWeights::Format)
}

/// The tensor of a name, checked against its shape.
pub(crate) fn tensor(
    file: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
    device: &Device,
) -> Result<Tensor<1>, InvalidWeights> {
    let view = file
        .tensor(name)
        .map_err(|_| InvalidWeights::Missing(name.to_owned()))?;
    if view.dtype() != Dtype::F32 {
        return Err(InvalidWeights::Type {
            name: name.to_owned(),
            found: format!("{:?}", view.dtype()),
        });
    }
    if view.shape() != shape {
        return Err(InvalidWeights::Shape {
            name: name.to_owned(),
            found: view.shape().to_vec(),
            expected: shape.to_vec(),
        });
    }
    let (elements, _) = view.data().as_chunks::<ELEMENT>();
    let values: Vec<f32> = elements
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    if !values.iter().all(|value| value.is_finite()) {
        return Err(InvalidWeights::NotFinite(name.to_owned()));
    }
    let count = values.len();
    Ok(Tensor::from_data(TensorData::new(values, [count]), device))
}

/// Refuses tensors that nobody asked for: they would be ignored in silence.
pub(crate) fn no_others(
    file: &SafeTensors<'_>,
    known: impl Fn(&str) -> bool,
) -> Result<(), InvalidWeights> {
    let mut extra: Vec<&str> = file
        .names()
        .into_iter()
        .filter(|name| !known(name))
        .collect();
    extra.sort_unstable();
    match extra.first() {
        Some(name) => Err(InvalidWeights::Extra((*name).to_owned())),
        None => Ok(()),
    }
}
