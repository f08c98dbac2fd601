//! SentencePiece: letters joined to the pieces with the best scores, what there
//! is no piece for as its bytes (Kudo and Richardson, 2018, as llama.cpp runs
//! it).

use super::super::gguf::{Gguf, InvalidGguf, key};
use super::merge::merge;
use super::vocabulary::{Sort, Vocabulary};

/// What a space is written as.
const SPACE: &str = "\u{2581}";

/// Stands for a letter without a token while others are joined.
const NO_TOKEN: u32 = u32::MAX;

/// Scores, and the token of each byte.
#[derive(Debug)]
pub(super) struct Spm {
    scores: Vec<f32>,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    /// Whether a text begins with a space that is not there.
    adds_space: bool,
}

impl Spm {
    pub(super) fn read(file: &Gguf<'_>, vocabulary: &Vocabulary<'_>) -> Result<Self, InvalidGguf> {
        let name = "tokenizer.ggml.scores";
        let count = vocabulary.len();
        let list = file.list(name)?.filter(|list| list.len() == count);
        let Some(numbers) = list.and_then(|list| list.numbers()) else {
            return Err(key(name, format!("it is not a list of {count} numbers")));
        };
        let mut scores = Vec::with_capacity(count);
        scores.extend(numbers.map(|score| score as f32));
        if scores.iter().any(|score| score.is_nan()) {
            return Err(key(name, "a score is no number"));
        }
        let unknown = file.count("tokenizer.ggml.unknown_token_id")?;
        Ok(Self {
            scores,
            bytes: std::array::from_fn(|byte| vocabulary.token(&format!("<0x{byte:02X}>"))),
            unknown: unknown
                .and_then(|token| u32::try_from(token).ok())
                .filter(|token| (*token as usize) < count),
            adds_space: file
                .flag("tokenizer.ggml.add_space_prefix")?
                .unwrap_or(true),
        })
    }

    /// `first` says whether the text is at the beginning or behind a special
    /// token.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &str,
        first: bool,
        to: &mut Vec<u32>,
    ) {
        let mut spaced = text.replace(' ', SPACE);
        if self.adds_space && first {
            spaced.insert_str(0, SPACE);
        }
        let mut letters = Vec::new();
        for letter in spaced.chars() {
            let text = letter.encode_utf8(&mut [0; 4]).to_owned();
            letters.push(vocabulary.token(&text).unwrap_or(NO_TOKEN));
        }
        // A letter without a token is never joined, so what is left of those
        // stands in the order of the text.
        let mut unknown = spaced
            .chars()
            .zip(&letters)
            .filter(|(_, token)| **token == NO_TOKEN)
            .map(|(letter, _)| letter);
        let mut together = String::new();
        let joined = merge(&letters, |a, b| {
            if a == NO_TOKEN || b == NO_TOKEN {
                return None;
            }
            let mut together = String::with_capacity(64);
            together.push_str(vocabulary.text(a));
            together.push_str(vocabulary.text(b));
            let token = vocabulary.token(&together)?;
            Some((rank(self.scores[token as usize]), token))
        });
        for token in joined {
            if token != NO_TOKEN {
                to.push(token);
                continue;
            }
            together.clear();
            together.extend(unknown.next());
            let bytes = together.bytes().map(|byte| self.bytes[usize::from(byte)]);
            to.extend(bytes.filter_map(|token| token.or(self.unknown)));
        }
    }
}

/// The best score has the least rank.
fn rank(score: f32) -> u32 {
    let bits = score.to_bits();
    // Floats in the order of whole numbers: the sign turned, and the rest of
    // the negative ones.
    let ascending = if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    };
    !ascending
}

/// Pieces back to bytes.
pub(super) fn decode(vocabulary: &Vocabulary<'_>, token: u32, to: &mut Vec<u8>) {
    let text = vocabulary.text(token);
    match vocabulary.sort(token) {
        Sort::Control | Sort::Other => {}
        Sort::Whole => to.extend_from_slice(text.as_bytes()),
        Sort::Byte => {
            let hex = text
                .strip_prefix("<0x")
                .and_then(|hex| hex.strip_suffix('>'));
            to.extend(hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()));
        }
        Sort::Normal => to.extend_from_slice(text.replace(SPACE, " ").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn better_scores_come_first() {
        let scores = [3.0, 0.5, 0.0, -0.5, -1e9, f32::NEG_INFINITY];
        let ranks = scores.map(rank);
        assert!(ranks.is_sorted(), "{ranks:?}");
    }
}
