//! Text to tokens and back, as the file's own metadata has it.
//!
//! Two kinds are read: byte-level BPE with merges ("gpt2") and SentencePiece
//! with scores ("llama"). Written here rather than taken from a library because
//! a vocabulary is a stranger's: every part of it is bounded by the bytes that
//! hold it, and nothing in it can make an encoding take more than
//! `n log n` steps.

use super::gguf::{Gguf, InvalidGguf, key};
use vocabulary::Vocabulary;

mod bpe;
pub(crate) mod bytes;
mod merge;
mod pieces;
mod spm;
mod stream;
mod vocabulary;

pub(crate) use stream::Stream;

/// Tokens that end a text, whatever the metadata calls the end, as models and
/// their files are not always of one mind.
const ENDS: [&str; 6] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "</s>",
];

/// A tokenizer.
#[derive(Debug)]
pub(crate) struct Tokenizer<'a> {
    vocabulary: Vocabulary<'a>,
    method: Method,
    /// The token that begins a text, where one does.
    begin: Option<u32>,
    /// Whether it is put there when the text does not have it.
    adds_begin: bool,
    end: Option<u32>,
    /// Sorted.
    ends: Vec<u32>,
}

#[derive(Debug)]
enum Method {
    Bpe(bpe::Bpe),
    Spm(spm::Spm),
}

impl<'a> Tokenizer<'a> {
    /// Reads the tokenizer of a file whose network knows `count` tokens.
    pub(crate) fn read(file: &Gguf<'a>, count: usize) -> Result<Self, InvalidGguf> {
        let vocabulary = Vocabulary::read(file, count)?;
        let kind = file.text("tokenizer.ggml.model")?.unwrap_or_default();
        let method = match kind {
            "gpt2" => Method::Bpe(bpe::Bpe::read(file, &vocabulary)?),
            "llama" => Method::Spm(spm::Spm::read(file, &vocabulary)?),
            _ => {
                let reason = format!("{kind:?} is not read, only \"gpt2\" and \"llama\"");
                return Err(key("tokenizer.ggml.model", reason));
            }
        };
        let begin = special(file, "tokenizer.ggml.bos_token_id", count)?;
        let end = special(file, "tokenizer.ggml.eos_token_id", count)?;
        let mut ends: Vec<u32> = ENDS
            .iter()
            .filter_map(|text| vocabulary.control(text))
            .chain(end)
            .chain(special(file, "tokenizer.ggml.eot_token_id", count)?)
            .chain(special(file, "tokenizer.ggml.eom_token_id", count)?)
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let adds_begin = file.flag("tokenizer.ggml.add_bos_token")?;
        Ok(Self {
            adds_begin: adds_begin.unwrap_or(matches!(method, Method::Spm(_))),
            vocabulary,
            method,
            begin,
            end,
            ends,
        })
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// The tokens of a text. Names of special tokens in it are those tokens.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        if self.adds_begin {
            tokens.extend(self.begin);
        }
        let mut after_special = true;
        for part in self.vocabulary.parts(text) {
            match part {
                vocabulary::Part::Special(token) => {
                    // A template writes the beginning out itself.
                    if Some(token) != self.begin || tokens != [token] {
                        tokens.push(token);
                    }
                    after_special = true;
                }
                vocabulary::Part::Text(text) => {
                    match &self.method {
                        Method::Bpe(bpe) => bpe.encode(&self.vocabulary, text, &mut tokens),
                        Method::Spm(spm) => {
                            spm.encode(&self.vocabulary, text, after_special, &mut tokens);
                        }
                    }
                    after_special = false;
                }
            }
        }
        tokens
    }

    /// The bytes of a token's text; none of a special token.
    pub(crate) fn bytes(&self, token: u32, to: &mut Vec<u8>) {
        match &self.method {
            Method::Bpe(_) => bpe::decode(&self.vocabulary, token, to),
            Method::Spm(_) => spm::decode(&self.vocabulary, token, to),
        }
    }

    /// Whether a text ends with this token.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// The names of the tokens that begin and end a text, for templates.
    pub(crate) fn names(&self) -> (&'a str, &'a str) {
        let name = |token: Option<u32>| token.map_or("", |token| self.vocabulary.text(token));
        (name(self.begin), name(self.end))
    }
}

/// A special token's number, checked.
fn special(file: &Gguf<'_>, name: &str, count: usize) -> Result<Option<u32>, InvalidGguf> {
    let Some(token) = file.count(name)? else {
        return Ok(None);
    };
    match u32::try_from(token) {
        Ok(found) if token < count as u64 => Ok(Some(found)),
        _ => Err(key(
            name,
            format!("{token} is not one of the {count} tokens"),
        )),
    }
}

#[cfg(test)]
mod tests;
