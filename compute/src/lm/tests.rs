//! The network beside a few lines of numpy, and requests beside each other.

use serde::Deserialize;

use super::cache::Cache;
use super::forward::{Buffers, Row};
use super::gguf::Gguf;
use super::model::Model;
use super::tokens::Tokenizer;
use super::{chat, inspect, tiny};

/// What others made of SmolLM2; `scripts/lm-golden.py` wrote it.
#[derive(Deserialize)]
struct Golden {
    encoded: Vec<Encoded>,
    prompts: Vec<Prompt>,
    messages: Vec<embermesh_job::spec::Message>,
    chat: String,
}

#[derive(Deserialize)]
struct Encoded {
    text: String,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    tokens: Vec<u32>,
    best: Vec<(u32, f32)>,
    every_1024th: Vec<f32>,
    goes_on: Vec<u32>,
}

/// Where `scripts/models` puts the model; none, with the reason, if it is not
/// there.
fn smollm2() -> Option<Vec<u8>> {
    let name = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let folder = std::env::var_os("EMBERMESH_MODELS").map(std::path::PathBuf::from);
    let cache = || {
        let set = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".cache"));
        Some(set.or(home)?.join("embermesh/models"))
    };
    let path = folder.or_else(cache)?.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            println!("skipped: {}: {error}; run scripts/models", path.display());
            None
        }
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/lm/smollm2.json")).unwrap()
}

fn rows(tokens: &[u32], cache: usize, from: usize) -> Vec<Row> {
    let row = |(position, token): (usize, &u32)| Row {
        cache,
        position,
        token: *token,
        last: position + 1 == from + tokens.len(),
    };
    (from..).zip(tokens).map(row).collect()
}

fn cache(model: &Model<'_>) -> Cache {
    Cache::new(model.layers.len(), model.shape.keys(), 96)
}

/// What follows some tokens, read in bites of `bite`.
pub(super) fn logits(model: &Model<'_>, tokens: &[u32], bite: usize) -> Vec<f32> {
    let mut caches = [cache(model)];
    let mut buffers = Buffers::default();
    let mut logits = Vec::new();
    for (number, tokens) in tokens.chunks(bite).enumerate() {
        let rows = rows(tokens, 0, number * bite);
        let found = model.forward(&rows, &mut caches, &mut buffers, &mut || Ok(()));
        logits = found.unwrap().to_vec();
    }
    logits
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0 as u32
}

#[test]
fn smollm2_is_the_network_that_others_run() {
    let Some(bytes) = smollm2() else { return };
    let file = Gguf::parse(&bytes).unwrap();
    let model = Model::read(&file).unwrap();
    assert_eq!(model.parameters, 134_515_008);
    for prompt in golden().prompts {
        let found = logits(&model, &prompt.tokens, 64);
        let scale = prompt.best[0].1.abs();
        let mut worst = 0.0_f32;
        for (token, expected) in &prompt.best {
            worst = worst.max((found[*token as usize] - expected).abs() / scale);
        }
        for (found, expected) in found.iter().step_by(1024).zip(&prompt.every_1024th) {
            worst = worst.max((found - expected).abs() / scale);
        }
        println!("{:?}: off by {worst:e} of the best", prompt.text);
        assert!(worst < 1e-3, "{:?}: {worst}", prompt.text);
        let mut tokens = prompt.tokens;
        for expected in prompt.goes_on {
            assert_eq!(likeliest(&logits(&model, &tokens, 64)), expected);
            tokens.push(expected);
        }
    }
}

#[test]
fn smollm2_reads_texts_as_others_do() {
    let Some(bytes) = smollm2() else { return };
    let file = Gguf::parse(&bytes).unwrap();
    let tokenizer = Tokenizer::read(&file, 49_152).unwrap();
    let golden = golden();
    let prompts = golden.prompts.into_iter().map(|prompt| Encoded {
        text: prompt.text,
        tokens: prompt.tokens,
    });
    for Encoded { text, tokens } in golden.encoded.into_iter().chain(prompts) {
        assert_eq!(tokenizer.encode(&text), tokens, "{text:?}");
        let mut bytes = Vec::new();
        for token in tokens {
            tokenizer.bytes(token, &mut bytes);
        }
        let plain = text.replace("<|im_start|>", "").replace("<|im_end|>", "");
        assert_eq!(String::from_utf8(bytes).unwrap(), plain);
    }
    let template = file.text(chat::TEMPLATE).unwrap().unwrap();
    let text = chat::render(template, &golden.messages, tokenizer.names());
    assert_eq!(text.unwrap(), golden.chat);
    assert!(tokenizer.is_end(2) && tokenizer.is_end(0) && !tokenizer.is_end(1));
}

#[test]
fn numbers_do_not_depend_on_what_is_computed_beside_them() {
    let bytes = tiny::writer().bytes();
    let file = Gguf::parse(&bytes).unwrap();
    let model = Model::read(&file).unwrap();
    let tokens: Vec<u32> = (0..37).map(|at| 3 + at * 7 % 60).collect();
    let whole = logits(&model, &tokens, 64);
    for bite in [1, 2, 3, 5, 36] {
        assert_eq!(logits(&model, &tokens, bite), whole, "{bite} at a time");
    }
    // Beside another, and on one thread.
    let other: Vec<u32> = (0..11).map(|at| 5 + at).collect();
    let alone = logits(&model, &other, 64);
    let both = [rows(&other, 1, 0), rows(&tokens, 0, 0)].concat();
    let single = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    single.install(|| {
        let mut caches = [cache(&model), cache(&model)];
        let mut buffers = Buffers::default();
        let found = model.forward(&both, &mut caches, &mut buffers, &mut || Ok(()));
        assert_eq!(found.unwrap(), [alone, whole].concat());
    });
}

#[test]
fn a_file_says_what_it_holds() {
    let summary = inspect(&tiny::writer().bytes()).unwrap();
    assert_eq!((summary.name.as_str(), summary.layers), ("tiny", 2));
    assert!(summary.has_chat_template);
    assert_eq!(summary.context, 128);
}

#[test]
fn a_damaged_file_that_is_read_is_run() {
    let whole = tiny::writer().bytes();
    let mut run = 0;
    for at in 0..whole.len().min(6000) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(file) = Gguf::parse(&bytes) else {
            continue;
        };
        let Ok(model) = Model::read(&file) else {
            continue;
        };
        let Ok(tokenizer) = Tokenizer::read(&file, model.shape.vocabulary) else {
            continue;
        };
        run += 1;
        let mut bytes = Vec::new();
        for token in tokenizer.encode("<s>her é the\n") {
            tokenizer.bytes(token, &mut bytes);
        }
        if let Ok(Some(template)) = file.text(chat::TEMPLATE) {
            let _ = chat::render(template, &golden().messages[..1], tokenizer.names());
        }
        if run % 16 == 0 {
            let found = logits(&model, &[0, 1, 2], 2);
            assert_eq!(found.len(), model.shape.vocabulary);
        }
    }
    println!("{run} were run");
    assert!(run > 500);
}
