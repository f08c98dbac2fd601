//! From the inputs that an order brings to samples that fit the model.

use std::path::Path;
use std::sync::Arc;

use embermesh_job::crypto::Digest;
use embermesh_job::model::Model;
use embermesh_job::spec::{Dataset, Evaluate, Input, Predict, Split, Train};

use super::fit::{self, Fitted};
use super::room::Room;
use super::split::{Samples, by_share};
use super::unpack::unpack;
use super::{Set, csv, digits, folder, idx, inline, jsonl, npy, npz, parquet};
use crate::failure::{InvalidData, WorkFailed, at};
use crate::pipe::WorkOrder;

/// What a job brings, and the memory that is left for it.
pub(crate) struct Source<'a> {
    /// The inputs.
    pub(crate) order: &'a WorkOrder,
    /// Bytes that samples may take.
    pub(crate) room: u64,
}

/// The samples that a training works with.
pub(crate) struct ForTraining {
    /// Those that train.
    pub(crate) samples: Samples,
    /// Those that are held out.
    pub(crate) holdout: Samples,
    /// What was learnt of their scale, where the data asks for it.
    pub(crate) fitted: Option<Fitted>,
}

/// The samples that a file brings, and those that files of their own hold out.
struct Sets {
    main: Set,
    holdout: Option<Set>,
}

/// The samples that train and those that are held out.
pub(crate) fn for_training(train: &Train, from: &Source<'_>) -> Result<ForTraining, WorkFailed> {
    let Sets { mut main, holdout } = from.read(&train.data, &train.model)?;
    let (numbers, held) = match holdout {
        Some(_) => by_share(main.len(), 0.0, train.seed),
        None => by_share(main.len(), train.holdout, train.seed),
    };
    let fitted = fit::learn(&train.data, &main, &numbers);
    fit::scale(&train.data, &mut main, fitted.as_ref())?;
    let main = Arc::new(main);
    let samples = Samples::of(Arc::clone(&main), numbers);
    let holdout = match holdout {
        Some(mut holdout) => {
            fit::scale(&train.data, &mut holdout, fitted.as_ref())?;
            Samples::all(Arc::new(holdout))
        }
        None => Samples::of(main, held),
    };
    Ok(ForTraining {
        samples,
        holdout,
        fitted,
    })
}

/// The samples that judge. `fitted` is what the weights carry.
pub(crate) fn for_evaluation(
    evaluate: &Evaluate,
    from: &Source<'_>,
    fitted: Option<&Fitted>,
) -> Result<Samples, WorkFailed> {
    let Sets { main, holdout } = from.read(&evaluate.data, &evaluate.model.takes())?;
    let (mut set, split) = match (evaluate.split, holdout) {
        (Split::All, _) => (main, None),
        (Split::Holdout { .. }, Some(holdout)) => (holdout, None),
        (Split::Holdout { share, seed }, None) => (main, Some((share, seed))),
    };
    fit::scale(&evaluate.data, &mut set, fitted)?;
    let count = set.len();
    let set = Arc::new(set);
    let samples = match split {
        None => Samples::all(set),
        Some((share, seed)) => Samples::of(set, by_share(count, share, seed).1),
    };
    if samples.len() == 0 {
        return Err(InvalidData::NothingHeldOut.into());
    }
    Ok(samples)
}

/// The samples of a prediction, in their order. `fitted` is what the weights
/// carry.
pub(crate) fn for_prediction(
    predict: &Predict,
    from: &Source<'_>,
    fitted: Option<&Fitted>,
) -> Result<Samples, WorkFailed> {
    let mut set = from.read(&predict.data, &predict.model.takes())?.main;
    fit::scale(&predict.data, &mut set, fitted)?;
    Ok(Samples::all(Arc::new(set)))
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

impl Source<'_> {
    fn read(&self, data: &Dataset, model: &Model) -> Result<Sets, WorkFailed> {
        let room = &mut Room::new(self.room);
        let sets = match data {
            Dataset::DigitsCsv { file, classes } => Sets {
                main: digits::parse(&input(*file, self.order)?, *classes as usize)?,
                holdout: None,
            },
            Dataset::Idx {
                images,
                labels,
                holdout_images,
                holdout_labels,
                classes,
            } => {
                let mut pair = |images, labels: Option<Input>, kind| {
                    let images = self.open(images, &format!("the {kind} images"), room)?;
                    let labels = labels
                        .map(|labels| self.open(labels, &format!("the {kind} labels"), room))
                        .transpose()?;
                    idx::parse(&images, labels.as_deref(), *classes as usize, kind)
                        .map_err(WorkFailed::from)
                };
                let main = pair(*images, *labels, "training")?;
                let holdout = holdout_images
                    .map(|images| pair(images, *holdout_labels, "holdout"))
                    .transpose()?;
                Sets { main, holdout }
            }
            Dataset::Csv(table) => two(table.file, table.holdout, "data.csv", |file, role| {
                Ok(csv::parse(
                    &self.open(file, role, room)?,
                    table,
                    role,
                    room,
                )?)
            })?,
            Dataset::Jsonl(table) => two(table.file, table.holdout, "data.jsonl", |file, role| {
                Ok(jsonl::parse(
                    &self.open(file, role, room)?,
                    table,
                    role,
                    room,
                )?)
            })?,
            Dataset::Parquet(table) => {
                two(table.file, table.holdout, "data.parquet", |file, role| {
                    Ok(parquet::parse(input(file, self.order)?, table, role, room)?)
                })?
            }
            Dataset::Images(images) => {
                let shape = picture_shape(model)?;
                two(
                    images.archive,
                    images.holdout,
                    "data.images",
                    |file, role| {
                        let bytes = input(file, self.order)?;
                        Ok(folder::parse(&bytes, images, shape, role, room)?)
                    },
                )?
            }
            Dataset::Npz(arrays) => {
                let mut of = |file, role, held| {
                    let bytes = input(file, self.order)?;
                    npz::parse(&bytes, arrays, held, role, room).map_err(WorkFailed::from)
                };
                let main = of(arrays.file, "data.npz.file", false)?;
                let holdout = match (arrays.has_holdout(), arrays.holdout) {
                    (false, _) => None,
                    (true, None) => Some(of(arrays.file, "data.npz.file", true)?),
                    (true, Some(file)) => Some(of(file, "data.npz.holdout", true)?),
                };
                Sets { main, holdout }
            }
            Dataset::Npy(arrays) => {
                let mut pair = |features, targets: Option<Input>, roles: [&str; 2]| {
                    let bytes = self.open(features, roles[0], room)?;
                    let wanted = targets
                        .map(|targets| self.open(targets, roles[1], room))
                        .transpose()?;
                    let features = npy::Array::open(&bytes, roles[0])?;
                    let targets = wanted
                        .as_ref()
                        .map(|bytes| npy::Array::open(bytes, roles[1]))
                        .transpose()?;
                    npy::samples(&features, targets.as_ref(), arrays.target, room)
                        .map_err(WorkFailed::from)
                };
                let roles = ["data.npy.features", "data.npy.targets"];
                let main = pair(arrays.features, arrays.targets, roles)?;
                let roles = ["data.npy.holdout_features", "data.npy.holdout_targets"];
                let holdout = arrays
                    .holdout_features
                    .map(|features| pair(features, arrays.holdout_targets, roles))
                    .transpose()?;
                Sets { main, holdout }
            }
            Dataset::Inline(rows) => Sets {
                main: inline::parse(rows)?,
                holdout: None,
            },
        };
        check(&sets, model)?;
        Ok(sets)
    }

    /// The bytes of an input, unpacked when they are compressed by gzip.
    pub(crate) fn open(
        &self,
        file: Input,
        role: &str,
        room: &mut Room,
    ) -> Result<Vec<u8>, WorkFailed> {
        let bytes = input(file, self.order)?;
        if let std::borrow::Cow::Owned(unpacked) = unpack(&bytes, role, room)? {
            return Ok(unpacked);
        }
        Ok(bytes)
    }
}

/// A set of one file, and perhaps a second of another.
fn two(
    main: Input,
    holdout: Option<Input>,
    role: &str,
    mut read: impl FnMut(Input, &str) -> Result<Set, WorkFailed>,
) -> Result<Sets, WorkFailed> {
    let first = if role == "data.images" {
        "archive"
    } else {
        "file"
    };
    let main = read(main, &format!("{role}.{first}"))?;
    let holdout = holdout
        .map(|file| read(file, &format!("{role}.holdout")))
        .transpose()?;
    Ok(Sets { main, holdout })
}

/// Channels, height and width that images are resized to.
fn picture_shape(model: &Model) -> Result<[usize; 3], InvalidData> {
    model.input[..].try_into().map_err(|_| InvalidData::Shape {
        data: vec![],
        model: model.input.clone(),
    })
}

/// Samples fit a model of their shape; a row fits whatever has as many
/// numbers, and so does a model that takes a row.
fn check(sets: &Sets, model: &Model) -> Result<(), InvalidData> {
    let shape = sets.main.shape();
    let volume = |axes: &[usize]| axes.iter().product::<usize>();
    let flat = shape.len() == 1 || model.input.len() == 1;
    if model.input != shape && !(flat && volume(&model.input) == volume(shape)) {
        return Err(InvalidData::Shape {
            data: shape.to_vec(),
            model: model.input.clone(),
        });
    }
    match &sets.holdout {
        Some(holdout) if holdout.shape() != shape => Err(InvalidData::HoldoutShape {
            holdout: holdout.shape().to_vec(),
            training: shape.to_vec(),
        }),
        _ => Ok(()),
    }
}
