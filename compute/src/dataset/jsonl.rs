//! JSON Lines: an object a line. A feature's field is a number or an array of
//! numbers, nested as it likes, and is read straight into the row.

use std::fmt;

use embermesh_job::spec::{Column, Table, TargetColumns};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Set;
use super::room::Room;
use super::table::{Cell, Rows};
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};

/// The longest line, in bytes.
const MAX_LINE: usize = 4 << 20;

/// Reads the rows of a file.
pub(crate) fn parse<I>(
    bytes: &[u8],
    table: &Table<I>,
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let name = |column: &Column| match column {
        Column::Name(name) => name.clone(),
        Column::Number(number) => number.to_string(),
    };
    let mut fields: Vec<Field> = table.features.iter().map(name).map(Field::new).collect();
    let features = fields.len();
    match &table.target {
        None => {}
        Some(TargetColumns::Classes { column, .. }) => fields.push(Field::new(name(column))),
        Some(TargetColumns::Numbers { columns }) => {
            fields.extend(columns.iter().map(name).map(Field::new));
        }
    }
    let mut rows = Rows::new(table, file, room);
    for (line, text) in lines(bytes) {
        read_line(text, line, file, &mut fields)?;
        rows.begin(line);
        for (at, field) in fields.iter().enumerate() {
            let is_target = at >= features;
            let label = quoted(&field.name);
            if !is_target {
                match field.cells.is_empty() && field.text.is_none() {
                    true => rows.feature(&label, Cell::Gap)?,
                    false => field.each(|cell| rows.feature(&label, cell))?,
                }
            } else if field.cells.len() + usize::from(field.text.is_some()) > 1 {
                return Err(rows
                    .place(&label)
                    .has(format!("{} values", field.cells.len()), "one target"));
            } else if field.cells.is_empty() && field.text.is_none() {
                rows.target(&label, Cell::Gap)?;
            } else {
                field.each(|cell| rows.target(&label, cell))?;
            }
        }
        rows.end()?;
    }
    rows.finish()
}

/// The lines that are not empty, and their numbers from 1.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (1..)
        .zip(bytes.split(|&byte| byte == b'\n'))
        .filter(|(_, text)| !text.trim_ascii().is_empty())
}

/// Reads a line into the fields that are wanted, or says what is wrong with it.
pub(crate) fn read_line(
    text: &[u8],
    line: u64,
    file: &str,
    fields: &mut [Field],
) -> Result<(), InvalidData> {
    let place = || Place::file(file).row(line);
    if text.len() > MAX_LINE {
        return Err(place().has(
            format!("a line of {} bytes", text.len()),
            format!("at most {MAX_LINE}"),
        ));
    }
    read(text, fields).map_err(|error| {
        // Its line is always the first; its column is a byte of the line.
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or(&said);
        place().has(
            format!("{said} (at byte {} of the line)", error.column()),
            "an object whose features are numbers or arrays of numbers",
        )
    })
}

/// A field that is wanted, and what a line has in it.
pub(crate) struct Field {
    pub(crate) name: String,
    /// Numbers; what is `null` is none.
    pub(crate) cells: Vec<f64>,
    pub(crate) text: Option<String>,
    seen: bool,
}

impl Field {
    /// A field of this name.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            cells: Vec::new(),
            text: None,
            seen: false,
        }
    }

    fn each(
        &self,
        mut take: impl FnMut(Cell<'_>) -> Result<(), InvalidData>,
    ) -> Result<(), InvalidData> {
        if let Some(text) = &self.text {
            take(Cell::Text(text))?;
        }
        self.cells
            .iter()
            .try_for_each(|&number| take(Cell::Number(number)))
    }
}

/// Reads a line into the fields that are wanted.
fn read(text: &[u8], fields: &mut [Field]) -> Result<(), serde_json::Error> {
    for field in &mut *fields {
        field.cells.clear();
        field.text = None;
        field.seen = false;
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    Object(fields).deserialize(&mut json)?;
    json.end()
}

/// Takes an object apart.
struct Object<'a>(&'a mut [Field]);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.0.iter_mut().find(|field| field.name == key) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(field) if field.seen => {
                    return Err(M::Error::custom(format!("field {} twice", quoted(&key))));
                }
                Some(field) => {
                    field.seen = true;
                    map.next_value_seed(Value(field))?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a value into a field: numbers, arrays of them, a text, a gap.
struct Value<'a>(&'a mut Field);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a number or an array of numbers in {}",
            quoted(&self.0.name)
        )
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.cells.push(value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.visit_f64(f64::from(u8::from(value)))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.visit_f64(f64::NAN)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if !self.0.cells.is_empty() || self.0.text.is_some() {
            return Err(E::custom(format!(
                "a text in the array {}",
                quoted(&self.0.name)
            )));
        }
        self.0.text = Some(value.to_owned());
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element_seed(Value(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests;
