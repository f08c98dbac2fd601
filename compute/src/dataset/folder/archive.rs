//! The files of an archive, one after another and never all at once.

use std::io::{Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use tar::Archive;
use zip::ZipArchive;

use crate::dataset::room::Room;
use crate::dataset::unpack::{Bounded, GZIP, slurp};
use crate::failure::{InvalidData, Place};

/// The first bytes of a zip archive.
const ZIP: &[u8] = b"PK";
/// The longest path of a file, in bytes.
const MAX_PATH: usize = 4096;

/// What is done with a file: its path, its bytes, the room beside them.
type Visit<'a, E> = &'a mut dyn FnMut(&str, &[u8], &mut Room) -> Result<(), E>;

/// Shows every image of an archive.
pub(crate) fn each<E: From<InvalidData>>(
    bytes: &[u8],
    file: &str,
    room: &mut Room,
    visit: Visit<'_, E>,
) -> Result<(), E> {
    if bytes.starts_with(ZIP) {
        return zipped(bytes, file, room, visit);
    }
    // Names and records of a tar are kept whole while they are read.
    let left = room.left();
    if bytes.starts_with(&GZIP) {
        return tarred(
            Bounded::new(MultiGzDecoder::new(bytes), left),
            file,
            room,
            visit,
        );
    }
    tarred(bytes, file, room, visit)
}

fn tarred<E: From<InvalidData>>(
    from: impl Read,
    file: &str,
    room: &mut Room,
    visit: Visit<'_, E>,
) -> Result<(), E> {
    let broken = |error: std::io::Error| {
        Place::file(file).has(
            format!("a tar that cannot be read ({error})"),
            "a whole tar, tar.gz or zip",
        )
    };
    let mut archive = Archive::new(from);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || !is_wanted(&path, file)? {
            continue;
        }
        let size = entry.size();
        let name = format!("{file}: {path}");
        let bytes = slurp(&mut entry, "tar", &name, room)?;
        if bytes.len() as u64 != size {
            let wrong = Place::file(&name).has(
                format!("{} bytes", bytes.len()),
                format!("{size}, as the archive says"),
            );
            return Err(wrong.into());
        }
        visit(&path, &bytes, room)?;
        room.give(bytes.capacity() as u64);
    }
    Ok(())
}

fn zipped<E: From<InvalidData>>(
    bytes: &[u8],
    file: &str,
    room: &mut Room,
    visit: Visit<'_, E>,
) -> Result<(), E> {
    let broken = |error: zip::result::ZipError| {
        Place::file(file).has(
            format!("a zip that cannot be read ({error})"),
            "a whole zip",
        )
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(broken)?;
        let path = String::from_utf8_lossy(entry.name_raw()).into_owned();
        if !entry.is_file() || !is_wanted(&path, file)? {
            continue;
        }
        let name = format!("{file}: {path}");
        let bytes = slurp(entry, "zip", &name, room)?;
        visit(&path, &bytes, room)?;
        room.give(bytes.capacity() as u64);
    }
    Ok(())
}

/// Whether a file is an image rather than what some system left beside them.
fn is_wanted(path: &str, file: &str) -> Result<bool, InvalidData> {
    if path.len() > MAX_PATH {
        return Err(Place::file(file).has(
            format!("a path of {} bytes", path.len()),
            format!("at most {MAX_PATH}"),
        ));
    }
    let hidden = |part: &str| part.starts_with('.') && part != "." || part == "__MACOSX";
    if path.split('/').any(hidden) {
        return Ok(false);
    }
    let ending = path
        .rsplit_once('.')
        .map(|(_, ending)| ending.to_lowercase());
    match ending.as_deref() {
        Some("png" | "jpg" | "jpeg") => Ok(true),
        _ => Err(Place::file(&format!("{file}: {path}"))
            .has("a file of another kind", "only .png, .jpg and .jpeg files")),
    }
}
