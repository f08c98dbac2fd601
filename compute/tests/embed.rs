//! Embeddings as jobs, beside what a few lines of numpy make of the same
//! weights, and folders that are not what they say.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "support/folder.rs"]
mod folder;
mod support;

use embermesh_compute::pipe::{WorkOrder, WorkerEvent, WorkerEventKind};
use embermesh_compute::{FailureClass, WorkFailed};
use embermesh_job::event::EventKind;
use embermesh_job::spec::{Column, Dialect, Embed, LanguageModel, Pooling, Texts, Work};
use folder::{Files, apart, changed, committed, expected, fetched, in_shards, model, with};
use serde_json::{Value, json};
use support::Bench;
use support::runs::{refusal, run};

/// What they may differ by: a vector has a length of one.
const TOLERANCE: f64 = 1e-4;

fn inline(texts: &Value) -> Texts {
    let texts = texts.as_array().unwrap().iter();
    Texts::Inline(
        texts
            .map(|it| it["text"].as_str().unwrap().to_owned())
            .collect(),
    )
}

fn job(bench: &mut Bench, files: &Files, texts: Texts) -> WorkOrder {
    let model = model(bench, files);
    bench.order(Work::Embed(Embed::new(model, texts)))
}

fn job_with(bench: &mut Bench, files: &Files, change: impl FnOnce(&mut Embed)) -> WorkOrder {
    let texts = Texts::Inline(vec!["A man is eating food.".to_owned()]);
    let mut embed = Embed::new(model(bench, files), texts);
    change(&mut embed);
    bench.order(Work::Embed(embed))
}

/// The vectors of a result, and the numbers of their texts.
fn vectors(order: &WorkOrder) -> (Vec<Vec<f32>>, Vec<i64>) {
    let bytes = std::fs::read(order.workdir.join("embeddings.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let embeddings = file.tensor("embeddings").unwrap();
    let width = embeddings.shape()[1];
    let (numbers, _) = embeddings.data().as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|it| f32::from_le_bytes(*it)).collect();
    let indices = file.tensor("indices").unwrap();
    let (indices, _) = indices.data().as_chunks::<8>();
    (
        numbers.chunks(width).map(<[f32]>::to_vec).collect(),
        indices.iter().map(|it| i64::from_le_bytes(*it)).collect(),
    )
}

/// Embeds the texts of a golden file and says how far off the worst is.
fn worst(files: &Files, texts: &Value, batch: u32) -> f64 {
    let mut bench = Bench::new();
    let mut embed = Embed::new(model(&mut bench, files), inline(texts));
    embed.batch = batch;
    let order = bench.order(Work::Embed(embed));
    run(&order).unwrap();
    let (found, indices) = vectors(&order);
    assert!(indices.iter().copied().eq(0..found.len() as i64));
    let pairs = found.iter().zip(texts.as_array().unwrap());
    pairs
        .map(|(found, expected)| apart(found, &expected["vector"]))
        .fold(0.0, f64::max)
}

#[test]
fn minilm_gives_the_vectors_that_numpy_gives() {
    let Some(files) = fetched("all-MiniLM-L6-v2") else {
        return;
    };
    let texts = expected("minilm");
    for batch in [1, 4] {
        let worst = worst(&files, &texts, batch);
        println!("{batch} at a time: off by {worst:e}");
        assert!(worst < TOLERANCE, "{worst}");
    }
}

#[test]
fn the_tiny_encoder_gives_the_vectors_that_numpy_gives() {
    let files = committed("tiny-bert");
    let golden = expected("tiny-bert.expected");
    for files in [files.clone(), in_shards(&files)] {
        for batch in [1, 3, 32] {
            let worst = worst(&files, &golden["texts"], batch);
            println!("{batch} at a time: off by {worst:e}");
            assert!(worst < TOLERANCE, "{worst}");
        }
    }
    // The spec's word counts more than the folder's.
    let mut bench = Bench::new();
    for (word, pooling) in [("cls", Pooling::Cls), ("max", Pooling::Max)] {
        let order = job_with(&mut bench, &files, |embed| {
            embed.pooling = Some(pooling);
            embed.normalise = Some(false);
        });
        run(&order).unwrap();
        let apart = apart(&vectors(&order).0[0], &golden["not_normalised"][word]);
        assert!(apart < 10.0 * TOLERANCE, "{word}: {apart}");
    }
}

#[test]
fn what_is_made_is_told_and_written() {
    let mut bench = Bench::new();
    let files = committed("tiny-bert");
    let lines = "A man is eating food.\n\nThe girl is carrying a baby.\r\n";
    let file = bench.input(lines.as_bytes());
    let mut embed = Embed::new(model(&mut bench, &files), Texts::Lines { file });
    embed.jsonl = true;
    embed.max_tokens = Some(5);
    let order = bench.order(Work::Embed(embed));
    let run = run(&order).unwrap();
    let name = |event: &WorkerEvent| match &event.kind {
        WorkerEventKind::Artifact { name, .. } => Some(name.clone()),
        _ => None,
    };
    let names: Vec<String> = run.events.iter().filter_map(name).collect();
    assert_eq!(names, ["embeddings.safetensors", "embeddings.jsonl"]);
    let Some(WorkerEventKind::Plain(EventKind::Metrics { values })) =
        run.events.last().map(|event| &event.kind)
    else {
        panic!("{:?}", run.events.last());
    };
    let said = |name: &str| values[name];
    assert_eq!((said("texts"), said("dimensions")), (2.0, 32.0));
    assert_eq!((said("tokens"), said("shortened")), (10.0, 2.0));
    let text = std::fs::read_to_string(order.workdir.join("embeddings.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    let (found, _) = vectors(&order);
    for (line, found) in lines.iter().zip(&found) {
        assert!(apart(found, &line["embedding"]) < 1e-7);
        assert_eq!(line["tokens"], 5);
    }
    let length: f32 = found[0].iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-5);
}

#[test]
fn texts_come_from_columns_and_fields() {
    let mut bench = Bench::new();
    let files = committed("tiny-bert");
    let csv = bench.input(b"id,text\n1,\"food, bread\"\n2,a baby\n");
    let jsonl = bench.input(b"{\"text\":\"food, bread\"}\n\n{\"id\":3,\"text\":\"a baby\"}\n");
    let gzip = bench.input(&gzipped(b"food, bread\na baby\n"));
    let all = [
        Texts::Inline(vec!["food, bread".to_owned(), "a baby".to_owned()]),
        Texts::Csv {
            file: csv,
            column: Column::Name("text".to_owned()),
            dialect: Dialect::default(),
        },
        Texts::Csv {
            file: csv,
            column: Column::Number(2),
            dialect: Dialect::default(),
        },
        Texts::Jsonl {
            file: jsonl,
            field: "text".to_owned(),
        },
        Texts::Lines { file: gzip },
    ];
    let found = all.map(|texts| {
        let order = job(&mut bench, &files, texts);
        run(&order).unwrap();
        vectors(&order)
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(found[0].0.len(), 2);
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

#[test]
fn texts_that_are_none_are_refused_with_their_place() {
    let mut bench = Bench::new();
    let files = committed("tiny-bert");
    let empty = bench.input(b"\n \n");
    let latin = bench.input(b"a\nb\xff\n");
    let csv = bench.input(b"id,text\n1,a\n2\n");
    let jsonl = bench.input(b"{\"text\":\"a\"}\n{\"text\":7}\n{\n");
    let name = |name: &str| Column::Name(name.to_owned());
    let table = |column| Texts::Csv {
        file: csv,
        column,
        dialect: Dialect::default(),
    };
    let field = "text".to_owned();
    for (texts, says) in [
        (Texts::Lines { file: empty }, "no samples"),
        (Texts::Lines { file: latin }, "texts.lines.file, row 2"),
        (Texts::Whole { file: latin }, "UTF-8"),
        (table(name("words")), "words"),
        (table(Column::Number(9)), "2 columns"),
        (table(name("text")), "texts.csv.file, row 3"),
        (Texts::Jsonl { file: jsonl, field }, "row 2, column text"),
    ] {
        let failed = refusal(&job(&mut bench, &files, texts));
        assert_eq!(failed.class(), Some(FailureClass::Invalid), "{failed}");
        assert!(failed.to_string().contains(says), "{says}: {failed}");
    }
}

/// Runs a folder that must be refused, and gives what is said of it.
fn refused(files: &Files) -> String {
    let mut bench = Bench::new();
    let failed = refusal(&job_with(&mut bench, files, |_| ()));
    assert!(matches!(failed, WorkFailed::ModelFolder(_)), "{failed}");
    assert_eq!(failed.class(), Some(FailureClass::Invalid));
    failed.to_string()
}

#[test]
fn settings_that_are_not_run_are_refused_by_name() {
    let files = committed("tiny-bert");
    for (change, says) in [
        (json!({"model_type": "t5"}), "`model_type` is \"t5\""),
        (
            json!({"position_embedding_type": "relative_key"}),
            "position_embedding_type",
        ),
        (json!({"hidden_act": "quick"}), "`hidden_act`"),
        (json!({"num_attention_heads": 5}), "5 heads do not divide"),
        (json!({"hidden_size": 0}), "`hidden_size` is 0"),
        (json!({"hidden_size": 1_u64 << 40}), "`hidden_size`"),
        (json!({"num_hidden_layers": 3}), "encoder.layer.2"),
        (json!({"num_hidden_layers": 1}), "no part of the network"),
        (json!({"vocab_size": 1_000_000}), "[1000000, 32]"),
        (json!({"intermediate_size": -1}), "config.json"),
    ] {
        let said = refused(&changed(&files, "config.json", &change));
        assert!(said.contains(says), "{change}: {said}");
    }
    let pooling = json!({"pooling_mode_cls_token": true});
    let said = refused(&changed(&files, "1_Pooling/config.json", &pooling));
    assert!(said.contains("several ways"), "{said}");
    let pooling =
        json!({"pooling_mode_mean_tokens": false, "pooling_mode_weightedmean_tokens": true});
    let said = refused(&changed(&files, "1_Pooling/config.json", &pooling));
    assert!(said.contains("weightedmean_tokens"), "{said}");
    let dense = br#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#;
    let said = refused(&with(&files, "modules.json", dense.to_vec()));
    assert!(
        said.contains("modules.json") && said.contains("\"Dense\""),
        "{said}"
    );
}

#[test]
fn damaged_files_are_refused_by_name() {
    let files = committed("tiny-bert");
    let whole = &files["model.safetensors"];
    for end in [0, 7, 8, 100, 5000, whole.len() - 1] {
        let cut = with(&files, "model.safetensors", whole[..end.max(1)].to_vec());
        let said = refused(&cut);
        assert!(
            said.contains("model.safetensors: it is not a whole"),
            "{said}"
        );
    }
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    refused(&with(&files, "model.safetensors", lying));
    let header = br#"{"a":{"dtype":"F32","shape":[4294967295,4294967295],"data_offsets":[0,4]}}"#;
    let mut huge = (header.len() as u64).to_le_bytes().to_vec();
    huge.extend(header);
    huge.extend([0; 4]);
    let said = refused(&with(&files, "model.safetensors", huge));
    assert!(said.contains("model.safetensors"), "{said}");
    for name in ["config.json", "tokenizer.json", "modules.json"] {
        for bytes in [&b"{"[..], b"[]x", b"\xff", &[b'['; 100_000]] {
            let said = refused(&with(&files, name, bytes.to_vec()));
            assert!(said.contains(name), "{name}: {said}");
        }
    }
}

#[test]
fn tokenizers_that_would_explode_are_refused_by_name() {
    let files = committed("tiny-bert");
    let tenfold = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(10)});
    for change in [
        json!({"normalizer": {"type": "Sequence", "normalizers": vec![tenfold; 40]}}),
        json!({"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 4_000_000_000_u64},
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}}),
        json!({"decoder": {"type": "Nonsense"}}),
        json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}}),
    ] {
        let said = refused(&changed(&files, "tokenizer.json", &change));
        assert!(said.contains("tokenizer.json"), "{said}");
    }
    // A padding beyond all memory is not obeyed.
    let padded = json!({"padding": {"strategy": {"Fixed": 1_u64 << 60}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}});
    let mut bench = Bench::new();
    let order = job_with(
        &mut bench,
        &changed(&files, "tokenizer.json", &padded),
        |_| (),
    );
    run(&order).unwrap();
}

#[test]
fn what_needs_more_memory_than_there_is_is_refused() {
    let mut bench = Bench::new();
    let files = committed("tiny-bert");
    let mut order = job_with(&mut bench, &files, |_| ());
    for bytes in [50_000, 100_000, 400_000] {
        order.ceilings.memory_bytes = bytes;
        let failed = refusal(&order);
        assert_eq!(failed.class(), Some(FailureClass::Resource), "{failed}");
    }
    let one = bench.input(b"GGUF");
    let texts = Texts::Inline(vec!["a".to_owned()]);
    let order = bench.order(Work::Embed(Embed::new(LanguageModel::File(one), texts)));
    assert!(refusal(&order).to_string().contains("folder"));
}
