//! What is done to pictures, a plane of a channel at a time.

use embermesh_job::spec::prepare::picture::{Corner, Interpolation, Pixels};
use image::GrayImage;
use image::imageops::{FilterType, resize as resized};

use super::{Stage, scale};
use crate::failure::InvalidData;
use crate::prepare::column::{Column, Values, extend};
use crate::prepare::table::Table;
use crate::prepare::texts::Pictures;

/// Parts of 65536 that red, green and blue are of grey (ITU-R BT.601).
const GREY: [u32; 3] = [19_595, 38_470, 7_471];

/// Channels, height and width of a row, and its planes.
fn picture(column: &Column, row: usize) -> Result<([usize; 3], &[u8]), InvalidData> {
    let wrong = || InvalidData::Misfit(format!("column {:?} has no pictures", column.name));
    match &column.values {
        Values::Pictures(pictures) => {
            let ([height, width], planes) = pictures.get(row);
            Ok(([pictures.channels, height, width], planes))
        }
        Values::Bytes(list) => {
            let shape = match column.shape[..] {
                [height, width] => [1, height, width],
                [channels, height, width] => [channels, height, width],
                _ => return Err(wrong()),
            };
            let volume = column.volume();
            Ok((shape, &list[row * volume..(row + 1) * volume]))
        }
        _ => Err(wrong()),
    }
}

/// Makes a column of pictures of one size, by what `make` appends for each.
fn remake(
    table: &mut Table,
    name: &str,
    [height, width]: [u32; 2],
    stage: &mut Stage<'_>,
    mut make: impl FnMut(&Table, usize, &mut Vec<u8>, &mut Stage<'_>) -> Result<(), InvalidData>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let mut bytes = Vec::new();
    for row in 0..table.len() {
        make(table, row, &mut bytes, stage)?;
    }
    let column = &mut table.columns[at];
    let channels = match (&column.values, &column.shape[..]) {
        (Values::Pictures(pictures), _) => pictures.channels,
        (_, [channels, _, _]) => *channels,
        _ => 1,
    };
    stage.room.give(column.held());
    column.shape = vec![channels, height as usize, width as usize];
    column.values = Values::Bytes(bytes);
    Ok(())
}

/// Brings pictures to one size.
pub(super) fn resize(
    table: &mut Table,
    name: &str,
    size: [u32; 2],
    by: Interpolation,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let [new_height, new_width] = size;
    remake(table, name, size, stage, |table, row, to, stage| {
        let ([channels, height, width], planes) = picture(&table.columns[at], row)?;
        if [height, width] == [new_height as usize, new_width as usize] {
            return extend(to, planes, stage.room, &stage.label);
        }
        // A copy of a plane, and floats in between.
        let needed = (height * width + width * new_height as usize * 16) as u64
            + u64::from(new_height) * u64::from(new_width);
        stage.room.take(needed, &stage.label)?;
        for plane in planes.chunks_exact((height * width).max(1)).take(channels) {
            if by == Interpolation::Nearest {
                nearest(plane, [height, width], size, to, stage)?;
                continue;
            }
            let image = GrayImage::from_raw(width as u32, height as u32, plane.to_vec())
                .ok_or_else(|| InvalidData::Misfit("a picture without pixels".to_owned()))?;
            let image = resized(&image, new_width, new_height, FilterType::Triangle);
            extend(to, image.as_raw(), stage.room, &stage.label)?;
        }
        stage.room.give(needed);
        Ok(())
    })
}

/// Appends a plane of which each pixel is the one that its centre falls on.
fn nearest(
    plane: &[u8],
    [height, width]: [usize; 2],
    size: [u32; 2],
    to: &mut Vec<u8>,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let [new_height, new_width] = size.map(|side| side as usize);
    stage
        .room
        .reserve(to, new_height * new_width, &stage.label)?;
    let from = |at: usize, old: usize, new: usize| (2 * at + 1) * old / (2 * new);
    for row in 0..new_height {
        let line = &plane[from(row, height, new_height) * width..][..width];
        to.extend((0..new_width).map(|at| line[from(at, width, new_width)]));
    }
    Ok(())
}

/// Keeps a part of each picture.
pub(super) fn crop(
    table: &mut Table,
    name: &str,
    size: [u32; 2],
    from: Corner,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let [new_height, new_width] = size.map(|side| side as usize);
    remake(table, name, size, stage, |table, row, to, stage| {
        let ([_, height, width], planes) = picture(&table.columns[at], row)?;
        let (top, left) = match from {
            Corner::Centre => (
                height.saturating_sub(new_height) / 2,
                width.saturating_sub(new_width) / 2,
            ),
            Corner::At { top, left } => (top as usize, left as usize),
        };
        if top + new_height > height || left + new_width > width {
            return Err(stage.place(table, row, name).has(
                format!("a picture of {height}x{width}"),
                format!("one that has {new_height}x{new_width} from row {top} and column {left}"),
            ));
        }
        for plane in planes.chunks_exact(height * width) {
            for line in top..top + new_height {
                let start = line * width + left;
                extend(
                    to,
                    &plane[start..start + new_width],
                    stage.room,
                    &stage.label,
                )?;
            }
        }
        Ok(())
    })
}

/// Makes pictures grey.
pub(super) fn grey(
    table: &mut Table,
    name: &str,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let mut pictures = Pictures::new(1);
    let mut bytes = Vec::new();
    let mut line = Vec::new();
    for row in 0..table.len() {
        let ([channels, height, width], planes) = picture(&table.columns[at], row)?;
        line.clear();
        stage
            .room
            .reserve(&mut line, height * width, &stage.label)?;
        match channels {
            3 => {
                let (red, rest) = planes.split_at(height * width);
                let (green, blue) = rest.split_at(height * width);
                let pixels = red.iter().zip(green).zip(blue);
                line.extend(pixels.map(|((&red, &green), &blue)| {
                    let sum: u32 = [red, green, blue]
                        .iter()
                        .zip(GREY)
                        .map(|(&level, part)| u32::from(level) * part)
                        .sum();
                    ((sum + 0x8000) >> 16) as u8
                }));
            }
            _ => line.extend_from_slice(planes),
        }
        match &table.columns[at].values {
            Values::Pictures(_) => {
                pictures.push([height, width], &line, stage.room, &stage.label)?;
            }
            _ => extend(&mut bytes, &line, stage.room, &stage.label)?,
        }
    }
    stage.room.give(line.capacity() as u64);
    let column = &mut table.columns[at];
    stage.room.give(column.held());
    match (&column.values, &column.shape[..]) {
        (Values::Pictures(_), _) => column.values = Values::Pictures(pictures),
        (_, [.., height, width]) => {
            column.shape = vec![1, *height, *width];
            column.values = Values::Bytes(bytes);
        }
        _ => {}
    }
    Ok(())
}

/// Makes numbers of grey levels.
pub(super) fn pixels(
    table: &mut Table,
    how: &Pixels,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(&how.column)?;
    let column = &mut table.columns[at];
    let channels = match column.shape[..] {
        [channels, _, _] => channels,
        [height, width] => {
            column.shape = vec![1, height, width];
            1
        }
        _ => 0,
    };
    let each = |list: &[f64], usual: f64| match list {
        [] => Some(vec![usual; channels]),
        [one] => Some(vec![*one; channels]),
        many => (many.len() == channels).then(|| many.to_vec()),
    };
    let (Some(mean), Some(deviation)) = (each(&how.mean, 0.0), each(&how.deviation, 1.0)) else {
        return Err(InvalidData::Misfit(format!(
            "the pictures of column {:?} have {channels} channels: give one number, or one a channel",
            how.column
        )));
    };
    // (x / white - mean) / deviation, in one step.
    let off: Vec<f64> = mean.iter().map(|mean| mean * how.white).collect();
    let by: Vec<f64> = deviation.iter().map(|by| by * how.white).collect();
    scale::apply(column, &off, &by, stage)
}
