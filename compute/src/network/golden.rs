//! Every operation beside PyTorch 2.15, forwards and backwards: the values are in
//! `tests/golden`, with the script that makes them. The same cases are what a device
//! is compared by ([`parity`](super::parity)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use embermesh_job::model::{Model, Op};
use serde::Deserialize;

use super::flow::Flow;
use super::pass::Pass;
use super::{Mode, Network};

/// How far a value may be off, relative to the largest of its tensor: what `f32`
/// loses to the `f64` of the golden values.
const TOLERANCE: f64 = 2e-5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    mode: String,
    pub(super) model: Model,
    tensors: BTreeMap<String, Vec<f64>>,
    state: BTreeMap<String, Vec<f64>>,
    input: Vec<f64>,
    shape: Vec<usize>,
    outputs: Vec<f64>,
    cotangent: Vec<f64>,
    gradients: BTreeMap<String, Vec<f64>>,
    state_after: BTreeMap<String, Vec<f64>>,
}

/// How the input enters the graph of gradients, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// As a leaf.
    Leaf,
    /// As a constant.
    Constant,
    /// There is no graph.
    Outside,
}

/// What a case comes to, by name: outputs, gradients, the next state.
pub(super) type Found = BTreeMap<String, Vec<f32>>;

/// All cases, by name.
pub(super) fn cases() -> Vec<(String, Case)> {
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

fn read(tensor: Tensor<1>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

impl Case {
    /// The network, with the tensors of the case.
    fn network(&self, device: &Device) -> Network {
        let mut network = Network::new(&self.model, 0, device).unwrap();
        let names: Vec<String> = network
            .tensors()
            .map(|tensor| tensor.name.clone())
            .collect();
        for (index, name) in names.iter().enumerate() {
            let values = self.tensors.get(name).or_else(|| self.state.get(name));
            let values = values.unwrap_or_else(|| panic!("PyTorch has no {name}"));
            network.set(index, tensor(values, device));
        }
        assert_eq!(
            names.len(),
            self.tensors.len() + self.state.len(),
            "{names:?}"
        );
        network
    }

    /// What it comes to on a device.
    pub(super) fn found(&self, device: &Device, entry: Entry) -> Found {
        let network = self.network(device);
        let mode = match self.mode.as_str() {
            "train" => Mode::Train { seed: 1, step: 1 },
            _ => Mode::Infer,
        };
        let size: usize = self.model.input.iter().product();
        let samples = self.input.len() / size;
        let is_leaf = entry == Entry::Leaf;
        let mut leaf = tensor(&self.input, device);
        if is_leaf && self.gradients.contains_key("input") {
            leaf = leaf.autodiff().require_grad();
        }
        let values = if entry == Entry::Outside {
            network.constants()
        } else {
            network.leaves()
        };
        let mut pass = Pass::new(&network, &values, mode);
        let outputs = pass.run(Flow::of(leaf.clone(), samples, &self.model.input));
        let outputs = flat(outputs);
        let mut found = Found::new();
        found.insert("outputs".to_owned(), read(outputs.clone().inner()));
        if matches!(mode, Mode::Train { .. }) {
            for (place, value) in &pass.state {
                let name = network.state[*place].name.clone();
                found.insert(name, read(value.clone()));
            }
        }
        if entry == Entry::Outside || (!is_leaf && network.parameters().is_empty()) {
            return found;
        }
        let weighed = outputs.mul(tensor(&self.cotangent, device)).sum();
        let mut gradients = weighed.backward();
        for (parameter, leaf) in network.parameters().iter().zip(&values) {
            let of = leaf.grad_remove(&mut gradients);
            let of = of.unwrap_or_else(|| leaf.clone().inner().zeros_like());
            found.insert(format!("gradient of {}", parameter.name), read(of));
        }
        if is_leaf && self.gradients.contains_key("input") {
            let of = leaf.grad_remove(&mut gradients).unwrap();
            found.insert("gradient of input".to_owned(), read(of));
        }
        found
    }

    /// What PyTorch came to.
    fn expected(&self, what: &str) -> &[f64] {
        match what.strip_prefix("gradient of ") {
            Some(name) => &self.gradients[name],
            None if what == "outputs" => &self.outputs,
            None => &self.state_after[what],
        }
    }

    /// Everything that is off on the CPU.
    fn wrong(&self) -> Vec<String> {
        let size: usize = self.model.input.iter().product();
        let volume = self.shape.iter().product::<usize>() * (self.input.len() / size);
        let mut wrong = Vec::new();
        for entry in [Entry::Leaf, Entry::Constant, Entry::Outside] {
            let found = self.found(&Device::flex(), entry);
            assert_eq!(found["outputs"].len(), volume);
            if self.mode == "train" {
                let state = self.state_after.keys();
                assert!(state.clone().all(|name| found.contains_key(name)));
            }
            for (what, found) in &found {
                wrong.extend(off(what, found, self.expected(what)));
            }
        }
        wrong
    }
}

fn tensor(values: &[f64], device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// What is off, if anything is.
fn off(what: &str, found: &[f32], expected: &[f64]) -> Option<String> {
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

#[test]
fn every_operation_computes_what_pytorch_computes() {
    let mut faults = Vec::new();
    let mut words = BTreeSet::new();
    for (name, case) in cases() {
        let wrong = case.wrong();
        faults.extend(wrong.into_iter().map(|wrong| format!("{name}: {wrong}")));
        words.extend(case.model.layers.iter().map(|layer| layer.op.word()));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let all: BTreeSet<&str> = Op::WORDS.iter().copied().collect();
    assert_eq!(words, all, "an operation has no case");
}
