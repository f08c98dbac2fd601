use std::io::Write;

use zip::write::SimpleFileOptions;

use super::*;
use crate::dataset::Targets;
use crate::dataset::npy::tests::encode;
use crate::dataset::table::tests::truncated;

/// What NumPy 2.4.6 wrote; `make.py` beside it says how.
const ARRAYS: &[u8] = include_bytes!("../../../tests/data/arrays.npz");

fn spec(json: &str) -> Npz<u32> {
    serde_json::from_str(&format!("{{\"file\":1,{json}}}")).unwrap()
}

fn read(bytes: &[u8], json: &str, held: bool) -> Result<Set, InvalidData> {
    parse(
        bytes,
        &spec(json),
        held,
        "data.npz.file",
        &mut Room::new(1 << 20),
    )
}

fn zipped(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        to.start_file(*name, SimpleFileOptions::default()).unwrap();
        to.write_all(bytes).unwrap();
    }
    to.finish().unwrap().into_inner()
}

#[test]
fn every_type_that_numpy_writes_is_read_alike() {
    let expected: Vec<f32> = (0..12_u8).map(f32::from).collect();
    for name in ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"] {
        let json = format!(r#""features":"{name}","targets":"classes","target":{{"classes":3}}"#);
        let set = read(ARRAYS, &json, false).unwrap();
        let batch = set.batch(&[0, 1, 2, 3]).unwrap();
        assert_eq!(
            (set.shape(), &batch.pixels),
            (&[3][..], &expected),
            "{name}"
        );
        assert_eq!(batch.targets, Targets::Classes(vec![0, 1, 2, 1]));
    }
    let maps = read(ARRAYS, r#""features":"maps""#, false).unwrap();
    assert_eq!(maps.shape(), [1, 2, 2]);
    let said = read(ARRAYS, r#""features":"text""#, false)
        .unwrap_err()
        .to_string();
    assert!(
        said.starts_with("data.npz.file, array \"text\": found elements of type"),
        "{said}"
    );
}

#[test]
fn held_out_arrays_have_names_of_their_own() {
    let json = r#""features":"f4","holdout_features":"f8""#;
    assert!(spec(json).has_holdout());
    assert_eq!(read(ARRAYS, json, true).unwrap().len(), 4);
    let said = read(ARRAYS, r#""features":"x""#, false)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("found arrays \"f4\"") && said.contains("one called \"x\""),
        "{said}"
    );
}

#[test]
fn an_array_that_explodes_is_refused_while_it_unpacks() {
    let zeros = encode("|u1", "False", "(67108864,)", &vec![0; 64 << 20]);
    let bomb = zipped(&[("x.npy", zeros)]);
    assert!(bomb.len() < 1 << 17);
    let refused = read(&bomb, r#""features":"x""#, false).unwrap_err();
    assert!(matches!(refused, InvalidData::NoRoom { .. }), "{refused}");
}

#[test]
fn no_cut_makes_it_panic() {
    let bytes = zipped(&[("x.npy", encode("|u1", "False", "(4,)", &[1, 2, 3, 4]))]);
    truncated(&bytes, "data.npz.file", |bytes, room| {
        parse(
            bytes,
            &spec(r#""features":"x""#),
            false,
            "data.npz.file",
            room,
        )
    });
}
