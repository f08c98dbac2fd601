//! Folders that lie: whatever a `tokenizer.json` or a safetensors header says, it
//! is read or refused, and takes no more memory than a multiple of its bytes.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "support/folder.rs"]
mod folder;
mod support;

use embermesh_compute::{FailureClass, WorkFailed, run_in_process};
use embermesh_job::spec::{Embed, Texts, Work};
use folder::{Files, changed, committed, with};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use support::Bench;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What is built of a tokenizer takes at most this many times its bytes.
const MAX_GROWTH: usize = 48;
/// What a run takes whatever its files are.
const FIXED: usize = 24 << 20;

/// Runs an embedding of a folder and checks what that took.
fn read(files: &Files) -> Result<(), WorkFailed> {
    let mut bench = Bench::new();
    let texts = Texts::Inline(vec!["A man is eating food, naïvely.".to_owned()]);
    let model = folder::model(&mut bench, files);
    let order = bench.order(Work::Embed(Embed::new(model, texts)));
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let read = run_in_process(&order, &mut |_| ()).map(drop);
    let took = MEMORY.peak_usage().saturating_sub(before);
    let bytes: usize = files.values().map(Vec::len).sum();
    let allowed = bytes + MAX_GROWTH * files["tokenizer.json"].len() + FIXED;
    println!("{took} bytes of {allowed} for {bytes}: {read:?}");
    assert!(took <= allowed, "{took} bytes of {allowed} for {read:?}");
    read
}

/// Its tokenizer with other parts.
fn tokenizer(change: &Value) -> Files {
    changed(&committed("tiny-bert"), "tokenizer.json", change)
}

/// Many tokens of few letters.
fn vocabulary(count: u32) -> Value {
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
    let all = names
        .into_iter()
        .chain((4..count).map(|token| format!("{token:x}")));
    all.zip(0..count)
        .map(|(name, id)| (name, json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn vocabularies_take_a_multiple_of_their_bytes() {
    read(&committed("tiny-bert")).unwrap();
    let words = json!({"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocabulary(150_000),
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}});
    // Its tokens are more than the network knows.
    let _ = read(&tokenizer(&words));
    let words =
        json!({"model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary(150_000)}});
    let _ = read(&tokenizer(&words));
    let merges: Vec<String> = (16..4096)
        .map(|at| format!("{:x} {:x}", at / 16, at % 16))
        .collect();
    let pairs = json!({"model": {"type": "BPE", "unk_token": "[UNK]", "vocab": vocabulary(150_000), "merges": merges}});
    let _ = read(&tokenizer(&pairs));
    let scores: Vec<Value> = (0..150_000)
        .map(|at| json!([format!("{at:x}"), -1.0]))
        .collect();
    let scores = json!({"model": {"type": "Unigram", "unk_id": 0, "vocab": scores}});
    let _ = read(&tokenizer(&scores));
    let added: Vec<Value> = (0..20_000)
        .map(|at| {
            json!({"id": at, "content": format!("{at:x}"), "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": true, "special": false})
        })
        .collect();
    let _ = read(&tokenizer(&json!({"added_tokens": added})));
}

#[test]
fn parts_that_are_nested_or_long_are_refused() {
    let long = json!({"post_processor": {"type": "TemplateProcessing", "single": vec![json!({"SpecialToken":
        {"id": "[CLS]", "type_id": 0}}); 100_000], "pair": [], "special_tokens": {"[CLS]":
        {"id": "[CLS]", "ids": vec![2; 1000], "tokens": vec!["[CLS]"; 1000]}}}});
    let failed = read(&tokenizer(&long)).unwrap_err();
    assert_eq!(failed.class(), Some(FailureClass::Invalid));
    assert!(
        failed
            .to_string()
            .contains("tokenizer.json: `post_processor`"),
        "{failed}"
    );
    let mut deep = json!({"type": "Lowercase"});
    for _ in 0..60 {
        deep = json!({"type": "Sequence", "normalizers": [deep]});
    }
    let _ = read(&tokenizer(&json!({"normalizer": deep})));
}

#[test]
fn every_flipped_byte_of_a_header_is_read_or_refused() {
    let files = committed("tiny-bert");
    let whole = &files["model.safetensors"];
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut refused = 0;
    for at in (0..8 + header).step_by(23) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x11;
        refused += usize::from(read(&with(&files, "model.safetensors", bytes)).is_err());
    }
    println!("{refused} were refused");
    assert!(refused > 50);
}
