//! Values of numbers: the numbers in one row, and the form that they stand in.

use std::collections::BTreeMap;

use serde_json::{Number, Value as Json};

use super::Value;

/// What the path of a value that is no list and has no fields is called.
const WHOLE: &str = "result";

/// The form of a value whose leaves are all numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// One number.
    Number,
    /// So many numbers, kept as such.
    Numbers(usize),
    /// Forms in a row.
    List(Vec<Form>),
    /// Forms by name.
    Fields(BTreeMap<String, Form>),
}

/// A value that is not made of numbers alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNumbers {
    /// Something else than a number.
    #[error("`{path}` is {what}, not a number")]
    Leaf {
        /// Where, as `a.b[3]`.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// No number at all.
    #[error("it holds no numbers")]
    Empty,
}

/// Takes a value apart: its form, and its numbers in order; fields are in the
/// order of their names.
///
/// # Errors
/// [`NotNumbers`], with the place.
pub fn take_apart(value: &Value) -> Result<(Form, Vec<f64>), NotNumbers> {
    let mut numbers = Vec::new();
    let form = match value {
        Value::Numbers(list) => {
            numbers.clone_from(list);
            Form::Numbers(list.len())
        }
        Value::Json(json) => walk(json, &mut String::new(), &mut numbers)?,
        Value::Rows(_) => {
            return Err(NotNumbers::Leaf {
                path: WHOLE.to_owned(),
                what: "a proof",
            });
        }
    };
    if numbers.is_empty() {
        return Err(NotNumbers::Empty);
    }
    Ok((form, numbers))
}

fn walk(json: &Json, path: &mut String, numbers: &mut Vec<f64>) -> Result<Form, NotNumbers> {
    let length = path.len();
    let what = match json {
        Json::Number(number) => {
            if let Some(number) = number.as_f64().filter(|number| number.is_finite()) {
                numbers.push(number);
                return Ok(Form::Number);
            }
            "beyond any float"
        }
        Json::Array(entries) => {
            let mut forms = Vec::with_capacity(entries.len());
            for (place, entry) in entries.iter().enumerate() {
                path.push_str(&format!("[{place}]"));
                forms.push(walk(entry, path, numbers)?);
                path.truncate(length);
            }
            return Ok(Form::List(forms));
        }
        Json::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            let mut forms = BTreeMap::new();
            for (name, field) in sorted {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                forms.insert(name.clone(), walk(field, path, numbers)?);
                path.truncate(length);
            }
            return Ok(Form::Fields(forms));
        }
        Json::String(_) => "a text",
        Json::Bool(_) => "true or false",
        Json::Null => "null",
    };
    let path = if path.is_empty() {
        WHOLE.to_owned()
    } else {
        std::mem::take(path)
    };
    Err(NotNumbers::Leaf { path, what })
}

/// Puts numbers back into a form; nothing if they are too few or not finite.
#[must_use]
pub fn put_together(form: &Form, numbers: &[f64]) -> Option<Value> {
    if !numbers.iter().all(|number| number.is_finite()) {
        return None;
    }
    match form {
        Form::Numbers(count) => (*count == numbers.len()).then(|| Value::Numbers(numbers.to_vec())),
        form => fill(form, &mut numbers.iter().copied()).map(Value::Json),
    }
}

fn fill(form: &Form, numbers: &mut impl Iterator<Item = f64>) -> Option<Json> {
    match form {
        Form::Number => Number::from_f64(numbers.next()?).map(Json::Number),
        Form::Numbers(count) => (0..*count)
            .map(|_| fill(&Form::Number, numbers))
            .collect::<Option<Vec<_>>>()
            .map(Json::Array),
        Form::List(forms) => forms
            .iter()
            .map(|form| fill(form, numbers))
            .collect::<Option<Vec<_>>>()
            .map(Json::Array),
        Form::Fields(forms) => forms
            .iter()
            .map(|(name, form)| Some((name.clone(), fill(form, numbers)?)))
            .collect::<Option<serde_json::Map<_, _>>>()
            .map(Json::Object),
    }
}
