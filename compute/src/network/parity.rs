//! Every operation and a few whole models on a device beside the CPU, forwards and
//! backwards, as a table.
//!
//! ```sh
//! EMBERMESH_PARITY_DEVICE=wgpu:0 scripts/test -p embermesh-compute --run-ignored only every_operation_on_a_device
//! ```
//!
//! The cases are those of [`golden`](super::golden), which hold the CPU to PyTorch: an
//! operation without a case, or without a tolerance here, fails. `cuda:0` works alike in
//! a build that has CUDA. A device that is not there is skipped with the reason.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType};
use embermesh_job::model::{Model, Op};

use super::golden::{Entry, Found, cases};
use super::{Mode, Network};
use crate::dataset::{Batch, Targets};
use crate::device::{DeviceChoice, open};
use crate::loss::Objective;
use crate::optimizer::Optimizer;
use crate::precision::{Scaling, all_finite};

const DEVICE: &str = "EMBERMESH_PARITY_DEVICE";

/// How far a value may be off for each operation, relative to the largest of its tensor
/// (or to 1, where that is smaller). What moves values is exact.
const TOLERANCES: &[(&str, f64)] = &[
    ("conv1d", 1e-5),
    ("conv2d", 1e-5),
    ("max_pool1d", 0.0),
    ("max_pool2d", 0.0),
    ("avg_pool1d", 1e-6),
    ("avg_pool2d", 1e-6),
    ("global_avg_pool", 1e-6),
    ("global_max_pool", 0.0),
    ("batch_norm", 2e-5),
    ("layer_norm", 2e-5),
    ("group_norm", 2e-5),
    ("dropout", 0.0),
    ("embedding", 1e-6),
    ("lstm", 2e-5),
    ("gru", 2e-5),
    ("attention", 2e-5),
    ("transformer_encoder", 5e-5),
    ("position", 1e-6),
    ("flatten", 0.0),
    ("reshape", 0.0),
    ("transpose", 0.0),
    ("concat", 1e-5),
    ("add", 1e-5),
    ("multiply", 1e-5),
    ("mean", 1e-6),
    ("last", 0.0),
    ("dense", 1e-5),
    ("relu", 0.0),
    ("leaky_relu", 1e-6),
    ("elu", 1e-5),
    ("gelu", 1e-5),
    ("silu", 1e-5),
    ("mish", 1e-5),
    ("tanh", 1e-5),
    ("sigmoid", 1e-5),
    ("softmax", 1e-5),
    ("log_softmax", 1e-5),
    ("softplus", 1e-5),
];

/// Whole models, a step of training each: the loss, and the weights after it.
const MODELS: &[(&str, &str, usize)] = &[
    (
        "LeNet",
        r#"{"input":[1,12,12],"layers":[{"op":"conv2d","channels":4,"kernel":3,"padding":1},
        {"op":"batch_norm"},{"op":"relu"},{"op":"max_pool2d","kernel":2},{"op":"flatten"},
        {"op":"dense","units":16},{"op":"relu"},{"op":"dense","units":5}]}"#,
        8,
    ),
    (
        "transformer",
        r#"{"input":[8],"layers":[{"op":"embedding","entries":12,"features":16},{"op":"position"},
        {"op":"transformer_encoder","heads":2,"units":32,"activation":"gelu","causal":true,"dropout":0.1},
        {"op":"layer_norm"},{"op":"last"},{"op":"dense","units":5}]}"#,
        8,
    ),
    (
        "LSTM",
        r#"{"input":[6,4],"layers":[{"op":"lstm","units":8,"output":"last"},{"op":"dense","units":5}]}"#,
        8,
    ),
];
/// For whole models: rounding runs through every layer, and Adam's first steps divide
/// small gradients by their own size.
const MODEL_TOLERANCE: f64 = 1e-3;

/// For the losses of mixed precision beside full precision: a bfloat16 has 8 bits.
const MIXED_TOLERANCE: f64 = 3e-2;

/// What was compared under one name.
#[derive(Clone, Copy, Default)]
struct Compared {
    cases: usize,
    /// The largest difference, and the largest relative to its tensor's largest value.
    absolute: f64,
    relative: f64,
}

impl Compared {
    fn add(&mut self, here: &Found, there: &Found) {
        self.cases += 1;
        assert_eq!(
            here.keys().collect::<Vec<_>>(),
            there.keys().collect::<Vec<_>>()
        );
        for (here, there) in here.values().zip(there.values()) {
            assert_eq!(here.len(), there.len());
            let largest = here
                .iter()
                .fold(1.0_f64, |most, value| most.max(f64::from(value.abs())));
            for (here, there) in here.iter().zip(there) {
                let off = (f64::from(*here) - f64::from(*there)).abs();
                let off = if off.is_nan() { f64::INFINITY } else { off };
                self.absolute = self.absolute.max(off);
                self.relative = self.relative.max(off / largest);
            }
        }
    }
}

/// The operation that a case is about: the one that its name begins with.
fn subject<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    words
        .filter(|word| name.starts_with(word))
        .max_by_key(|word| word.len())
}

/// Three steps of training with Adam.
fn trained(model: &str, samples: usize, device: &Device, half: Option<FloatDType>) -> Found {
    let model: Model = serde_json::from_str(model).unwrap();
    let mut network = Network::new(&model, 5, device).unwrap();
    network.halve(half);
    let scale = half.map_or(1.0, |_| Scaling::default().factor());
    let mut optimizer = Optimizer::new(
        embermesh_job::spec::Optimizer::default(),
        network.parameters(),
    );
    let objective = Objective::new(
        serde_json::from_str(r#"{"cross_entropy":{}}"#).unwrap(),
        embermesh_job::spec::Target::Classes(5),
    );
    let ids = matches!(model.layers[0].op, Op::Embedding(_));
    let volume: usize = model.input.iter().product();
    let batch = Batch {
        pixels: (0..samples * volume)
            .map(|at| {
                let value = (at * 7 + at / 5) % 12;
                if ids {
                    value as f32
                } else {
                    value as f32 / 6.0 - 1.0
                }
            })
            .collect(),
        targets: Targets::Classes((0..samples as u32).map(|at| at % 5).collect()),
    };
    let mut found = Found::new();
    for step in 1..=3 {
        let answers = objective.answers(&batch.targets, device).unwrap();
        let leaves = network.leaves();
        let mode = Mode::Train { seed: 3, step };
        let passed = network.forward(&leaves, &batch, mode).unwrap();
        network.keep(passed.state);
        let loss = answers.loss(passed.outputs, samples as f64);
        let mut gradients = loss.clone().mul_scalar(scale).backward();
        let loss = loss.inner().try_into_vec_as::<f32>().unwrap();
        found.insert(format!("loss {step}"), loss);
        let gradients = leaves
            .iter()
            .map(|leaf| leaf.grad_remove(&mut gradients).unwrap())
            .map(|gradient| gradient.mul_scalar(1.0 / scale))
            .collect::<Vec<_>>();
        assert!(all_finite(&gradients).unwrap());
        optimizer.step(&mut network, gradients, step, 1.0);
    }
    for tensor in network.tensors() {
        let values = tensor.value.clone().try_into_vec_as::<f32>().unwrap();
        found.insert(tensor.name.clone(), values);
    }
    found
}

/// The table, and the names of what is off.
fn compare(device: &Device, title: &str) -> Vec<String> {
    let tolerances: BTreeMap<&str, f64> = TOLERANCES.iter().copied().collect();
    let mut rows: BTreeMap<&str, Compared> = BTreeMap::new();
    for (name, case) in cases() {
        let Some(word) = subject(&name, tolerances.keys().copied()) else {
            continue;
        };
        let here = case.found(&Device::flex(), Entry::Leaf);
        let there = case.found(device, Entry::Leaf);
        rows.entry(word).or_default().add(&here, &there);
    }
    let mut table: Vec<(String, Compared, f64)> = Op::WORDS
        .iter()
        .map(|word| {
            let compared = rows.get(word).copied().unwrap_or_default();
            let word_of = (*word).to_owned();
            (
                word_of,
                compared,
                tolerances.get(word).copied().unwrap_or(-1.0),
            )
        })
        .collect();
    for (name, model, samples) in MODELS {
        let mut compared = Compared::default();
        let here = trained(model, *samples, &Device::flex(), None);
        compared.add(&here, &trained(model, *samples, device, None));
        table.push(((*name).to_owned(), compared, MODEL_TOLERANCE));
    }
    for (word, half) in [("bf16", FloatDType::BF16), ("f16", FloatDType::F16)] {
        if !device.supports_dtype(half) {
            println!("{title} does not compute in {word}");
            continue;
        }
        for (name, model, samples) in MODELS {
            let losses = |found: Found| -> Found {
                let losses = found.into_iter();
                losses
                    .filter(|(name, _)| name.starts_with("loss"))
                    .collect()
            };
            let mut compared = Compared::default();
            let here = trained(model, *samples, &Device::flex(), None);
            let there = trained(model, *samples, device, Some(half));
            compared.add(&losses(here), &losses(there));
            let name = format!("{name}, mixed {word}");
            table.push((name, compared, MIXED_TOLERANCE));
        }
    }
    println!("{title} beside the CPU");
    println!(
        "{:26} {:>5} {:>10} {:>10} {:>10}",
        "operation", "cases", "absolute", "relative", "tolerance"
    );
    let mut off = Vec::new();
    for (name, compared, tolerance) in table {
        let holds = compared.cases > 0 && compared.relative <= tolerance;
        println!(
            "{name:26} {:>5} {:>10.1e} {:>10.1e} {tolerance:>10.1e} {}",
            compared.cases,
            compared.absolute,
            compared.relative,
            if holds { "holds" } else { "OFF" }
        );
        if !holds {
            off.push(name);
        }
    }
    off
}

#[test]
fn every_operation_has_a_tolerance_and_a_case_and_the_cpu_is_itself() {
    let off = compare(&Device::flex(), "the CPU");
    assert!(off.is_empty(), "{off:?}");
}

#[test]
#[ignore = "a software Vulkan compiles its shaders for minutes: `scripts/test --workspace --run-ignored only every_operation_on_a_device`"]
fn every_operation_on_a_device_is_that_of_the_cpu() {
    let choice = std::env::var(DEVICE).unwrap_or_else(|_| "wgpu:0".to_owned());
    let choice: DeviceChoice = choice.parse().unwrap();
    let opened = match open(choice) {
        Ok(opened) => opened,
        Err(fault) => {
            println!("skipped: {fault}");
            return;
        }
    };
    let off = compare(&opened.device, &opened.name);
    assert!(off.is_empty(), "{off:?}");
}
