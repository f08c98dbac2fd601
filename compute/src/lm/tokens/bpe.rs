//! Byte-level BPE: a piece's bytes as letters, joined by the file's merges
//! (Sennrich et al., 2016; Radford et al., 2019).

use super::super::gguf::{Gguf, InvalidGguf, key};
use super::bytes::{byte, letter};
use super::merge::merge;
use super::pieces::Pieces;
use super::vocabulary::{Sort, Vocabulary};

/// Merges and the token of each byte.
#[derive(Debug)]
pub(super) struct Bpe {
    pieces: Pieces,
    bytes: [Option<u32>; 256],
    /// Sorted by the pair.
    merges: Vec<Merge>,
    /// Whether a piece that is a token is one, whatever the merges say.
    whole_pieces: bool,
    unknown: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Merge {
    pair: (u32, u32),
    rank: u32,
    joined: u32,
}

impl Bpe {
    pub(super) fn read(file: &Gguf<'_>, vocabulary: &Vocabulary<'_>) -> Result<Self, InvalidGguf> {
        let pre = file.text("tokenizer.ggml.pre")?.unwrap_or_default();
        let unknown = file.count("tokenizer.ggml.unknown_token_id")?;
        Ok(Self {
            pieces: Pieces::read(file)?,
            bytes: std::array::from_fn(|byte| {
                vocabulary.token(letter(byte as u8).encode_utf8(&mut [0; 4]))
            }),
            merges: read_merges(file, vocabulary)?,
            whole_pieces: matches!(pre, "llama-bpe" | "llama3" | "llama-v3"),
            unknown: unknown
                .and_then(|token| u32::try_from(token).ok())
                .filter(|token| (*token as usize) < vocabulary.len()),
        })
    }

    pub(super) fn encode(&self, vocabulary: &Vocabulary<'_>, text: &str, to: &mut Vec<u32>) {
        let mut tokens = Vec::new();
        self.pieces.cut(text, &mut |piece| {
            if self.whole_pieces {
                let letters: String = piece.bytes().map(letter).collect();
                if let Some(token) = vocabulary.token(&letters) {
                    return to.push(token);
                }
            }
            tokens.clear();
            let bytes = piece.bytes().map(|byte| self.bytes[usize::from(byte)]);
            tokens.extend(bytes.filter_map(|token| token.or(self.unknown)));
            to.extend(merge(&tokens, |a, b| self.join(a, b)));
        });
    }

    fn join(&self, a: u32, b: u32) -> Option<(u32, u32)> {
        let at = self
            .merges
            .binary_search_by_key(&(a, b), |merge| merge.pair);
        at.ok()
            .map(|at| (self.merges[at].rank, self.merges[at].joined))
    }
}

/// A merge of texts that are no tokens can never be used and is left out.
fn read_merges(file: &Gguf<'_>, vocabulary: &Vocabulary<'_>) -> Result<Vec<Merge>, InvalidGguf> {
    let name = "tokenizer.ggml.merges";
    let list = file.list(name)?;
    let Some((count, texts)) = list.and_then(|list| Some((list.len(), list.texts()?))) else {
        return Err(key(name, "it is not a list of texts"));
    };
    let mut merges = Vec::with_capacity(count);
    let mut joined = String::new();
    for (rank, text) in (0_u32..).zip(texts) {
        // The first letter of a pair may be a space itself.
        let after_first = text.chars().next().map_or(0, char::len_utf8);
        let Some(space) = text[after_first..].find(' ') else {
            return Err(key(name, format!("number {rank} is no pair")));
        };
        let (first, second) = text.split_at(after_first + space);
        let second = &second[1..];
        joined.clear();
        joined.push_str(first);
        joined.push_str(second);
        let token = |text: &str| vocabulary.token(text);
        if let (Some(a), Some(b), Some(joined)) = (token(first), token(second), token(&joined)) {
            merges.push(Merge {
                pair: (a, b),
                rank,
                joined,
            });
        }
    }
    merges.sort_unstable_by_key(|merge| (merge.pair, merge.rank));
    merges.dedup_by_key(|merge| merge.pair);
    Ok(merges)
}

/// Letters back to bytes.
pub(super) fn decode(vocabulary: &Vocabulary<'_>, token: u32, to: &mut Vec<u8>) {
    let text = vocabulary.text(token);
    match vocabulary.sort(token) {
        Sort::Control | Sort::Other => {}
        Sort::Whole => to.extend_from_slice(text.as_bytes()),
        Sort::Normal | Sort::Byte => {
            for letter in text.chars() {
                match byte(letter) {
                    Some(byte) => to.push(byte),
                    None => to.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
    }
}
