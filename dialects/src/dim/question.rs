//! What a configuration's data asks of a model, and answers as this wire has them.

use embermesh_job::{
    ask::{Ask, Part},
    spec::Request,
};
use serde_json::{Value as Json, json};

use crate::Failure;

/// What data asks: a text, an object with `prompt` or `messages` and options, a row of
/// numbers, rows of them, or an object with `rows`.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub fn ask(data: &Json) -> Result<Ask, Failure> {
    let ask = match data {
        Json::String(text) => Ask::Text(Box::new(Request::question(text))),
        Json::Array(list) if list.iter().all(Json::is_number) => Ask::Rows(vec![numbers(data)?]),
        Json::Array(list) => Ask::Rows(list.iter().map(numbers).collect::<Result<_, _>>()?),
        Json::Object(fields) if fields.contains_key("rows") => return ask(&fields["rows"]),
        Json::Object(_) => {
            let request: Request = serde_json::from_value(data.clone()).map_err(|error| {
                Failure::invalid(format!("the data is no question to a model: {error}"))
            })?;
            Ask::Text(Box::new(request))
        }
        _ => {
            let reason = "the data is no question to a model: give a text, an object or rows";
            return Err(Failure::invalid(reason));
        }
    };
    ask.validate()
        .map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(ask)
}

fn numbers(row: &Json) -> Result<Vec<f64>, Failure> {
    let row = row
        .as_array()
        .map(|row| row.iter().map(Json::as_f64).collect());
    row.flatten()
        .ok_or_else(|| Failure::invalid("the data has a row that is no list of numbers"))
}

/// The verdict of an answer: the text, or of each row its class, else its numbers.
pub(super) fn verdict(parts: &[Part]) -> Json {
    let mut text = String::new();
    let mut rows = Vec::new();
    let mut is_text = false;
    for part in parts {
        match part {
            Part::Text(piece) => {
                is_text = true;
                text.push_str(&piece.text);
            }
            Part::Rows { answers, .. } => rows.extend(answers.iter().map(|row| {
                match (&row.class, row.probabilities.is_empty()) {
                    (Some(class), _) => json!(class),
                    (None, false) => json!(row.probabilities),
                    (None, true) => json!(row.numbers),
                }
            })),
            Part::Refused(_) => {}
        }
    }
    if is_text {
        json!(text)
    } else {
        Json::Array(rows)
    }
}
