//! Files that explode or lie.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{
    io::{Cursor, Write as _},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use parquet::{
    basic::Encoding,
    data_type::{ByteArrayType, FloatType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use zip::{ZipWriter, write::SimpleFileOptions};

/// The same piece over and over, as gzip.
pub(crate) fn gzip_of(piece: &[u8], times: usize) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..times {
        to.write_all(piece).unwrap();
    }
    to.finish().unwrap()
}

/// The beginning of a NumPy array of floats of this shape.
pub(crate) fn npy(shape: &str) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat()
}

/// An archive of one array `x` of zeros, of so many rows of four numbers.
pub(crate) fn npz(rows: usize) -> Vec<u8> {
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    to.start_file("x.npy", SimpleFileOptions::default())
        .unwrap();
    to.write_all(&npy(&format!("({rows}, 4)"))).unwrap();
    let zeros = vec![0; 16 * 1024];
    for _ in 0..rows / 1024 {
        to.write_all(&zeros).unwrap();
    }
    to.finish().unwrap().into_inner()
}

/// An archive of one image.
pub(crate) fn tar(name: &str, file: &[u8]) -> Vec<u8> {
    let mut to = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(file.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    to.append_data(&mut header, name, file).unwrap();
    to.into_inner().unwrap()
}

/// A compressed archive whose one image is zeros without end.
pub(crate) fn tar_gz(mebibytes: usize) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("white/1.png").unwrap();
    header.set_size((mebibytes as u64) << 20);
    header.set_mode(0o644);
    header.set_cksum();
    let mut to = GzEncoder::new(Vec::new(), Compression::best());
    to.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        to.write_all(&zeros).unwrap();
    }
    to.finish().unwrap()
}

/// A PNG of a few bytes that says that it has 60000 by 60000 pixels.
pub(crate) fn png() -> Vec<u8> {
    let side = 60_000_u32.to_be_bytes();
    let header = [b"IHDR", &side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let data = [b"IDAT", &gzip_of(b"", 1)[..]].concat();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in [&header[..], &data, b"IEND"] {
        png.extend(u32::try_from(chunk.len() - 4).unwrap().to_be_bytes());
        png.extend(chunk);
        let mut crc = flate2::Crc::new();
        crc.update(chunk);
        png.extend(crc.sum().to_be_bytes());
    }
    png
}

/// A JPEG of a few bytes that says that it has 65500 by 65500 pixels.
pub(crate) fn jpeg() -> Vec<u8> {
    let side = 65_500_u16.to_be_bytes();
    let parts = [3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0];
    let frame = [&[0xff, 0xc0, 0, 17, 8][..], &side, &side, &parts].concat();
    [&[0xff, 0xd8][..], &frame, &[0xff, 0xda, 0, 2, 0xff, 0xd9]].concat()
}

/// A table of a number `x` and a text `kind`, the texts as differences, whose page
/// says inside that there are two thousand million of them.
pub(crate) fn parquet() -> Vec<u8> {
    let schema = "message m { required float x; required binary kind (UTF8); }";
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_column_encoding("kind".into(), Encoding::DELTA_BYTE_ARRAY)
        .build();
    let mut to = SerializedFileWriter::new(
        Vec::new(),
        Arc::new(parse_message_type(schema).unwrap()),
        Arc::new(properties),
    )
    .unwrap();
    let mut group = to.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let numbers = column.typed::<FloatType>();
    numbers.write_batch(&[1.0; 40], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let kinds: Vec<_> = (0..40)
        .map(|at| format!("{at:>40}").as_str().into())
        .collect();
    let texts = column.typed::<ByteArrayType>();
    texts.write_batch(&kinds, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    let mut bytes = to.into_inner().unwrap();
    // The head of the differences: a block of 128 in 4, and 40 of them.
    let head = [128, 1, 4, 40];
    let at = bytes.windows(4).position(|window| window == head).unwrap();
    bytes[at + 3..at + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x07]);
    bytes
}

/// Images as MNIST has them, two thousand million of them by the header.
pub(crate) fn idx() -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    for axis in [0x7fff_ffff_u32, 28, 28] {
        bytes.extend(axis.to_be_bytes());
    }
    bytes.extend([0; 784]);
    bytes
}

/// Weights whose header is as long as a file can be.
pub(crate) fn safetensors(header: u64, rest: &[u8]) -> Vec<u8> {
    [&header.to_le_bytes()[..], rest].concat()
}

/// Weights of one tensor that says that it lies beyond the end.
pub(crate) fn safetensors_beyond() -> Vec<u8> {
    let header = br#"{"dense.weight":{"dtype":"F32","shape":[3,1152921504606846976],"data_offsets":[0,13835058055282163712]}}"#;
    safetensors(header.len() as u64, header)
}
