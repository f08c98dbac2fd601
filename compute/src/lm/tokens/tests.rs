//! Tokenizers beside those of others, and vocabularies that are odd.

use serde::Deserialize;

use super::super::gguf::Gguf;
use super::super::tiny::{Writer, writer};
use super::Tokenizer;

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<u32>,
    encoded: Vec<Encoded>,
}

#[derive(Deserialize)]
struct Encoded {
    text: String,
    tokens: Vec<u32>,
}

#[test]
fn sentencepiece_joins_what_others_join() {
    let text = include_str!("../../../tests/golden/lm/spm.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    let mut file = Writer::default();
    file.text("tokenizer.ggml.model", "llama")
        .count("tokenizer.ggml.unknown_token_id", 0)
        .count("tokenizer.ggml.bos_token_id", 1);
    file.texts(
        "tokenizer.ggml.tokens",
        golden.tokens.iter().map(String::as_str),
    );
    file.floats("tokenizer.ggml.scores", &golden.scores);
    file.counts("tokenizer.ggml.token_type", &golden.types);
    let bytes = file.bytes();
    let file = Gguf::parse(&bytes).unwrap();
    let tokenizer = Tokenizer::read(&file, golden.tokens.len()).unwrap();
    for Encoded { text, tokens } in golden.encoded {
        let found = tokenizer.encode(&text);
        assert_eq!(found[0], 1, "the beginning is put there");
        assert_eq!(found[1..], tokens, "{text:?}");
        let mut bytes = Vec::new();
        for token in found {
            tokenizer.bytes(token, &mut bytes);
        }
        assert_eq!(String::from_utf8(bytes).unwrap(), format!(" {text}"));
    }
    // A template may write the beginning out, and it is there once.
    assert_eq!(tokenizer.encode("<s>a"), tokenizer.encode("a"));
}

#[test]
fn merges_and_special_tokens_are_followed() {
    let bytes = writer().bytes();
    let file = Gguf::parse(&bytes).unwrap();
    let count = file.list("tokenizer.ggml.tokens").unwrap().unwrap().len();
    let tokenizer = Tokenizer::read(&file, count).unwrap();
    let shown = |text: &str| {
        let tokens = tokenizer.encode(text);
        let names = tokens.iter().map(|token| tokenizer.vocabulary.text(*token));
        names.collect::<Vec<_>>().join("|")
    };
    assert_eq!(shown("her the"), "her|Ġt|he");
    assert_eq!(shown("<s>he<end>\n"), "<s>|he|<end>|Ċ");
    // é has letters for its two bytes, € has none.
    assert_eq!(shown("é"), "Ã|©");
    assert_eq!(shown("€"), "<unk>|<unk>|<unk>");
    assert_eq!(tokenizer.encode(""), [0; 0]);
}

#[test]
fn what_is_wrong_with_a_vocabulary_is_said() {
    let refused = |change: fn(&mut Writer), count: usize| {
        let mut file = Writer::default();
        file.text("tokenizer.ggml.model", "gpt2");
        change(&mut file);
        let bytes = file.bytes();
        let file = Gguf::parse(&bytes).unwrap();
        Tokenizer::read(&file, count).unwrap_err().to_string()
    };
    let tokens = |file: &mut Writer| file.texts("tokenizer.ggml.tokens", ["a", "b"].into_iter());
    assert!(refused(|_| {}, 2).contains("tokenizer.ggml.tokens"));
    assert!(refused(tokens, 3).contains("3 tokens"));
    assert!(refused(tokens, 2).contains("tokenizer.ggml.merges"));
    let one_type = |file: &mut Writer| {
        file.texts("tokenizer.ggml.tokens", ["a", "b"].into_iter());
        file.counts("tokenizer.ggml.token_type", &[1]);
    };
    assert!(refused(one_type, 2).contains("token_type"));
    let no_pair = |file: &mut Writer| {
        file.texts("tokenizer.ggml.tokens", ["a", "b"].into_iter());
        file.texts("tokenizer.ggml.merges", ["ab"].into_iter());
    };
    assert!(refused(no_pair, 2).contains("no pair"));
    let end = |file: &mut Writer| {
        file.texts("tokenizer.ggml.tokens", ["a", "b"].into_iter());
        file.texts("tokenizer.ggml.merges", ["a b"].into_iter());
        file.count("tokenizer.ggml.eos_token_id", 2);
    };
    assert!(refused(end, 2).contains("eos_token_id"));
    let pre = |file: &mut Writer| {
        file.texts("tokenizer.ggml.tokens", ["a", "b"].into_iter());
        file.text("tokenizer.ggml.pre", "unheard-of");
    };
    assert!(refused(pre, 2).contains("unheard-of"));
}
