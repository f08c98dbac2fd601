//! What of a `tokenizer.json` would explode: found in its own text, before the
//! library builds anything of it.
//!
//! A normaliser that writes ten letters for each one, forty times over, turns a
//! word into more than there is memory; a template of a million tokens makes a
//! million of an empty text; a thousand patterns compile to gigabytes. Nothing
//! that real tokenizers hold comes near these bounds.

use serde_json::Value;

/// The most patterns of a file: each may compile to 10 MiB.
const MAX_PATTERNS: u64 = 8;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// The most values in the description of a step, nested ones included.
const MAX_VALUES: usize = 1024;
/// The longest text in such a description, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// The most bytes that a byte of text may become.
const MAX_GROWTH: u64 = 64;
/// The most tokens beside the vocabulary, and the longest, in bytes.
const MAX_ADDED: (usize, usize) = (1 << 16, 1024);
/// The longest word that WordPiece cuts, which it does in square time.
const MAX_WORD: u64 = 1000;

/// What a tokenizer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Bytes that a byte of text becomes at most.
    pub(super) growth: u64,
    /// Patterns that are compiled.
    pub(super) patterns: u64,
}

/// What is wrong, or what it costs.
pub(super) fn check(file: &Value) -> Result<Cost, String> {
    let mut patterns = 0;
    for step in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        let (mut values, part) = (0, &file[step]);
        count(part, &mut values, &mut patterns).map_err(|reason| format!("`{step}` {reason}"))?;
    }
    if patterns > MAX_PATTERNS {
        return Err(format!("it has {patterns} patterns, of {MAX_PATTERNS}"));
    }
    let growth = growth(&file["normalizer"])?;
    if growth > MAX_GROWTH {
        return Err(format!(
            "`normalizer` makes up to {growth} bytes of one, of {MAX_GROWTH} allowed"
        ));
    }
    added(&file["added_tokens"])?;
    model(&file["model"])?;
    Ok(Cost { growth, patterns })
}

/// Counts values and patterns, nested ones included.
fn count(part: &Value, values: &mut usize, patterns: &mut u64) -> Result<(), String> {
    *values += 1;
    if *values > MAX_VALUES {
        return Err(format!("has more than {MAX_VALUES} values"));
    }
    match part {
        Value::String(text) if text.len() > MAX_TEXT => {
            Err(format!("holds a text of {} bytes", text.len()))
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| count(item, values, patterns)),
        Value::Object(fields) => {
            if let Some(Value::String(pattern)) = fields.get("Regex") {
                *patterns += 1;
                if pattern.len() > MAX_PATTERN {
                    return Err(format!("has a pattern of {} bytes", pattern.len()));
                }
            }
            fields
                .values()
                .try_for_each(|item| count(item, values, patterns))
        }
        _ => Ok(()),
    }
}

/// Bytes that a byte becomes at most, by Unicode's own tables.
fn growth(step: &Value) -> Result<u64, String> {
    if step.is_null() {
        return Ok(1);
    }
    let kind = step["type"].as_str().unwrap_or_default();
    Ok(match kind {
        "Sequence" => {
            let steps = step["normalizers"].as_array().map(Vec::as_slice);
            let mut all = 1_u64;
            for step in steps.unwrap_or_default() {
                all = all.saturating_mul(growth(step)?);
            }
            all
        }
        "Strip" | "StripAccents" | "Nmt" | "Prepend" => 1,
        "Lowercase" | "ByteLevel" => 2,
        "NFC" | "NFD" => 3,
        "BertNormalizer" => 4,
        "NFKC" | "NFKD" => 11,
        "Replace" => {
            let content = step["content"].as_str().unwrap_or_default().len();
            let pattern = step["pattern"]["String"].as_str().unwrap_or_default();
            match pattern.len() {
                // A pattern may find nothing at all, everywhere.
                0 => 1 + content as u64,
                found => content.div_ceil(found).max(1) as u64,
            }
        }
        _ => {
            let shown: String = kind.chars().take(32).collect();
            return Err(format!("the normaliser {shown:?} is not run"));
        }
    })
}

fn added(tokens: &Value) -> Result<(), String> {
    let tokens = tokens.as_array().map(Vec::as_slice).unwrap_or_default();
    let (most, longest) = MAX_ADDED;
    if tokens.len() > most {
        return Err(format!("it has {} added tokens, of {most}", tokens.len()));
    }
    let long = |token: &&Value| {
        token["content"]
            .as_str()
            .is_some_and(|text| text.len() > longest)
    };
    match tokens.iter().find(long) {
        Some(_) => Err(format!("an added token is longer than {longest} bytes")),
        None => Ok(()),
    }
}

fn model(model: &Value) -> Result<(), String> {
    let dropout = model["dropout"].as_f64().unwrap_or(0.0);
    if dropout != 0.0 {
        return Err("`model.dropout` is not 0: its tokens would differ each time".to_owned());
    }
    let word = model["max_input_chars_per_word"].as_u64().unwrap_or(0);
    if word > MAX_WORD {
        return Err(format!(
            "`model.max_input_chars_per_word` is {word}, of {MAX_WORD} allowed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(file: &Value) -> String {
        check(file).unwrap_err()
    }

    #[test]
    fn bombs_are_found() {
        let tenfold =
            json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"});
        let file =
            json!({"normalizer": {"type": "Sequence", "normalizers": vec![tenfold.clone(); 2]}});
        assert!(refused(&file).contains("100 bytes of one"));
        let file = json!({"normalizer": tenfold});
        assert_eq!(check(&file).unwrap().growth, 10);
        let empty = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x".repeat(64)});
        assert!(refused(&json!({"normalizer": empty})).contains("65 bytes"));
        let file = json!({"post_processor": {"single": vec![1; 2000]}});
        assert!(refused(&file).contains("`post_processor` has more than"));
        let split = json!({"type": "Split", "pattern": {"Regex": "a"}});
        let file = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": vec![split; 9]}});
        assert!(refused(&file).contains("9 patterns"));
        let file = json!({"pre_tokenizer": {"pattern": {"Regex": "a".repeat(5000)}}});
        assert!(refused(&file).contains("pattern of 5000 bytes"));
        let file = json!({"model": {"max_input_chars_per_word": 1_000_000}});
        assert!(refused(&file).contains("max_input_chars_per_word"));
        assert!(refused(&json!({"model": {"dropout": 0.1}})).contains("dropout"));
        let file = json!({"normalizer": {"type": "Precompiled"}});
        assert!(refused(&file).contains("\"Precompiled\" is not run"));
        let file = json!({"added_tokens": [{"content": "x".repeat(2000)}]});
        assert!(refused(&file).contains("added token"));
    }
}
