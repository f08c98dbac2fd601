//! One PNG or JPEG file, resized, as planes of bytes.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::dataset::room::Room;
use crate::dataset::unpack::GZIP;
use crate::failure::{InvalidData, Place};

/// The largest side of an image before it is resized.
const MAX_SIDE: u32 = 16_384;
/// Bytes that a pixel takes while an image is decoded and resized: samples of
/// 16 bits in four channels, the coefficients of a progressive JPEG, and an
/// eight-bit copy.
const BYTES_PER_PIXEL: u64 = 16;

/// Appends an image, resized to channels, height and width.
pub(super) fn read(
    bytes: &[u8],
    shape: [usize; 3],
    name: &str,
    room: &mut Room,
    to: &mut Vec<u8>,
) -> Result<(), InvalidData> {
    let [channels, height, width] = shape;
    let (picture, needed) = decode(bytes, height as u64, name, room)?;
    room.reserve(to, channels * height * width, name)?;
    append(&picture, channels, height as u32, width as u32, to);
    room.give(needed);
    Ok(())
}

/// Appends the planes of an image (red, green, blue) as it is, and gives its
/// height and width.
pub(crate) fn planes(
    bytes: &[u8],
    name: &str,
    room: &mut Room,
    to: &mut Vec<u8>,
) -> Result<[usize; 2], InvalidData> {
    let (picture, needed) = decode(bytes, 0, name, room)?;
    let (width, height) = (picture.width(), picture.height());
    room.reserve(to, 3 * height as usize * width as usize, name)?;
    append(&picture, 3, height, width, to);
    room.give(needed);
    Ok([height as usize, width as usize])
}

/// Decodes an image whose size its header has said first, and gives the bytes
/// that were taken for that and for resizing it to `height`.
fn decode(
    bytes: &[u8],
    height: u64,
    name: &str,
    room: &mut Room,
) -> Result<(DynamicImage, u64), InvalidData> {
    let broken = |error: image::ImageError| {
        Place::file(name).has(
            format!("an image that cannot be read ({error})"),
            "a whole PNG or JPEG",
        )
    };
    let format = match bytes {
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        [0xff, 0xd8, ..] => ImageFormat::Jpeg,
        _ => {
            let found = if bytes.starts_with(&GZIP) {
                "a gzip file"
            } else {
                "another beginning"
            };
            return Err(Place::file(name).has(found, "a PNG or a JPEG"));
        }
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(room.left());
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(broken)?;
    let (found_width, found_height) = decoder.dimensions();
    if found_width.max(found_height) > MAX_SIDE {
        return Err(Place::file(name).has(
            format!("{found_width}x{found_height} pixels"),
            format!("at most {MAX_SIDE} a side"),
        ));
    }
    let pixels = u64::from(found_width) * u64::from(found_height);
    // Resizing goes by columns first, in floats.
    let between = u64::from(found_width) * height * 16;
    let needed = pixels * BYTES_PER_PIXEL + between;
    room.take(needed, name)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    Ok((picture, needed))
}

/// Appends the planes of a picture of the right size.
fn append(picture: &DynamicImage, channels: usize, height: u32, width: u32, to: &mut Vec<u8>) {
    use image::imageops::resize;
    let same = (picture.width(), picture.height()) == (width, height);
    if channels == 1 {
        let grey = picture.to_luma8();
        let grey = if same {
            grey
        } else {
            resize(&grey, width, height, FilterType::Triangle)
        };
        to.extend_from_slice(grey.as_raw());
        return;
    }
    let colour = picture.to_rgb8();
    let colour = if same {
        colour
    } else {
        resize(&colour, width, height, FilterType::Triangle)
    };
    for channel in 0..channels {
        to.extend(colour.pixels().map(|pixel| pixel.0[channel]));
    }
}
