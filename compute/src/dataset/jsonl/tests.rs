use super::*;
use crate::dataset::Targets;
use crate::dataset::table::tests::{spec, truncated};

fn read(text: &str, json: &str) -> Result<Set, InvalidData> {
    let table: Table<u32> = spec(json);
    parse(
        text.as_bytes(),
        &table,
        "data.jsonl.file",
        &mut Room::new(1 << 20),
    )
}

const LINES: &str = "{\"x\": [1, [2, 3]], \"tall\": true, \"kind\": \"b\", \"more\": {\"y\": []}}\n\
    \n{\"kind\": \"a\", \"tall\": false, \"x\": [4, 5, 6.5]}";
const SPEC: &str =
    r#""features":["tall","x"],"target":{"classes":{"column":"kind","labels":["a","b"]}}"#;

#[test]
fn numbers_and_nested_arrays_make_a_row() {
    let batch = read(LINES, SPEC).unwrap().batch(&[0, 1]).unwrap();
    assert_eq!(batch.pixels, [1.0, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.5]);
    assert_eq!(batch.targets, Targets::Classes(vec![1, 0]));
    let json =
        r#""features":["a"],"target":{"numbers":{"columns":["b","c"]}},"missing":{"fill":9}"#;
    let batch = read("{\"b\":1,\"c\":-2}\n{\"a\":null,\"b\":3,\"c\":4}", json)
        .unwrap()
        .batch(&[0, 1])
        .unwrap();
    assert_eq!(batch.pixels, [9.0, 9.0]);
    assert_eq!(
        batch.targets,
        Targets::Numbers {
            values: vec![1.0, -2.0, 3.0, 4.0],
            width: 2
        }
    );
    let numbered = r#""features":["a"],"target":{"classes":{"column":"b","count":3}}"#;
    let batch = read("{\"a\":0,\"b\":2}", numbered)
        .unwrap()
        .batch(&[0])
        .unwrap();
    assert_eq!(batch.targets, Targets::Classes(vec![2]));
}

#[test]
fn a_bad_line_is_named_by_file_line_and_field() {
    let json = r#""features":["x"],"target":{"numbers":{"columns":["y"]}}"#;
    for (text, expected) in [
        (
            "{\"x\":1,\"y\":2}\n{\"x\":\"a\",\"y\":2}",
            "row 2, column \"x\": found \"a\", expected a number",
        ),
        (
            "{\"x\":1,\"y\":2}\n{\"x\":[1,2],\"y\":2}",
            "row 2: found 2 numbers, expected 1",
        ),
        ("{\"y\":2}", "row 1, column \"x\": found nothing"),
        (
            "{\"x\":2}",
            "row 1, column \"y\": found nothing, expected a target",
        ),
        (
            "{\"x\":2,\"y\":[1,2]}",
            "column \"y\": found 2 values, expected one target",
        ),
        ("{\"x\":[1,\"a\"],\"y\":2}", "a text in the array \"x\""),
        ("{\"x\":1,\"x\":1,\"y\":2}", "field \"x\" twice"),
        (
            "{\"x\":{},\"y\":2}",
            "expected a number or an array of numbers in \"x\"",
        ),
        (
            "[1,2]",
            "row 1: found invalid type: sequence, expected an object",
        ),
        ("{\"x\":1,\"y\":2} 3", "trailing characters"),
        ("", "found no rows"),
    ] {
        let said = read(text, json).unwrap_err().to_string();
        assert!(
            said.starts_with("data.jsonl.file") && said.contains(expected),
            "{said}"
        );
    }
    // However deep it nests.
    let deep = format!("{{\"x\":{}", "[".repeat(100_000));
    assert!(
        read(&deep, json)
            .unwrap_err()
            .to_string()
            .contains("recursion limit")
    );
}

#[test]
fn a_line_that_is_too_long_is_refused() {
    let text = format!("{{\"x\":[{}1]}}", "1,".repeat(MAX_LINE / 2));
    let said = read(&text, r#""features":["x"]"#).unwrap_err().to_string();
    assert!(said.contains("row 1: found a line of"), "{said}");
}

#[test]
fn no_cut_makes_it_panic() {
    let table: Table<u32> = spec(SPEC);
    truncated(LINES.as_bytes(), "data.jsonl.file", |bytes, room| {
        parse(bytes, &table, "data.jsonl.file", room)
    });
}
