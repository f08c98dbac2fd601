//! A model that is an ONNX file: a program of one batch, run as often as it takes.

use burn::tensor::{Device, Tensor};
use embermesh_job::program::{Kind, MAX_EXACT, Program};

use super::{Network, Parameter, Passed};
use crate::dataset::Batch;
use crate::failure::{InvalidData, WorkFailed};
use crate::onnx::{Fitted, InvalidOnnx};
use crate::program;

/// The least probability whose logarithm is taken.
const LEAST: f32 = 1e-30;

/// A program of one batch.
#[derive(Debug)]
pub(super) struct FileModel {
    program: Program,
    /// How many samples it takes at once.
    batch: usize,
    /// Where each input's numbers are within a sample.
    parts: Vec<(usize, usize)>,
    /// How many numbers come out for a sample.
    width: usize,
    probabilities: bool,
}

impl Network {
    /// A network that does what a file says. `probabilities` says whether it gives
    /// probabilities of classes, of which the logarithm is taken: what the others
    /// give.
    ///
    /// # Errors
    /// [`WorkFailed`] when a whole number of the file is not exact as a float.
    pub(crate) fn of_file(
        fitted: Fitted,
        probabilities: bool,
        device: &Device,
    ) -> Result<Self, WorkFailed> {
        let program = fitted.program;
        let mut parameters = Vec::with_capacity(fitted.constants.len());
        for (constant, literal) in program.constants.iter().zip(fitted.constants) {
            let shape = literal.shape.clone();
            let values = literal
                .into_floats()
                .map_err(|reason| InvalidOnnx::Tensor {
                    name: constant.name.clone(),
                    reason,
                })?;
            parameters.push(Parameter {
                name: constant.name.clone(),
                shape,
                value: program::on(device, values),
            });
        }
        Ok(Self {
            input: Vec::new(),
            stages: Vec::new(),
            parameters,
            state: Vec::new(),
            entries: None,
            half: None,
            file: Some(FileModel {
                program,
                batch: fitted.batch,
                parts: fitted.parts,
                width: fitted.output_shape.iter().product(),
                probabilities,
            }),
            device: device.clone(),
        })
    }
}

impl FileModel {
    pub(super) fn forward(
        &self,
        values: &[Tensor<1>],
        batch: &Batch,
        device: &Device,
    ) -> Result<Passed, InvalidData> {
        let samples = batch.len().max(1);
        let size = batch.pixels.len() / samples;
        let rows: Vec<&[f32]> = batch.pixels.chunks(size.max(1)).collect();
        let mut outputs = Vec::with_capacity(rows.len().div_ceil(self.batch));
        for rows in rows.chunks(self.batch) {
            let mut given = Vec::with_capacity(self.parts.len());
            for (input, &(start, count)) in self.program.inputs.iter().zip(&self.parts) {
                let mut numbers = Vec::with_capacity(self.batch * count);
                // The last sample again where there are fewer than it takes.
                let again = rows.last().into_iter().cycle();
                for row in rows.iter().chain(again).take(self.batch) {
                    let part = row.get(start..start + count).unwrap_or_default();
                    numbers.extend_from_slice(part);
                }
                if self.program.type_of(*input).kind != Kind::Float {
                    whole(&numbers)?;
                }
                given.push(program::on(device, numbers));
            }
            let mut gives = program::run(&self.program, values, given, device)?;
            let output = gives.pop().unwrap_or_else(|| Tensor::zeros([0], device));
            let output: Tensor<2> = output.reshape([self.batch, self.width]);
            outputs.push(output.narrow(0, 0, rows.len()));
        }
        let outputs = Tensor::cat(outputs, 0);
        let outputs = if self.probabilities {
            outputs.clamp_min(LEAST).log()
        } else {
            outputs
        };
        Ok(Passed {
            outputs,
            state: Vec::new(),
        })
    }
}

/// An input of whole numbers takes no others.
fn whole(numbers: &[f32]) -> Result<(), InvalidData> {
    let is_whole = |value: f32| value.fract() == 0.0 && value.abs() <= MAX_EXACT as f32;
    match numbers.iter().find(|value| !is_whole(**value)) {
        None => Ok(()),
        Some(&value) => Err(InvalidData::NotWhole { value }),
    }
}
