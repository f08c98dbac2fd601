//! Texts as tokens of a tokenizer that comes as a file.

use serde::{Deserialize, Serialize};

use super::schema::{Kind, Schema};
use crate::spec::Input;

/// The most tokens of a text.
pub const MAX_LENGTH: u32 = 65_536;

/// A column of texts becomes one of token numbers, each text as long as
/// `max_length`: longer ones are cut, shorter ones filled up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenise<I = Input> {
    /// The column.
    pub column: String,
    /// A `tokenizer.json`, or a GGUF file that has a tokenizer.
    pub tokenizer: I,
    /// Tokens of each text.
    pub max_length: u32,
    /// Whether longer texts are cut, and where; else they are refused.
    #[serde(default, skip_serializing_if = "Truncation::is_usual")]
    pub truncation: Truncation,
    /// Where shorter texts are filled up.
    #[serde(default, skip_serializing_if = "Side::is_usual")]
    pub padding: Side,
    /// The token that fills up; without one, that which the tokenizer names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_id: Option<u32>,
    /// Whether the tokens that begin and end a text are put there.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub special_tokens: bool,
    /// A further column, in which a token of the text is 1 and one that fills up
    /// is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
}

/// An end of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    #[default]
    Right,
}

/// What becomes of a text that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// Its beginning is cut off.
    Left,
    /// Its end is cut off.
    #[default]
    Right,
    /// The data is refused, with row and column.
    Refuse,
}

impl Side {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Truncation {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl<I> Tokenise<I> {
    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Tokenise<J>, E> {
        Ok(Tokenise {
            column: self.column,
            tokenizer: name(self.tokenizer)?,
            max_length: self.max_length,
            truncation: self.truncation,
            padding: self.padding,
            pad_id: self.pad_id,
            special_tokens: self.special_tokens,
            mask: self.mask,
        })
    }

    /// What the column becomes.
    pub(super) fn fits(&self, schema: &Schema) -> Result<Kind, String> {
        if !(1..=MAX_LENGTH).contains(&self.max_length) {
            return Err(format!(
                "`max_length` {} is not from 1 to {MAX_LENGTH}",
                self.max_length
            ));
        }
        if self.pad_id.is_some_and(|id| i32::try_from(id).is_err()) {
            return Err("`pad_id` is no number of a token".to_owned());
        }
        schema.texts(&self.column)?;
        Ok(Kind::Numbers(Some(vec![self.max_length as usize])))
    }
}
