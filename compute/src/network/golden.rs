//! Every operation beside PyTorch 2.15, forwards and backwards: the values are in
//! `tests/golden`, with the script that makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use embermesh_job::model::Model;
use serde::Deserialize;

use super::flow::Flow;
use super::pass::Pass;
use super::{Mode, Network};

/// How far a value may be off, relative to the largest of its tensor: what `f32`
/// loses to the `f64` of the golden values.
const TOLERANCE: f64 = 2e-5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    mode: String,
    model: Model,
    tensors: BTreeMap<String, Vec<f64>>,
    state: BTreeMap<String, Vec<f64>>,
    input: Vec<f64>,
    shape: Vec<usize>,
    outputs: Vec<f64>,
    cotangent: Vec<f64>,
    gradients: BTreeMap<String, Vec<f64>>,
    state_after: BTreeMap<String, Vec<f64>>,
}

fn cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<(String, Case)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let case = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name, case)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

fn tensor(values: &[f64]) -> Tensor<1> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), &Device::flex())
}

/// What is off, if anything is.
fn off(what: &str, found: Tensor<1>, expected: &[f64]) -> Option<String> {
    let found = found.try_into_vec_as::<f32>().unwrap();
    if found.len() != expected.len() {
        return Some(format!(
            "{what}: {} values, not {}",
            found.len(),
            expected.len()
        ));
    }
    let largest = expected
        .iter()
        .fold(1.0_f64, |most, value| most.max(value.abs()));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (f64::from(*found) - expected).abs())
        .fold(0.0_f64, |most, off| {
            if off.is_nan() {
                f64::INFINITY
            } else {
                most.max(off)
            }
        });
    (worst > TOLERANCE * largest).then(|| format!("{what}: off by {worst:e} of {largest}"))
}

fn flat(flow: Flow) -> Tensor<1> {
    let rows = flow.rows();
    let count = rows.dims().iter().product::<usize>();
    rows.reshape([count])
}

/// The network of a case, with its tensors.
fn network(case: &Case) -> Network {
    let mut network = Network::new(&case.model, 0, &Device::flex()).unwrap();
    let names: Vec<String> = network
        .tensors()
        .map(|tensor| tensor.name.clone())
        .collect();
    for (index, name) in names.iter().enumerate() {
        let values = case.tensors.get(name).or_else(|| case.state.get(name));
        let values = values.unwrap_or_else(|| panic!("PyTorch has no {name}"));
        network.set(index, tensor(values));
    }
    assert_eq!(
        names.len(),
        case.tensors.len() + case.state.len(),
        "{names:?}"
    );
    network
}

/// Everything that is off in a case.
fn wrong(case: &Case) -> Vec<String> {
    let network = network(case);
    let mode = match case.mode.as_str() {
        "train" => Mode::Train { seed: 1, step: 1 },
        _ => Mode::Infer,
    };
    let size: usize = case.model.input.iter().product();
    let samples = case.input.len() / size;
    let input = |tracked: bool| {
        let values = tensor(&case.input);
        if tracked {
            values.autodiff().require_grad()
        } else {
            values
        }
    };
    let mut wrong = Vec::new();
    // The input is a leaf of the graph, a constant in it, and outside any.
    for (has_leaves, is_leaf) in [(true, true), (true, false), (false, false)] {
        let leaf = input(is_leaf && case.gradients.contains_key("input"));
        let values = if has_leaves {
            network.leaves()
        } else {
            network.constants()
        };
        let mut pass = Pass::new(&network, &values, mode);
        let outputs = pass.run(Flow::of(leaf.clone(), samples, &case.model.input));
        let outputs = flat(outputs);
        wrong.extend(off("outputs", outputs.clone().inner(), &case.outputs));
        let expected: usize = case.shape.iter().product::<usize>() * samples;
        assert_eq!(outputs.dims(), [expected]);
        if mode_is_train(mode) {
            for (place, value) in &pass.state {
                let name = &network.state[*place].name;
                wrong.extend(off(name, value.clone(), &case.state_after[name]));
            }
            assert_eq!(pass.state.len(), case.state_after.len());
        }
        if !has_leaves || (!is_leaf && network.parameters().is_empty()) {
            continue;
        }
        let weighed = outputs.mul(tensor(&case.cotangent)).sum();
        let mut gradients = weighed.backward();
        for (parameter, leaf) in network.parameters().iter().zip(&values) {
            let expected = &case.gradients[&parameter.name];
            let found = leaf.grad_remove(&mut gradients);
            let found = found.unwrap_or_else(|| leaf.clone().inner().zeros_like());
            wrong.extend(off(
                &format!("gradient of {}", parameter.name),
                found,
                expected,
            ));
        }
        if let (true, Some(expected)) = (is_leaf, case.gradients.get("input")) {
            let found = leaf.grad_remove(&mut gradients).unwrap();
            wrong.extend(off("gradient of the input", found, expected));
        }
    }
    wrong
}

fn mode_is_train(mode: Mode) -> bool {
    matches!(mode, Mode::Train { .. })
}

#[test]
fn every_operation_computes_what_pytorch_computes() {
    let mut faults = Vec::new();
    let mut words = BTreeSet::new();
    for (name, case) in cases() {
        faults.extend(
            wrong(&case)
                .into_iter()
                .map(|wrong| format!("{name}: {wrong}")),
        );
        words.extend(case.model.layers.iter().map(|layer| layer.op.word()));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // As many as there are in the closed list.
    assert_eq!(words.len(), 38, "{words:?}");
}
