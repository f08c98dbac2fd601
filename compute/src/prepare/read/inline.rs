//! Rows that the spec itself brings; it has checked them.

use embermesh_job::spec::prepare::condition::Value;
use embermesh_job::spec::prepare::raw::Cells;
use embermesh_job::spec::prepare::schema::Kind;

use super::{Opened, Pieces, Rows, Visit};
use crate::dataset::room::Room;
use crate::failure::WorkFailed;

struct Inline {
    rows: Vec<Vec<Value>>,
    columns: Vec<(String, Kind)>,
}

/// The rows of a spec.
pub(super) fn open(cells: &Cells, file: &'static str) -> Opened {
    let names = cells.columns.iter().enumerate();
    let columns: Vec<(String, Kind)> = names
        .map(|(at, name)| (name.clone(), cells.kind(at)))
        .collect();
    Opened {
        file,
        columns: columns.clone(),
        count: Some(cells.rows.len() as u64),
        remarks: Vec::new(),
        rows: Box::new(Inline {
            rows: cells.rows.clone(),
            columns,
        }),
    }
}

impl Rows for Inline {
    fn each(&self, file: &str, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed> {
        let mut pieces = Pieces::new(&self.columns);
        for (number, row) in (1..).zip(&self.rows) {
            for (cell, column) in row.iter().zip(&mut pieces.piece.columns) {
                match cell {
                    Value::Number(number) => column.push(*number, room, file)?,
                    Value::Text(text) if column.is_text() => {
                        let text = Some(text.as_str()).filter(|text| !text.is_empty());
                        column.push_text(text, room, file)?;
                    }
                    Value::Text(_) => column.push(f64::NAN, room, file)?,
                }
            }
            pieces.end_row(number, file, room, visit)?;
        }
        pieces.end(room, visit)
    }
}
