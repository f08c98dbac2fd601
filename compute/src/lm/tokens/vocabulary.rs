//! The tokens of a file, by number and by text.

use super::super::gguf::{Gguf, InvalidGguf, key};

/// The longest name of a special token that is looked for in a text, in bytes.
const MAX_SPECIAL: usize = 128;

/// Tokens, their texts still in the file's bytes.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    texts: Vec<&'a str>,
    sorts: Vec<Sort>,
    /// Numbers, sorted by text and then by number.
    by_text: Vec<u32>,
    specials: Specials,
}

/// What kind of token one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A piece of text.
    Normal,
    /// Steers the model and is no text.
    Control,
    /// Text that is never cut into other tokens.
    Whole,
    /// One byte.
    Byte,
    /// Stands for what there is no token for, or for nothing.
    Other,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    Special(u32),
}

/// What tells quickly that no special token begins somewhere.
#[derive(Debug)]
struct Specials {
    /// Bytes that one begins with.
    first: [bool; 256],
    /// Lengths that there are, the longest first.
    lengths: Vec<usize>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(file: &Gguf<'a>, count: usize) -> Result<Self, InvalidGguf> {
        let name = "tokenizer.ggml.tokens";
        let list = file.list(name)?.filter(|list| list.len() == count);
        let Some(texts) = list.and_then(|list| list.texts()) else {
            let reason = format!("it is not a list of the model's {count} tokens");
            return Err(key(name, reason));
        };
        let mut read = Vec::with_capacity(count);
        read.extend(texts);
        let sorts = read_sorts(file, count)?;
        let mut by_text: Vec<u32> = (0..count as u32).collect();
        by_text.sort_unstable_by_key(|token| (read[*token as usize], *token));
        let specials = Specials::of(&read, &sorts);
        Ok(Self {
            texts: read,
            sorts,
            by_text,
            specials,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn text(&self, token: u32) -> &'a str {
        self.texts.get(token as usize).copied().unwrap_or_default()
    }

    pub(super) fn sort(&self, token: u32) -> Sort {
        let sort = self.sorts.get(token as usize).copied();
        sort.unwrap_or(Sort::Other)
    }

    /// The token of a text; the first of several.
    pub(super) fn token(&self, text: &str) -> Option<u32> {
        let at = self
            .by_text
            .partition_point(|token| self.texts[*token as usize] < text);
        let token = *self.by_text.get(at)?;
        (self.texts[token as usize] == text).then_some(token)
    }

    /// The control token of a name.
    pub(super) fn control(&self, name: &str) -> Option<u32> {
        self.token(name)
            .filter(|token| self.sort(*token) == Sort::Control)
    }

    /// A text cut at the special tokens in it, the longest first.
    pub(super) fn parts<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let (mut begin, mut at) = (0, 0);
        while at < text.len() {
            let Some((token, len)) = self.special(&text[at..]) else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            if begin < at {
                parts.push(Part::Text(&text[begin..at]));
            }
            parts.push(Part::Special(token));
            at += len;
            begin = at;
        }
        if begin < text.len() {
            parts.push(Part::Text(&text[begin..]));
        }
        parts
    }

    fn special(&self, text: &str) -> Option<(u32, usize)> {
        if !self.specials.first[usize::from(*text.as_bytes().first()?)] {
            return None;
        }
        self.specials.lengths.iter().find_map(|len| {
            let token = self.token(text.get(..*len)?)?;
            is_special(self.sort(token)).then_some((token, *len))
        })
    }
}

impl Specials {
    fn of(texts: &[&str], sorts: &[Sort]) -> Self {
        let mut first = [false; 256];
        let mut there = [false; MAX_SPECIAL + 1];
        for (text, _) in texts
            .iter()
            .zip(sorts)
            .filter(|(_, sort)| is_special(**sort))
        {
            if let Some(byte) = text.as_bytes().first()
                && text.len() <= MAX_SPECIAL
            {
                first[usize::from(*byte)] = true;
                there[text.len()] = true;
            }
        }
        let lengths = (1..=MAX_SPECIAL).rev().filter(|len| there[*len]);
        Self {
            first,
            lengths: lengths.collect(),
        }
    }
}

fn is_special(sort: Sort) -> bool {
    matches!(sort, Sort::Control | Sort::Whole)
}

fn read_sorts(file: &Gguf<'_>, count: usize) -> Result<Vec<Sort>, InvalidGguf> {
    let name = "tokenizer.ggml.token_type";
    let Some(list) = file.list(name)? else {
        return Ok(vec![Sort::Normal; count]);
    };
    let numbers = Some(list).filter(|list| list.len() == count);
    let Some(numbers) = numbers.and_then(|list| list.numbers()) else {
        let reason = format!("it is not a list of {count} numbers");
        return Err(key(name, reason));
    };
    let sort = |number: f64| match number as i64 {
        1 => Sort::Normal,
        3 => Sort::Control,
        4 => Sort::Whole,
        6 => Sort::Byte,
        _ => Sort::Other,
    };
    Ok(numbers.map(sort).collect())
}
