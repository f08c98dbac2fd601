//! Samples that stay with the client, on both sides: [`LocalData`] is the client's
//! and gives them by number, `Away` is the worker's and asks for them.
//!
//! What travels of a sample is what a file brought, before any scaling, so that a
//! batch is the same as one that was read of a blob, bit by bit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use embermesh_job::crypto::Digest;
use embermesh_job::model::Model;
use embermesh_job::spec::{
    ClientData, Dataset, Element, MAX_CLIENT_RECORD, MAX_CLIENT_SAMPLES, Missing, Target,
};

use crate::dataset::load::{self, Sets};
use crate::dataset::{Features, Set, Targets};
use crate::device::DeviceChoice;
use crate::failure::malformed::column;
use crate::failure::{InvalidData, Place, WorkFailed};
use crate::feed::{Feed, PIECE};
use crate::pipe::{Ceilings, WorkOrder};
use crate::predict::answer;

/// How messages call the data.
const FILE: &str = "data.client";

/// A dataset in memory whose samples can be given by number.
#[derive(Debug)]
pub struct LocalData {
    main: Set,
    holdout: Option<Set>,
    said: ClientData,
}

impl LocalData {
    /// Reads a dataset as a worker would, from `files`, in at most `room` bytes of
    /// memory. Blocks.
    ///
    /// # Errors
    /// [`WorkFailed`], which names file, row and column of what is malformed.
    pub fn load(
        data: &Dataset,
        model: &Model,
        files: BTreeMap<Digest, PathBuf>,
        room: u64,
    ) -> Result<Self, WorkFailed> {
        let order = WorkOrder {
            spec: String::new(),
            attempt: None,
            device: DeviceChoice::Cpu,
            inputs: files,
            resume: None,
            workdir: PathBuf::new(),
            ceilings: Ceilings {
                memory_bytes: room,
                output_bytes: 0,
            },
            threads: 1,
        };
        let from = load::Source {
            order: &order,
            room,
            feed: None,
        };
        let Sets { main, holdout } = from.read(data, model)?;
        let count = |set: &Set| u32::try_from(set.len()).unwrap_or(u32::MAX);
        let mut local = Self {
            said: ClientData {
                digest: Digest::from_bytes([0; 32]),
                samples: count(&main),
                holdout: holdout.as_ref().map_or(0, count),
                shape: main.shape().to_vec(),
                element: element(&main)?,
                target: data.target(),
                labels: labels(data),
                missing: match data.missing() {
                    Missing::Mean => Missing::Mean,
                    // What is dropped or filled is so by now.
                    _ => Missing::Refuse,
                },
                normalise: data.normalise(),
            },
            main,
            holdout,
        };
        let (total, record) = (local.said.total(), local.said.record_bytes());
        if total > MAX_CLIENT_SAMPLES || record > MAX_CLIENT_RECORD {
            return Err(WorkFailed::Spec(format!(
                "data that stays has at most {MAX_CLIENT_SAMPLES} samples of {MAX_CLIENT_RECORD} bytes, and this has {total} of {record}"
            )));
        }
        local.said.digest = local.digest();
        Ok(local)
    }

    /// What a spec says of it.
    #[must_use]
    pub const fn description(&self) -> &ClientData {
        &self.said
    }

    /// These samples as they travel; `None` when there is no such sample.
    #[must_use]
    pub fn records(&self, samples: &[u32]) -> Option<Vec<u8>> {
        let record = usize::try_from(self.said.record_bytes()).ok()?;
        let mut bytes = Vec::with_capacity(samples.len() * record);
        for &sample in samples {
            match sample.checked_sub(self.said.samples) {
                None => self.main.record(sample, &mut bytes),
                Some(held) if held < self.said.holdout => {
                    self.holdout.as_ref()?.record(held, &mut bytes);
                }
                Some(_) => return None,
            }
        }
        Some(bytes)
    }

    fn digest(&self) -> Digest {
        let mut hasher = Digest::hasher();
        let mut record = Vec::new();
        for set in std::iter::once(&self.main).chain(&self.holdout) {
            for sample in 0..set.len() as u32 {
                record.clear();
                set.record(sample, &mut record);
                hasher.update(&record);
            }
        }
        hasher.finalize()
    }
}

/// What classes, or numbers of a target, are called.
fn labels(data: &Dataset) -> Vec<String> {
    match (data, data.target()) {
        (
            Dataset::Csv(table) | Dataset::Jsonl(table) | Dataset::Parquet(table),
            Target::Numbers(width),
        ) if table.target.is_some() => (0..width as usize)
            .map(|at| answer::column(data, at))
            .collect(),
        _ => data.labels().to_vec(),
    }
}

/// How the numbers of a set travel.
fn element(set: &Set) -> Result<Element, WorkFailed> {
    let Some(factor) = set.byte_factor() else {
        return Ok(Element::Float);
    };
    (1..=u8::MAX)
        .find(|&white| 1.0 / f32::from(white) == factor)
        .map(|white| Element::Byte { white })
        .ok_or_else(|| WorkFailed::Internal(format!("no white makes a scale of {factor}")))
}

/// Some samples that are with a client.
#[derive(Clone)]
pub(crate) struct Away {
    feed: Arc<Feed>,
    said: Arc<ClientData>,
    /// The number of the first of these samples.
    first: u32,
    count: u32,
}

impl Away {
    /// The samples of a spec, and those that are held out, where there are such.
    pub(crate) fn of(said: &ClientData, feed: &Arc<Feed>) -> (Self, Option<Self>) {
        let said = Arc::new(said.clone());
        let part = |first, count| Self {
            feed: Arc::clone(feed),
            said: Arc::clone(&said),
            first,
            count,
        };
        let held = (said.holdout > 0).then(|| part(said.samples, said.holdout));
        (part(0, said.samples), held)
    }

    pub(crate) const fn len(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.said.shape
    }

    /// What the numbers are multiplied with where nothing else is said.
    pub(crate) fn factor(&self) -> f32 {
        match self.said.element {
            Element::Byte { white } => 1.0 / f32::from(white.max(1)),
            Element::Float => 1.0,
        }
    }

    /// How many samples make a question of a good size.
    pub(crate) fn piece(&self) -> usize {
        (PIECE / self.record().max(1)).max(1)
    }

    /// Asks for samples that will be taken soon. False when the window is full.
    pub(crate) fn foresee(&self, numbers: &[u32]) -> bool {
        let numbers: Vec<u32> = numbers.iter().map(|number| number + self.first).collect();
        let record = self.record();
        numbers
            .chunks(self.piece())
            .all(|piece| self.feed.foresee(piece, record))
    }

    /// The numbers and targets of samples, as a file would have brought them.
    pub(crate) fn take(&self, numbers: &[u32]) -> Result<(Features, Targets), WorkFailed> {
        let mut read = Read::new(&self.said, numbers.len());
        let numbers: Vec<u32> = numbers.iter().map(|number| number + self.first).collect();
        let pieces: Vec<&[u32]> = numbers.chunks(self.piece()).collect();
        for (at, piece) in pieces.iter().enumerate() {
            for next in &pieces[at..] {
                if !self.feed.foresee(next, self.record()) {
                    break;
                }
            }
            let bytes = self.feed.take(piece, self.record())?;
            for (sample, record) in piece.iter().zip(bytes.chunks_exact(self.record())) {
                read.record(*sample, record)?;
            }
        }
        Ok((read.features, read.targets))
    }

    fn record(&self) -> usize {
        usize::try_from(self.said.record_bytes()).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Debug for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Away")
            .field("said", &self.said)
            .finish_non_exhaustive()
    }
}

/// Samples that are read of what came.
struct Read<'a> {
    said: &'a ClientData,
    features: Features,
    targets: Targets,
}

impl<'a> Read<'a> {
    fn new(said: &'a ClientData, samples: usize) -> Self {
        let numbers = samples.saturating_mul(usize::try_from(said.volume()).unwrap_or(0));
        Self {
            said,
            features: match said.element {
                Element::Byte { .. } => Features::Bytes(Vec::with_capacity(numbers)),
                Element::Float => Features::Floats(Vec::with_capacity(numbers)),
            },
            targets: match said.target {
                Target::Classes(_) => Targets::Classes(Vec::with_capacity(samples)),
                Target::Numbers(width) => Targets::Numbers {
                    values: Vec::with_capacity(samples.saturating_mul(width as usize)),
                    width: width as usize,
                },
                Target::Nothing => Targets::Absent(0),
            },
        }
    }

    /// Reads a sample, whose bytes a stranger has sent.
    fn record(&mut self, sample: u32, record: &[u8]) -> Result<(), InvalidData> {
        let place = || Place::file(FILE).row(u64::from(sample) + 1);
        let volume = usize::try_from(self.said.volume()).unwrap_or(usize::MAX);
        let rest = match &mut self.features {
            Features::Bytes(bytes) => {
                let (numbers, rest) = record.split_at(volume.min(record.len()));
                bytes.extend_from_slice(numbers);
                rest
            }
            Features::Floats(floats) => {
                let (numbers, rest) = record.split_at((4 * volume).min(record.len()));
                for (at, number) in floats_of(numbers).enumerate() {
                    let gap = number.is_nan() && self.said.missing == Missing::Mean;
                    if !number.is_finite() && !gap {
                        let place = place().column(&column(at, None));
                        return Err(place.has(number.to_string(), "a number"));
                    }
                    floats.push(number);
                }
                rest
            }
            Features::Away(_) => record,
        };
        match &mut self.targets {
            Targets::Classes(classes) => {
                let class = u32::from_le_bytes(rest.try_into().unwrap_or([u8::MAX; 4]));
                if !matches!(self.said.target, Target::Classes(count) if class < count) {
                    let expected = format!("one of {:?}", self.said.target);
                    return Err(place().column("target").has(class.to_string(), expected));
                }
                classes.push(class);
            }
            Targets::Numbers { values, .. } => {
                for (at, number) in floats_of(rest).enumerate() {
                    if !number.is_finite() {
                        let place = place().column(&format!("target {}", at + 1));
                        return Err(place.has(number.to_string(), "a number"));
                    }
                    values.push(number);
                }
            }
            Targets::Absent(count) => *count += 1,
        }
        Ok(())
    }
}

fn floats_of(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
