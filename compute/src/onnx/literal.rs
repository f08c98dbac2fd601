//! Tensors whose numbers are known here: weights, constants, shapes.

use embermesh_job::model::MAX_ELEMENTS;
use embermesh_job::program::{Kind, MAX_EXACT, TensorType};

use super::wire::{TensorProto, kind};

/// The most whole numbers of one tensor: they take eight times their bytes here.
const MAX_INTS: usize = 1 << 24;

/// A tensor with its numbers. Unlike those of a program it may be empty, as shapes
/// and lists of axes are at times.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    /// What the numbers are.
    pub kind: Kind,
    /// The axes.
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub data: Data,
}

/// Numbers; truths are whole ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Floats.
    Floats(Vec<f32>),
    /// Whole numbers.
    Ints(Vec<i64>),
}

impl Literal {
    /// Whole numbers along one axis.
    #[must_use]
    pub fn ints(values: Vec<i64>) -> Self {
        Self {
            kind: Kind::Int,
            shape: vec![values.len()],
            data: Data::Ints(values),
        }
    }

    /// Floats of a shape.
    #[must_use]
    pub fn floats(shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            kind: Kind::Float,
            shape: shape.to_vec(),
            data: Data::Floats(values),
        }
    }

    /// One number in every place of a shape.
    #[must_use]
    pub fn filled(kind: Kind, shape: &[usize], value: f64) -> Self {
        let count = shape.iter().product();
        Self {
            kind,
            shape: shape.to_vec(),
            data: match kind {
                Kind::Float => Data::Floats(vec![value as f32; count]),
                Kind::Int | Kind::Bool => Data::Ints(vec![value as i64; count]),
            },
        }
    }

    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Floats(values) => values.len(),
            Data::Ints(values) => values.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its kind and shape.
    #[must_use]
    pub fn of(&self) -> TensorType {
        TensorType {
            kind: self.kind,
            shape: self.shape.clone(),
        }
    }

    /// The whole numbers, where it has such.
    pub(super) fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Ints(values) => Some(values),
            Data::Floats(_) => None,
        }
    }

    /// The one number, where there is just one.
    pub(super) fn single(&self) -> Option<f64> {
        match &self.data {
            Data::Floats(values) if values.len() == 1 => Some(f64::from(values[0])),
            Data::Ints(values) if values.len() == 1 => Some(values[0] as f64),
            _ => None,
        }
    }

    /// The numbers as a device has them.
    ///
    /// # Errors
    /// When a whole number would not be exact.
    pub fn into_floats(self) -> Result<Vec<f32>, String> {
        match self.data {
            Data::Floats(values) => Ok(values),
            Data::Ints(values) => values
                .into_iter()
                .map(|value| {
                    if (-MAX_EXACT..=MAX_EXACT).contains(&value) {
                        Ok(value as f32)
                    } else {
                        Err(format!(
                            "{value} is beyond 2^24, where whole numbers are not exact"
                        ))
                    }
                })
                .collect(),
        }
    }

    /// A tensor of a file: its numbers are as many as its shape says.
    pub(super) fn read(tensor: &TensorProto) -> Result<Self, String> {
        if tensor.data_location != 0 {
            return Err("its numbers are in another file: save the model as one file".to_owned());
        }
        let of = kind(tensor.data_type)
            .ok_or_else(|| format!("its data type {} is not read", tensor.data_type))?;
        let shape = tensor
            .dims
            .iter()
            .map(|&axis| usize::try_from(axis).ok())
            .collect::<Option<Vec<_>>>()
            .ok_or("an axis is shorter than nothing")?;
        let count = shape
            .iter()
            .try_fold(1_usize, |count, &axis| count.checked_mul(axis))
            .filter(|&count| count as u64 <= MAX_ELEMENTS)
            .ok_or_else(|| format!("the shape {shape:?} is too large"))?;
        if of != Kind::Float && count > MAX_INTS {
            return Err(format!("{count} whole numbers are more than {MAX_INTS}"));
        }
        let data = if tensor.raw_data.is_empty() {
            listed(tensor)
        } else {
            raw(tensor.data_type, &tensor.raw_data, count)?
        };
        let literal = Self {
            kind: of,
            shape,
            data,
        };
        if literal.len() != count {
            return Err(format!(
                "it has {} numbers where its shape {:?} has {count}",
                literal.len(),
                literal.shape
            ));
        }
        Ok(literal)
    }
}

/// Numbers as fields.
fn listed(tensor: &TensorProto) -> Data {
    let halves = |read: fn(u16) -> f32| {
        Data::Floats(
            tensor
                .int32_data
                .iter()
                .map(|&bits| read(bits as u16))
                .collect(),
        )
    };
    match tensor.data_type {
        1 => Data::Floats(tensor.float_data.clone()),
        11 => Data::Floats(
            tensor
                .double_data
                .iter()
                .map(|&value| value as f32)
                .collect(),
        ),
        10 => halves(half),
        16 => halves(brain),
        7 => Data::Ints(tensor.int64_data.clone()),
        12 | 13 => Data::Ints(
            tensor
                .uint64_data
                .iter()
                .map(|&value| value as i64)
                .collect(),
        ),
        _ => Data::Ints(
            tensor
                .int32_data
                .iter()
                .map(|&value| i64::from(value))
                .collect(),
        ),
    }
}

/// Numbers as bytes, little-endian.
fn raw(data_type: i32, bytes: &[u8], count: usize) -> Result<Data, String> {
    let size = match data_type {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        _ => 8,
    };
    if count.checked_mul(size) != Some(bytes.len()) {
        return Err(format!(
            "it has {} bytes where {count} numbers of {size} bytes belong",
            bytes.len()
        ));
    }
    macro_rules! all {
        ($of:ty, $value:ident => $make:expr) => {{
            let (parts, _) = bytes.as_chunks::<{ size_of::<$of>() }>();
            parts
                .iter()
                .map(|part| {
                    let $value = <$of>::from_le_bytes(*part);
                    $make
                })
                .collect()
        }};
    }
    Ok(match data_type {
        1 => Data::Floats(all!(f32, value => value)),
        10 => Data::Floats(all!(u16, bits => half(bits))),
        11 => Data::Floats(all!(f64, value => value as f32)),
        16 => Data::Floats(all!(u16, bits => brain(bits))),
        2 => Data::Ints(all!(u8, value => i64::from(value))),
        3 => Data::Ints(all!(i8, value => i64::from(value))),
        4 => Data::Ints(all!(u16, value => i64::from(value))),
        5 => Data::Ints(all!(i16, value => i64::from(value))),
        6 => Data::Ints(all!(i32, value => i64::from(value))),
        9 => Data::Ints(all!(u8, value => i64::from(value != 0))),
        12 => Data::Ints(all!(u32, value => i64::from(value))),
        13 => Data::Ints(all!(u64, value => value as i64)),
        _ => Data::Ints(all!(i64, value => value)),
    })
}

/// An IEEE 754 half.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1024.0 + fraction) * 2_f32.powi(exponent - 25),
    }
}

/// The upper half of a 32-bit float.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
