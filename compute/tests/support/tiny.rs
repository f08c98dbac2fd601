//! A model of a few thousand numbers, made in memory for tests: a network of
//! two layers, and a vocabulary of letters with a handful of merges.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt::Write;

/// Numbers of a token, and of the feed-forward part.
const WIDTH: u64 = 32;
const INNER: u64 = 64;
/// Letters that the vocabulary has, beside the special tokens.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789Ġ.,:?!ĊÃ©";
const SPECIAL: [&str; 3] = ["<unk>", "<s>", "<end>"];
const MERGES: [&str; 3] = ["h e", "he r", "Ġ t"];

/// A template that a file may carry.
pub(crate) const TEMPLATE: &str =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";

/// A file, written entry by entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    entries: u64,
    tensors: u64,
    metadata: Vec<u8>,
    described: Vec<u8>,
    data: Vec<u8>,
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) {
        self.entries += 1;
        text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key, 8);
        text(&mut self.metadata, value);
        self
    }

    pub(crate) fn count(&mut self, key: &str, value: u32) -> &mut Self {
        self.key(key, 4);
        self.metadata.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn texts<'t>(&mut self, key: &str, values: impl Iterator<Item = &'t str>) {
        let values: Vec<&str> = values.collect();
        self.key(key, 9);
        self.metadata.extend(8_u32.to_le_bytes());
        self.metadata.extend((values.len() as u64).to_le_bytes());
        for value in values {
            text(&mut self.metadata, value);
        }
    }

    pub(crate) fn counts(&mut self, key: &str, values: &[u32]) {
        self.key(key, 9);
        self.metadata.extend(5_u32.to_le_bytes());
        self.metadata.extend((values.len() as u64).to_le_bytes());
        for value in values {
            self.metadata.extend(value.to_le_bytes());
        }
    }

    pub(crate) fn floats(&mut self, key: &str, values: &[f32]) {
        self.key(key, 9);
        self.metadata.extend(6_u32.to_le_bytes());
        self.metadata.extend((values.len() as u64).to_le_bytes());
        for value in values {
            self.metadata.extend(value.to_le_bytes());
        }
    }

    /// A tensor of single precision, whose numbers follow from its name.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[u64]) {
        self.tensors += 1;
        text(&mut self.described, name);
        self.described.extend((shape.len() as u32).to_le_bytes());
        for axis in shape {
            self.described.extend(axis.to_le_bytes());
        }
        self.described.extend(0_u32.to_le_bytes());
        self.described
            .extend((self.data.len() as u64).to_le_bytes());
        let mut state = name.bytes().fold(1_u32, |state, byte| {
            state.wrapping_mul(31).wrapping_add(byte.into())
        });
        for _ in 0..shape.iter().product::<u64>() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let unit = (state >> 8) as f32 / (1 << 24) as f32;
            let value = if name.contains("norm") {
                0.5 + unit
            } else {
                unit - 0.5
            };
            self.data.extend(value.to_le_bytes());
        }
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(self.tensors.to_le_bytes());
        bytes.extend(self.entries.to_le_bytes());
        bytes.extend(&self.metadata);
        bytes.extend(&self.described);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// The file, before it is written.
pub(crate) fn writer() -> Writer {
    let mut file = endless(128);
    file.count("tokenizer.ggml.eos_token_id", 2);
    file
}

/// The same for so many tokens, and without one that ends a text.
pub(crate) fn endless(context: u32) -> Writer {
    let mut file = Writer::default();
    let letters: Vec<String> = LETTERS.chars().map(String::from).collect();
    let merged = MERGES.map(|merge| merge.replace(' ', ""));
    let tokens = SPECIAL.into_iter();
    let tokens = tokens.chain(letters.iter().map(String::as_str));
    let tokens: Vec<&str> = tokens.chain(merged.iter().map(String::as_str)).collect();
    let kinds: Vec<u32> = (0..tokens.len())
        .map(|at| if at < 3 { 3 } else { 1 })
        .collect();
    file.text("general.architecture", "llama")
        .text("general.name", "tiny")
        .count("llama.block_count", 2)
        .count("llama.context_length", context)
        .count("llama.embedding_length", WIDTH as u32)
        .count("llama.feed_forward_length", INNER as u32)
        .count("llama.attention.head_count", 4)
        .count("llama.attention.head_count_kv", 2)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .text("tokenizer.chat_template", TEMPLATE)
        .count("tokenizer.ggml.bos_token_id", 1)
        .count("tokenizer.ggml.unknown_token_id", 0);
    file.texts("tokenizer.ggml.tokens", tokens.iter().copied());
    file.counts("tokenizer.ggml.token_type", &kinds);
    file.texts("tokenizer.ggml.merges", MERGES.into_iter());
    file.tensor("token_embd.weight", &[WIDTH, tokens.len() as u64]);
    file.tensor("output_norm.weight", &[WIDTH]);
    for layer in 0..2 {
        let mut name = String::new();
        for (part, shape) in [
            ("attn_norm", &[WIDTH][..]),
            ("attn_q", &[WIDTH, WIDTH]),
            ("attn_k", &[WIDTH, WIDTH / 2]),
            ("attn_v", &[WIDTH, WIDTH / 2]),
            ("attn_output", &[WIDTH, WIDTH]),
            ("ffn_norm", &[WIDTH]),
            ("ffn_gate", &[WIDTH, INNER]),
            ("ffn_up", &[WIDTH, INNER]),
            ("ffn_down", &[INNER, WIDTH]),
        ] {
            name.clear();
            let _ = write!(name, "blk.{layer}.{part}.weight");
            file.tensor(&name, shape);
        }
    }
    file
}
