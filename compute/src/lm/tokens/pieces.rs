//! Where a text is cut before its bytes are joined: no token crosses a cut.
//!
//! The patterns are those of the models' own tokenizers. The only part of them
//! that a linear matcher cannot say is `\s+(?!\S)`, spaces but for the last one
//! before a word: it is matched as `\s+` and the last one is given back.

use std::sync::LazyLock;

use regex::Regex;

use super::super::gguf::{Gguf, InvalidGguf, key, shown};

/// GPT-2's pattern.
static GPT2: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"));

/// Llama 3's.
static LLAMA3: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    )
});

/// Qwen 2's: Llama 3's with each digit by itself.
static QWEN2: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    )
});

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is one")
}

/// A way to cut.
#[derive(Debug)]
pub(super) struct Pieces {
    pattern: &'static Regex,
    /// Whether each digit is cut out first.
    digits: bool,
    /// Whether the pattern takes ends of lines whole.
    lines: bool,
}

impl Pieces {
    /// The way that a file names.
    pub(super) fn read(file: &Gguf<'_>) -> Result<Self, InvalidGguf> {
        let name = "tokenizer.ggml.pre";
        let (pattern, digits, lines) = match file.text(name)?.unwrap_or("gpt-2") {
            "gpt-2" | "gpt2" => (&*GPT2, false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => (&*GPT2, true, false),
            "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => (&*LLAMA3, false, true),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => (&*QWEN2, false, true),
            other => {
                let reason = format!(
                    "{:?} is not known: gpt-2, smollm, llama-bpe and qwen2 are",
                    shown(other)
                );
                return Err(key(name, reason));
            }
        };
        Ok(Self {
            pattern,
            digits,
            lines,
        })
    }

    /// Calls `each` with one piece after another; together they are the text.
    pub(super) fn cut<'t>(&self, text: &'t str, each: &mut impl FnMut(&'t str)) {
        if !self.digits {
            return self.by_pattern(text, each);
        }
        let mut begin = 0;
        for (at, digit) in text
            .char_indices()
            .filter(|(_, letter)| letter.is_numeric())
        {
            let end = at + digit.len_utf8();
            self.by_pattern(&text[begin..at], each);
            each(&text[at..end]);
            begin = end;
        }
        self.by_pattern(&text[begin..], each);
    }

    fn by_pattern<'t>(&self, text: &'t str, each: &mut impl FnMut(&'t str)) {
        let mut begin = 0;
        while begin < text.len() {
            let Some(found) = self.pattern.find_at(text, begin) else {
                return each(&text[begin..]);
            };
            if found.start() > begin {
                each(&text[begin..found.start()]);
            }
            let more = found.end() < text.len();
            let piece = match found.as_str() {
                line if self.lines && line.ends_with(['\r', '\n']) => line,
                piece if more => without_last_space(piece),
                piece => piece,
            };
            each(piece);
            begin = found.start() + piece.len();
        }
    }
}

/// Spaces before a word leave the last one to it.
fn without_last_space(piece: &str) -> &str {
    match piece.char_indices().next_back() {
        Some((last, _)) if last > 0 && piece.chars().all(char::is_whitespace) => &piece[..last],
        _ => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'t>(pattern: &'static Regex, digits: bool, text: &'t str) -> Vec<&'t str> {
        let pieces = Pieces {
            pattern,
            digits,
            lines: !std::ptr::eq(pattern, &*GPT2),
        };
        let mut cut = Vec::new();
        pieces.cut(text, &mut |piece| cut.push(piece));
        assert_eq!(cut.concat(), text);
        cut
    }

    #[test]
    fn words_take_the_space_before_them() {
        assert_eq!(
            pieces(&GPT2, false, "It's  a   12 b\u{e9}!?  "),
            ["It", "'s", " ", " a", "  ", " 12", " bé", "!?", "  "]
        );
        assert_eq!(pieces(&GPT2, true, "a  12"), ["a", "  ", "1", "2"]);
        assert_eq!(
            pieces(&LLAMA3, false, "I'LL\n\n  go 12345.\n"),
            ["I", "'LL", "\n\n", " ", " go", " ", "123", "45", ".\n"]
        );
        assert_eq!(pieces(&GPT2, false, "a\n\nb"), ["a", "\n", "\n", "b"]);
        assert_eq!(pieces(&GPT2, false, ""), [""; 0]);
    }
}
