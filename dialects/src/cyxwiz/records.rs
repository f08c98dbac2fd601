//! Batches as this system's clients serve them, made into samples as they travel to a
//! node's work: the numbers of a sample, then its targets.
//!
//! Numbers come as little-endian 32-bit floats. A class comes as a 32-bit integer, as a
//! float that is whole, or as one float for each class of which one is 1: the three
//! cannot be taken for each other, because a class above 0 as a float has, as an integer,
//! a number that no model has classes for.

use bytes::{Bytes, BytesMut};
use embermesh_job::spec::{ClientData, Element, Target};

use crate::Failure;

/// Bytes of a number of a batch.
const NUMBER: usize = 4;

/// A batch, as either form of the wire has it.
pub(super) struct Batch {
    pub(super) images: Bytes,
    pub(super) labels: Bytes,
    pub(super) batch_shape: Vec<i64>,
    pub(super) label_shape: Vec<i64>,
}

impl Batch {
    /// The batch as so many samples.
    ///
    /// # Errors
    /// `Invalid` for a batch of another shape, naming the part.
    pub(super) fn records(&self, said: &ClientData, count: usize) -> Result<Bytes, Failure> {
        let volume = usize::try_from(said.volume()).unwrap_or(usize::MAX);
        if said.element != Element::Float {
            return Err(Failure::invalid(
                "this job's samples travel as bytes, which this system has no form for",
            ));
        }
        self.shaped(said, count)?;
        let width = volume.saturating_mul(NUMBER);
        fits("images", self.images.len(), count.saturating_mul(width))?;
        let targets = self.targets(said.target, count)?;
        let each = targets.len() / count.max(1);
        let mut records = BytesMut::with_capacity(self.images.len() + targets.len());
        for at in 0..count {
            records.extend_from_slice(&self.images[at * width..(at + 1) * width]);
            records.extend_from_slice(&targets[at * each..(at + 1) * each]);
        }
        Ok(records.freeze())
    }

    /// Whether the shape that a batch says is the job's; none at all leaves it to the
    /// bytes.
    fn shaped(&self, said: &ClientData, count: usize) -> Result<(), Failure> {
        let Some((first, rest)) = self.batch_shape.split_first() else {
            return Ok(());
        };
        let is_count = usize::try_from(*first).is_ok_and(|first| first == count);
        let mut axes = rest.iter().map(|axis| u64::try_from(*axis).ok());
        let volume = axes.try_fold(1_u64, |product, axis| product.checked_mul(axis?));
        if is_count && volume == Some(said.volume()) {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "batch_shape: {:?} is not {count} samples of {:?}",
            self.batch_shape, said.shape
        )))
    }

    /// The targets as they travel.
    fn targets(&self, target: Target, count: usize) -> Result<Vec<u8>, Failure> {
        match target {
            Target::Nothing => {
                fits("labels", self.labels.len(), 0)?;
                Ok(Vec::new())
            }
            Target::Numbers(width) => {
                let bytes = count.saturating_mul(width as usize).saturating_mul(NUMBER);
                fits("labels", self.labels.len(), bytes)?;
                Ok(self.labels.to_vec())
            }
            Target::Classes(classes) => {
                let wide = classes as usize * NUMBER;
                let is_wide =
                    self.labels.len() == count.saturating_mul(wide) && self.label_shape.len() != 1;
                let width = if is_wide { wide } else { NUMBER };
                fits("labels", self.labels.len(), count.saturating_mul(width))?;
                let mut out = Vec::with_capacity(count * NUMBER);
                for (at, label) in self.labels.chunks_exact(width).enumerate() {
                    let class = if is_wide {
                        one_hot(label)
                    } else {
                        index(label)
                    };
                    let class = class.filter(|class| *class < classes).ok_or_else(|| {
                        Failure::invalid(format!(
                            "labels: that of sample {at} is none of {classes} classes"
                        ))
                    })?;
                    out.extend_from_slice(&class.to_le_bytes());
                }
                Ok(out)
            }
        }
    }
}

fn fits(what: &str, has: usize, takes: usize) -> Result<(), Failure> {
    if has == takes {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{what}: there are {has} bytes, and {takes} were asked for"
    )))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; NUMBER]> {
    bytes.as_chunks::<NUMBER>().0.iter().copied()
}

/// A class by its number, as an integer or as a float.
fn index(label: &[u8]) -> Option<u32> {
    let word = words(label).next()?;
    let integer = u32::from_le_bytes(word);
    // The least float above 0 that is whole.
    if integer < 1.0_f32.to_bits() {
        return Some(integer);
    }
    let number = f32::from_le_bytes(word);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and below what a float counts by ones"
    )]
    (number.fract() == 0.0 && (1.0..16_777_216.0).contains(&number)).then_some(number as u32)
}

/// The one class of which the float is 1.
fn one_hot(label: &[u8]) -> Option<u32> {
    let mut class = None;
    for (at, word) in (0..).zip(words(label)) {
        match f32::from_le_bytes(word) {
            0.0 => {}
            1.0 if class.is_none() => class = Some(at),
            _ => return None,
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Digest;
    use embermesh_job::spec::Missing;

    use super::*;

    fn said(target: Target) -> ClientData {
        ClientData {
            digest: Digest::of(b""),
            samples: 10,
            holdout: 0,
            shape: vec![2],
            element: Element::Float,
            target,
            labels: Vec::new(),
            missing: Missing::Refuse,
            normalise: None,
        }
    }

    fn floats(numbers: &[f32]) -> Bytes {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn ints(numbers: &[i32]) -> Bytes {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn batch(images: &[f32], labels: Bytes) -> Batch {
        Batch {
            images: floats(images),
            labels,
            batch_shape: Vec::new(),
            label_shape: Vec::new(),
        }
    }

    const TWO: [f32; 4] = [1.0, 2.0, 3.0, 4.0];

    #[test]
    fn a_class_is_the_same_in_each_of_its_forms() {
        let expected = [floats(&TWO[..2]), ints(&[2]), floats(&TWO[2..]), ints(&[0])].concat();
        for labels in [
            ints(&[2, 0]),
            floats(&[2.0, 0.0]),
            floats(&[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
        ] {
            let batch = batch(&TWO, labels);
            let records = batch.records(&said(Target::Classes(3)), 2).unwrap();
            assert_eq!(records, expected);
        }
        let numbers = batch(&TWO, floats(&[0.5, 0.25]));
        let records = numbers.records(&said(Target::Numbers(1)), 2).unwrap();
        assert_eq!(records[8..12], floats(&[0.5])[..]);
    }

    #[test]
    fn what_is_not_what_was_asked_for_is_named() {
        let classes = said(Target::Classes(3));
        for (labels, word) in [
            (ints(&[3, 0]), "sample 0"),
            (ints(&[-1, 0]), "sample 0"),
            (floats(&[1.0, 1.5]), "sample 1"),
            (floats(&[0.0, f32::NAN]), "sample 1"),
            (floats(&[0.0, 1.0, 1.0, 1.0, 0.0, 0.0]), "sample 0"),
            (floats(&[0.0; 6]), "sample 0"),
            (ints(&[1]), "labels"),
            (Bytes::new(), "labels"),
        ] {
            let refused = batch(&TWO, labels).records(&classes, 2).unwrap_err();
            assert!(refused.message.contains(word), "{refused}");
        }
        let short = batch(&TWO[..3], ints(&[0, 0])).records(&classes, 2);
        assert!(short.unwrap_err().message.contains("images"));
        let mut shaped = batch(&TWO, ints(&[0, 0]));
        for (shape, fits) in [
            (vec![2, 2], true),
            (vec![2, 1, 2], true),
            (vec![1, 4], false),
            (vec![2, -2], false),
            (vec![2, i64::MAX, i64::MAX], false),
        ] {
            shaped.batch_shape.clone_from(&shape);
            assert_eq!(shaped.records(&classes, 2).is_ok(), fits, "{shape:?}");
        }
    }
}
