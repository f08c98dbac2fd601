use super::*;

fn said(json: &str) -> ClientData {
    let json = format!(
        r#"{{"digest":"{}","samples":2,"shape":[2],{json}}}"#,
        "0".repeat(64)
    );
    serde_json::from_str(&json).unwrap()
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn refusal(said: &ClientData, record: &[u8]) -> String {
    let mut read = Read::new(said, 1);
    read.record(6, record).unwrap_err().to_string()
}

#[test]
fn records_are_read_as_they_were_written() {
    let said = said(r#""element":"float","target":{"numbers":1}"#);
    let mut read = Read::new(&said, 1);
    read.record(0, &floats(&[1.5, -2.0, 7.0])).unwrap();
    assert!(matches!(&read.features, Features::Floats(x) if x == &[1.5, -2.0]));
    assert!(matches!(&read.targets, Targets::Numbers { values, width: 1 } if values == &[7.0]));
    assert_eq!(said.record_bytes(), 12);
}

#[test]
fn what_a_client_sends_is_checked_and_named_by_row_and_column() {
    let numbers = said(r#""element":"float","target":{"numbers":1}"#);
    for (record, words) in [
        ([f32::NAN, 0.0, 0.0], ["row 7, column 1", "NaN"]),
        ([0.0, f32::INFINITY, 0.0], ["row 7, column 2", "inf"]),
        ([0.0, 0.0, f32::NAN], ["row 7, column target 1", "NaN"]),
    ] {
        let text = refusal(&numbers, &floats(&record));
        for word in words {
            assert!(text.contains(word), "{text}");
        }
    }
    let classes = said(r#""element":{"byte":{"white":1}},"target":{"classes":3}"#);
    let text = refusal(&classes, &[1, 2, 3, 0, 0, 0]);
    assert!(text.contains("row 7, column target: found 3"), "{text}");
    // A gap is a gap only where the data says what fills it.
    let gaps = said(r#""element":"float","missing":"mean""#);
    let mut read = Read::new(&gaps, 1);
    read.record(0, &floats(&[f32::NAN, 1.0])).unwrap();
    assert!(refusal(&gaps, &floats(&[f32::NEG_INFINITY, 1.0])).contains("-inf"));
}
