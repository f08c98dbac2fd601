//! NumPy's `.npy`: a magic, a version, a header that is a Python dictionary of
//! three entries, and the elements.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

pub(crate) mod header;

use embermesh_job::spec::Target;

use self::header::Header;
use super::room::Room;
use super::{Features, Set, Targets, class};
use crate::failure::{InvalidData, Place};

/// An array within the bytes of a file.
pub(crate) struct Array<'a> {
    file: &'a str,
    header: Header,
    elements: &'a [u8],
}

impl<'a> Array<'a> {
    /// Reads the header, and checks that the elements it speaks of are there.
    pub(crate) fn open(bytes: &'a [u8], file: &'a str) -> Result<Self, InvalidData> {
        let (header, elements) = header::parse(bytes, file)?;
        let expected = header
            .shape
            .iter()
            .try_fold(header.size, |product, &axis| product.checked_mul(axis));
        if expected != Some(elements.len()) {
            let promised = expected.map_or("more than there can be".to_owned(), |expected| {
                format!("{expected}")
            });
            return Err(Place::file(file).has(
                format!("{} bytes of elements", elements.len()),
                format!("{promised}, by its shape {:?}", header.shape),
            ));
        }
        Ok(Self {
            file,
            header,
            elements,
        })
    }

    /// An array of which header and elements are known.
    pub(crate) fn of(header: Header, elements: &'a [u8], file: &'a str) -> Self {
        Self {
            file,
            header,
            elements,
        }
    }

    /// The whole of it, for messages.
    pub(crate) fn whole(&self) -> Place {
        Place::file(self.file)
    }

    /// How many samples: the first axis.
    pub(crate) fn count(&self) -> usize {
        self.header.shape[0]
    }

    /// The shape of a sample: the other axes, or one number.
    pub(crate) fn sample(&self) -> Vec<usize> {
        match &self.header.shape[1..] {
            [] => vec![1],
            axes => axes.to_vec(),
        }
    }

    /// The elements in row-major order.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let Header {
            shape,
            size,
            read,
            fortran,
            ..
        } = &self.header;
        let count: usize = shape.iter().product();
        (0..count).map(move |at| {
            let place = if *fortran {
                column_major(at, shape)
            } else {
                at
            };
            read(&self.elements[place * size..(place + 1) * size])
        })
    }

    /// The place of the element with this number, for messages.
    pub(crate) fn place(&self, at: usize) -> Place {
        let volume: usize = self.header.shape[1..].iter().product();
        let place = Place::file(self.file).row((at / volume.max(1)) as u64 + 1);
        if volume > 1 {
            place.column(&(at % volume + 1).to_string())
        } else {
            place
        }
    }

    fn features(&self, room: &mut Room) -> Result<Features, InvalidData> {
        let count: usize = self.header.shape.iter().product();
        if self.header.is_bytes && !self.header.fortran {
            room.take_for::<u8>(count, self.file)?;
            return Ok(Features::Bytes(self.elements.to_vec()));
        }
        let floats = self.floats(count, room)?;
        Ok(Features::Floats(floats))
    }

    fn floats(&self, count: usize, room: &mut Room) -> Result<Vec<f32>, InvalidData> {
        let mut floats = Vec::new();
        room.reserve(&mut floats, count, self.file)?;
        for (at, value) in self.values().enumerate() {
            let value = value as f32;
            if !value.is_finite() {
                return Err(self.place(at).has(value.to_string(), "a finite number"));
            }
            floats.push(value);
        }
        Ok(floats)
    }

    fn targets(&self, target: Target, room: &mut Room) -> Result<Targets, InvalidData> {
        let width: usize = self.header.shape[1..].iter().product();
        let expected = match target {
            Target::Classes(_) => 1,
            Target::Numbers(width) => width as usize,
            Target::Nothing => return Ok(Targets::Absent(self.count())),
        };
        if width != expected {
            return Err(Place::file(self.file).has(
                format!("{width} numbers a sample (shape {:?})", self.header.shape),
                format!("{expected}, as `target` says"),
            ));
        }
        let count = self.count() * width;
        Ok(match target {
            Target::Classes(classes) => {
                let mut list = Vec::new();
                room.reserve(&mut list, count, self.file)?;
                for (at, value) in self.values().enumerate() {
                    list.push(class(value, classes, || self.place(at))?);
                }
                Targets::Classes(list)
            }
            _ => Targets::Numbers {
                values: self.floats(count, room)?,
                width,
            },
        })
    }
}

/// Samples of one array, and what they should give of another.
pub(crate) fn samples(
    features: &Array<'_>,
    targets: Option<&Array<'_>>,
    target: Target,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let wanted = wanted(targets, target, features.count(), features.file, room)?;
    Set::new(features.sample(), features.features(room)?, wanted)
}

/// What `count` samples of a file should give.
pub(crate) fn wanted(
    targets: Option<&Array<'_>>,
    target: Target,
    count: usize,
    features: &str,
    room: &mut Room,
) -> Result<Targets, InvalidData> {
    let Some(targets) = targets else {
        return Ok(Targets::Absent(count));
    };
    let wanted = targets.targets(target, room)?;
    if wanted.len() != count {
        return Err(targets.whole().has(
            format!("{} targets", wanted.len()),
            format!("{count}, one a sample of {features}"),
        ));
    }
    Ok(wanted)
}

/// Where the element with a row-major number is in column-major order.
pub(crate) fn column_major(mut at: usize, shape: &[usize]) -> usize {
    let mut place = 0;
    let mut stride: usize = shape.iter().product();
    for &axis in shape.iter().rev() {
        stride /= axis.max(1);
        place += at % axis.max(1) * stride;
        at /= axis.max(1);
    }
    place
}

#[cfg(test)]
pub(crate) mod tests;
