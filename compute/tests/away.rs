//! Data that stays with the client gives what the same data gives as a blob, bit by
//! bit, and is asked for in a bounded window.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use embermesh_compute::away::LocalData;
use embermesh_compute::pipe::{ResumeFrom, WorkOrder, WorkSummary, WorkerEvent};
use embermesh_compute::run_with_data;
use embermesh_job::model::Model;
use embermesh_job::spec::{Dataset, Element, Evaluate, Network, Predict, TableFormat, Train, Work};
use support::runs::{checkpoints, essence, run};
use support::{Bench, adam, declared, judgement, small_training};

/// The data of a bench, kept in this process.
fn kept(bench: &Bench, data: &Dataset, model: &Model) -> Arc<LocalData> {
    let files: BTreeMap<_, _> = bench.inputs().clone();
    Arc::new(LocalData::load(data, model, files, 1 << 30).unwrap())
}

/// The same data as a spec names it when it stays.
fn staying(data: &LocalData) -> Dataset {
    Dataset::Client(data.description().clone())
}

/// Runs an order whose data stays. It brings no file of it.
fn fed(order: &WorkOrder, data: &Arc<LocalData>) -> (Vec<WorkerEvent>, WorkSummary) {
    let mut events = Vec::new();
    let summary = run_with_data(order, Arc::clone(data), &mut |event| events.push(event));
    (events, summary.unwrap())
}

/// The tensors of a safetensors file, without the record of the spec.
fn tensors(bytes: &[u8]) -> (Vec<u8>, serde_json::Value) {
    let head = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + head]).unwrap();
    let metadata = header["__metadata__"].as_object().unwrap();
    let record = metadata.values().next().unwrap().as_str().unwrap();
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    (bytes[8 + head..].to_vec(), record["fitted"].clone())
}

fn artifact(order: &WorkOrder) -> Vec<u8> {
    std::fs::read(order.workdir.join("model.safetensors")).unwrap()
}

fn same_events(blob: &[WorkerEvent], fed: &[WorkerEvent]) {
    let essences = |events: &[WorkerEvent]| events.iter().map(essence).collect::<Vec<_>>();
    assert_eq!(essences(blob), essences(fed));
}

#[test]
fn a_training_over_data_that_stays_is_the_same_bit_by_bit() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    for (accumulate, shuffle) in [(1, true), (2, true), (1, false)] {
        let train = Train {
            accumulate,
            shuffle,
            ..small_training(data.clone())
        };
        let blob = run(&bench.order(Work::Train(train.clone()))).unwrap();
        let local = kept(&bench, &data, &train.model);
        assert_eq!(local.description().element, Element::Byte { white: 16 });
        let order = bench.bare_order(Work::Train(Train {
            data: staying(&local),
            ..train
        }));
        let (events, summary) = fed(&order, &local);
        assert_eq!(summary, blob.summary);
        same_events(&blob.events, &events);
        assert_eq!(tensors(&artifact(&order)), tensors(&blob.artifact));
    }
}

/// Iris with gaps, as the repository has it, some numbers left out.
fn iris(bench: &mut Bench) -> (Dataset, Model) {
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/iris.csv"),
    )
    .unwrap();
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(number, line)| match number % 10 {
            3 => line
                .split_once(',')
                .map_or_else(String::new, |(_, rest)| format!(",{rest}")),
            _ => line.to_owned(),
        })
        .collect();
    let input = bench.input(lines.join("\n").as_bytes());
    let json = format!(
        r#"{{"csv":{{"file":{{"digest":"{}","size":{}}},"normalise":"standardise","missing":"mean",
            "target":{{"classes":{{"column":"species","labels":["setosa","versicolor","virginica"]}}}}}}}}"#,
        input.digest, input.size
    );
    let model = r#"{"input":[4],"layers":[{"op":"dense","units":16},{"op":"relu"},{"op":"dense","units":3}]}"#;
    (
        serde_json::from_str(&json).unwrap(),
        serde_json::from_str(model).unwrap(),
    )
}

#[test]
fn scales_and_gaps_are_learnt_from_samples_that_stay() {
    let mut bench = Bench::new();
    let (data, model) = iris(&mut bench);
    let train = Train {
        optimizer: adam(0.01),
        passes: 5,
        batch: 16,
        seed: 4,
        holdout: 0.2,
        ..Train::new(model, data.clone())
    };
    let blob = run(&bench.order(Work::Train(train.clone()))).unwrap();
    let local = kept(&bench, &data, &train.model);
    let order = bench.bare_order(Work::Train(Train {
        data: staying(&local),
        ..train.clone()
    }));
    let (events, _) = fed(&order, &local);
    same_events(&blob.events, &events);
    let (with, without) = (tensors(&artifact(&order)), tensors(&blob.artifact));
    assert_eq!(with, without);
    assert!(with.1["mean"].is_array());

    // Judged and answered by data that stays, too.
    let weights = bench.input(&blob.artifact);
    let judge = judgement(&train, weights);
    let blob = bench.order(Work::Evaluate(judge.clone()));
    run(&blob).unwrap();
    let order = bench.order(Work::Evaluate(Evaluate {
        data: staying(&local),
        ..judge
    }));
    fed(&order, &local);
    let report = |order: &WorkOrder| std::fs::read(order.workdir.join("metrics.json")).unwrap();
    assert_eq!(report(&order), report(&blob));

    let predict = Predict {
        model: Network::Layers(train.model.clone()),
        weights: Some(weights),
        data,
        outputs: None,
        out: TableFormat::Csv,
        batch: 64,
    };
    let blob = bench.order(Work::Predict(predict.clone()));
    run(&blob).unwrap();
    let order = bench.order(Work::Predict(Predict {
        data: staying(&local),
        ..predict
    }));
    fed(&order, &local);
    let table = |order: &WorkOrder| std::fs::read(order.workdir.join("predictions.csv")).unwrap();
    let text = String::from_utf8(table(&order)).unwrap();
    assert!(text.starts_with("class,probability_setosa"), "{text}");
    assert_eq!(table(&order), table(&blob));
}

#[test]
fn a_training_goes_on_in_mid_pass() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data.clone());
    let local = kept(&bench, &data, &train.model);
    let train = Train {
        data: staying(&local),
        ..train
    };
    let whole = bench.bare_order(Work::Train(train.clone()));
    let (events, _) = fed(&whole, &local);
    let (_, path, next_seq) = checkpoints(&events)[1].clone();
    let mut order = bench.bare_order(Work::Train(train));
    order.resume = Some(ResumeFrom {
        path,
        replay_after: None,
    });
    let (rest, _) = fed(&order, &local);
    assert_eq!(artifact(&order), artifact(&whole));
    let after: Vec<_> = events
        .into_iter()
        .filter(|event| event.seq >= next_seq)
        .collect();
    same_events(&after, &rest);
}

#[test]
fn samples_of_files_that_are_held_out_come_last() {
    let mut bench = Bench::new();
    let table = |bench: &mut Bench, rows: &str| bench.input(format!("a,b\n{rows}").as_bytes());
    let (file, holdout) = (table(&mut bench, "1,0\n2,1\n"), table(&mut bench, "9,1\n"));
    let json = format!(
        r#"{{"csv":{{"file":{},"holdout":{},"target":{{"classes":{{"column":"b","count":2}}}}}}}}"#,
        serde_json::to_string(&file).unwrap(),
        serde_json::to_string(&holdout).unwrap()
    );
    let data: Dataset = serde_json::from_str(&json).unwrap();
    let model = serde_json::from_str(r#"{"input":[1],"layers":[{"op":"dense","units":2}]}"#);
    let local = kept(&bench, &data, &model.unwrap());
    let said = local.description();
    assert_eq!((said.samples, said.holdout, said.record_bytes()), (2, 1, 8));
    let record = |number: f32, class: u32| [number.to_le_bytes(), class.to_le_bytes()].concat();
    let both = [record(9.0, 1), record(1.0, 0)].concat();
    assert_eq!(local.records(&[2, 0]), Some(both));
    assert_eq!(local.records(&[3]), None);
}

#[test]
fn what_is_malformed_is_named_by_file_row_and_column_before_anything_is_submitted() {
    let mut bench = Bench::new();
    let file = bench.input(b"a,b\n1,0\nx,1\n");
    let json = format!(
        r#"{{"csv":{{"file":{},"target":{{"classes":{{"column":"b","count":2}}}}}}}}"#,
        serde_json::to_string(&file).unwrap()
    );
    let data: Dataset = serde_json::from_str(&json).unwrap();
    let model = declared(r#"{"op":"flatten"},{"op":"dense","units":2}"#);
    let error = LocalData::load(&data, &model, bench.inputs().clone(), 1 << 20).unwrap_err();
    let text = error.to_string();
    for word in ["data.csv.file", "row 3", "column 1", "\"x\""] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn without_a_client_the_work_says_so() {
    let mut bench = Bench::new();
    let data = bench.digits(50);
    let train = small_training(data.clone());
    let local = kept(&bench, &data, &train.model);
    let order = bench.bare_order(Work::Train(Train {
        data: staying(&local),
        ..train
    }));
    let refused = support::runs::refusal(&order).to_string();
    assert!(refused.contains("there is none"), "{refused}");
}
