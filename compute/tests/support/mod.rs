//! Orders over small data, for the tests and the benchmark of this crate.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use embermesh_compute::DeviceChoice;
use embermesh_compute::pipe::{Ceilings, WorkOrder};
use embermesh_job::crypto::{Digest, Epoch, JobId, Keypair, UnixMillis};
use embermesh_job::model::{Layer, Model, Op};
use embermesh_job::proof::Attempt;
use embermesh_job::spec::{
    Dataset, Evaluate, Input, JobSpec, Limits, Optimizer, Requirements, Split, Train, Work,
};

/// The digits in the repository.
pub(crate) const DIGITS: &[u8] = include_bytes!("../../../data/digits.csv");

/// The attempt that every order is.
pub(crate) fn attempt() -> Attempt {
    Attempt {
        job: JobId::v7(UnixMillis(1), [1; 10]),
        node: Keypair::from_seed(&[2; 32]).peer_id(),
        epoch: Epoch::FIRST,
    }
}

/// A folder with inputs, and a work folder per order.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    inputs: BTreeMap<Digest, PathBuf>,
    orders: u32,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            inputs: BTreeMap::new(),
            orders: 0,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The files that orders bring.
    pub(crate) fn inputs(&self) -> &BTreeMap<Digest, PathBuf> {
        &self.inputs
    }

    /// An order that brings no file.
    pub(crate) fn bare_order(&mut self, work: Work) -> WorkOrder {
        WorkOrder {
            inputs: BTreeMap::new(),
            ..self.order(work)
        }
    }

    /// Keeps bytes as a file that orders bring.
    pub(crate) fn input(&mut self, bytes: &[u8]) -> Input {
        let digest = Digest::of(bytes);
        let path = self.folder.path().join(digest.short());
        std::fs::write(&path, bytes).unwrap();
        self.inputs.insert(digest, path);
        Input {
            digest,
            size: bytes.len() as u64,
        }
    }

    /// The first rows of the digits.
    pub(crate) fn digits(&mut self, rows: usize) -> Dataset {
        let end = DIGITS
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(rows - 1)
            .map_or(DIGITS.len(), |(at, _)| at + 1);
        Dataset::DigitsCsv {
            file: self.input(&DIGITS[..end]),
            classes: 10,
        }
    }

    /// An order with a work folder of its own.
    pub(crate) fn order(&mut self, work: Work) -> WorkOrder {
        self.order_of(&JobSpec {
            name: "test".to_owned(),
            work,
            requires: Requirements::default(),
            limits: Limits::default(),
            attempts: 1,
        })
    }

    /// The same of a whole spec.
    pub(crate) fn order_of(&mut self, spec: &JobSpec) -> WorkOrder {
        self.orders += 1;
        let workdir = self.folder.path().join(format!("work-{}", self.orders));
        std::fs::create_dir(&workdir).unwrap();
        WorkOrder {
            spec: String::from_utf8(spec.canonical()).unwrap(),
            attempt: Some(attempt()),
            device: DeviceChoice::Cpu,
            inputs: self.inputs.clone(),
            resume: None,
            workdir,
            ceilings: Ceilings {
                memory_bytes: spec.limits.memory.0,
                output_bytes: spec.limits.output.0,
            },
            threads: 2,
        }
    }
}

pub(crate) fn layer(op: Op) -> Layer {
    Layer::new(op)
}

pub(crate) fn conv(channels: usize) -> Layer {
    layer(Op::conv2d(channels, 3, 1))
}

pub(crate) fn pool() -> Layer {
    layer(Op::max_pool2d(2))
}

/// Two convolutions, dropout and a dense layer.
pub(crate) fn small_model() -> Model {
    model(4, 8, 0.2)
}

pub(crate) fn model(first: usize, second: usize, dropped: f64) -> Model {
    Model {
        input: vec![1, 8, 8],
        layers: vec![
            conv(first),
            layer(Op::relu()),
            conv(second),
            layer(Op::relu()),
            pool(),
            layer(Op::flatten()),
            layer(Op::dropout(dropped)),
            layer(Op::dense(10)),
        ],
    }
}

/// What a file would say of a model.
pub(crate) fn declared(layers: &str) -> Model {
    serde_json::from_str(&format!(r#"{{"input":[1,8,8],"layers":[{layers}]}}"#)).unwrap()
}

/// Batch norms over maps and rows, a residual, an LSTM and dropout.
pub(crate) fn stateful_model() -> Model {
    declared(
        r#"{"op":"conv2d","channels":4,"kernel":3,"padding":1,"bias":false},
           {"op":"batch_norm","name":"first"},
           {"op":"relu","name":"stem"},
           {"op":"conv2d","channels":4,"kernel":3,"padding":1},
           {"op":"batch_norm","momentum":0.3},
           {"op":"add","from":["batch_norm_2","stem"]},
           {"op":"reshape","shape":[8,32]},
           {"op":"lstm","units":16,"output":"last"},
           {"op":"batch_norm"},
           {"op":"dropout","probability":0.2},
           {"op":"dense","units":10}"#,
    )
}

/// An optimiser as files name it.
pub(crate) fn rule(json: &str) -> Optimizer {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn adam(lr: f64) -> Optimizer {
    Optimizer::Adam {
        lr,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
    }
}

/// 160 training samples in 5 steps a pass, 4 passes: 20 steps.
pub(crate) fn small_training(data: Dataset) -> Train {
    Train {
        optimizer: adam(0.005),
        passes: 4,
        batch: 32,
        seed: 7,
        holdout: 0.2,
        report_every: 3,
        checkpoint_every: 4,
        ..Train::new(small_model(), data)
    }
}

/// The judgement of weights by what a training held out.
pub(crate) fn judgement(train: &Train, weights: Input) -> Evaluate {
    Evaluate {
        model: train.model.clone().into(),
        weights: Some(weights),
        data: train.data.clone(),
        loss: train.loss.clone(),
        split: Split::Holdout {
            share: train.holdout,
            seed: train.seed,
        },
        batch: 64,
    }
}
