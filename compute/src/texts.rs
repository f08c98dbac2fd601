//! Texts of a job, from its spec or from a file, read within the memory that
//! there is for them.

use std::collections::BTreeMap;

use embermesh_job::spec::{Column, Dialect, Input, MAX_TEXTS, Texts};
use serde_json::Value;

use crate::dataset::csv;
use crate::dataset::load::Source;
use crate::dataset::room::Room;
use crate::failure::{InvalidData, Place, WorkFailed};

/// The longest text of a line or a field, in bytes; a file that is one text may
/// be as long as there is memory.
const MAX_TEXT: usize = 4 << 20;

/// Reads all texts, in their order.
pub(crate) fn read(
    texts: &Texts,
    source: &Source<'_>,
    room: &mut Room,
) -> Result<Vec<String>, WorkFailed> {
    let mut kept = Kept {
        texts: Vec::new(),
        room,
    };
    match texts {
        Texts::Inline(texts) => kept.all(texts, "texts.inline")?,
        Texts::Whole { file } => {
            let name = "texts.whole.file";
            let bytes = source.open(*file, name, kept.room)?;
            kept.keep(utf8(&bytes, name, None)?, name)?;
        }
        Texts::Lines { file } => lines(*file, source, &mut kept)?,
        Texts::Jsonl { file, field } => jsonl(*file, field, source, &mut kept)?,
        Texts::Csv {
            file,
            column,
            dialect,
        } => table(*file, column, dialect, source, &mut kept)?,
    }
    if kept.texts.is_empty() {
        return Err(InvalidData::Empty.into());
    }
    Ok(kept.texts)
}

/// Texts so far, and the room for more.
struct Kept<'r> {
    texts: Vec<String>,
    room: &'r mut Room,
}

impl Kept<'_> {
    fn keep(&mut self, text: &str, file: &str) -> Result<(), InvalidData> {
        if self.texts.len() >= MAX_TEXTS {
            return Err(Place::file(file).has(
                format!("more than {MAX_TEXTS} texts"),
                "fewer: give them to several jobs",
            ));
        }
        self.room.take(text.len() as u64, file)?;
        self.room.reserve(&mut self.texts, 1, file)?;
        self.texts.push(text.to_owned());
        Ok(())
    }

    fn all(&mut self, texts: &[String], file: &str) -> Result<(), InvalidData> {
        texts.iter().try_for_each(|text| self.keep(text, file))
    }
}

fn lines(file: Input, source: &Source<'_>, kept: &mut Kept<'_>) -> Result<(), WorkFailed> {
    let name = "texts.lines.file";
    let bytes = source.open(file, name, kept.room)?;
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = utf8(line, name, Some(number))?;
        let text = text.strip_suffix('\r').unwrap_or(text);
        if !text.trim().is_empty() {
            kept.keep(text, name)?;
        }
    }
    Ok(())
}

fn jsonl(
    file: Input,
    field: &str,
    source: &Source<'_>,
    kept: &mut Kept<'_>,
) -> Result<(), WorkFailed> {
    let name = "texts.jsonl.file";
    let bytes = source.open(file, name, kept.room)?;
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let text = utf8(line, name, Some(number))?;
        let place = || Place::file(name).row(number).column(field);
        // A value takes some tens of bytes for each of its text, for a while.
        let meanwhile = (line.len() as u64).saturating_mul(32);
        kept.room.take(meanwhile, name)?;
        let object: BTreeMap<String, Value> = serde_json::from_str(text)
            .map_err(|error| place().has(error.to_string(), "an object a line"))?;
        match object.get(field) {
            Some(Value::String(text)) => kept.keep(text, name)?,
            found => {
                let found = found.map_or("no such field", |_| "a value that is no text");
                return Err(place().has(found, "a text").into());
            }
        }
        kept.room.give(meanwhile);
    }
    Ok(())
}

fn table(
    file: Input,
    column: &Column,
    dialect: &Dialect,
    source: &Source<'_>,
    kept: &mut Kept<'_>,
) -> Result<(), WorkFailed> {
    let name = "texts.csv.file";
    let bytes = source.open(file, name, kept.room)?;
    csv::texts(&bytes, column, dialect, name, &mut |text| {
        kept.keep(text, name)
    })?;
    Ok(())
}

/// A text of a file, within its bounds.
fn utf8<'a>(bytes: &'a [u8], file: &str, row: Option<u64>) -> Result<&'a str, InvalidData> {
    let place = || match row {
        Some(row) => Place::file(file).row(row),
        None => Place::file(file),
    };
    if row.is_some() && bytes.len() > MAX_TEXT {
        return Err(place().has(
            format!("a line of {} bytes", bytes.len()),
            format!("at most {MAX_TEXT}"),
        ));
    }
    std::str::from_utf8(bytes).map_err(|_| place().has("bytes that are not UTF-8", "UTF-8"))
}
