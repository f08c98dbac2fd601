//! Language models in folders as jobs, and perplexity, beside what a few lines
//! of numpy make of the same weights.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "support/folder.rs"]
mod folder;
mod support;
#[path = "support/tiny.rs"]
mod tiny;

use embermesh_compute::pipe::{WorkOrder, WorkerEventKind};
use embermesh_compute::{FailureClass, WorkFailed};
use embermesh_job::event::EventKind;
use embermesh_job::spec::{Generate, LanguageModel, Perplexity, Request, Texts, Work};
use folder::{Files, changed, committed, expected, fetched_file, in_shards, model, with};
use serde_json::{Value, json};
use support::Bench;
use support::runs::{refusal, run};

fn job(bench: &mut Bench, model: LanguageModel, requests: Vec<Request>) -> WorkOrder {
    bench.order(Work::Generate(Generate {
        model,
        requests,
        report_every: 1,
    }))
}

fn lines(order: &WorkOrder) -> Vec<Value> {
    let text = std::fs::read_to_string(order.workdir.join("answers.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn answers(files: &Files, requests: Vec<Request>) -> Vec<Value> {
    let mut bench = Bench::new();
    let model = model(&mut bench, files);
    let order = job(&mut bench, model, requests);
    run(&order).unwrap();
    lines(&order)
}

fn free(prompt: &str) -> Request {
    Request {
        max_tokens: 20,
        temperature: 0.0,
        ..Request::prompt(prompt)
    }
}

#[test]
fn a_folder_is_asked_as_a_gguf_file_is() {
    let files = committed("tiny-llama");
    let question = Request {
        max_tokens: 7,
        ..Request::question("Who?")
    };
    let found = answers(&files, vec![free("Once upon a time"), question]);
    // With the token that begins a text, which the template writes out itself.
    let golden = expected("tiny-llama.expected");
    let chat = golden["chat"]["tokens"].as_array().unwrap().len();
    assert!(found[0]["prompt_tokens"].as_u64().unwrap() > 2);
    assert!((chat as u64) > found[1]["prompt_tokens"].as_u64().unwrap());
    // Two files of weights are the same model, and so is another way to give the
    // template.
    let shards = in_shards(&files);
    assert_eq!(
        answers(&shards, vec![free("Once upon a time")])[0],
        found[0]
    );
    let jinja = with(
        &files,
        "chat_template.jinja",
        b"x{{ messages[0].content }}".to_vec(),
    );
    let asked = answers(&jinja, vec![Request::question("Who?")]);
    assert!(asked[0]["prompt_tokens"].as_u64().unwrap() <= 5);
}

#[test]
fn a_text_ends_with_each_of_the_ends_that_the_files_name() {
    let files = committed("tiny-llama");
    let all: Vec<u32> = (0..328).collect();
    let ended = changed(
        &files,
        "generation_config.json",
        &json!({"eos_token_id": all}),
    );
    // No more than 64 of them are read: the likeliest token is, or is not.
    let whole = &answers(&files, vec![free("Once")])[0];
    let cut = &answers(&ended, vec![free("Once")])[0];
    assert!(cut["tokens"].as_u64().unwrap() <= whole["tokens"].as_u64().unwrap());
}

fn judged(model: LanguageModel, texts: &[&str], run_of: &Value, bench: &mut Bench) -> Value {
    let number = |name: &str| u32::try_from(run_of[name].as_u64().unwrap()).unwrap();
    let order = bench.order(Work::Perplexity(Perplexity {
        model,
        texts: Texts::Inline(texts.iter().map(|text| (*text).to_owned()).collect()),
        window: Some(number("window")),
        stride: Some(number("stride")),
    }));
    let ran = run(&order).unwrap();
    let Some(WorkerEventKind::Plain(EventKind::Metrics { values })) =
        ran.events.last().map(|event| &event.kind)
    else {
        panic!("{:?}", ran.events.last());
    };
    let text = std::fs::read_to_string(order.workdir.join("perplexity.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["perplexity"].as_f64().unwrap(), values["perplexity"]);
    assert!((ran.summary.loss.unwrap().exp() - values["perplexity"]).abs() < 1e-6);
    assert!(values["bits_per_byte"] > 0.0);
    report
}

fn close(found: &Value, expected: &Value, tolerance: f64) {
    println!(
        "{} where {} was expected",
        found["cross_entropy"], expected["cross_entropy"]
    );
    assert_eq!(found["tokens"], expected["tokens"]);
    let number = |value: &Value| value["cross_entropy"].as_f64().unwrap();
    assert!((number(found) - number(expected)).abs() < tolerance);
}

#[test]
fn perplexity_is_what_numpy_says_of_the_tiny_model() {
    let files = committed("tiny-llama");
    let golden = &expected("tiny-llama.expected")["perplexity"];
    let texts = golden["texts"].as_array().unwrap();
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str().unwrap()).collect();
    for expected in golden["runs"].as_array().unwrap() {
        let mut bench = Bench::new();
        let model = model(&mut bench, &files);
        let found = judged(model, &texts, expected, &mut bench);
        close(&found, expected, 1e-4);
    }
}

#[test]
fn perplexity_is_what_numpy_says_of_smollm2() {
    let Some(bytes) = fetched_file("SmolLM2-135M-Instruct.Q4_1.gguf") else {
        return;
    };
    let golden = expected("smollm2-perplexity");
    let mut bench = Bench::new();
    let file = bench.input(&bytes);
    for expected in golden["runs"].as_array().unwrap() {
        let text = golden["text"].as_str().unwrap();
        let found = judged(LanguageModel::File(file), &[text], expected, &mut bench);
        close(&found, expected, 1e-3);
    }
}

#[test]
fn windows_that_a_model_cannot_read_are_refused() {
    let mut bench = Bench::new();
    let files = committed("tiny-llama");
    let model = model(&mut bench, &files);
    let mut said = |window, stride, text: &str| {
        let order = bench.order(Work::Perplexity(Perplexity {
            model: model.clone(),
            texts: Texts::Inline(vec![text.to_owned()]),
            window,
            stride,
        }));
        let failed = refusal(&order);
        assert_eq!(failed.class(), Some(FailureClass::Invalid), "{failed}");
        failed.to_string()
    };
    assert!(said(Some(257), None, "abc").contains("256 tokens at most"));
    assert!(said(None, Some(999), "abc").contains("`stride` is 999"));
    assert!(said(None, None, "").contains("nothing to foresee"));
}

fn refused(files: &Files) -> String {
    let mut bench = Bench::new();
    let model = model(&mut bench, files);
    let failed = refusal(&job(&mut bench, model, vec![free("a")]));
    assert!(matches!(failed, WorkFailed::ModelFolder(_)), "{failed}");
    assert_eq!(failed.class(), Some(FailureClass::Invalid));
    failed.to_string()
}

#[test]
fn configs_that_are_not_run_are_refused_by_name() {
    let files = committed("tiny-llama");
    for (change, says) in [
        (json!({"model_type": "gpt2"}), "`model_type` is \"gpt2\""),
        (json!({"hidden_act": "gelu"}), "`hidden_act`"),
        (json!({"attention_bias": true}), "`attention_bias`"),
        (
            json!({"quantization_config": {"bits": 4}}),
            "`quantization_config`",
        ),
        (json!({"sliding_window": 128}), "`sliding_window`"),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}),
            "\"yarn\"",
        ),
        (
            json!({"rope_scaling": {"type": "linear"}}),
            "`rope_scaling.factor`",
        ),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}),
            "original_max",
        ),
        (json!({"rope_theta": 0.0}), "`rope_theta`"),
        (json!({"num_key_value_heads": 3}), "3 heads cannot serve 4"),
        (json!({"head_dim": 7}), "`head_dim`"),
        (json!({"hidden_size": 1_u64 << 50}), "`hidden_size`"),
        (
            json!({"num_hidden_layers": 1_000_000}),
            "`num_hidden_layers`",
        ),
        (json!({"num_hidden_layers": 3}), "model.layers.2"),
        (json!({"num_hidden_layers": 1}), "no part of the network"),
        (json!({"vocab_size": 400}), "[400, 32]"),
        (json!({"intermediate_size": 1 << 20}), "[1048576, 32]"),
        (
            json!({"max_position_embeddings": 0}),
            "max_position_embeddings",
        ),
    ] {
        let said = refused(&changed(&files, "config.json", &change));
        assert!(
            said.contains("config.json") || said.contains("model.safetensors"),
            "{said}"
        );
        assert!(said.contains(says), "{change}: {said}");
    }
    let decoder = json!({"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}});
    let said = refused(&changed(&files, "tokenizer.json", &decoder));
    assert!(
        said.contains("tokenizer.json") && said.contains("WordPiece"),
        "{said}"
    );
    let shards = in_shards(&files);
    let mut missing = shards.clone();
    missing.remove("model-00002-of-00002.safetensors");
    let said = refused(&missing);
    assert!(
        said.contains("index.json") && said.contains("00002"),
        "{said}"
    );
    let twice = with(
        &shards,
        "model-00003-of-00003.safetensors",
        shards["model-00001-of-00002.safetensors"].clone(),
    );
    assert!(refused(&twice).contains("in another file too"));
}

#[test]
fn a_folder_of_more_than_the_memory_is_refused() {
    let files = committed("tiny-llama");
    let mut bench = Bench::new();
    let model = model(&mut bench, &files);
    let mut order = job(&mut bench, model, vec![free("a")]);
    for bytes in [200_000, 700_000] {
        order.ceilings.memory_bytes = bytes;
        let failed = refusal(&order);
        assert_eq!(failed.class(), Some(FailureClass::Resource), "{failed}");
    }
}
