//! IDX, the format of MNIST and its relatives: a magic number that names the
//! element type and the number of dimensions, the dimensions as big-endian
//! 32-bit numbers, then the elements. <http://yann.lecun.com/exdb/mnist/>

use super::Set;
use crate::failure::InvalidData;

/// Elements are unsigned bytes: the only type that images come in.
const UNSIGNED_BYTE: u8 = 0x08;
/// The grey level of white.
const WHITE: u8 = 255;
/// The most dimensions that are read: sample, channel, row, column.
const MAX_DIMENSIONS: usize = 4;

/// Reads images, and their labels where there are any. `kind` says which files these are, for
/// messages: "training", "holdout".
pub(crate) fn parse(
    images: &[u8],
    labels: Option<&[u8]>,
    classes: usize,
    kind: &'static str,
) -> Result<Set, InvalidData> {
    let named = |what: &str| format!("the {kind} {what}");
    let (dimensions, pixels) = array(images, &named("images"))?;
    let shape = match dimensions[..] {
        [_, height, width] => [1, height, width],
        [_, channels, height, width] => [channels, height, width],
        _ => {
            return Err(InvalidData::Idx {
                file: named("images"),
                reason: format!("{} dimensions where 3 or 4 belong", dimensions.len()),
            });
        }
    };
    let Some(labels) = labels else {
        return Set::images(shape, WHITE, pixels.to_vec(), None, classes);
    };
    let (counts, labels) = array(labels, &named("labels"))?;
    if counts.len() != 1 {
        return Err(InvalidData::Idx {
            file: named("labels"),
            reason: format!("{} dimensions where 1 belongs", counts.len()),
        });
    }
    if counts[0] != dimensions[0] {
        return Err(InvalidData::Counts {
            images: dimensions[0],
            labels: counts[0],
        });
    }
    Set::images(
        shape,
        WHITE,
        pixels.to_vec(),
        Some(labels.to_vec()),
        classes,
    )
}

/// The dimensions and the elements of a file.
pub(crate) fn array<'a>(
    bytes: &'a [u8],
    file: &str,
) -> Result<(Vec<usize>, &'a [u8]), InvalidData> {
    let wrong = |reason: String| InvalidData::Idx {
        file: file.to_owned(),
        reason,
    };
    let [0, 0, element, count, rest @ ..] = bytes else {
        return Err(wrong(
            "it does not begin with the magic number of IDX".to_owned(),
        ));
    };
    if *element != UNSIGNED_BYTE {
        return Err(wrong(format!(
            "its elements are of type 0x{element:02x}, and only unsigned bytes (0x08) are read"
        )));
    }
    let count = usize::from(*count);
    if count == 0 || count > MAX_DIMENSIONS {
        return Err(wrong(format!(
            "{count} dimensions are not 1 to {MAX_DIMENSIONS}"
        )));
    }
    let Some((header, elements)) = rest.split_at_checked(count * 4) else {
        return Err(wrong("it ends within its header".to_owned()));
    };
    let dimensions: Vec<usize> = header
        .chunks_exact(4)
        .map(|word| {
            word.iter()
                .fold(0, |value, &byte| value << 8 | usize::from(byte))
        })
        .collect();
    let expected = dimensions
        .iter()
        .try_fold(1_usize, |product, &dimension| {
            product.checked_mul(dimension)
        })
        .ok_or_else(|| wrong("its dimensions overflow".to_owned()))?;
    if elements.len() != expected {
        let problem = if elements.len() < expected {
            "truncated"
        } else {
            "too long"
        };
        return Err(wrong(format!(
            "it is {problem}: {} bytes of elements where its header promises {expected}",
            elements.len()
        )));
    }
    Ok((dimensions, elements))
}

/// An IDX file of these dimensions, for tests.
#[cfg(test)]
pub(crate) fn encode(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, UNSIGNED_BYTE, dimensions.len() as u8];
    for dimension in dimensions {
        bytes.extend(dimension.to_be_bytes());
    }
    bytes.extend(elements);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(images: &[u8], labels: &[u8]) -> String {
        parse(images, Some(labels), 10, "training")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn images_with_and_without_channels_are_read() {
        let labels = encode(&[2], &[1, 0]);
        let grey = parse(&encode(&[2, 1, 3], &[255; 6]), Some(&labels), 2, "training").unwrap();
        assert_eq!((grey.len(), grey.shape()), (2, &[1, 1, 3][..]));
        assert_eq!(grey.batch(&[1]).unwrap().pixels, [1.0; 3]);
        let colour = parse(
            &encode(&[2, 3, 1, 1], &[0; 6]),
            Some(&labels),
            2,
            "training",
        )
        .unwrap();
        assert_eq!(colour.shape(), [3, 1, 1]);
    }

    #[test]
    fn every_cut_is_a_clear_error() {
        let images = encode(&[2, 2, 2], &[7; 8]);
        let labels = encode(&[2], &[0, 1]);
        for end in 0..images.len() {
            let said = refusal(&images[..end], &labels);
            assert!(said.starts_with("the training images:"), "{end}: {said}");
        }
        for end in 0..labels.len() {
            let said = refusal(&images, &labels[..end]);
            assert!(said.starts_with("the training labels:"), "{end}: {said}");
        }
    }

    #[test]
    fn a_truncated_file_says_how_much_is_missing() {
        let images = encode(&[2, 2, 2], &[7; 8]);
        assert_eq!(
            refusal(&images[..20], &encode(&[2], &[0, 1])),
            "the training images: it is truncated: 4 bytes of elements where its header promises 8"
        );
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        let images = encode(&[1, 1, 1], &[0]);
        let labels = encode(&[1], &[0]);
        assert!(refusal(b"P5 28 28", &labels).contains("magic number"));
        assert!(refusal(&[0, 0, 0x0d, 1, 0, 0, 0, 0], &labels).contains("type 0x0d"));
        assert!(refusal(&labels, &labels).contains("1 dimensions where 3 or 4"));
        assert!(refusal(&images, &images).contains("3 dimensions where 1"));
        assert!(refusal(&encode(&[u32::MAX; 4], &[]), &labels).contains("overflow"));
        assert_eq!(
            refusal(&images, &encode(&[2], &[0, 0])),
            "1 images and 2 labels do not belong together"
        );
    }
}
