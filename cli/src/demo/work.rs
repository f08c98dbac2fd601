//! The two jobs of the demo, from files that are compiled in.

use std::path::Path;

use embermesh_client::Sources;
use embermesh_crypto::{PeerId, digest::Digest};
use embermesh_job::{
    file::{Format, JobFile},
    spec::{Dataset, Evaluate, Input, JobSpec, Split, Work},
};

use crate::exit::WrongInput;

/// The training of the digits, as in the examples.
const DIGITS_JOB: &str = include_str!("../../../examples/jobs/digits-train.toml");
/// The digits.
const DIGITS: &[u8] = include_bytes!("../../../data/digits.csv");
/// The training on an IDX folder, as in the examples.
const IDX_JOB: &str = include_str!("../../../examples/jobs/fashion-mnist.toml");

/// What the demo trains, and with what.
pub(crate) struct Demo {
    /// The training.
    pub(crate) train: JobSpec,
    /// Its data.
    pub(crate) sources: Sources,
}

/// Reads the digits, or an IDX folder.
pub(crate) fn read(idx: Option<&Path>) -> anyhow::Result<Demo> {
    let text = if idx.is_some() { IDX_JOB } else { DIGITS_JOB };
    let file = JobFile::parse(text, Format::Toml)?;
    let mut sources = Sources::default();
    let mut blobs = std::collections::BTreeMap::new();
    for path in file.sources() {
        let input = match idx {
            None => sources.add_bytes(DIGITS),
            Some(folder) => sources.add_file(&folder.join(path.file_name().unwrap_or_default()))?,
        };
        blobs.insert(path.to_owned(), input);
    }
    Ok(Demo {
        train: file.resolve(&blobs)?,
        sources,
    })
}

impl Demo {
    /// The evaluation of weights, anywhere but on the node that made them, by
    /// samples that the training never saw.
    pub(crate) fn evaluation(
        &self,
        digest: Digest,
        size: u64,
        avoid: PeerId,
    ) -> anyhow::Result<JobSpec> {
        let Work::Train(train) = &self.train.work else {
            return Err(WrongInput("the demo's job is no training".to_owned()).into());
        };
        let (data, split) = unseen(&train.data, train.holdout, train.seed);
        let mut spec = JobSpec {
            name: format!("{}-evaluation", self.train.name),
            work: Work::Evaluate(Evaluate {
                model: train.model.clone().into(),
                weights: Some(Input { digest, size }),
                data,
                loss: train.loss.clone(),
                split,
                batch: 64,
            }),
            requires: self.train.requires.clone(),
            limits: self.train.limits,
            attempts: self.train.attempts,
        };
        spec.requires.avoid.push(avoid);
        spec.validate()?;
        Ok(spec)
    }
}

/// The samples that a training kept out.
fn unseen(data: &Dataset, share: f64, seed: u32) -> (Dataset, Split) {
    if let Dataset::Idx {
        holdout_images: Some(images),
        holdout_labels: Some(labels),
        classes,
        ..
    } = data
    {
        let data = Dataset::Idx {
            images: *images,
            labels: Some(*labels),
            holdout_images: None,
            holdout_labels: None,
            classes: *classes,
        };
        return (data, Split::All);
    }
    (data.clone(), Split::Holdout { share, seed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_in_makes_valid_specs() {
        let demo = read(None).unwrap();
        demo.train.validate().unwrap();
        let node = embermesh_crypto::Keypair::from_seed(&[1; 32]).peer_id();
        let spec = demo.evaluation(Digest::of(b"weights"), 7, node).unwrap();
        assert_eq!(spec.requires.avoid, [node]);
        assert_eq!(spec.inputs().len(), 2);
    }

    #[test]
    fn an_idx_folder_without_its_files_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = read(Some(folder.path())) else {
            panic!("it was taken")
        };
        assert!(error.to_string().contains("-idx3-ubyte"), "{error}");
    }
}
