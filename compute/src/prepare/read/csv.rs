//! Comma-separated values. What a column has is found by looking at all of it
//! first: numbers, unless one field is neither a number nor nothing.

use std::collections::BTreeSet;

use embermesh_job::spec::Input;
use embermesh_job::spec::prepare::raw::Fields;
use embermesh_job::spec::prepare::schema::Kind;

use super::{Opened, Pieces, Rows, Visit};
use crate::dataset::csv::Records;
use crate::dataset::room::Room;
use crate::dataset::table::{Cell, Read, read};
use crate::failure::malformed::{column, quoted};
use crate::failure::{InvalidData, Place, WorkFailed};

struct Csv {
    bytes: Vec<u8>,
    delimiter: char,
    header: bool,
    /// Fields of a row.
    count: usize,
    /// Of each column that is read: its place, and what it is called in messages.
    places: Vec<(usize, String)>,
    columns: Vec<(String, Kind)>,
}

/// Opens a file.
pub(super) fn open(
    bytes: Vec<u8>,
    fields: &Fields<Input>,
    file: &'static str,
    room: &mut Room,
) -> Result<Opened, InvalidData> {
    let dialect = &fields.dialect;
    let mut records = Records::new(&bytes, dialect.delimiter, file);
    let first = records
        .next()?
        .ok_or_else(|| Place::file(file).has("nothing", "a row"))?;
    let names: Vec<String> = match dialect.header {
        true => first.names()?,
        false => (1..=first.len()).map(|number| number.to_string()).collect(),
    };
    room.take_for::<(String, Kind)>(names.len(), file)?;
    let places = choose(&names, &fields.columns, file)?;
    for text in &fields.texts {
        choose(&names, std::slice::from_ref(text), file)?;
    }
    // The first text of each column, and its row.
    let mut texts: Vec<Option<(u64, String)>> = vec![None; places.len()];
    let mut count = 0_u64;
    let mut records = Records::new(&bytes, dialect.delimiter, file);
    if dialect.header {
        records.next()?;
    }
    while let Some(record) = records.next()? {
        count += 1;
        if record.len() != names.len() {
            return Err(record.place().has(
                format!("{} fields", record.len()),
                format!("{}, as in the first line", names.len()),
            ));
        }
        for ((at, label), found) in places.iter().zip(&mut texts) {
            let text = record.text(*at, label)?;
            if found.is_none()
                && let Read::Text(text) = read(Cell::Text(text))
            {
                *found = Some((record.line, quoted(text)));
            }
        }
    }
    let mut columns = Vec::new();
    let mut remarks = Vec::new();
    for ((at, label), found) in places.iter().zip(&texts) {
        let name = names[*at].clone();
        let kind = match found {
            _ if fields.texts.contains(&name) => Kind::Text,
            None => Kind::Number,
            Some((row, text)) => {
                let place = Place::file(file).row(*row).column(label);
                remarks.push((name.clone(), format!("the first at {place}: {text}")));
                Kind::Text
            }
        };
        columns.push((name, kind));
    }
    Ok(Opened {
        file,
        columns: columns.clone(),
        count: Some(count),
        remarks,
        rows: Box::new(Csv {
            delimiter: dialect.delimiter,
            header: dialect.header,
            count: names.len(),
            places,
            columns,
            bytes,
        }),
    })
}

/// The places of the columns that are wanted, or of all.
fn choose(
    names: &[String],
    wanted: &[String],
    file: &str,
) -> Result<Vec<(usize, String)>, InvalidData> {
    let label = |at: usize| (at, column(at, Some(&names[at])));
    let mut seen = BTreeSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(Place::file(file).has(
            format!("several columns called {}", quoted(name)),
            "names that differ",
        ));
    }
    if wanted.is_empty() {
        return match names.iter().any(String::is_empty) {
            true => Err(Place::file(file).has(
                "a column without a name",
                "a name for each, or `columns` that are read",
            )),
            false => Ok((0..names.len()).map(label).collect()),
        };
    }
    wanted
        .iter()
        .map(|name| {
            let at = names.iter().position(|known| known == name);
            at.map(label).ok_or_else(|| {
                let known: Vec<String> = names.iter().take(12).map(|name| quoted(name)).collect();
                Place::file(file).has(
                    format!("columns {}", known.join(", ")),
                    format!("column {}", quoted(name)),
                )
            })
        })
        .collect()
}

impl Rows for Csv {
    fn each(&self, file: &str, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed> {
        let mut records = Records::new(&self.bytes, self.delimiter, file);
        if self.header {
            records.next()?;
        }
        let mut pieces = Pieces::new(&self.columns);
        while let Some(record) = records.next()? {
            if record.len() != self.count {
                return Err(record
                    .place()
                    .has("another number of fields", "a row")
                    .into());
            }
            let row = record.line;
            for ((at, label), column) in self.places.iter().zip(&mut pieces.piece.columns) {
                let text = record.text(*at, label)?;
                let cell = read(Cell::Text(text));
                if column.is_text() {
                    let is_gap = matches!(cell, Read::Gap);
                    column.push_text((!is_gap).then(|| text.trim()), room, file)?;
                    continue;
                }
                let number = match cell {
                    Read::Gap => f64::NAN,
                    Read::Number(number) if number.is_finite() => number,
                    _ => {
                        return Err(record
                            .place()
                            .column(label)
                            .has(quoted(text), "a finite number")
                            .into());
                    }
                };
                column.push(number, room, file)?;
            }
            pieces.end_row(row, file, room, visit)?;
        }
        pieces.end(room, visit)
    }
}
