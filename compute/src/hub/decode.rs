//! Tokens back to bytes, one by one, so that a text can be told as it comes:
//! byte-level letters, or words with a mark for the space before them.

use serde_json::Value;

use crate::lm::letters::byte;

/// What SentencePiece writes for a space.
const SPACE: char = '\u{2581}';

/// How tokens are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Each letter is a byte.
    ByteLevel,
    /// Words as they are, a mark for each space, and bytes as `<0x0A>`.
    Marks,
}

impl Writing {
    /// By the `decoder` of a file; why it is not known.
    pub(super) fn of(decoder: &Value) -> Result<Self, String> {
        let kind = |step: &Value| step["type"].as_str().unwrap_or_default().to_owned();
        let kinds = match decoder["decoders"].as_array() {
            Some(steps) if kind(decoder) == "Sequence" => steps.iter().map(kind).collect(),
            _ => vec![kind(decoder)],
        };
        let has = |name: &str| kinds.iter().any(|kind| kind == name);
        if has("ByteLevel") {
            return Ok(Self::ByteLevel);
        }
        if has("Metaspace") || (has("Replace") && has("ByteFallback")) {
            return Ok(Self::Marks);
        }
        Err(format!(
            "the decoder {kinds:?} is not run: ByteLevel, Metaspace, or Replace with ByteFallback are"
        ))
    }

    /// Adds the bytes of a token that is written so.
    pub(super) fn bytes(self, token: &str, to: &mut Vec<u8>) {
        match self {
            Self::ByteLevel => {
                for letter in token.chars() {
                    match byte(letter) {
                        Some(byte) => to.push(byte),
                        None => to.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
            }
            Self::Marks => match fallback(token) {
                Some(byte) => to.push(byte),
                None => {
                    to.extend_from_slice(token.replace(SPACE, " ").as_bytes());
                }
            },
        }
    }
}

/// The byte that stands for what the vocabulary has no word for.
fn fallback(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(writing: Writing, tokens: &[&str]) -> String {
        let mut bytes = Vec::new();
        for token in tokens {
            writing.bytes(token, &mut bytes);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn tokens_come_back_as_they_were_written() {
        let level = Writing::of(&json!({"type": "ByteLevel"})).unwrap();
        assert_eq!(written(level, &["ĠParis", "Ċ", "Ã©"]), " Paris\né");
        let steps = json!({"type": "Sequence", "decoders": [
            {"type": "Replace"}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip"}]});
        let marks = Writing::of(&steps).unwrap();
        assert_eq!(
            written(marks, &["▁Paris", "<0x0A>", "<0xC3>", "<0xA9>"]),
            " Paris\né"
        );
        assert!(Writing::of(&json!({"type": "WordPiece"})).is_err());
        assert!(Writing::of(&Value::Null).is_err());
    }
}
