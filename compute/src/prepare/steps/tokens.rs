//! Texts as tokens, by a `tokenizer.json` or by the tokenizer of a GGUF file.
//!
//! The library that reads `tokenizer.json` trusts it, so its growth is asked of
//! the job's memory first, what draws by chance is refused, and a panic within
//! it is an error here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use embermesh_job::spec::prepare::tokenise::{Side, Tokenise, Truncation};
use rayon::prelude::*;
use tokenizers::{ModelWrapper, PostProcessor as _, TruncationDirection, TruncationParams};

use super::Stage;
use crate::dataset::room::Room;
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};
use crate::lm::gguf::Gguf;
use crate::lm::tokens::Tokenizer;
use crate::prepare::column::{Column, Values, exactly};
use crate::prepare::table::Table;

/// The first bytes of a GGUF file.
const GGUF: &[u8] = b"GGUF";
/// The largest `tokenizer.json`, in bytes.
const MAX_JSON: usize = 64 << 20;
/// Bytes that a byte of a file may become.
const GROWTH: u64 = 12;
/// Bytes that a byte of a text may take while it is made tokens of.
const TEXT_GROWTH: u64 = 128;
/// Bytes of texts that are made tokens of together.
const TOGETHER: usize = 256 << 10;

/// A tokenizer that was read for a step.
pub(in crate::prepare) struct Tokens<'a> {
    kind: Kind<'a>,
    /// The token that fills up, where the file names one.
    pad: Option<u32>,
}

enum Kind<'a> {
    Json(Box<tokenizers::Tokenizer>),
    Gguf {
        tokenizer: Box<Tokenizer<'a>>,
        /// Tokens that it puts before each text.
        begin: Vec<u32>,
    },
}

impl<'a> Tokens<'a> {
    /// Reads the tokenizer of a step.
    pub(in crate::prepare) fn read<I>(
        bytes: &'a [u8],
        how: &Tokenise<I>,
        stage: &mut Stage<'_>,
    ) -> Result<Self, InvalidData> {
        match bytes.starts_with(GGUF) {
            true => Self::gguf(bytes),
            false => Self::json(bytes, how, stage.room, &stage.label),
        }
    }

    fn gguf(bytes: &'a [u8]) -> Result<Self, InvalidData> {
        let wrong = |error: crate::lm::InvalidGguf| wrong(error.to_string());
        let file = Gguf::parse(bytes).map_err(wrong)?;
        let list = file.list("tokenizer.ggml.tokens").map_err(wrong)?;
        let count = list.map_or(0, |list| list.len());
        let tokenizer = Box::new(Tokenizer::read(&file, count).map_err(wrong)?);
        let pad = file
            .count("tokenizer.ggml.padding_token_id")
            .map_err(wrong)?;
        let pad = pad.filter(|&pad| pad < count as u64);
        let begin = tokenizer.encode("");
        Ok(Self {
            kind: Kind::Gguf { tokenizer, begin },
            pad: pad.and_then(|pad| u32::try_from(pad).ok()),
        })
    }

    fn json<I>(
        bytes: &[u8],
        how: &Tokenise<I>,
        room: &mut Room,
        label: &str,
    ) -> Result<Self, InvalidData> {
        if bytes.len() > MAX_JSON {
            return Err(wrong(format!(
                "{} bytes, of {MAX_JSON} allowed",
                bytes.len()
            )));
        }
        room.take(bytes.len() as u64 * GROWTH, label)?;
        let mut tokenizer = guarded(|| {
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| wrong(error.to_string()))
        })?;
        let draws = match tokenizer.get_model() {
            ModelWrapper::BPE(model) => model.dropout.is_some_and(|share| share > 0.0),
            ModelWrapper::Unigram(model) => model.alpha.is_some(),
            _ => false,
        };
        if draws {
            return Err(wrong(
                "it draws tokens by chance: take its `dropout` or `alpha` out".to_owned(),
            ));
        }
        let pad = tokenizer.get_padding().map(|padding| padding.pad_id);
        tokenizer.with_padding(None);
        let added = tokenizer
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(false));
        let max_length = how.max_length as usize;
        if added > max_length {
            return Err(InvalidData::Misfit(format!(
                "`max_length` {max_length} is less than the {added} tokens that begin and end each text"
            )));
        }
        let direction = match how.truncation {
            Truncation::Left => Some(TruncationDirection::Left),
            Truncation::Right => Some(TruncationDirection::Right),
            Truncation::Refuse => None,
        };
        let truncation = direction.map(|direction| TruncationParams {
            direction,
            max_length,
            ..TruncationParams::default()
        });
        tokenizer
            .with_truncation(truncation)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            kind: Kind::Json(Box::new(tokenizer)),
            pad,
        })
    }

    /// The tokens of a text, cut where the step says so.
    fn encode<I>(&self, text: &str, how: &Tokenise<I>) -> Result<Vec<u32>, InvalidData> {
        match &self.kind {
            Kind::Json(tokenizer) => guarded(|| {
                tokenizer
                    .encode_fast(text, how.special_tokens)
                    .map(|encoding| encoding.get_ids().to_vec())
                    .map_err(|error| wrong(error.to_string()))
            }),
            Kind::Gguf { tokenizer, begin } => {
                let mut tokens = tokenizer.encode(text);
                let mut kept = begin.len();
                if !how.special_tokens && tokens.starts_with(begin) {
                    tokens.drain(..kept);
                    kept = 0;
                }
                let surplus = tokens.len().saturating_sub(how.max_length as usize);
                match how.truncation {
                    Truncation::Right => tokens.truncate(how.max_length as usize),
                    Truncation::Left if kept < tokens.len() => {
                        let kept = kept.min(tokens.len() - surplus);
                        tokens.drain(kept..kept + surplus);
                    }
                    Truncation::Left | Truncation::Refuse => {}
                }
                Ok(tokens)
            }
        }
    }
}

/// Makes tokens of the texts of a column.
pub(super) fn tokenise<I: Sync>(
    table: &mut Table,
    how: &Tokenise<I>,
    tokens: &Tokens<'_>,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(&how.column)?;
    let pad = how.pad_id.or(tokens.pad).ok_or_else(|| {
        InvalidData::Misfit("its tokenizer names no token that fills up: give `pad_id`".to_owned())
    })?;
    let pad = number(pad)?;
    let length = how.max_length as usize;
    let count = table.len().saturating_mul(length);
    let mut ids: Vec<i32> = exactly(count, stage.room, &stage.label)?;
    let mut mask: Vec<u8> = match how.mask {
        Some(_) => exactly(count, stage.room, &stage.label)?,
        None => Vec::new(),
    };
    let mut row = 0;
    while row < table.len() {
        let column = &table.columns[at];
        let (end, bytes) = together(table, at, row);
        let needed = bytes as u64 * TEXT_GROWTH;
        stage.room.take(needed, &stage.label)?;
        let encoded: Vec<Result<Vec<u32>, InvalidData>> = (row..end)
            .into_par_iter()
            .map(|row| match column.text(row) {
                Some(text) => tokens.encode(text, how),
                None => Err(stage_gap(table, row, how, stage.file)),
            })
            .collect();
        for (row, encoded) in (row..end).zip(encoded) {
            let encoded = encoded?;
            if encoded.len() > length {
                let text = column.text(row).unwrap_or_default();
                return Err(stage.place(table, row, &how.column).has(
                    format!("{} of {} tokens", quoted(text), encoded.len()),
                    format!("at most {length}, as `max_length` says"),
                ));
            }
            let gap = length - encoded.len();
            let (before, after) = match how.padding {
                Side::Left => (gap, 0),
                Side::Right => (0, gap),
            };
            ids.extend(std::iter::repeat_n(pad, before));
            for token in &encoded {
                ids.push(number(*token)?);
            }
            ids.extend(std::iter::repeat_n(pad, after));
            if how.mask.is_some() {
                mask.extend(std::iter::repeat_n(0, before));
                mask.extend(std::iter::repeat_n(1, encoded.len()));
                mask.extend(std::iter::repeat_n(0, after));
            }
        }
        stage.room.give(needed);
        row = end;
    }
    let column = &mut table.columns[at];
    stage.room.give(column.held());
    column.shape = vec![length];
    column.values = Values::Integers(ids);
    if let Some(name) = &how.mask {
        let column = Column::new(name, vec![length], Values::Bytes(mask));
        table.columns.push(column);
    }
    Ok(())
}

/// Where the texts end that are made tokens of together with that of a row, and
/// their bytes.
fn together(table: &Table, at: usize, row: usize) -> (usize, usize) {
    let mut end = row;
    let mut bytes = 0;
    while end < table.len() {
        let more = table.columns[at].text(end).map_or(0, str::len);
        if end > row && bytes + more > TOGETHER {
            break;
        }
        bytes += more;
        end += 1;
    }
    (end, bytes)
}

fn stage_gap<I>(table: &Table, row: usize, how: &Tokenise<I>, file: &str) -> InvalidData {
    let place: Place = table.place(file, row, &how.column);
    place.has("nothing", "a text (`fill` puts one there)")
}

/// A token as a number of a column.
fn number(token: u32) -> Result<i32, InvalidData> {
    i32::try_from(token)
        .map_err(|_| InvalidData::Misfit(format!("{token} is no number of a token")))
}

fn wrong(reason: String) -> InvalidData {
    InvalidData::Misfit(format!("its tokenizer cannot be used: {reason}"))
}

fn guarded<T>(run: impl FnOnce() -> Result<T, InvalidData>) -> Result<T, InvalidData> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(wrong(
            "it made the library that reads it give up".to_owned(),
        ))
    })
}
