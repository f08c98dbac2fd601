//! What is wrong with data, steps and tokenizers, and what would blow up.

use std::io::Write as _;

use embermesh_compute::{FailureClass, WorkFailed};
use serde_json::{Value, json};

use crate::support::Bench;
use crate::support::runs::{refusal, run};
use crate::{TOKENIZER, TOPICS, csv, golden, named, order};

#[test]
fn wrong_data_and_steps_are_refused_with_their_place() {
    let mut bench = Bench::new();
    let age = "age,city\n30,Oslo\nforty,Bern\n,Zug\n";
    for (text, steps, expected) in [
        (
            age,
            json!([{"drop": {"columns": ["city"]}}, {"standardise": {"columns": ["age"]}}]),
            "step 2 (standardise): column \"age\" has texts, and it takes numbers (the first at data.csv.file, row 3, column 1 (\"age\"): \"forty\")",
        ),
        (
            "a,b\n1,2\n3\n",
            json!([]),
            "data.csv.file, row 3: found 1 fields, expected 2",
        ),
        ("a,a\n1,2\n", json!([]), "several columns called \"a\""),
        (
            "a\n1\ninf\n",
            json!([]),
            "data.csv.file, row 3, column 1 (\"a\"): found \"inf\"",
        ),
        (
            "a\nx\nNA\n",
            json!([{"label_encode": {"column": "a"}}]),
            "step 1 (label_encode): data.csv.file, row 3, column \"a\": found nothing, expected one of \"x\"",
        ),
        (
            "a\nx\ny\n",
            json!([{"label_encode": {"column": "a", "classes": ["x"]}}]),
            "row 3, column \"a\": found \"y\", expected one of \"x\"",
        ),
        (
            "a\n1\n2\n",
            json!([{"filter": {"compare": {"column": "a", "is": "more", "value": 5}}}]),
            "no row that the steps leave",
        ),
        (
            "a\n1\n2\n",
            json!([{"split": {"test": 0.1}}]),
            "step 1 (split): of 2 rows none comes into the split \"test\"",
        ),
        (
            "a\nNA\nNA\n",
            json!([{"fill": {"columns": ["a"], "with": "mean"}}]),
            "step 1 (fill): column \"a\" has nothing in the rows that train",
        ),
        (
            "a\n1\n",
            json!([{"select": {"columns": ["b"]}}]),
            "step 1 (select): there is no column \"b\", only \"a\"",
        ),
        ("\n", json!([]), "data.csv.file: found nothing"),
    ] {
        let order = csv(&mut bench, text, steps);
        let failed = refusal(&order);
        let said = failed.to_string();
        assert!(said.contains(expected), "{text}: {said}");
        assert_eq!(failed.class(), Some(FailureClass::Invalid), "{said}");
        let left = std::fs::read_dir(&order.workdir).unwrap();
        let whole = left.filter(|entry| {
            !entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".partial")
        });
        assert_eq!(whole.count(), 0, "{said}");
    }
    for (lines, columns, expected) in [
        (
            "{\"a\":1}\n{\"a\":\"x\"}\n",
            ["a"],
            "row 2, column \"a\": found \"x\", expected 1 numbers",
        ),
        (
            "{\"a\":[1,2]}\n{\"a\":[1]}\n",
            ["a"],
            "row 2, column \"a\": found 1 numbers, expected 2",
        ),
        (
            "{\"a\":\"x\"}\n{\"a\":3}\n",
            ["a"],
            "row 2, column \"a\": found 1 numbers, expected a text",
        ),
        ("{\"a\":1}\n{\"a\":\n", ["a"], "row 2: found"),
    ] {
        let file = named(bench.input(lines.as_bytes()));
        let data = json!({"jsonl": {"file": file, "columns": columns}});
        let said = refusal(&order(&mut bench, json!({"data": data}))).to_string();
        assert!(said.contains(expected), "{lines}: {said}");
    }
}

#[test]
fn tokenizers_that_cannot_be_used_are_refused() {
    let mut bench = Bench::new();
    let good: Value = serde_json::from_slice(TOKENIZER).unwrap();
    let mut draws = good.clone();
    draws["model"]["dropout"] = json!(0.1);
    let mut bare = good.clone();
    bare["padding"] = Value::Null;
    for (tokenizer, more, expected) in [
        (
            b"{}".to_vec(),
            json!({}),
            "step 1 (tokenise): its tokenizer cannot be used",
        ),
        (
            b"GGUF".to_vec(),
            json!({}),
            "step 1 (tokenise): its tokenizer cannot be used",
        ),
        (
            draws.to_string().into_bytes(),
            json!({}),
            "draws tokens by chance",
        ),
        (bare.to_string().into_bytes(), json!({}), "give `pad_id`"),
        (
            good.to_string().into_bytes(),
            json!({"max_length": 1}),
            "less than the 2 tokens",
        ),
        (
            good.to_string().into_bytes(),
            json!({"truncation": "refuse", "max_length": 3}),
            "row 2, column \"t\": found \"the soup\" of 4 tokens",
        ),
    ] {
        let tokenizer = named(bench.input(&tokenizer));
        let mut tokenise = json!({"column": "t", "tokenizer": tokenizer, "max_length": 8});
        for (key, value) in more.as_object().unwrap() {
            tokenise[key] = value.clone();
        }
        let order = csv(&mut bench, "t\nthe soup\n", json!([{"tokenise": tokenise}]));
        let said = refusal(&order).to_string();
        assert!(said.contains(expected), "{said}");
    }
}

/// What a header, a picture or a step would blow up is refused by the job's
/// ceiling before it is there.
#[test]
fn bombs_are_refused_by_the_ceiling() {
    let mut bench = Bench::new();
    let gzip = |bytes: &[u8]| {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    };
    let zeros = named(bench.input(&gzip(&vec![b'0'; 96 << 20])));
    let many: String = "n\n"
        .chars()
        .chain((0..20_000).flat_map(|n| format!("{n}\n").chars().collect::<Vec<_>>()))
        .collect();
    let many = named(bench.input(many.as_bytes()));
    let topics = named(bench.input(TOPICS));
    let tokenizer = named(bench.input(TOKENIZER));
    let pictures = std::fs::read(golden().join("pictures.tar")).unwrap();
    let pictures = named(bench.input(&pictures));
    let ids: Vec<Value> = (0..4096).map(|id| json!(id)).collect();
    for (data, steps) in [
        (json!({"csv": {"file": zeros}}), json!([])),
        (
            json!({"csv": {"file": many}}),
            json!([{"one_hot": {"columns": ["n"], "classes": ids, "unknown": "zeros"}}]),
        ),
        (
            json!({"csv": {"file": topics}}),
            json!([{"tokenise": {"column": "text", "tokenizer": tokenizer, "max_length": 65536}}]),
        ),
        (
            json!({"images": {"archive": pictures}}),
            json!([{"resize": {"column": "image", "height": 4096, "width": 4096}}]),
        ),
    ] {
        let mut order = order(&mut bench, json!({"data": data, "steps": steps}));
        order.ceilings.memory_bytes = 16 << 20;
        let failed = refusal(&order);
        assert_eq!(failed.class(), Some(FailureClass::Resource), "{failed}");
        assert!(
            failed.to_string().contains("raise limits.memory"),
            "{failed}"
        );
    }
    // One more class than can be told apart, whatever memory there is.
    let data = json!({"csv": {"file": many}});
    let order_of = order(
        &mut bench,
        json!({"data": data, "steps": [{"one_hot": {"columns": ["n"]}}]}),
    );
    let said = refusal(&order_of).to_string();
    assert!(
        said.contains("step 1 (one_hot): data.csv.file, row 4098"),
        "{said}"
    );
    // And what is written has a ceiling too.
    for format in ["parquet", "safetensors"] {
        let form = json!({"data": {"csv": {"file": many}}, "format": format});
        let mut order = order(&mut bench, form);
        order.ceilings.output_bytes = 10_000;
        let failed = refusal(&order);
        assert_eq!(failed.class(), Some(FailureClass::Resource), "{failed}");
    }
}

#[test]
fn truncated_files_are_errors_and_never_panics() {
    let mut bench = Bench::new();
    let first = csv(
        &mut bench,
        "a,t\n1,x\n2,y\n3,z\n",
        json!([{"one_hot": {"columns": ["t"], "classes": ["x", "y", "z"]}}]),
    );
    run(&first).unwrap();
    let parquet = std::fs::read(first.workdir.join("prepared.parquet")).unwrap();
    let tar = std::fs::read(golden().join("pictures.tar")).unwrap();
    let check = |bench: &mut Bench, bytes: &[u8], data: &dyn Fn(Value) -> Value, steps: Value| {
        let file = named(bench.input(bytes));
        let order = order(bench, json!({"data": data(file), "steps": steps}));
        match run(&order) {
            Ok(_) => {}
            Err(WorkFailed::Data(_)) => {}
            Err(other) => panic!("{other}"),
        }
    };
    for end in (1..parquet.len()).step_by(37) {
        check(
            &mut bench,
            &parquet[..end],
            &|file| json!({"parquet": {"file": file}}),
            json!([]),
        );
        let mut flipped = parquet.clone();
        flipped[end] ^= 0x55;
        check(
            &mut bench,
            &flipped,
            &|file| json!({"parquet": {"file": file}}),
            json!([]),
        );
    }
    let steps = json!([{"resize": {"column": "image", "height": 2, "width": 2}}]);
    for end in (1..tar.len()).step_by(391) {
        check(
            &mut bench,
            &tar[..end],
            &|file| json!({"images": {"archive": file}}),
            steps.clone(),
        );
    }
}
