//! Tensors of a safetensors file as samples: the first axis of each counts them.

use embermesh_job::spec::{Target, Tensors};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::npy::header::{Header, element};
use super::npy::{Array, samples};
use super::room::Room;
use super::{Features, Set};
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};

/// The most names that a message lists.
const MAX_LISTED: usize = 12;
/// The largest header, in bytes.
const MAX_HEADER: u64 = 16 << 20;
/// Bytes that a byte of the header may become.
const HEADER_GROWTH: u64 = 16;

/// Reads the samples of a file.
pub(crate) fn parse<I>(
    bytes: &[u8],
    tensors: &Tensors<I>,
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let growth = header_room(bytes, file)?;
    room.take(growth, file)?;
    let targets = tensors
        .targets
        .as_ref()
        .map(|name| find(bytes, name, file))
        .transpose()?;
    let label = |name: &str| format!("{file}, tensor {}", quoted(name));
    let target_label = tensors.targets.as_deref().map(label);
    let targets = targets.zip(target_label.as_deref());
    let targets = targets.map(|((header, elements), label)| Array::of(header, elements, label));
    let labels: Vec<String> = tensors.features.iter().map(|name| label(name)).collect();
    let mut features = Vec::new();
    for (name, label) in tensors.features.iter().zip(&labels) {
        let (header, elements) = find(bytes, name, file)?;
        features.push(Array::of(header, elements, label));
    }
    let set = match &features[..] {
        [one] => samples(one, targets.as_ref(), tensors.target, room)?,
        several => side_by_side(several, targets.as_ref(), tensors.target, file, room)?,
    };
    room.give(growth);
    Ok(set)
}

/// Several tensors, whose numbers make a row together.
fn side_by_side(
    features: &[Array<'_>],
    targets: Option<&Array<'_>>,
    target: Target,
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let count = features.first().map_or(0, Array::count);
    let widths: Vec<usize> = features
        .iter()
        .map(|array| array.sample().iter().product())
        .collect();
    let width: usize = widths.iter().sum();
    let mut all = Vec::new();
    room.reserve(&mut all, count.saturating_mul(width), file)?;
    all.resize(count * width, 0.0_f32);
    let mut before = 0;
    for (array, &own) in features.iter().zip(&widths) {
        if array.count() != count {
            return Err(array.whole().has(
                format!("{} rows", array.count()),
                format!("{count}, as the first of the features has"),
            ));
        }
        for (at, value) in array.values().enumerate() {
            let value = value as f32;
            if !value.is_finite() {
                return Err(array.place(at).has(value.to_string(), "a finite number"));
            }
            all[at / own.max(1) * width + before + at % own.max(1)] = value;
        }
        before += own;
    }
    let wanted = super::npy::wanted(targets, target, count, file, room)?;
    Set::new(vec![width], Features::Floats(all), wanted)
}

/// Bytes that reading the header may take.
pub(crate) fn header_room(bytes: &[u8], file: &str) -> Result<u64, InvalidData> {
    let wrong = |found: String| Place::file(file).has(found, "a whole safetensors file");
    let size = bytes
        .first_chunk()
        .map(|length| u64::from_le_bytes(*length))
        .ok_or_else(|| wrong(format!("{} bytes", bytes.len())))?;
    if size > MAX_HEADER || size > bytes.len() as u64 {
        return Err(wrong(format!("a header of {size} bytes")));
    }
    Ok(size * HEADER_GROWTH)
}

/// The header and the elements of a tensor.
pub(crate) fn find<'a>(
    bytes: &'a [u8],
    name: &str,
    file: &str,
) -> Result<(Header, &'a [u8]), InvalidData> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| {
        Place::file(file).has(
            format!("what cannot be read ({error})"),
            "a whole safetensors file",
        )
    })?;
    let view = tensors.tensor(name).map_err(|_| {
        let mut names: Vec<&str> = tensors.names();
        names.sort_unstable();
        let names: Vec<String> = names
            .iter()
            .take(MAX_LISTED)
            .map(|name| quoted(name))
            .collect();
        Place::file(file).has(
            format!("tensors {}", names.join(", ")),
            format!("one called {}", quoted(name)),
        )
    })?;
    let place = Place::file(&format!("{file}, tensor {}", quoted(name)));
    let descr = match view.dtype() {
        Dtype::BOOL => "|b1",
        Dtype::U8 => "|u1",
        Dtype::I8 => "|i1",
        Dtype::I16 => "<i2",
        Dtype::U16 => "<u2",
        Dtype::I32 => "<i4",
        Dtype::U32 => "<u4",
        Dtype::I64 => "<i8",
        Dtype::U64 => "<u8",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        other => {
            return Err(place.has(
                format!("elements of type {other:?}"),
                "F32, F64, I8 to I64, U8 to U64 or BOOL",
            ));
        }
    };
    if view.shape().is_empty() {
        return Err(place.has("no axis", "a first axis that counts rows"));
    }
    let (size, read) = element(descr).ok_or_else(|| place.has("no element", "a number"))?;
    let header = Header {
        shape: view.shape().to_vec(),
        size,
        read,
        fortran: false,
        is_bytes: descr == "|u1",
        is_single: descr == "<f4",
    };
    Ok((header, view.data()))
}

#[cfg(test)]
mod tests;
