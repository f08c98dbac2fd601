use embermesh_job::spec::{Dialect, Missing};

use super::*;
use crate::dataset::Targets;
use crate::dataset::table::tests::{spec, truncated};

fn read(text: &str, json: &str) -> Result<Set, InvalidData> {
    let table: Table<u32> = spec(json);
    parse(
        text.as_bytes(),
        &table,
        "data.csv.file",
        &mut Room::new(1 << 20),
    )
}

fn said(text: &str, json: &str) -> String {
    read(text, json).unwrap_err().to_string()
}

const FLOWERS: &str = "length,width,kind\n1.5, 2 ,iris\n\"3\",4e0,rose\n";
const KINDS: &str = r#""target":{"classes":{"column":"kind","labels":["rose","iris"]}}"#;

#[test]
fn columns_are_chosen_by_name_and_number_in_the_order_of_the_spec() {
    let set = read(FLOWERS, KINDS).unwrap();
    let batch = set.batch(&[0, 1]).unwrap();
    assert_eq!(batch.pixels, [1.5, 2.0, 3.0, 4.0]);
    assert_eq!(batch.targets, Targets::Classes(vec![1, 0]));
    let json = r#""features":["width",1]"#;
    let set = read(FLOWERS, json).unwrap();
    assert_eq!(set.batch(&[1]).unwrap().pixels, [4.0, 3.0]);
    assert_eq!(set.batch(&[1]).unwrap().targets, Targets::Absent(1));
}

#[test]
fn delimiters_and_files_without_a_header() {
    let json =
        r#""dialect":{"delimiter":";","header":false},"target":{"numbers":{"columns":[3,1]}}"#;
    let set = read("\u{feff}1;2;3\r\n\r\n4;5;6\r\n", json).unwrap();
    let batch = set.batch(&[0, 1]).unwrap();
    assert_eq!(batch.pixels, [2.0, 5.0]);
    assert_eq!(
        batch.targets,
        Targets::Numbers {
            values: vec![3.0, 1.0, 6.0, 4.0],
            width: 2
        }
    );
    assert_eq!(Dialect::default().delimiter, ',');
}

#[test]
fn what_is_missing_follows_the_policy_that_is_stated() {
    let text = "a,b\n1,2\n,4\n5,NA\n7,8\n";
    assert_eq!(
        said(text, ""),
        "data.csv.file, row 3, column 1 (\"a\"): found nothing, expected a number (`missing` may say drop, mean or fill)"
    );
    let set = read(text, r#""missing":"drop""#).unwrap();
    assert_eq!(set.batch(&[0, 1]).unwrap().pixels, [1.0, 2.0, 7.0, 8.0]);
    let set = read(text, r#""missing":{"fill":-1}"#).unwrap();
    assert_eq!(set.batch(&[1, 2]).unwrap().pixels, [-1.0, 4.0, 5.0, -1.0]);
    assert_eq!(Missing::default(), Missing::Refuse);
    // A target is never made up.
    let numbers = r#""missing":{"fill":0},"target":{"numbers":{"columns":["b"]}}"#;
    assert!(
        said(text, numbers).contains("row 4, column 2 (\"b\"): found nothing, expected a target")
    );
    let dropped = read(
        text,
        r#""missing":"drop","target":{"numbers":{"columns":["b"]}}"#,
    );
    assert_eq!(dropped.unwrap().len(), 2);
}

#[test]
fn a_bad_field_is_named_by_file_row_and_column() {
    for (text, json, expected) in [
        (
            "a,b\n1,2\n3,x\n",
            "",
            "data.csv.file, row 3, column 2 (\"b\"): found \"x\", expected a number",
        ),
        (
            "a,b\n1,2\n3\n",
            "",
            "data.csv.file, row 3: found 1 fields, expected 2, as in the first line",
        ),
        (
            "a,b\n1,1e39\n",
            "",
            "found 1000000000000000000000000000000000000000, expected a finite number",
        ),
        ("a,b\n\n1,\"2\n3\",4\n", "", "row 3: found 3 fields"),
        (
            "a,kind\n1,tulip\n",
            KINDS,
            "column 2 (\"kind\"): found \"tulip\", expected one of \"rose\", \"iris\"",
        ),
        (
            "a,b\n1,1.5\n",
            r#""target":{"classes":{"column":"b","count":2}}"#,
            "found 1.5, expected a class from 0 to 1",
        ),
        (
            "a,b\n1,2\n",
            r#""features":["c"]"#,
            "data.csv.file: found columns \"a\", \"b\", expected column \"c\"",
        ),
        (
            "a,a\n1,2\n",
            r#""features":["a"]"#,
            "several columns called \"a\"",
        ),
        ("a,b\n1,2\n", r#""features":[3]"#, "found 2 columns"),
        (
            "a,b\n1,2\n",
            r#""features":["a",1]"#,
            "column 1 (\"a\") named twice",
        ),
        ("a,b\n", "", "found no rows"),
        ("", "", "found nothing, expected a header"),
    ] {
        let said = said(text, json);
        assert!(said.contains(expected), "{said}");
    }
    let table: Table<u32> = spec("");
    let said = parse(
        b"a\n\xff\n",
        &table,
        "data.csv.file",
        &mut Room::new(1 << 20),
    )
    .unwrap_err();
    assert!(
        said.to_string()
            .contains("row 2, column 1 (\"a\"): found bytes"),
        "{said}"
    );
}

#[test]
fn a_line_of_a_gigabyte_is_refused_after_some_megabytes() {
    let mut text = b"a,b\n1,2\n\"".to_vec();
    text.resize(MAX_RECORD + 100, b'7');
    let table: Table<u32> = spec("");
    let refused = parse(&text, &table, "data.csv.file", &mut Room::new(1 << 30)).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("row 3: found a row of more than"),
        "{refused}"
    );
    let mut text = b"a,b\n".to_vec();
    text.resize(MAX_FIELDS + 100, b',');
    let refused = parse(&text, &table, "data.csv.file", &mut Room::new(1 << 30)).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("row 2: found a row of more than"),
        "{refused}"
    );
}

#[test]
fn rows_take_no_more_memory_than_there_is() {
    let text = "a,b\n".to_owned() + &"1,2\n".repeat(10_000);
    let table: Table<u32> = spec("");
    let refused = parse(
        text.as_bytes(),
        &table,
        "data.csv.file",
        &mut Room::new(50_000),
    )
    .unwrap_err();
    assert!(matches!(refused, InvalidData::NoRoom { .. }), "{refused}");
}

#[test]
fn no_cut_makes_it_panic() {
    let table: Table<u32> = spec(KINDS);
    truncated(FLOWERS.as_bytes(), "data.csv.file", |bytes, room| {
        parse(bytes, &table, "data.csv.file", room)
    });
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\",\n\r0-9a.;é-]{0,200}") {
        let _ = read(&text, "");
        let _ = read(&text, r#""dialect":{"header":false},"missing":"drop""#);
    }
}
