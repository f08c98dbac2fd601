//! Apache Parquet: what a column has stands in the file.

use super::{Opened, Pieces, Rows, Visit};
use crate::dataset::parquet::rows;
use crate::dataset::room::Room;
use crate::dataset::table::{Cell, Read, read};
use crate::failure::{InvalidData, Place, WorkFailed};

struct Parquet {
    rows: rows::Rows,
}

/// Opens a file for the columns of these names, or for all.
pub(super) fn open(
    bytes: Vec<u8>,
    names: &[String],
    file: &'static str,
    room: &mut Room,
) -> Result<Opened, InvalidData> {
    let rows = rows::Rows::open(bytes, names, file, room)?;
    Ok(Opened {
        file,
        columns: rows.kinds().to_vec(),
        count: Some(rows.count()),
        remarks: Vec::new(),
        rows: Box::new(Parquet { rows }),
    })
}

impl Rows for Parquet {
    fn each(&self, file: &str, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed> {
        let mut pieces = Pieces::new(self.rows.kinds());
        self.rows
            .each::<WorkFailed>(file, &mut |row, columns, at| {
                for (from, to) in columns.iter().zip(&mut pieces.piece.columns) {
                    let is_text = to.is_text();
                    let mut count = 0;
                    let mut is_gap = false;
                    from.each(at, |label, cell| {
                        count += 1;
                        if is_text {
                            // A text that says NA is one: a gap is a null here.
                            let text = match cell {
                                Cell::Text(text) => Some(text),
                                _ => None,
                            };
                            return to.push_text(text, room, file);
                        }
                        match read(cell) {
                            Read::Gap => {
                                is_gap = true;
                                to.push(f64::NAN, room, file)
                            }
                            Read::Number(number) => to.push(number, room, file),
                            Read::Text(_) => Err(Place::file(file)
                                .row(row)
                                .column(label)
                                .has("a text", "a number")),
                        }
                    })?;
                    let expected = to.volume();
                    if count == 1 && is_gap {
                        // A list that is not there.
                        for _ in 1..expected {
                            to.push(f64::NAN, room, file)?;
                        }
                    } else if count != expected {
                        return Err(Place::file(file)
                            .row(row)
                            .column(&format!("{:?}", to.name))
                            .has(
                                format!("{count} numbers"),
                                format!("{expected}, as in the rows before"),
                            )
                            .into());
                    }
                }
                pieces.end_row(row, file, room, visit)
            })?;
        pieces.end(room, visit)
    }
}
