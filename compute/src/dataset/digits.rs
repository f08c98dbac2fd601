//! The 8x8 digits as scikit-learn keeps them: a row of 64 grey levels from 0
//! to 16, then the digit. A first row of names is passed over.

use super::Set;
use crate::failure::InvalidData;

/// Height and width of a digit.
const SIDE: usize = 8;
/// Columns of a row: the pixels and the label.
const COLUMNS: usize = SIDE * SIDE + 1;
/// The grey level of a pixel that is all ink.
const WHITE: u8 = 16;

/// Reads the rows as samples.
pub(crate) fn parse(text: &[u8], classes: usize) -> Result<Set, InvalidData> {
    let (pixels, labels) = rows(text)?;
    Set::images([1, SIDE, SIDE], WHITE, pixels, Some(labels), classes)
}

/// Reads the grey levels and the labels of the rows.
pub(crate) fn rows(text: &[u8]) -> Result<(Vec<u8>, Vec<u8>), InvalidData> {
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text);
    let mut record = csv::ByteRecord::new();
    let mut line = 0_usize;
    loop {
        line += 1;
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                return Err(InvalidData::Csv {
                    line,
                    reason: error.to_string(),
                });
            }
        }
        if line == 1 && is_header(&record) {
            continue;
        }
        if record.len() != COLUMNS {
            let reason = format!("{} columns where {COLUMNS} belong", record.len());
            return Err(InvalidData::Csv { line, reason });
        }
        for (column, field) in record.iter().enumerate() {
            let value = number(field).ok_or_else(|| InvalidData::Csv {
                line,
                reason: format!("column {} is not a whole number", column + 1),
            })?;
            if column + 1 == COLUMNS {
                labels.push(value);
            } else if value > WHITE {
                let reason = format!("column {} is {value}, above {WHITE}", column + 1);
                return Err(InvalidData::Csv { line, reason });
            } else {
                pixels.push(value);
            }
        }
    }
    Ok((pixels, labels))
}

/// A header names its columns: none of its fields is a number.
fn is_header(record: &csv::ByteRecord) -> bool {
    record.iter().all(|field| number(field).is_none())
}

/// A whole number, also in the form "5.0" that NumPy writes.
fn number(field: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(field).ok()?.trim();
    let whole = match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Targets;

    fn row(grey: u8, label: u8) -> String {
        format!("{}{label}\n", format!("{grey},").repeat(64))
    }

    #[test]
    fn rows_become_images_with_and_without_a_header() {
        let rows = row(16, 3) + &row(0, 9);
        let header = format!("{}label\n", "pixel,".repeat(64));
        for text in [rows.clone(), header + &rows] {
            let images = parse(text.as_bytes(), 10).unwrap();
            assert_eq!(images.len(), 2);
            assert_eq!(images.shape(), [1, 8, 8]);
            let batch = images.batch(&[0]).unwrap();
            assert_eq!(batch.targets, Targets::Classes(vec![3]));
            assert!(batch.pixels.iter().all(|&pixel| pixel == 1.0));
        }
    }

    #[test]
    fn the_set_in_the_repository_is_whole() {
        let images = parse(include_bytes!("../../../data/digits.csv"), 10).unwrap();
        assert_eq!(images.len(), 1797);
    }

    #[test]
    fn a_bad_row_is_named() {
        for (text, message) in [
            (row(0, 1) + "1,2,3\n", "line 2: 3 columns where 65 belong"),
            (row(17, 1), "line 1: column 1 is 17, above 16"),
            (
                row(0, 1) + &row(0, 1).replacen('0', "x", 1),
                "line 2: column 1 is not a whole number",
            ),
            (
                row(0, 1).replacen('0', "0.5", 1),
                "line 1: column 1 is not a whole number",
            ),
        ] {
            assert_eq!(parse(text.as_bytes(), 10).unwrap_err().to_string(), message);
        }
        assert!(matches!(parse(b"", 10), Err(InvalidData::Empty)));
    }

    #[test]
    fn a_digit_beyond_the_classes_is_refused() {
        assert!(matches!(
            parse(row(0, 9).as_bytes(), 9),
            Err(InvalidData::Class {
                row: 0,
                class: 9,
                classes: 9
            })
        ));
    }
}
