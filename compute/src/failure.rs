//! Why a job did not get to its end, and whose fault that is.

pub(crate) mod malformed;

use std::path::PathBuf;

use embermesh_job::model::InvalidModel;
use serde::{Deserialize, Serialize};

pub use self::malformed::{Malformed, Place};
use crate::device::DeviceFault;
pub use crate::hub::InvalidFolder;
use crate::lm::InvalidGguf;
use crate::onnx::InvalidOnnx;
use crate::program::StepFailed;
use crate::script::ScriptFailed;

/// Whose fault a failure is. It decides whether another node may try: what is
/// wrong with the job is wrong everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The job cannot be done as it was given: its data, its weights, its
    /// numbers. It fails everywhere.
    Invalid,
    /// A ceiling of the order was reached: memory, output, disk.
    Resource,
    /// The device or its driver failed. Another may not.
    Device,
    /// The node or this program failed. Another may not.
    Internal,
}

/// What is wrong with a set of samples.
#[derive(Debug, thiserror::Error)]
pub enum InvalidData {
    /// No samples.
    #[error("there are no samples in it")]
    Empty,
    /// Images and labels of different numbers.
    #[error("{images} images and {labels} labels do not belong together")]
    Counts {
        /// How many images.
        images: usize,
        /// How many labels.
        labels: usize,
    },
    /// A label that is no class of the task.
    #[error("sample {row} is of class {class}, but the task has {classes} classes (0 to {})", classes - 1)]
    Class {
        /// The sample, from 0.
        row: usize,
        /// Its label.
        class: usize,
        /// How many classes the task has.
        classes: usize,
    },
    /// A line of a CSV file.
    #[error("line {line}: {reason}")]
    Csv {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An IDX file.
    #[error("{file}: {reason}")]
    Idx {
        /// Which of the files.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The samples do not fit the model.
    #[error("the data has samples of the shape {data:?} and the model takes {model:?}")]
    Shape {
        /// Shape of a sample.
        data: Vec<usize>,
        /// The model's input.
        model: Vec<usize>,
    },
    /// The holdout files have another shape than the training files.
    #[error("the holdout samples are {holdout:?} and the training samples {training:?}")]
    HoldoutShape {
        /// Shape of a held-out sample.
        holdout: Vec<usize>,
        /// Shape of a training sample.
        training: Vec<usize>,
    },
    /// The classes do not fit the model.
    #[error(
        "the model ends in {outputs:?} and the data has {classes} classes; the last layer must give one number per class"
    )]
    Classes {
        /// The model's output shape.
        outputs: Vec<usize>,
        /// How many classes the task has.
        classes: usize,
    },
    /// A target of a binary cross-entropy that is no probability.
    #[error("a target is {value}, and binary cross-entropy takes numbers from 0 to 1")]
    NoProbability {
        /// The target.
        value: f32,
    },
    /// A number that should be an id of an embedding.
    #[error(
        "a sample holds {value} where the model's embedding takes whole numbers from 0 to {}", entries - 1
    )]
    Id {
        /// The number.
        value: f32,
        /// How many entries the embedding has.
        entries: usize,
    },
    /// A number where the model takes whole ones.
    #[error("a sample holds {value} where the model takes whole numbers within 2^24")]
    NotWhole {
        /// The number.
        value: f32,
    },
    /// An operation cannot use the numbers that it gets.
    #[error(transparent)]
    Step(#[from] StepFailed),
    /// Something in a file that does not belong there.
    #[error(transparent)]
    Malformed(Box<Malformed>),
    /// More than the memory that the job has left for its data.
    #[error(
        "{file} takes {needed} bytes where {left} are left; raise limits.memory, or give less data"
    )]
    NoRoom {
        /// The file, by its field in the spec.
        file: String,
        /// Bytes that are asked for.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// A scale that only a training can tell, and weights without it.
    #[error(
        "the data is scaled or filled by what its training learnt, and the weights do not carry that: give the weights of a training with this `normalise` and `missing`"
    )]
    NotFitted,
    /// Weights that carry the scale of other samples.
    #[error("the weights carry a scale for {found} numbers, and the data has {expected}")]
    OtherFit {
        /// How many numbers or channels it is for.
        found: usize,
        /// How many the data has.
        expected: usize,
    },
    /// An evaluation over a holdout that is empty.
    #[error("the split holds out no samples; raise its share or evaluate all of them")]
    NothingHeldOut,
}

/// What is wrong with a file of weights or a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWeights {
    /// Not a safetensors file, or a truncated one.
    #[error("it is not a whole safetensors file: {0}")]
    Format(#[source] safetensors::SafeTensorError),
    /// A tensor that the model has and the file does not.
    #[error("tensor {0:?} of the model is missing from it")]
    Missing(String),
    /// A tensor that the file has and the model does not.
    #[error("tensor {0:?} in it is not part of the model")]
    Extra(String),
    /// A tensor of another shape.
    #[error("tensor {name:?} has shape {found:?} where the model has {expected:?}")]
    Shape {
        /// Which tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape in the model.
        expected: Vec<usize>,
    },
    /// A tensor of another element type.
    #[error("tensor {name:?} is of type {found} where the model has F32")]
    Type {
        /// Which tensor.
        name: String,
        /// Its element type.
        found: String,
    },
    /// A value that is no number.
    #[error("tensor {0:?} holds a value that is not finite")]
    NotFinite(String),
    /// A file without the record that a checkpoint carries.
    #[error("it is not a checkpoint: {0}")]
    NotACheckpoint(String),
    /// A checkpoint of another job.
    #[error("it is a checkpoint of spec {found} and the job is {expected}")]
    OtherSpec {
        /// The spec that it belongs to.
        found: String,
        /// The spec of the job.
        expected: String,
    },
}

/// Why a job did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum WorkFailed {
    /// It was cancelled. Not a failure of anything.
    #[error("the job was cancelled")]
    Cancelled,
    /// The order's spec does not parse or validate.
    #[error("the spec is not valid: {0}")]
    Spec(String),
    /// The model does not add up.
    #[error("the model is not valid: {0}")]
    Model(#[from] InvalidModel),
    /// The data does not parse or does not fit.
    #[error("the data is not valid: {0}")]
    Data(#[from] InvalidData),
    /// The weights do not parse or do not fit.
    #[error("the weights are not valid: {0}")]
    Weights(#[source] InvalidWeights),
    /// The checkpoint does not parse or does not fit.
    #[error("the checkpoint is not valid: {0}")]
    Checkpoint(#[source] InvalidWeights),
    /// The file of a language model does not parse, or is of a kind that is not
    /// run.
    #[error("the model's file is not valid: {0}")]
    LanguageModel(#[from] InvalidGguf),
    /// A script did not get to its end.
    #[error(transparent)]
    Script(#[from] ScriptFailed),
    /// An ONNX file cannot be run as the job asks.
    #[error("the ONNX file is not valid: {0}")]
    Onnx(#[from] InvalidOnnx),
    /// A tensor of a computation is not what the spec says of it.
    #[error("tensor {name:?}: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of a model's folder does not parse, or is of a kind that is not run.
    #[error("the model's folder is not valid: {0}")]
    ModelFolder(#[from] InvalidFolder),
    /// A request cannot be answered.
    #[error("request {number}: {reason}")]
    Request {
        /// Which of the job, from 0.
        number: u32,
        /// Why.
        reason: String,
    },
    /// A language model needs more memory than the order allows.
    #[error(
        "the model and its longest request need about {needed} bytes of memory and may use {ceiling}; lower max_tokens or raise limits.memory"
    )]
    Context {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        ceiling: u64,
    },
    /// Mixed precision on a device without 16-bit floats.
    #[error(
        "{device} does not compute in 16-bit floats; leave precision out, or ask for another device"
    )]
    NoHalf {
        /// What the device calls itself.
        device: String,
    },
    /// The loss left the numbers.
    #[error(
        "the loss at step {step} is {loss}; lower the learning rate or look for bad values in the data"
    )]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// What the loss was.
        loss: f32,
    },
    /// More memory is needed than the order allows.
    #[error(
        "the job needs about {needed} bytes of memory and may use {ceiling}; lower the batch or raise limits.memory"
    )]
    Memory {
        /// Bytes needed, by the plan of the model.
        needed: u64,
        /// Bytes allowed.
        ceiling: u64,
    },
    /// More output would be made than the order allows.
    #[error("the result has {needed} bytes and the job may make {ceiling}; raise limits.output")]
    Output {
        /// Bytes of the artifact.
        needed: u64,
        /// Bytes allowed.
        ceiling: u64,
    },
    /// An input that the order does not bring.
    #[error("the order brings no file for input {0}")]
    InputAbsent(String),
    /// An input whose bytes are not those it is named for.
    #[error("input {expected} is corrupt: its file hashes to {found}")]
    InputCorrupt {
        /// The digest that the spec names.
        expected: String,
        /// The digest of the file.
        found: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The device failed.
    #[error("{0}")]
    Device(#[from] DeviceFault),
    /// Something that should not happen, such as a panic outside a driver.
    #[error("{0}")]
    Internal(String),
}

impl WorkFailed {
    /// Whose fault it is; `None` when the job was cancelled.
    #[must_use]
    pub fn class(&self) -> Option<FailureClass> {
        match self {
            Self::Cancelled => None,
            Self::Data(InvalidData::NoRoom { .. }) => Some(FailureClass::Resource),
            Self::Spec(_)
            | Self::Model(_)
            | Self::Data(_)
            | Self::Weights(_)
            | Self::LanguageModel(_)
            | Self::Onnx(_)
            | Self::Tensor { .. }
            | Self::ModelFolder(_)
            | Self::Request { .. }
            | Self::NotFinite { .. } => Some(FailureClass::Invalid),
            Self::Memory { .. } | Self::Context { .. } | Self::Output { .. } => {
                Some(FailureClass::Resource)
            }
            Self::Io { source, .. } => Some(match source.kind() {
                std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::FileTooLarge => FailureClass::Resource,
                _ => FailureClass::Internal,
            }),
            Self::Script(failed) => Some(failed.class()),
            Self::Device(_) | Self::NoHalf { .. } => Some(FailureClass::Device),
            // A checkpoint and an input come from a node, not from the job.
            Self::Checkpoint(_)
            | Self::InputAbsent(_)
            | Self::InputCorrupt { .. }
            | Self::Internal(_) => Some(FailureClass::Internal),
        }
    }
}

impl From<crate::control::Cancelled> for WorkFailed {
    fn from(_: crate::control::Cancelled) -> Self {
        Self::Cancelled
    }
}

/// Names the path of a failed read or write.
pub(crate) fn at(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> WorkFailed + '_ {
    move |source| WorkFailed::Io {
        path: path.to_owned(),
        source,
    }
}
