//! Predictions through the public face, in this process, in every format.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use embermesh_compute::pipe::{WorkOrder, WorkerEventKind};
use embermesh_compute::{FailureClass, InvalidData, WorkFailed};
use embermesh_job::event::EventKind;
use embermesh_job::model::{Model, Op};
use embermesh_job::spec::{
    Dataset, Inline, InlineTargets, Input, Normalise, Outputs, Predict, Table, TableFormat, Train,
    Work,
};
use support::runs::{refusal, run};
use support::{Bench, adam, layer};

fn model(outputs: usize) -> Model {
    Model {
        input: vec![2],
        layers: vec![layer(Op::dense(outputs))],
    }
}

/// Rows whose second number is the answer.
fn data(normalise: Option<Normalise>) -> Dataset {
    let rows: Vec<Vec<f64>> = (0..40)
        .map(|row| vec![f64::from(row % 7), f64::from(row % 2) * 100.0])
        .collect();
    let numbers = rows.iter().map(|row| vec![row[1] / 100.0]).collect();
    Dataset::Inline(Inline {
        rows,
        targets: Some(InlineTargets::Numbers(numbers)),
        normalise,
    })
}

fn weights(bench: &mut Bench, normalise: Option<Normalise>) -> Input {
    let train = Train {
        optimizer: adam(0.05),
        passes: 100,
        batch: 10,
        ..Train::new(model(1), data(normalise))
    };
    let trained = run(&bench.order(Work::Train(train))).unwrap();
    bench.input(&trained.artifact)
}

fn csv(bench: &mut Bench, text: &str) -> Dataset {
    Dataset::Csv(Table {
        normalise: Some(Normalise::Standardise),
        ..Table::new(bench.input(text.as_bytes()), None)
    })
}

fn predict(weights: Input, data: Dataset, out: TableFormat) -> Predict {
    Predict {
        model: model(1).into(),
        weights: Some(weights),
        data,
        outputs: Some(Outputs::Numbers),
        out,
        batch: 1,
    }
}

fn text(order: &WorkOrder, name: &str) -> String {
    std::fs::read_to_string(order.workdir.join(name)).unwrap()
}

#[test]
fn numbers_are_predicted_with_the_scale_that_the_training_learnt() {
    let mut bench = Bench::new();
    let weights = weights(&mut bench, Some(Normalise::Standardise));
    let table = csv(&mut bench, "a,b\n3,0\n3,100\n3,50\n");
    let order = bench.order(Work::Predict(predict(
        weights,
        table.clone(),
        TableFormat::Jsonl,
    )));
    let predicted = run(&order).unwrap();
    let numbers: Vec<f64> = text(&order, "predictions.jsonl")
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["numbers"][0].as_f64().unwrap()
        })
        .collect();
    for (found, expected) in numbers.iter().zip([0.0, 1.0, 0.5]) {
        assert!((found - expected).abs() < 0.05, "{numbers:?}");
    }
    let words: Vec<&str> = predicted
        .events
        .iter()
        .map(|event| match &event.kind {
            WorkerEventKind::Plain(EventKind::Started { samples: 3, .. }) => "started",
            WorkerEventKind::Plain(EventKind::Progress(_)) => "progress",
            WorkerEventKind::Artifact { .. } => "artifact",
            _ => "other",
        })
        .collect();
    assert_eq!(words.join(" "), "started progress progress artifact");
    assert_eq!(predicted.summary.samples, 3);

    // What is written as Parquet is what is read of it.
    let order = bench.order(Work::Predict(predict(
        weights,
        table.clone(),
        TableFormat::Parquet,
    )));
    run(&order).unwrap();
    let bytes = std::fs::read(order.workdir.join("predictions.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let order = bench.order(Work::Predict(predict(weights, table, TableFormat::Csv)));
    run(&order).unwrap();
    assert!(text(&order, "predictions.csv").starts_with("number_1\n"));
}

#[test]
fn a_scale_is_never_guessed() {
    let mut bench = Bench::new();
    let plain = weights(&mut bench, None);
    let table = csv(&mut bench, "a,b\n3,0\n");
    let failed = refusal(&bench.order(Work::Predict(predict(plain, table, TableFormat::Jsonl))));
    assert!(
        matches!(failed, WorkFailed::Data(InvalidData::NotFitted)),
        "{failed}"
    );
}

#[test]
fn a_prediction_keeps_to_its_ceilings() {
    let mut bench = Bench::new();
    let weights = weights(&mut bench, Some(Normalise::Standardise));
    let rows = "a,b\n".to_owned() + &"3,100\n".repeat(1000);
    let table = csv(&mut bench, &rows);
    let mut order = bench.order(Work::Predict(predict(weights, table, TableFormat::Csv)));
    order.ceilings.output_bytes = 1000;
    let failed = refusal(&order);
    assert_eq!(failed.class(), Some(FailureClass::Resource), "{failed}");
    assert!(failed.to_string().contains("limits.output"), "{failed}");
}

#[test]
fn malformed_data_is_named_by_its_field_its_row_and_its_column() {
    let mut bench = Bench::new();
    let weights = weights(&mut bench, Some(Normalise::Standardise));
    let table = csv(&mut bench, "a,b\n3,0\n3,zero\n");
    let failed = refusal(&bench.order(Work::Predict(predict(weights, table, TableFormat::Csv))));
    assert_eq!(failed.class(), Some(FailureClass::Invalid));
    assert_eq!(
        failed.to_string(),
        "the data is not valid: data.csv.file, row 3, column 2 (\"b\"): found \"zero\", expected a number"
    );
}
