use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding};
use ::parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;
use crate::dataset::Targets;
use crate::dataset::table::tests::{spec, truncated};

/// What PyArrow 26.0.1 wrote, in two row groups; `make.py` beside it says how.
const TABLE: &[u8] = include_bytes!("../../../tests/data/table.parquet");

fn read_in(bytes: &[u8], json: &str, room: u64) -> Result<Set, InvalidData> {
    let table: Table<u32> = spec(json);
    parse(
        bytes.to_vec(),
        &table,
        "data.parquet.file",
        &mut Room::new(room),
    )
}

fn read(bytes: &[u8], json: &str) -> Result<Set, InvalidData> {
    read_in(bytes, json, 8 << 20)
}

/// A file of one column `x` with these values.
fn floats(values: &[f32], compression: Compression) -> Vec<u8> {
    let schema = parse_message_type("message m { required float x; }").unwrap();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .build();
    let mut to =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = to.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<FloatType>()
        .write_batch(values, None, None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    to.into_inner().unwrap()
}

#[test]
fn numbers_lists_and_labels_are_read_over_row_groups() {
    let json = r#""features":["count","tall","pixels"],"missing":{"fill":7},
        "target":{"classes":{"column":"kind","labels":["cat","dog"]}}"#;
    let set = read(TABLE, json).unwrap();
    let batch = set.batch(&[0, 3, 4]).unwrap();
    assert_eq!(
        batch.pixels,
        [1., 1., 0., 1., 4., 0., 6., 7., 5., 1., 8., 9.]
    );
    assert_eq!(batch.targets, Targets::Classes(vec![0, 1, 0]));
    let json =
        r#""features":["length"],"missing":"drop","target":{"numbers":{"columns":["price"]}}"#;
    let batch = read(TABLE, json).unwrap().batch(&[1, 2]).unwrap();
    assert_eq!(batch.pixels, [3.5, 4.5]);
    assert_eq!(
        batch.targets,
        Targets::Numbers {
            values: vec![3.0, 4.0],
            width: 1
        }
    );
}

#[test]
fn a_bad_cell_is_named_by_file_row_and_column() {
    for (json, expected) in [
        (
            r#""features":["length"]"#,
            "data.parquet.file, row 2, column 1 (\"length\"): found nothing",
        ),
        (
            r#""features":["pixels"]"#,
            "row 4, column 4 (\"pixels\"): found nothing",
        ),
        (
            r#""features":["kind"]"#,
            "row 1, column 5 (\"kind\"): found \"cat\", expected a number",
        ),
        (
            r#""features":["colour"]"#,
            "found columns \"length\", \"count\"",
        ),
        (r#""features":[7]"#, "found lists of lists"),
        (
            r#""features":["count"],"target":{"classes":{"column":"price","count":3}}"#,
            "row 3, column 6 (\"price\"): found 3, expected a class from 0 to 2",
        ),
    ] {
        let said = read(TABLE, json).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn headers_are_judged_before_memory_is_taken() {
    // A million equal values are a few bytes in the file.
    let bytes = floats(&vec![1.0; 1 << 20], Compression::SNAPPY);
    assert!(bytes.len() < 1 << 16, "{}", bytes.len());
    let refused = read_in(&bytes, "", 3 << 20).unwrap_err();
    assert!(matches!(refused, InvalidData::NoRoom { .. }), "{refused}");
    // A footer that is larger than the file.
    let mut bytes = floats(&[1.0, 2.0], Compression::UNCOMPRESSED);
    let at = bytes.len() - 8;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let said = read(&bytes, "").unwrap_err().to_string();
    assert!(said.contains("a footer of 4294967295 bytes"), "{said}");
    assert!(read(b"PAR1PAR1", "").is_err());
}

#[test]
fn no_cut_and_no_changed_byte_makes_it_panic() {
    let bytes = floats(&[1.0, 2.0, 2.0], Compression::SNAPPY);
    let table: Table<u32> = spec("");
    truncated(&bytes, "data.parquet.file", |bytes, room| {
        parse(bytes.to_vec(), &table, "data.parquet.file", room)
    });
    for at in 0..bytes.len() {
        for change in [0x00, 0x7f, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = change;
            if let Err(error) = read(&bytes, "") {
                let said = error.to_string();
                assert!(said.starts_with("data.parquet.file"), "{at}: {said}");
            }
        }
    }
}

/// A file of a number `x` and a text `kind`, whose texts are encoded as differences.
fn texts(kinds: &[&str], encoding: Encoding, compression: Compression) -> Vec<u8> {
    let schema = "message m { required float x; required binary kind (UTF8); }";
    let schema = parse_message_type(schema).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(compression)
        .set_column_encoding("kind".into(), encoding)
        .build();
    let mut to =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = to.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let numbers: Vec<f32> = (0..kinds.len()).map(|at| at as f32).collect();
    let floats = column.typed::<FloatType>();
    floats.write_batch(&numbers, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let kinds: Vec<ByteArray> = kinds.iter().map(|&kind| kind.into()).collect();
    let binary = column.typed::<ByteArrayType>();
    binary.write_batch(&kinds, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    to.into_inner().unwrap()
}

const KINDS: &str = r#""features":["x"],
    "target":{"classes":{"column":"kind","labels":["cat","cattle","dog"]}}"#;

#[test]
fn texts_as_differences_are_read() {
    for encoding in [
        Encoding::DELTA_BYTE_ARRAY,
        Encoding::DELTA_LENGTH_BYTE_ARRAY,
    ] {
        let bytes = texts(
            &["cat", "cattle", "dog", "cat"],
            encoding,
            Compression::SNAPPY,
        );
        let batch = read(&bytes, KINDS).unwrap().batch(&[0, 1, 2, 3]).unwrap();
        assert_eq!(batch.targets, Targets::Classes(vec![0, 1, 2, 0]));
    }
}

#[test]
fn texts_that_share_a_long_beginning_are_refused_before_they_are_made() {
    // A thousand times the same hundred thousand letters: a few bytes each.
    let long = "a".repeat(100_000);
    let bytes = texts(
        &vec![&*long; 1000],
        Encoding::DELTA_BYTE_ARRAY,
        Compression::SNAPPY,
    );
    assert!(bytes.len() < 1 << 14, "{}", bytes.len());
    let refused = read(&bytes, KINDS).unwrap_err();
    assert!(matches!(refused, InvalidData::NoRoom { .. }), "{refused}");
}

#[test]
fn a_page_that_claims_more_inside_than_outside_is_refused() {
    for encoding in [
        Encoding::DELTA_BYTE_ARRAY,
        Encoding::DELTA_LENGTH_BYTE_ARRAY,
    ] {
        let kinds: Vec<String> = (0..40).map(|at| format!("{at:>40}")).collect();
        let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
        let mut bytes = texts(&kinds, encoding, Compression::UNCOMPRESSED);
        // The head of the differences: a block of 128 in 4, and 40 of them.
        let head = [128, 1, 4, 40];
        let at = bytes.windows(4).position(|window| window == head).unwrap();
        bytes[at + 3..at + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x07]);
        let said = read(&bytes, KINDS).unwrap_err().to_string();
        assert!(said.contains("another number of values inside"), "{said}");
    }
}
