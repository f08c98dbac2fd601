//! From the inputs that an order brings to samples that fit the model.

use std::path::Path;
use std::sync::Arc;

use embermesh_job::crypto::Digest;
use embermesh_job::model::Model;
use embermesh_job::spec::{Dataset, Evaluate, Input, Split, Train};

use super::split::{Samples, by_share};
use super::{Images, digits, idx};
use crate::failure::{InvalidData, WorkFailed, at};
use crate::pipe::WorkOrder;

/// The images that train, and those that files of their own hold out.
struct Sets {
    main: Arc<Images>,
    holdout: Option<Arc<Images>>,
}

/// The samples that train and those that are held out.
pub(crate) fn for_training(
    train: &Train,
    order: &WorkOrder,
) -> Result<(Samples, Samples), WorkFailed> {
    let sets = read(&train.data, &train.model, order)?;
    Ok(match sets.holdout {
        Some(holdout) => (Samples::all(sets.main), Samples::all(holdout)),
        None => by_share(sets.main, train.holdout, train.seed),
    })
}

/// The samples that judge.
pub(crate) fn for_evaluation(
    evaluate: &Evaluate,
    order: &WorkOrder,
) -> Result<Samples, WorkFailed> {
    let sets = read(&evaluate.data, &evaluate.model, order)?;
    let samples = match (evaluate.split, sets.holdout) {
        (Split::All, _) => Samples::all(sets.main),
        (Split::Holdout { .. }, Some(holdout)) => Samples::all(holdout),
        (Split::Holdout { share, seed }, None) => by_share(sets.main, share, seed).1,
    };
    if samples.len() == 0 {
        return Err(InvalidData::NothingHeldOut.into());
    }
    Ok(samples)
}

/// The bytes of an input, which must be those that its digest names.
pub(crate) fn input(input: Input, order: &WorkOrder) -> Result<Vec<u8>, WorkFailed> {
    let path: &Path = order
        .inputs
        .get(&input.digest)
        .ok_or_else(|| WorkFailed::InputAbsent(input.digest.to_string()))?;
    let bytes = std::fs::read(path).map_err(at(path))?;
    let found = Digest::of(&bytes);
    if found != input.digest {
        return Err(WorkFailed::InputCorrupt {
            expected: input.digest.to_string(),
            found: found.to_string(),
        });
    }
    Ok(bytes)
}

fn read(data: &Dataset, model: &Model, order: &WorkOrder) -> Result<Sets, WorkFailed> {
    let classes = data.classes() as usize;
    let sets = match *data {
        Dataset::DigitsCsv { file, .. } => Sets {
            main: Arc::new(digits::parse(&input(file, order)?, classes)?),
            holdout: None,
        },
        Dataset::Idx {
            images,
            labels,
            holdout_images,
            holdout_labels,
            ..
        } => {
            let main = pair(images, labels, classes, "training", order)?;
            let holdout = match (holdout_images, holdout_labels) {
                (Some(images), Some(labels)) => {
                    Some(pair(images, labels, classes, "holdout", order)?)
                }
                _ => None,
            };
            Sets { main, holdout }
        }
    };
    check(&sets, model)?;
    Ok(sets)
}

fn pair(
    images: Input,
    labels: Input,
    classes: usize,
    kind: &'static str,
    order: &WorkOrder,
) -> Result<Arc<Images>, WorkFailed> {
    let images = input(images, order)?;
    let labels = input(labels, order)?;
    Ok(Arc::new(idx::parse(&images, &labels, classes, kind)?))
}

/// Images fit a model of their shape, and one that takes their pixels in a row.
fn check(sets: &Sets, model: &Model) -> Result<(), InvalidData> {
    let shape = sets.main.shape();
    let row: [usize; 1] = [shape.iter().product()];
    if model.input[..] != shape && model.input[..] != row {
        return Err(InvalidData::Shape {
            data: shape.to_vec(),
            model: model.input.clone(),
        });
    }
    match &sets.holdout {
        Some(holdout) if holdout.shape() != shape => Err(InvalidData::HoldoutShape {
            holdout: holdout.shape(),
            training: shape,
        }),
        _ => Ok(()),
    }
}
