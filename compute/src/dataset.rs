//! Samples in memory, whatever file they came from, and what they should give.
//!
//! Pixels stay bytes until a batch needs them: Fashion-MNIST is 47 MB as bytes
//! and 188 MB as `f32`. What the formats share is here and in [`table`]; each
//! has a file of its own.
//!
//! | module | what it is |
//! |---|---|
//! | [`load`] | from a spec's data to samples that fit the model |
//! | [`split`], [`fit`] | which samples train; what is learnt of their scale |
//! | [`room`], [`unpack`] | how much memory data may take, and gzip within it |
//! | [`table`], [`columns`] | rows of cells, and which columns are what |
//! | [`csv`], [`jsonl`], [`parquet`], [`inline`] | tables |
//! | [`npy`], [`npz`], [`idx`], [`digits`], [`folder`] | arrays and images |

use crate::failure::{InvalidData, Place};

mod columns;
pub(crate) mod csv;
pub(crate) mod digits;
pub(crate) mod fit;
mod folder;
pub(crate) mod idx;
mod inline;
mod jsonl;
pub(crate) mod load;
mod npy;
mod npz;
mod parquet;
pub(crate) mod room;
pub(crate) mod split;
mod table;
mod unpack;

use self::fit::Scale;

/// Samples of one shape.
#[derive(Debug)]
pub(crate) struct Set {
    /// Channels, height, width of an image; the length of a row.
    shape: Vec<usize>,
    features: Features,
    targets: Targets,
    scale: Scale,
}

/// The numbers of samples, one sample after another, row-major.
#[derive(Debug)]
pub(crate) enum Features {
    /// Grey levels.
    Bytes(Vec<u8>),
    /// Numbers; what is missing is no number.
    Floats(Vec<f32>),
}

/// Some of the samples, in some order, ready for a device.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Features of the samples, one after another, row-major, whatever the shape
    /// of a sample is.
    pub(crate) pixels: Vec<f32>,
    /// What each sample should give.
    pub(crate) targets: Targets,
}

/// What samples should give.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Targets {
    /// The class of each sample.
    Classes(Vec<u32>),
    /// Numbers, `width` of them a sample, row-major.
    Numbers {
        /// The numbers of all samples, one sample after another.
        values: Vec<f32>,
        /// How many a sample has; at least 1.
        width: usize,
    },
    /// Nothing that is known, for so many samples.
    Absent(usize),
}

impl Batch {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }
}

impl Features {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Floats(floats) => floats.len(),
        }
    }
}

impl Targets {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Numbers { values, width } => values.len() / (*width).max(1),
            Self::Absent(count) => *count,
        }
    }

    /// Those of the samples with these numbers.
    fn of(&self, numbers: &[u32]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(
                numbers
                    .iter()
                    .map(|&number| classes[number as usize])
                    .collect(),
            ),
            Self::Numbers { values, width } => Self::Numbers {
                values: numbers
                    .iter()
                    .flat_map(|&number| &values[number as usize * width..][..*width])
                    .copied()
                    .collect(),
                width: *width,
            },
            Self::Absent(_) => Self::Absent(numbers.len()),
        }
    }
}

impl Default for Targets {
    fn default() -> Self {
        Self::Classes(Vec::new())
    }
}

impl Set {
    /// Checks that features and targets belong together.
    pub(crate) fn new(
        shape: Vec<usize>,
        features: Features,
        targets: Targets,
    ) -> Result<Self, InvalidData> {
        let volume: usize = shape.iter().product();
        if targets.len() == 0 || volume == 0 {
            return Err(InvalidData::Empty);
        }
        if targets.len().checked_mul(volume) != Some(features.len()) {
            return Err(InvalidData::Counts {
                images: features.len() / volume,
                labels: targets.len(),
            });
        }
        Ok(Self {
            shape,
            features,
            targets,
            scale: Scale::by(1.0),
        })
    }

    /// Images as grey levels, of which `white` becomes 1.0, and their labels
    /// where they have any.
    pub(crate) fn images(
        shape: [usize; 3],
        white: u8,
        pixels: Vec<u8>,
        labels: Option<Vec<u8>>,
        classes: usize,
    ) -> Result<Self, InvalidData> {
        let targets = match labels {
            None => {
                let volume: usize = shape.iter().product();
                Targets::Absent(pixels.len().checked_div(volume).unwrap_or(0))
            }
            Some(labels) => {
                let wrong = labels
                    .iter()
                    .position(|&label| usize::from(label) >= classes);
                if let Some(row) = wrong {
                    return Err(InvalidData::Class {
                        row,
                        class: usize::from(labels[row]),
                        classes,
                    });
                }
                Targets::Classes(labels.into_iter().map(u32::from).collect())
            }
        };
        let mut set = Self::new(shape.to_vec(), Features::Bytes(pixels), targets)?;
        set.scale = Scale::by(1.0 / f32::from(white));
        Ok(set)
    }

    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// The shape of a sample.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn volume(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many groups of numbers are scaled by themselves: the channels of an
    /// image, or the numbers of a row.
    fn groups(&self) -> usize {
        match self.shape[..] {
            [channels, _, _] => channels,
            _ => self.volume(),
        }
    }

    /// Shows each number of a sample, and its group, before any scaling.
    fn each_group(&self, number: u32, groups: usize, mut see: impl FnMut(usize, f32)) {
        let volume = self.volume();
        let size = (volume / groups.max(1)).max(1);
        let range = number as usize * volume..(number as usize + 1) * volume;
        match &self.features {
            Features::Bytes(bytes) => {
                for (at, &byte) in bytes[range].iter().enumerate() {
                    see(at / size, f32::from(byte));
                }
            }
            Features::Floats(floats) => {
                for (at, &x) in floats[range].iter().enumerate() {
                    see(at / size, x);
                }
            }
        }
    }

    /// The samples with these numbers, in this order.
    pub(crate) fn batch(&self, numbers: &[u32]) -> Batch {
        let volume = self.volume();
        let mut pixels = Vec::with_capacity(numbers.len() * volume);
        for &number in numbers {
            let range = number as usize * volume..(number as usize + 1) * volume;
            match &self.features {
                Features::Bytes(bytes) => self.scale.apply(&bytes[range], &mut pixels),
                Features::Floats(floats) => self.scale.apply(&floats[range], &mut pixels),
            }
        }
        Batch {
            pixels,
            targets: self.targets.of(numbers),
        }
    }
}

/// A class by its number, which a file may also write as `2.0`.
fn class(number: f64, classes: u32, place: impl FnOnce() -> Place) -> Result<u32, InvalidData> {
    if number >= 0.0 && number < f64::from(classes) && number.fract() == 0.0 {
        return Ok(number as u32);
    }
    Err(place().has(
        number.to_string(),
        format!("a class from 0 to {}", classes.saturating_sub(1)),
    ))
}

#[cfg(test)]
mod tests;
