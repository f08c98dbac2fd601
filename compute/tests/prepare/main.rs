//! Preparations: against what pandas, scikit-learn, Pillow and tokenizers make of
//! the same data, from every format, and on to a training.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod formats;
mod refused;
#[path = "../support/rows.rs"]
mod rows;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use embermesh_compute::pipe::WorkOrder;
use embermesh_job::spec::{Input, Prepare, Work};
use serde_json::{Value, json};
use support::Bench;

const IRIS: &str = include_str!("../../../data/iris.csv");
const TOPICS: &[u8] = include_bytes!("../../../data/topics.csv");
const TOKENIZER: &[u8] = include_bytes!("../../../data/topics-tokenizer.json");

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/prepare")
}

fn named(input: Input) -> Value {
    serde_json::to_value(input).unwrap()
}

/// An order for a preparation of this form.
fn order(bench: &mut Bench, form: Value) -> WorkOrder {
    let prepare: Prepare = serde_json::from_value(form).unwrap();
    bench.order(Work::Prepare(prepare))
}

fn csv(bench: &mut Bench, text: &str, steps: Value) -> WorkOrder {
    let file = named(bench.input(text.as_bytes()));
    order(
        bench,
        json!({"data": {"csv": {"file": file}}, "steps": steps}),
    )
}

/// The rows of a file of the result.
fn made(order: &WorkOrder, file: &str) -> BTreeMap<String, Vec<Value>> {
    rows::parquet(&order.workdir.join(file))
}

fn record(order: &WorkOrder) -> Value {
    let text = std::fs::read(order.workdir.join("prepared.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn numbers(values: &[Value]) -> Vec<f64> {
    values
        .iter()
        .map(|value| value.as_f64().unwrap_or(f64::NAN))
        .collect()
}
