//! NumPy's `.npz`: a zip of `.npy` files, an array each.

use std::io::Cursor;

use embermesh_job::spec::Npz;
use zip::ZipArchive;

use super::Set;
use super::npy::{Array, samples};
use super::room::Room;
use super::unpack::slurp;
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};

/// The most names that a message lists.
const MAX_LISTED: usize = 12;

/// The arrays of a file that train, or those that are held out.
pub(crate) fn parse<I>(
    bytes: &[u8],
    npz: &Npz<I>,
    held: bool,
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let pick = |usual: &Option<String>, held_out: &Option<String>| match held {
        true => held_out.clone().or_else(|| usual.clone()),
        false => usual.clone(),
    };
    let features = pick(&Some(npz.features.clone()), &npz.holdout_features).unwrap_or_default();
    let targets = pick(&npz.targets, &npz.holdout_targets);
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
        Place::file(file).has(format!("no zip archive ({error})"), "an .npz file")
    })?;
    let mut take = |name: &str| -> Result<(Vec<u8>, String), InvalidData> {
        let label = format!("{file}, array {}", quoted(name));
        Ok((read(&mut archive, name, file, &label, room)?, label))
    };
    let (features, label) = take(&features)?;
    let targets = targets.map(|name| take(&name)).transpose()?;
    let unpacked = features.len() + targets.as_ref().map_or(0, |(bytes, _)| bytes.len());
    let features = Array::open(&features, &label)?;
    let targets = targets
        .as_ref()
        .map(|(bytes, label)| Array::open(bytes, label))
        .transpose()?;
    let set = samples(&features, targets.as_ref(), npz.target, room)?;
    room.give(unpacked as u64);
    Ok(set)
}

/// The bytes of an array.
pub(crate) fn read(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    file: &str,
    label: &str,
    room: &mut Room,
) -> Result<Vec<u8>, InvalidData> {
    let entry = format!("{name}.npy");
    let Some(index) = archive.index_for_name(&entry) else {
        let names: Vec<String> = archive
            .file_names()
            .filter_map(Result::ok)
            .take(MAX_LISTED)
            .map(|name| quoted(name.trim_end_matches(".npy")))
            .collect();
        return Err(Place::file(file).has(
            format!("arrays {}", names.join(", ")),
            format!("one called {}", quoted(name)),
        ));
    };
    let from = archive
        .by_index(index)
        .map_err(|error| Place::file(label).has(error.to_string(), "an array"))?;
    slurp(from, "zip", label, room)
}

#[cfg(test)]
mod tests;
