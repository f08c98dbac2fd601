//! The ONNX file of a job, checked where it lies, before anything is sent.

use embermesh_client::{Source, Sources};
use embermesh_compute::onnx::{self, Checked};
use embermesh_job::spec::JobSpec;

use crate::exit::WrongInput;

/// Whether the model of a job can be run as the job asks, and what it costs. None
/// where its model is no ONNX file, or one that is not here.
pub(crate) fn check(spec: &JobSpec, sources: &Sources) -> anyhow::Result<Option<Checked>> {
    let mut failed = None;
    let checked = onnx::check(spec, |wanted| {
        let (_, source) = sources.iter().find(|(input, _)| **input == wanted)?;
        match source {
            Source::Memory(bytes) => Some(bytes.to_vec()),
            Source::File(path) => match std::fs::read(path) {
                Ok(bytes) => Some(bytes),
                Err(error) => {
                    failed = Some(format!("{}: cannot be read: {error}", path.display()));
                    None
                }
            },
        }
    });
    if let Some(failed) = failed {
        return Err(WrongInput(failed).into());
    }
    checked.map_err(|error| WrongInput(format!("the ONNX file cannot be run: {error}")).into())
}
