//! JSON Lines. The first value of a field says what it has: a text, a number, or
//! so many numbers.

use embermesh_job::spec::prepare::schema::Kind;

use super::{Opened, Pieces, Rows, Visit};
use crate::dataset::jsonl::{Field, lines, read_line};
use crate::dataset::room::Room;
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place, WorkFailed};

struct Jsonl {
    bytes: Vec<u8>,
    columns: Vec<(String, Kind)>,
}

/// Opens a file for the fields of these names.
pub(super) fn open(
    bytes: Vec<u8>,
    names: &[String],
    file: &'static str,
) -> Result<Opened, InvalidData> {
    let mut fields: Vec<Field> = names.iter().cloned().map(Field::new).collect();
    let mut kinds: Vec<Option<Kind>> = vec![None; names.len()];
    for (line, text) in lines(&bytes) {
        read_line(text, line, file, &mut fields)?;
        for (field, kind) in fields.iter().zip(&mut kinds) {
            if kind.is_none() {
                *kind = said(field);
            }
        }
        if kinds.iter().all(Option::is_some) {
            break;
        }
    }
    let columns: Vec<(String, Kind)> = names
        .iter()
        .cloned()
        .zip(kinds.into_iter().map(|kind| kind.unwrap_or(Kind::Number)))
        .collect();
    let count = lines(&bytes).count() as u64;
    Ok(Opened {
        file,
        columns: columns.clone(),
        count: Some(count),
        remarks: Vec::new(),
        rows: Box::new(Jsonl { bytes, columns }),
    })
}

/// What a field has, where this line says it.
fn said(field: &Field) -> Option<Kind> {
    match (&field.text, &field.cells[..]) {
        (Some(_), _) => Some(Kind::Text),
        (None, []) => None,
        (None, [number]) => (!number.is_nan()).then_some(Kind::Number),
        (None, numbers) => Some(Kind::Numbers(Some(vec![numbers.len()]))),
    }
}

impl Rows for Jsonl {
    fn each(&self, file: &str, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed> {
        let names = self.columns.iter();
        let mut fields: Vec<Field> = names.map(|(name, _)| Field::new(name.clone())).collect();
        let mut pieces = Pieces::new(&self.columns);
        for (line, text) in lines(&self.bytes) {
            read_line(text, line, file, &mut fields)?;
            for (field, column) in fields.iter().zip(&mut pieces.piece.columns) {
                let wrong = |expected: &str| {
                    let found = match &field.text {
                        Some(text) => quoted(text),
                        None => format!("{} numbers", field.cells.len()),
                    };
                    Place::file(file)
                        .row(line)
                        .column(&quoted(&field.name))
                        .has(found, expected)
                };
                let is_gap = field.text.is_none()
                    && match &field.cells[..] {
                        [] => true,
                        [number] => number.is_nan(),
                        _ => false,
                    };
                if column.is_text() {
                    if !is_gap && field.text.is_none() {
                        return Err(wrong("a text, as in the rows before").into());
                    }
                    column.push_text(field.text.as_deref(), room, file)?;
                } else if is_gap {
                    for _ in 0..column.volume() {
                        column.push(f64::NAN, room, file)?;
                    }
                } else if field.text.is_some() || field.cells.len() != column.volume() {
                    let count = column.volume();
                    return Err(wrong(&format!("{count} numbers, as in the rows before")).into());
                } else {
                    for &number in &field.cells {
                        column.push(number, room, file)?;
                    }
                }
            }
            pieces.end_row(line, file, room, visit)?;
        }
        pieces.end(room, visit)
    }
}
