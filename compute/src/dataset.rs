//! Labelled images in memory, whatever file they came from.
//!
//! Pixels stay bytes until a batch needs them: Fashion-MNIST is 47 MB as bytes
//! and 188 MB as `f32`. What the formats share is here; [`digits`] and [`idx`]
//! read them, [`split`] says which samples train and which are held out.

use crate::failure::InvalidData;

pub(crate) mod digits;
pub(crate) mod idx;
pub(crate) mod load;
pub(crate) mod split;

/// Labelled images of one shape.
#[derive(Debug)]
pub(crate) struct Images {
    /// Channels, height, width.
    shape: [usize; 3],
    /// The grey level that becomes 1.0; zero becomes 0.0.
    white: u8,
    pixels: Vec<u8>,
    labels: Vec<u8>,
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
    #[allow(dead_code, reason = "no format brings numbers yet")]
    Numbers {
        /// The numbers of all samples, one sample after another.
        values: Vec<f32>,
        /// How many a sample has; at least 1.
        width: usize,
    },
}

impl Batch {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }
}

impl Targets {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Numbers { values, width } => values.len() / (*width).max(1),
        }
    }
}

impl Default for Targets {
    fn default() -> Self {
        Self::Classes(Vec::new())
    }
}

impl Images {
    /// Checks that pixels and labels belong together and that every label is a
    /// class of the task.
    pub(crate) fn new(
        shape: [usize; 3],
        white: u8,
        pixels: Vec<u8>,
        labels: Vec<u8>,
        classes: usize,
    ) -> Result<Self, InvalidData> {
        let volume: usize = shape.iter().product();
        if labels.is_empty() || volume == 0 {
            return Err(InvalidData::Empty);
        }
        if labels.len() * volume != pixels.len() {
            return Err(InvalidData::Counts {
                images: pixels.len() / volume,
                labels: labels.len(),
            });
        }
        if let Some(row) = labels
            .iter()
            .position(|&label| usize::from(label) >= classes)
        {
            return Err(InvalidData::Class {
                row,
                class: usize::from(labels[row]),
                classes,
            });
        }
        Ok(Self {
            shape,
            white,
            pixels,
            labels,
        })
    }

    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Channels, height, width.
    pub(crate) fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The samples with these numbers, in this order.
    pub(crate) fn batch(&self, numbers: &[u32]) -> Batch {
        let volume: usize = self.shape.iter().product();
        let scale = 1.0 / f32::from(self.white);
        let mut pixels = Vec::with_capacity(numbers.len() * volume);
        let mut classes = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let number = number as usize;
            let greys = &self.pixels[number * volume..(number + 1) * volume];
            pixels.extend(greys.iter().map(|&grey| f32::from(grey) * scale));
            classes.push(u32::from(self.labels[number]));
        }
        Batch {
            pixels,
            targets: Targets::Classes(classes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_follows_the_order_and_is_normalised() {
        let images =
            Images::new([1, 1, 2], 16, vec![0, 16, 8, 4, 16, 0], vec![2, 0, 1], 3).unwrap();
        let batch = images.batch(&[2, 0]);
        assert_eq!(batch.pixels, [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(batch.targets, Targets::Classes(vec![1, 2]));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let refused = Images::new([1, 1, 2], 16, vec![0; 5], vec![0, 0], 2).unwrap_err();
        assert!(matches!(
            refused,
            InvalidData::Counts {
                images: 2,
                labels: 2
            }
        ));
        let refused = Images::new([1, 1, 1], 16, vec![0; 2], vec![0, 2], 2).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "sample 1 is of class 2, but the task has 2 classes (0 to 1)"
        );
        assert!(matches!(
            Images::new([1, 1, 1], 16, Vec::new(), Vec::new(), 2),
            Err(InvalidData::Empty)
        ));
    }
}
