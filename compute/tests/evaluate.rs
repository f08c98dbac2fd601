//! Evaluations of models that scikit-learn fitted, against what it says of them,
//! and the memory that they may use.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use embermesh_compute::FailureClass;
use embermesh_compute::pipe::WorkOrder;
use embermesh_job::model::Model;
use embermesh_job::spec::{Evaluate, JobSpec, Limits, Predict, Requirements, Work};
use embermesh_job::units::Bytes;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use support::Bench;
use support::runs::{refusal, run};

fn floats(values: &Value) -> Vec<u8> {
    let values = values.as_array().unwrap().iter();
    values
        .flat_map(|value| (value.as_f64().unwrap() as f32).to_le_bytes())
        .collect()
}

/// An order to judge the model of a case.
fn order(bench: &mut Bench, case: &Value) -> WorkOrder {
    let (weight, bias) = (floats(&case["weight"]), floats(&case["bias"]));
    let outputs = bias.len() / 4;
    let inputs = weight.len() / 4 / outputs;
    let views = [
        (
            "out.weight",
            TensorView::new(Dtype::F32, vec![outputs, inputs], &weight).unwrap(),
        ),
        (
            "out.bias",
            TensorView::new(Dtype::F32, vec![outputs], &bias).unwrap(),
        ),
    ];
    let weights = bench.input(&safetensors::serialize(views, None).unwrap());
    let mut form = json!({
        "model": {"input": [inputs], "layers": [{"op": "dense", "units": outputs, "name": "out"}]},
        "weights": weights,
        "data": {"inline": {"rows": case["rows"], "targets": case["targets"]}},
        "batch": 32,
    });
    if outputs == 1 {
        form["loss"] = json!("bce");
    }
    let evaluate: Evaluate = serde_json::from_value(form).unwrap();
    bench.order(Work::Evaluate(evaluate))
}

/// Whether everything that is expected is there.
fn agrees(found: &Value, expected: &Value, path: &str) {
    match expected {
        Value::Object(fields) => {
            for (name, expected) in fields {
                agrees(&found[name], expected, &format!("{path}/{name}"));
            }
        }
        Value::Array(items) => {
            for (at, expected) in items.iter().enumerate() {
                agrees(&found[at], expected, &format!("{path}/{at}"));
            }
        }
        _ => {
            let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
            let (found, expected) = (number(found), number(expected));
            assert!(
                (found - expected).abs() < 2e-6 * expected.abs().max(1.0),
                "{path}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn measures_are_those_of_scikit_learn() {
    let cases = [
        ("classes", include_str!("golden/evaluate/classes.json")),
        ("binary", include_str!("golden/evaluate/binary.json")),
        (
            "regression",
            include_str!("golden/evaluate/regression.json"),
        ),
    ];
    let mut bench = Bench::new();
    for (name, text) in cases {
        let case: Value = serde_json::from_str(text).unwrap();
        let order = order(&mut bench, &case);
        let ran = run(&order).unwrap();
        let report = std::fs::read(order.workdir.join("metrics.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        agrees(&report, &case["expected"], name);
        assert_eq!(ran.summary.loss, report["loss"].as_f64());
    }
}

/// A deep model: its training would keep every layer's outputs, and judging
/// or predicting keeps two.
fn deep() -> Model {
    let mut layers = Vec::new();
    for _ in 0..32 {
        layers.push(json!({"op": "dense", "units": 64}));
        layers.push(json!({"op": "relu"}));
    }
    layers.push(json!({"op": "dense", "units": 2}));
    serde_json::from_value(json!({"input": [64], "layers": layers})).unwrap()
}

#[test]
fn judging_and_predicting_need_the_memory_of_inference_alone() {
    let plan = deep().plan().unwrap();
    let batch = 8192_u32;
    let inference = plan.inference_bytes(batch as usize);
    assert!(inference * 8 < plan.peak_bytes(batch as usize));
    let mut bench = Bench::new();
    let weights = bench.input(&[0; 8]);
    let rows = json!([vec![0.5; 64]]);
    let evaluate: Evaluate = serde_json::from_value(json!({
        "model": deep(), "weights": weights, "batch": batch,
        "data": {"inline": {"rows": rows, "targets": {"classes": {"count": 2, "of": [1]}}}},
    }))
    .unwrap();
    let predict: Predict = serde_json::from_value(json!({
        "model": deep(), "weights": weights, "batch": batch, "outputs": "classes",
        "data": {"inline": {"rows": rows}},
    }))
    .unwrap();
    for work in [Work::Evaluate(evaluate), Work::Predict(predict)] {
        // At submit time.
        let spec = |memory: u64| JobSpec {
            name: "memory".to_owned(),
            work: work.clone(),
            requires: Requirements::default(),
            limits: Limits {
                memory: Bytes(memory),
                ..Limits::default()
            },
            attempts: 1,
        };
        spec(inference).validate().unwrap();
        let said = spec(inference - 1).validate().unwrap_err().to_string();
        assert!(said.contains("limits.memory"), "{said}");
        // And in the worker, where the weights that do not parse are the next
        // thing that is wrong.
        let mut order = bench.order(work.clone());
        order.ceilings.memory_bytes = inference + 64;
        assert_eq!(refusal(&order).class(), Some(FailureClass::Invalid));
        order.ceilings.memory_bytes = inference;
        assert_eq!(refusal(&order).class(), Some(FailureClass::Resource));
    }
}
