//! A folder of images, a folder a class, in one archive: a tar, also
//! gzip-compressed, or a zip.
//!
//! Each image is decoded by itself, after its header has said how much memory
//! that takes, and kept as bytes of the model's size.

pub(crate) mod archive;
pub(crate) mod picture;

use embermesh_job::spec::Images;

use super::fit::Scale;
use super::room::Room;
use super::{Features, Set, Targets};
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};

/// The grey level of white.
const WHITE: f32 = 255.0;

/// Reads the images of an archive as `shape`: channels, height, width.
pub(crate) fn parse<I>(
    bytes: &[u8],
    images: &Images<I>,
    shape: [usize; 3],
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let mut pixels = Vec::new();
    let mut classes = Vec::new();
    let mut count = 0;
    archive::each::<InvalidData>(bytes, file, room, &mut |path, bytes, room| {
        let name = format!("{file}: {path}");
        if !images.classes.is_empty() {
            classes.push(class_of(path, &images.classes, &name)?);
        }
        picture::read(bytes, shape, &name, room, &mut pixels)?;
        count += 1;
        Ok(())
    })?;
    if count == 0 {
        return Err(Place::file(file).has("no images", "at least one PNG or JPEG file"));
    }
    let targets = if images.classes.is_empty() {
        Targets::Absent(count)
    } else {
        Targets::Classes(classes)
    };
    let mut set = Set::new(shape.to_vec(), Features::Bytes(pixels), targets)?;
    set.scale = Scale::by(1.0 / WHITE);
    Ok(set)
}

/// The class that the last folder of a path names.
fn class_of(path: &str, classes: &[String], name: &str) -> Result<u32, InvalidData> {
    let folder = path.rsplit('/').nth(1).unwrap_or_default();
    classes
        .iter()
        .position(|class| class == folder)
        .and_then(|class| u32::try_from(class).ok())
        .ok_or_else(|| {
            let known: Vec<String> = classes.iter().take(8).map(|class| quoted(class)).collect();
            let more = if classes.len() > 8 { ", ..." } else { "" };
            Place::file(name).has(
                format!("the folder {}", quoted(folder)),
                format!("one of the classes {}{more}", known.join(", ")),
            )
        })
}

#[cfg(test)]
mod tests;
