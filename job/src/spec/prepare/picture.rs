//! What is done to pictures: columns of bytes of the shape channels, height,
//! width, or height, width.

use serde::{Deserialize, Serialize};

use super::schema::{Kind, Schema};

/// The largest side that pictures may be brought to, in pixels.
pub const MAX_SIDE: u32 = 4096;

/// How a picture of another size is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Linear in both directions, over all the pixels that a new one covers.
    #[default]
    Bilinear,
}

impl Interpolation {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a part of a picture begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Corner {
    /// So that the part is in the middle.
    #[default]
    Centre,
    /// So many pixels from the top and from the left.
    At {
        /// Rows above it.
        top: u32,
        /// Columns to its left.
        left: u32,
    },
}

impl Corner {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Numbers of pixels: what is 0 and 1, and then mean and deviation of each
/// channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pixels {
    /// The column.
    pub column: String,
    /// The level that becomes 1; 0 stays 0.
    #[serde(default = "white", skip_serializing_if = "is_white")]
    pub white: f64,
    /// What is then taken off each channel; one number is for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// What each channel is then divided by; one number is for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deviation: Vec<f64>,
}

fn white() -> f64 {
    255.0
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::float_cmp,
    reason = "serde passes references"
)]
fn is_white(value: &f64) -> bool {
    *value == white()
}

/// The channels, where they are known.
fn channels(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::Pictures { channels } => Some(*channels),
        Kind::Bytes(Some(shape)) if shape.len() == 3 => Some(shape[0]),
        Kind::Bytes(Some(_)) => Some(1),
        _ => None,
    }
}

/// A column of pictures: its kind.
fn pictures<'a>(column: &str, schema: &'a Schema) -> Result<Option<&'a Kind>, String> {
    let kind = schema.kind(column)?;
    match kind {
        None | Some(Kind::Unknown | Kind::Pictures { .. } | Kind::Bytes(None)) => Ok(kind),
        Some(Kind::Bytes(Some(shape)))
            if matches!(shape[..], [_, _] | [1 | 3, _, _])
                && shape.iter().all(|&side| (1..=1 << 16).contains(&side)) =>
        {
            Ok(kind)
        }
        Some(other) => Err(format!(
            "column {column:?} has {other}, and only bytes of [1 or 3, height, width] or [height, width] are pictures"
        )),
    }
}

/// The shape of a column's pictures once they have this size.
pub(super) fn sized(
    column: &str,
    [height, width]: [u32; 2],
    schema: &Schema,
) -> Result<Kind, String> {
    let sides = 1..=MAX_SIDE;
    if !sides.contains(&height) || !sides.contains(&width) {
        return Err(format!("{height}x{width} is not 1 to {MAX_SIDE} a side"));
    }
    let kind = pictures(column, schema)?;
    let channels = kind.and_then(channels);
    Ok(Kind::Bytes(channels.map(|channels| {
        vec![channels, height as usize, width as usize]
    })))
}

/// Whether a part of this size lies within the pictures.
pub(super) fn cropped(
    column: &str,
    [height, width]: [u32; 2],
    corner: Corner,
    schema: &Schema,
) -> Result<Kind, String> {
    if let Some(Kind::Bytes(Some(shape))) = schema.kind(column)?
        && let [.., have_height, have_width] = shape[..]
    {
        let (top, left) = match corner {
            Corner::Centre => (0, 0),
            Corner::At { top, left } => (top as usize, left as usize),
        };
        let (bottom, right) = (top + height as usize, left + width as usize);
        if bottom > have_height || right > have_width {
            return Err(format!(
                "{height}x{width} from row {top} and column {left} is not within {have_height}x{have_width} pixels"
            ));
        }
    }
    sized(column, [height, width], schema)
}

/// The same pictures in grey.
pub(super) fn grey(column: &str, schema: &Schema) -> Result<Kind, String> {
    Ok(match pictures(column, schema)? {
        Some(Kind::Pictures { .. }) => Kind::Pictures { channels: 1 },
        Some(Kind::Bytes(Some(shape))) => {
            let sides = &shape[shape.len() - 2..];
            Kind::Bytes(Some(vec![1, sides[0], sides[1]]))
        }
        _ => Kind::Bytes(None),
    })
}

impl Pixels {
    pub(super) fn fits(&self, schema: &Schema) -> Result<Kind, String> {
        let kind = pictures(&self.column, schema)?;
        if matches!(kind, Some(Kind::Pictures { .. })) {
            return Err(format!(
                "the pictures of column {:?} are each of its own size: resize or crop them first",
                self.column
            ));
        }
        let usable =
            |number: &f64| number.is_finite() && number.abs() >= f64::from(f32::MIN_POSITIVE);
        if !usable(&self.white) || !self.deviation.iter().all(usable) {
            return Err("`white` and `deviation` are numbers other than 0".to_owned());
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return Err("`mean` has numbers".to_owned());
        }
        for (what, list) in [("mean", &self.mean), ("deviation", &self.deviation)] {
            let known = kind.and_then(channels);
            let fits = match known {
                Some(channels) => [0, 1, channels].contains(&list.len()),
                None => [0, 1, 3].contains(&list.len()),
            };
            if !fits {
                return Err(format!(
                    "`{what}` has {} numbers: give one, or one a channel",
                    list.len()
                ));
            }
        }
        Ok(Kind::Numbers(match kind {
            Some(Kind::Bytes(Some(shape))) => {
                let sides = &shape[shape.len() - 2..];
                Some(vec![
                    kind.and_then(channels).unwrap_or(1),
                    sides[0],
                    sides[1],
                ])
            }
            _ => None,
        }))
    }
}
