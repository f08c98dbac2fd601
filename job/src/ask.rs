//! What a resident model is asked, and what it answers.
//!
//! An [`Ask`] has one JSON form, on the wire and on the pipe to a worker; whoever
//! takes one in reads it with [`Ask::from_json`], which judges it. An answer is a
//! few [`Part`]s, of which one is the last.

use serde::{Deserialize, Serialize};

use crate::{
    event::Generated,
    spec::{InvalidSpec, Request},
};

/// The longest ask as JSON, in bytes.
pub const MAX_ASK_LEN: usize = 256 * 1024;
/// The most rows of one ask.
pub const MAX_ASK_ROWS: usize = 1024;
/// The most numbers in the rows of one ask.
pub const MAX_ASK_NUMBERS: usize = 65_536;
/// The most numbers in one part of an answer.
pub const MAX_PART_NUMBERS: usize = 65_536;
/// The longest reason of a refusal, in bytes.
pub const MAX_REASON: usize = 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A text to go on from, of a language model.
    Text(Box<Request>),
    /// Samples, a row each, of a network: each row has the numbers of the model's
    /// input, row-major.
    Rows(Vec<Vec<f64>>),
}

/// An ask that is refused before any model sees it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidAsk {
    /// Longer than an ask may be.
    #[error("the ask has {0} bytes, of {MAX_ASK_LEN} allowed")]
    TooLarge(usize),
    /// Not JSON, or fields that are unknown, missing or of the wrong kind.
    #[error("the ask cannot be read: {0}")]
    Malformed(String),
    /// A sampling option, or the prompt.
    #[error(transparent)]
    Request(#[from] InvalidSpec),
    /// The rows.
    #[error("`rows`: {0}")]
    Rows(String),
}

impl Ask {
    /// Reads and judges an ask.
    ///
    /// # Errors
    /// [`InvalidAsk`] for the first thing that is wrong.
    pub fn from_json(bytes: &[u8]) -> Result<Self, InvalidAsk> {
        if bytes.len() > MAX_ASK_LEN {
            return Err(InvalidAsk::TooLarge(bytes.len()));
        }
        let ask: Self = serde_json::from_slice(bytes)
            .map_err(|error| InvalidAsk::Malformed(error.to_string()))?;
        ask.validate()?;
        Ok(ask)
    }

    /// Writes a valid ask.
    ///
    /// # Errors
    /// [`InvalidAsk`] when it is not, or is too long.
    pub fn to_json(&self) -> Result<Vec<u8>, InvalidAsk> {
        self.validate()?;
        let bytes =
            serde_json::to_vec(self).map_err(|error| InvalidAsk::Malformed(error.to_string()))?;
        if bytes.len() > MAX_ASK_LEN {
            return Err(InvalidAsk::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Checks bounds.
    ///
    /// # Errors
    /// [`InvalidAsk`] for the first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidAsk> {
        match self {
            Self::Text(request) => Ok(request.validate()?),
            Self::Rows(rows) => rows_fit(rows).map_err(InvalidAsk::Rows),
        }
    }

    /// The word for what is asked.
    #[must_use]
    pub const fn kind(&self) -> AskKind {
        match self {
            Self::Text(_) => AskKind::Text,
            Self::Rows(_) => AskKind::Rows,
        }
    }
}

fn rows_fit(rows: &[Vec<f64>]) -> Result<(), String> {
    let width = rows.first().map_or(0, Vec::len);
    if rows.is_empty() || rows.len() > MAX_ASK_ROWS {
        return Err(format!("give 1 to {MAX_ASK_ROWS} rows"));
    }
    if width == 0 || rows.iter().any(|row| row.len() != width) {
        return Err("give rows of the same number of numbers".to_owned());
    }
    if rows.len() * width > MAX_ASK_NUMBERS {
        return Err(format!("give {MAX_ASK_NUMBERS} numbers at most"));
    }
    // They are computed as single precision.
    if rows.iter().flatten().any(|x| !(*x as f32).is_finite()) {
        return Err("give finite numbers".to_owned());
    }
    Ok(())
}

/// What a model can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskKind {
    /// Texts.
    Text,
    /// Rows of numbers.
    Rows,
}

impl AskKind {
    /// Its name on the wire and in lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Rows => "rows",
        }
    }
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The next piece of a text; the last one says why the text ends.
    Text(Generated),
    /// The answers to the next rows.
    Rows {
        /// An answer a row.
        answers: Vec<RowAnswer>,
        /// Whether these are the last.
        last: bool,
    },
    /// It cannot be answered, and why: always the last part.
    Refused(String),
}

impl Part {
    /// Whether no part follows.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        match self {
            Self::Text(piece) => piece.finish.is_some(),
            Self::Rows { last, .. } => *last,
            Self::Refused(_) => true,
        }
    }
}

/// What a network makes of a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowAnswer {
    /// The likeliest class, by its name or else its number from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The probability of each class or label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<f32>,
    /// The numbers, where the outputs are numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_reads_back() {
        for ask in [
            Ask::Text(Box::new(Request::question("Why?"))),
            Ask::Rows(vec![vec![1.0, 2.5], vec![3.0, -4.0]]),
        ] {
            let bytes = ask.to_json().unwrap();
            assert_eq!(Ask::from_json(&bytes).unwrap(), ask);
        }
        // What is not said is as usual.
        let short = br#"{"text":{"prompt":"Once"}}"#;
        assert_eq!(
            Ask::from_json(short).unwrap(),
            Ask::Text(Box::new(Request::prompt("Once")))
        );
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_name() {
        let refused = |json: &str| Ask::from_json(json.as_bytes()).unwrap_err().to_string();
        for (json, word) in [
            (r#"{"text":{}}"#, "`requests`"),
            (r#"{"text":{"prompt":"x","temperature":-1}}"#, "temperature"),
            (r#"{"text":{"prompt":"x","temprature":1}}"#, "temprature"),
            (r#"{"rows":[]}"#, "1 to 1024 rows"),
            (r#"{"rows":[[1,2],[3]]}"#, "same number"),
            (r#"{"rows":[[]]}"#, "same number"),
            (r#"{"rows":[[1e300]]}"#, "finite"),
            (r#"{"picture":"x"}"#, "picture"),
            ("[", "cannot be read"),
        ] {
            let said = refused(json);
            assert!(said.contains(word), "{json}: {said}");
        }
        let long = vec![b' '; MAX_ASK_LEN + 1];
        assert!(matches!(
            Ask::from_json(&long),
            Err(InvalidAsk::TooLarge(_))
        ));
        let wide = Ask::Rows(vec![vec![0.0; MAX_ASK_NUMBERS / 2 + 1]; 2]);
        assert!(wide.to_json().unwrap_err().to_string().contains("65536"));
    }
}
