//! A column of a table in memory: a number, a text, several numbers or a picture
//! a row. Every list asks the job's [`Room`] before it grows.

use std::sync::Arc;

use embermesh_job::spec::prepare::condition::Value;
use embermesh_job::spec::prepare::schema::Kind;

use super::texts::{Pictures, Texts};
use crate::dataset::room::Room;
use crate::failure::InvalidData;

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The shape of a row; empty for one number or text.
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values,
    /// What its numbers stand for, where they are numbers of classes.
    pub(crate) classes: Option<Arc<Vec<Value>>>,
}

/// The values of all rows, one row after another, row-major.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// Grey levels and the like.
    Bytes(Vec<u8>),
    /// Numbers of classes and tokens.
    Integers(Vec<i32>),
    /// Numbers of single precision.
    Floats(Vec<f32>),
    /// Numbers as files write them; what is missing is no number.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Texts),
    /// Pictures, each of its own size.
    Pictures(Pictures),
}

/// Runs one expression over the list of whatever numbers there are.
macro_rules! over {
    ($values:expr, $list:ident => $numbers:expr, $texts:ident => $other:expr) => {
        match $values {
            Values::Bytes($list) => $numbers,
            Values::Integers($list) => $numbers,
            Values::Floats($list) => $numbers,
            Values::Numbers($list) => $numbers,
            Values::Texts($texts) => $other,
            Values::Pictures($texts) => $other,
        }
    };
}

impl Column {
    /// A column without rows.
    pub(crate) fn new(name: &str, shape: Vec<usize>, values: Values) -> Self {
        Self {
            name: name.to_owned(),
            shape,
            values,
            classes: None,
        }
    }

    /// A column for what a file has.
    pub(crate) fn of(name: &str, kind: &Kind) -> Self {
        let (shape, values) = match kind {
            Kind::Text => (Vec::new(), Values::Texts(Texts::default())),
            Kind::Pictures { channels } => (Vec::new(), Values::Pictures(Pictures::new(*channels))),
            Kind::Bytes(shape) => (shape.clone().unwrap_or_default(), Values::Bytes(Vec::new())),
            Kind::Numbers(shape) => (
                shape.clone().unwrap_or_default(),
                Values::Numbers(Vec::new()),
            ),
            Kind::Number | Kind::Unknown => (Vec::new(), Values::Numbers(Vec::new())),
        };
        Self::new(name, shape, values)
    }

    /// Numbers a row.
    pub(crate) fn volume(&self) -> usize {
        self.shape.iter().product()
    }

    /// What is in it.
    pub(crate) fn kind(&self) -> Kind {
        match &self.values {
            Values::Texts(_) => Kind::Text,
            Values::Pictures(pictures) => Kind::Pictures {
                channels: pictures.channels,
            },
            _ if self.shape.is_empty() => Kind::Number,
            Values::Bytes(_) => Kind::Bytes(Some(self.shape.clone())),
            _ => Kind::Numbers(Some(self.shape.clone())),
        }
    }

    /// Whether it has texts.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.values, Values::Texts(_))
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> u64 {
        over!(&self.values, list => bytes_of(list), texts => texts.held())
    }

    /// The number at a place, counted over all rows; what is missing, and what
    /// is none, is not a number.
    pub(crate) fn number(&self, at: usize) -> f64 {
        match &self.values {
            Values::Bytes(list) => f64::from(list[at]),
            Values::Integers(list) => f64::from(list[at]),
            Values::Floats(list) => f64::from(list[at]),
            Values::Numbers(list) => list[at],
            Values::Texts(_) | Values::Pictures(_) => f64::NAN,
        }
    }

    /// The text of a row, where it has one.
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        match &self.values {
            Values::Texts(texts) => texts.get(row),
            _ => None,
        }
    }

    /// Whether a row of one number or text has nothing.
    pub(crate) fn is_gap(&self, row: usize) -> bool {
        match &self.values {
            Values::Texts(texts) => texts.get(row).is_none(),
            Values::Pictures(_) => false,
            _ => self.number(row).is_nan(),
        }
    }

    /// The value of a row of one number or text, where it has one.
    pub(crate) fn value(&self, row: usize) -> Option<Value> {
        match &self.values {
            Values::Texts(texts) => texts.get(row).map(|text| Value::Text(text.to_owned())),
            _ => Some(self.number(row))
                .filter(|number| !number.is_nan())
                .map(Value::Number),
        }
    }

    /// Appends a number.
    pub(crate) fn push(
        &mut self,
        number: f64,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        match &mut self.values {
            Values::Bytes(list) => put(list, number as u8, room, of),
            Values::Integers(list) => put(list, number as i32, room, of),
            Values::Floats(list) => put(list, number as f32, room, of),
            Values::Numbers(list) => put(list, number, room, of),
            Values::Texts(_) | Values::Pictures(_) => Ok(()),
        }
    }

    /// Appends a text, or that there is none.
    pub(crate) fn push_text(
        &mut self,
        text: Option<&str>,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        match &mut self.values {
            Values::Texts(texts) => texts.push(text, room, of),
            _ => Ok(()),
        }
    }

    /// The rows with these numbers, in this order, as a column of their own.
    pub(crate) fn gather(
        &self,
        rows: &[u32],
        room: &mut Room,
        of: &str,
    ) -> Result<Self, InvalidData> {
        let volume = self.volume();
        let values = match &self.values {
            Values::Bytes(list) => Values::Bytes(pick(list, volume, rows, room, of)?),
            Values::Integers(list) => Values::Integers(pick(list, volume, rows, room, of)?),
            Values::Floats(list) => Values::Floats(pick(list, volume, rows, room, of)?),
            Values::Numbers(list) => Values::Numbers(pick(list, volume, rows, room, of)?),
            Values::Texts(texts) => Values::Texts(texts.gather(rows, room, of)?),
            Values::Pictures(pictures) => Values::Pictures(pictures.gather(rows, room, of)?),
        };
        Ok(Self {
            name: self.name.clone(),
            shape: self.shape.clone(),
            values,
            classes: self.classes.clone(),
        })
    }

    /// Appends the rows of a column of the same kind.
    pub(crate) fn append(
        &mut self,
        more: &Self,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        match (&mut self.values, &more.values) {
            (Values::Bytes(list), Values::Bytes(more)) => extend(list, more, room, of),
            (Values::Integers(list), Values::Integers(more)) => extend(list, more, room, of),
            (Values::Floats(list), Values::Floats(more)) => extend(list, more, room, of),
            (Values::Numbers(list), Values::Numbers(more)) => extend(list, more, room, of),
            (Values::Texts(list), Values::Texts(more)) => list.append(more, room, of),
            (Values::Pictures(list), Values::Pictures(more)) => list.append(more, room, of),
            _ => Err(InvalidData::Misfit(format!(
                "column {:?} changes its kind within {of}",
                self.name
            ))),
        }
    }
}

/// Bytes that a list holds.
pub(crate) fn bytes_of<T>(list: &Vec<T>) -> u64 {
    (list.capacity() as u64).saturating_mul(size_of::<T>() as u64)
}

/// Appends one element.
pub(crate) fn put<T>(
    list: &mut Vec<T>,
    value: T,
    room: &mut Room,
    of: &str,
) -> Result<(), InvalidData> {
    room.reserve(list, 1, of)?;
    list.push(value);
    Ok(())
}

/// Appends elements.
pub(crate) fn extend<T: Copy>(
    list: &mut Vec<T>,
    more: &[T],
    room: &mut Room,
    of: &str,
) -> Result<(), InvalidData> {
    room.reserve(list, more.len(), of)?;
    list.extend_from_slice(more);
    Ok(())
}

/// An empty list with place for exactly so many elements.
pub(crate) fn exactly<T>(count: usize, room: &mut Room, of: &str) -> Result<Vec<T>, InvalidData> {
    room.take_for::<T>(count, of)?;
    let mut list = Vec::new();
    list.try_reserve_exact(count)
        .map_err(|_| InvalidData::NoRoom {
            file: of.to_owned(),
            needed: (count as u64).saturating_mul(size_of::<T>() as u64),
            left: room.left(),
        })?;
    Ok(list)
}

fn pick<T: Copy>(
    list: &[T],
    volume: usize,
    rows: &[u32],
    room: &mut Room,
    of: &str,
) -> Result<Vec<T>, InvalidData> {
    let mut picked = exactly(rows.len().saturating_mul(volume), room, of)?;
    for &row in rows {
        picked.extend_from_slice(&list[row as usize * volume..][..volume]);
    }
    Ok(picked)
}
