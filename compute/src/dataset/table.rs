//! Rows of cells on their way to samples: what every kind of table does with a
//! number, a text and a gap.

use embermesh_job::spec::{Missing, Table, TargetColumns};

use super::room::Room;
use super::{Features, Set, Targets, class};
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};

/// Texts that stand for nothing.
const GAPS: [&str; 5] = ["", "NA", "NaN", "null", "?"];
/// The most rows of a table: samples are numbered by 32 bits.
const MAX_ROWS: usize = u32::MAX as usize;

/// What stands in a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// Nothing.
    Gap,
    /// A number.
    Number(f64),
    /// A text, which may be the text of a number.
    Text(&'a str),
}

/// The rows of a file as they are read.
pub(crate) struct Rows<'a> {
    file: &'a str,
    room: &'a mut Room,
    missing: Missing,
    target: Option<&'a TargetColumns>,
    features: Vec<f32>,
    classes: Vec<u32>,
    numbers: Vec<f32>,
    /// Numbers of a row, once there is one.
    width: Option<usize>,
    count: usize,
    /// The row that is being read, for messages, and where it began.
    row: u64,
    began: usize,
    dropped: bool,
}

impl<'a> Rows<'a> {
    /// No rows yet.
    pub(crate) fn new<I>(table: &'a Table<I>, file: &'a str, room: &'a mut Room) -> Self {
        Self {
            file,
            room,
            missing: table.missing,
            target: table.target.as_ref(),
            features: Vec::new(),
            classes: Vec::new(),
            numbers: Vec::new(),
            width: None,
            count: 0,
            row: 0,
            began: 0,
            dropped: false,
        }
    }

    /// A row begins. `row` is its number or line, for messages.
    pub(crate) fn begin(&mut self, row: u64) {
        self.row = row;
        self.began = self.features.len();
        self.dropped = false;
    }

    /// The place of a column in the row.
    pub(crate) fn place(&self, column: &str) -> Place {
        Place::file(self.file).row(self.row).column(column)
    }

    /// The next feature.
    pub(crate) fn feature(&mut self, column: &str, cell: Cell<'_>) -> Result<(), InvalidData> {
        let value = match read(cell) {
            Read::Number(value) if (value as f32).is_finite() => value as f32,
            Read::Number(value) => {
                return Err(self.place(column).has(value.to_string(), "a finite number"));
            }
            Read::Gap => match self.missing {
                Missing::Refuse => {
                    return Err(self
                        .place(column)
                        .has("nothing", "a number (`missing` may say drop, mean or fill)"));
                }
                Missing::Drop => {
                    self.dropped = true;
                    f32::NAN
                }
                Missing::Mean => f32::NAN,
                Missing::Fill(value) => value as f32,
            },
            Read::Text(text) => return Err(self.place(column).has(quoted(text), "a number")),
        };
        self.room.reserve(&mut self.features, 1, self.file)?;
        self.features.push(value);
        Ok(())
    }

    /// The next target.
    pub(crate) fn target(&mut self, column: &str, cell: Cell<'_>) -> Result<(), InvalidData> {
        let read = read(cell);
        if matches!(read, Read::Gap) && !self.names_gap(cell) {
            if self.missing == Missing::Drop {
                self.dropped = true;
                return Ok(());
            }
            return Err(self.place(column).has(
                "nothing",
                "a target (`missing = \"drop\"` leaves such rows out)",
            ));
        }
        match self.target {
            None => {}
            Some(TargetColumns::Classes { count, labels, .. }) => {
                let class = match count {
                    Some(count) => self.numbered(column, &read, *count)?,
                    None => self.labelled(column, cell, labels)?,
                };
                self.room.reserve(&mut self.classes, 1, self.file)?;
                self.classes.push(class);
            }
            Some(TargetColumns::Numbers { .. }) => {
                let value = match read {
                    Read::Number(value) if (value as f32).is_finite() => value as f32,
                    _ => return Err(self.place(column).has(said(cell), "a finite number")),
                };
                self.room.reserve(&mut self.numbers, 1, self.file)?;
                self.numbers.push(value);
            }
        }
        Ok(())
    }

    /// The row is over.
    pub(crate) fn end(&mut self) -> Result<(), InvalidData> {
        if self.dropped {
            self.features.truncate(self.began);
            let width = match self.target {
                Some(TargetColumns::Numbers { columns }) => columns.len(),
                _ => 0,
            };
            self.classes.truncate(self.count);
            self.numbers.truncate(self.count * width);
            return Ok(());
        }
        let width = self.features.len() - self.began;
        let expected = *self.width.get_or_insert(width);
        if width != expected {
            return Err(Place::file(self.file).row(self.row).has(
                format!("{width} numbers"),
                format!("{expected}, as in the rows before"),
            ));
        }
        if self.count == MAX_ROWS {
            return Err(Place::file(self.file)
                .row(self.row)
                .has("one more row", format!("at most {MAX_ROWS}")));
        }
        self.count += 1;
        Ok(())
    }

    /// The file is over.
    pub(crate) fn finish(self) -> Result<Set, InvalidData> {
        let targets = match self.target {
            None => Targets::Absent(self.count),
            Some(TargetColumns::Classes { .. }) => Targets::Classes(self.classes),
            Some(TargetColumns::Numbers { columns }) => Targets::Numbers {
                values: self.numbers,
                width: columns.len(),
            },
        };
        if self.count == 0 {
            return Err(Place::file(self.file).has("no rows", "at least one"));
        }
        let shape = vec![self.width.unwrap_or(0)];
        Set::new(shape, Features::Floats(self.features), targets)
    }

    /// Whether a text for a gap is a label all the same.
    fn names_gap(&self, cell: Cell<'_>) -> bool {
        match (self.target, cell) {
            (Some(TargetColumns::Classes { labels, .. }), Cell::Text(text)) => {
                labels.iter().any(|label| label == text.trim())
            }
            _ => false,
        }
    }

    fn numbered(&self, column: &str, read: &Read<'_>, count: u32) -> Result<u32, InvalidData> {
        match read {
            Read::Number(number) => class(*number, count, || self.place(column)),
            Read::Text(text) => Err(self.place(column).has(
                quoted(text),
                format!("a class from 0 to {}", count.saturating_sub(1)),
            )),
            Read::Gap => Err(self.place(column).has("nothing", "a class")),
        }
    }

    fn labelled(
        &self,
        column: &str,
        cell: Cell<'_>,
        labels: &[String],
    ) -> Result<u32, InvalidData> {
        let number;
        let text = match cell {
            Cell::Text(text) => text.trim(),
            Cell::Number(value) => {
                number = value.to_string();
                &number
            }
            Cell::Gap => "",
        };
        labels
            .iter()
            .position(|label| label == text)
            .and_then(|class| u32::try_from(class).ok())
            .ok_or_else(|| {
                let known: Vec<String> = labels.iter().take(8).map(|label| quoted(label)).collect();
                let more = if labels.len() > 8 { ", ..." } else { "" };
                self.place(column)
                    .has(said(cell), format!("one of {}{more}", known.join(", ")))
            })
    }
}

/// A cell that was looked at.
pub(crate) enum Read<'a> {
    /// Nothing, or a text that stands for it.
    Gap,
    /// A number, or the text of one.
    Number(f64),
    /// Another text.
    Text(&'a str),
}

/// A cell as a number or a gap, where it is one.
pub(crate) fn read(cell: Cell<'_>) -> Read<'_> {
    match cell {
        Cell::Gap => Read::Gap,
        Cell::Number(value) if value.is_nan() => Read::Gap,
        Cell::Number(value) => Read::Number(value),
        Cell::Text(text) => {
            let text = text.trim();
            if GAPS.iter().any(|gap| gap.eq_ignore_ascii_case(text)) {
                Read::Gap
            } else {
                text.parse().map_or(Read::Text(text), Read::Number)
            }
        }
    }
}

fn said(cell: Cell<'_>) -> String {
    match cell {
        Cell::Gap => "nothing".to_owned(),
        Cell::Number(value) => value.to_string(),
        Cell::Text(text) => quoted(text),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table's spec of these fields.
    pub(crate) fn spec(json: &str) -> Table<u32> {
        let comma = if json.is_empty() { "" } else { "," };
        serde_json::from_str(&format!("{{\"file\":1{comma}{json}}}")).unwrap()
    }

    /// Reads every beginning of a file: each is an error that names the file,
    /// or a whole set of fewer rows.
    pub(crate) fn truncated(
        bytes: &[u8],
        file: &str,
        read: impl Fn(&[u8], &mut Room) -> Result<Set, InvalidData>,
    ) {
        for end in 0..bytes.len() {
            if let Err(error) = read(&bytes[..end], &mut Room::new(1 << 24)) {
                let said = error.to_string();
                assert!(said.starts_with(file), "{end}: {said}");
            }
        }
        assert!(read(bytes, &mut Room::new(1 << 24)).is_ok());
    }
}
