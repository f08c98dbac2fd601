//! Every format in, both formats out, and a training on what came out.

use std::collections::BTreeMap;
use std::io::Write as _;

use embermesh_compute::pipe::WorkOrder;
use embermesh_job::spec::{Train, Work};
use serde_json::{Value, json};

use crate::support::runs::{Run, run};
use crate::support::{Bench, DIGITS};
use crate::{IRIS, TOKENIZER, TOPICS, csv, golden, made, named, numbers, order, rows};

/// A small table in each format: 2 numbers, a text and 3 numbers a row.
#[test]
fn every_format_is_read_and_what_is_written_is_read_again() {
    let mut bench = Bench::new();
    let text = "a,b,t\n1,2.5,x\n3,,\"y, z\"\n5,6,\n";
    let gz = {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(text.as_bytes()).unwrap();
        to.finish().unwrap()
    };
    let lines = "{\"a\":1,\"b\":2.5,\"t\":\"x\",\"v\":[1,2,3]}\n\n{\"t\":\"y, z\",\"a\":3,\"b\":null,\"v\":[4,5,6]}\n{\"a\":5,\"b\":6,\"v\":[7,8,9]}\n";
    let data = [
        json!({"csv": {"file": named(bench.input(text.as_bytes()))}}),
        json!({"csv": {"file": named(bench.input(&gz))}}),
        json!({"csv": {"file": named(bench.input(text.replace(',', ";").replace("\"y; z\"", "\"y, z\"").as_bytes())), "dialect": {"delimiter": ";"}}}),
        json!({"jsonl": {"file": named(bench.input(lines.as_bytes())), "columns": ["a", "b", "t"]}}),
        json!({"inline": {"columns": ["a", "b", "t"], "rows": [[1, 2.5, "x"], [3, "", "y, z"], [5, 6, ""]]}}),
    ];
    let expect = |found: &BTreeMap<String, Vec<Value>>| {
        assert_eq!(found["a"], [json!(1.0), json!(3.0), json!(5.0)]);
        assert_eq!(found["b"], [json!(2.5), Value::Null, json!(6.0)]);
        assert_eq!(found["t"], [json!("x"), json!("y, z"), Value::Null]);
    };
    for data in data {
        let first = order(&mut bench, json!({"data": data}));
        run(&first).unwrap();
        expect(&made(&first, "prepared.parquet"));
        let parquet = std::fs::read(first.workdir.join("prepared.parquet")).unwrap();
        let file = named(bench.input(&parquet));
        let second = order(&mut bench, json!({"data": {"parquet": {"file": file}}}));
        run(&second).unwrap();
        expect(&made(&second, "prepared.parquet"));
    }
    // Lists go through Parquet and safetensors alike.
    let file = named(bench.input(lines.as_bytes()));
    let data = json!({"jsonl": {"file": file, "columns": ["v", "a"]}});
    let first = order(&mut bench, json!({"data": data}));
    run(&first).unwrap();
    let file = std::fs::read(first.workdir.join("prepared.parquet")).unwrap();
    let file = named(bench.input(&file));
    let data = json!({"parquet": {"file": file, "columns": ["v", "a"]}});
    let second = order(&mut bench, json!({"data": data, "format": "safetensors"}));
    run(&second).unwrap();
    let path = second.workdir.join("prepared.safetensors");
    let found = rows::safetensors(&path);
    assert_eq!(found["v"].0, [3, 3]);
    assert!(found["v"].1.iter().copied().eq((1..=9).map(f64::from)));
    let file = named(bench.input(&std::fs::read(path).unwrap()));
    let data = json!({"safetensors": {"file": file, "arrays": ["a", "v"]}});
    let third = order(&mut bench, json!({"data": data}));
    run(&third).unwrap();
    assert_eq!(
        numbers(&made(&third, "prepared.parquet")["a"]),
        [1.0, 3.0, 5.0]
    );
}

fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(elements);
    bytes
}

#[test]
fn arrays_and_images_are_read() {
    let mut bench = Bench::new();
    let x: Vec<u8> = [1.5_f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let x = named(bench.input(&npy("<f4", "2, 2", &x)));
    let y = named(bench.input(&npy("|u1", "2,", &[7, 9])));
    let arrays = order(&mut bench, json!({"data": {"npy": {"x": x, "y": y}}}));
    run(&arrays).unwrap();
    let found = made(&arrays, "prepared.parquet");
    assert_eq!(numbers(&found["x"]), [1.5, 2.0, 3.0, 4.0]);
    assert_eq!(numbers(&found["y"]), [7.0, 9.0]);

    let wine = include_bytes!("../../../data/wine.npz");
    let file = named(bench.input(wine));
    let data = json!({"npz": {"file": file, "arrays": ["x", "y"]}});
    let wine = order(&mut bench, json!({"data": data, "format": "safetensors"}));
    run(&wine).unwrap();
    let found = rows::safetensors(&wine.workdir.join("prepared.safetensors"));
    assert_eq!(
        (&found["x"].0[..], &found["y"].0[..]),
        (&[178, 13][..], &[178][..])
    );

    let images = named(bench.input(&[
        0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 10, 20, 30, 40,
    ]));
    let labels = named(bench.input(&[0, 0, 8, 1, 0, 0, 0, 2, 1, 0]));
    let steps = json!([{"pixels": {"column": "image", "white": 10}}]);
    let data = json!({"idx": {"images": images, "labels": labels}});
    let idx = order(&mut bench, json!({"data": data, "steps": steps}));
    run(&idx).unwrap();
    let found = made(&idx, "prepared.parquet");
    assert_eq!(numbers(&found["image"]), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(numbers(&found["label"]), [1.0, 0.0]);

    let file = named(bench.input(DIGITS));
    let steps =
        json!([{"resize": {"column": "image", "height": 4, "width": 4}}, {"limit": {"rows": 3}}]);
    let digits = order(
        &mut bench,
        json!({"data": {"digits_csv": {"file": file}}, "steps": steps}),
    );
    run(&digits).unwrap();
    let found = made(&digits, "prepared.parquet");
    assert_eq!(
        (found["image"].len(), numbers(&found["label"])),
        (48, vec![0.0, 1.0, 2.0])
    );

    let pictures = std::fs::read(golden().join("pictures.tar")).unwrap();
    let file = named(bench.input(&pictures));
    let steps = json!([{"resize": {"column": "image", "height": 2, "width": 2}}]);
    let folder = order(
        &mut bench,
        json!({"data": {"images": {"archive": file}}, "steps": steps}),
    );
    run(&folder).unwrap();
    let found = made(&folder, "prepared.parquet");
    assert_eq!(found["label"], ["cat", "dog", "cat"]);
    assert_eq!(found["path"][1], "dog/1.png");
    assert_eq!(found["image"].len(), 36);
}

/// Trains on what a preparation made, and gives the accuracy over the rows that
/// validate.
fn accuracy(bench: &mut Bench, order: &WorkOrder, ending: &str, mut train: Value) -> f64 {
    run(order).unwrap();
    let mut input = |name: &str| {
        let path = order.workdir.join(format!("{name}.{ending}"));
        named(bench.input(&std::fs::read(path).unwrap()))
    };
    let data = train["data"][ending].as_object_mut().unwrap();
    data.insert("file".to_owned(), input("train"));
    data.insert("holdout".to_owned(), input("validation"));
    let train: Train = serde_json::from_value(train).unwrap();
    let trained: Run = run(&bench.order(Work::Train(train))).unwrap();
    trained.summary.accuracy.unwrap()
}

#[test]
fn a_training_reads_what_was_prepared() {
    let columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"];
    let mut bench = Bench::new();
    for (format, data) in [
        (
            "parquet",
            json!({"features": columns, "target": {"classes": {"column": "species", "count": 3}}}),
        ),
        (
            "safetensors",
            json!({"features": columns, "targets": "species", "target": {"classes": 3}}),
        ),
    ] {
        let file = named(bench.input(IRIS.as_bytes()));
        let form = json!({
            "data": {"csv": {"file": file}},
            "steps": [
                {"split": {"validation": 0.3, "stratify": "species", "seed": 2}},
                {"standardise": {"columns": columns}},
                {"label_encode": {"column": "species"}},
            ],
            "format": format,
        });
        let order = order(&mut bench, form);
        let train = json!({
            "model": {"input": [4], "layers": [{"op": "dense", "units": 16}, {"op": "relu"}, {"op": "dense", "units": 3}]},
            "data": {format: data}, "passes": 40, "batch": 16, "optimizer": {"adam": {"lr": 0.01}},
        });
        let found = accuracy(&mut bench, &order, format, train);
        assert!(found >= 0.9, "{format}: {found}");
    }
}

#[test]
fn a_training_reads_tokens() {
    let mut bench = Bench::new();
    let file = named(bench.input(TOPICS));
    let tokenizer = named(bench.input(TOKENIZER));
    let form = json!({
        "data": {"csv": {"file": file}},
        "steps": [
            {"split": {"validation": 0.25, "stratify": "topic"}},
            {"label_encode": {"column": "topic"}},
            {"tokenise": {"column": "text", "tokenizer": tokenizer, "max_length": 16}},
        ],
    });
    let order = order(&mut bench, form);
    let train = json!({
        "model": {"input": [16], "layers": [
            {"op": "embedding", "entries": 200, "features": 8}, {"op": "flatten"}, {"op": "dense", "units": 2},
        ]},
        "data": {"parquet": {"features": ["text"], "target": {"classes": {"column": "topic", "count": 2}}}},
        "passes": 30, "batch": 16, "optimizer": {"adam": {"lr": 0.02}},
    });
    let found = accuracy(&mut bench, &order, "parquet", train);
    assert!(found >= 0.9, "{found}");
}

/// A file of several times the memory goes through, where no step needs all rows.
#[test]
fn rows_go_from_file_to_file_within_a_bound() {
    let mut bench = Bench::new();
    let mut text = String::from("id,even,word\n");
    for id in 0..60_000 {
        text.push_str(&format!("{id},{},{}\n", id % 2, "w".repeat(id % 40)));
    }
    let steps = json!([
        {"filter": {"compare": {"column": "even", "is": "equal", "value": 0}}},
        {"drop": {"columns": ["word"]}},
    ]);
    let mut order = csv(&mut bench, &text, steps);
    // The file, a piece of 8 MiB, and what is written.
    order.ceilings.memory_bytes = text.len() as u64 + (20 << 20);
    let ran = run(&order).unwrap();
    assert_eq!(ran.summary.samples, 30_000);
    let ids = numbers(&made(&order, "prepared.parquet")["id"]);
    assert!(ids.into_iter().eq((0..60_000).step_by(2).map(f64::from)));
    // The very same, with all rows in memory.
    let steps = json!([
        {"filter": {"compare": {"column": "even", "is": "equal", "value": 0}}},
        {"drop": {"columns": ["word"]}},
        {"limit": {"rows": 30_000}},
    ]);
    let whole = csv(&mut bench, &text, steps);
    run(&whole).unwrap();
    assert_eq!(
        made(&whole, "prepared.parquet"),
        made(&order, "prepared.parquet")
    );
}
