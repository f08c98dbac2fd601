//! The model of an evaluation or a prediction, from its files.

use burn::tensor::Device;
use embermesh_job::spec::{Input, Network as Given, Onnx};

use crate::dataset::fit::Fitted;
use crate::dataset::load;
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::network::Network;
use crate::onnx::{self, OnnxFile};
use crate::weights;

/// A model that is ready to be run.
pub(crate) struct Ready {
    pub(crate) network: Network,
    /// What its weights say of the scale of samples.
    pub(crate) fitted: Option<Fitted>,
    /// The shape of what comes out, without the batch.
    pub(crate) output_shape: Vec<usize>,
}

/// Reads a model, for batches of so many samples.
///
/// # Errors
/// [`WorkFailed`] when a file is not what the job says of it.
pub(crate) fn ready(
    given: &Given,
    weights: Option<Input>,
    batch: u32,
    job: &mut Job<'_>,
) -> Result<Ready, WorkFailed> {
    let device = job.device.device.clone();
    match (given, weights) {
        (Given::Onnx(file), _) => from_file(file, batch, job, &device),
        (Given::Layers(model), Some(weights)) => {
            let bytes = load::input(weights, job.order)?;
            let fitted = weights::record(&bytes).and_then(|record| record.fitted);
            let mut network = Network::new(model, 0, &device)?;
            weights::load(&mut network, &bytes).map_err(WorkFailed::Weights)?;
            Ok(Ready {
                network,
                fitted,
                output_shape: model.plan()?.output_shape,
            })
        }
        (Given::Layers(_), None) => Err(WorkFailed::Spec("there are no weights".to_owned())),
    }
}

fn from_file(
    file: &Onnx,
    batch: u32,
    job: &mut Job<'_>,
    device: &Device,
) -> Result<Ready, WorkFailed> {
    let bytes = load::input(file.file, job.order)?;
    let fitted = onnx::fit(&OnnxFile::read(bytes.into())?, file, batch as usize)?;
    job.reserve(fitted.program.cost.peak_bytes())?;
    let output_shape = fitted.output_shape.clone();
    Ok(Ready {
        network: Network::of_file(fitted, file.probabilities, device)?,
        fitted: None,
        output_shape,
    })
}
