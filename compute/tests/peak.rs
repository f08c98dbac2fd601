//! The memory that a plan promises beside what a training takes. Each test has a
//! process of its own (nextest), so the highest mark is its own too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use embermesh_job::model::Model;
use embermesh_job::spec::{Train, Work};
use support::runs::run;
use support::{Bench, declared, small_training};

/// What a process may take beside what is planned: threads, the unrolled windows
/// of a convolution, what an allocator keeps.
const BESIDE_BYTES: u64 = 64 << 20;
/// How many times more may be planned than is taken.
const MOST_PLANNED: u64 = 4;

/// A line of the process's status, in bytes.
fn status(word: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(word)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

fn compare(model: Model) {
    let mut bench = Bench::new();
    let train = Train {
        model,
        batch: 1024,
        passes: 2,
        checkpoint_every: 0,
        ..small_training(bench.digits(1797))
    };
    let planned = train.peak_bytes(&train.model.plan().unwrap());
    let order = bench.order(Work::Train(train));
    let before = status("VmRSS");
    run(&order).unwrap();
    let taken = status("VmHWM") - before;
    println!("planned {} MiB, taken {} MiB", planned >> 20, taken >> 20);
    assert!(taken <= planned + BESIDE_BYTES);
    assert!(planned <= MOST_PLANNED * taken);
}

#[test]
fn a_convolutional_net_takes_what_is_planned() {
    compare(declared(
        r#"{"op":"conv2d","channels":32,"kernel":3,"padding":1},
           {"op":"batch_norm"},
           {"op":"relu","name":"stem"},
           {"op":"conv2d","channels":32,"kernel":3,"padding":1},
           {"op":"batch_norm"},
           {"op":"add","from":["batch_norm_2","stem"]},
           {"op":"relu"},
           {"op":"max_pool2d","kernel":2},
           {"op":"flatten"},
           {"op":"dense","units":64},
           {"op":"relu"},
           {"op":"dense","units":10}"#,
    ));
}

#[test]
fn a_sequence_model_takes_what_is_planned() {
    compare(declared(
        r#"{"op":"reshape","shape":[8,8]},
           {"op":"dense","units":64},
           {"op":"transformer_encoder","heads":4,"units":128},
           {"op":"transformer_encoder","heads":4,"units":128},
           {"op":"lstm","units":64,"output":"last"},
           {"op":"dense","units":10}"#,
    ));
}

/// A judgement takes no more than the plan says of inference, which is far less
/// than what a training of the same batch takes.
#[test]
fn a_judgement_takes_what_is_planned_for_inference() {
    let model = declared(
        r#"{"op":"conv2d","channels":32,"kernel":3,"padding":1},
           {"op":"batch_norm"},
           {"op":"relu","name":"stem"},
           {"op":"conv2d","channels":32,"kernel":3,"padding":1},
           {"op":"batch_norm"},
           {"op":"add","from":["batch_norm_2","stem"]},
           {"op":"relu"},
           {"op":"max_pool2d","kernel":2},
           {"op":"flatten"},
           {"op":"dense","units":64},
           {"op":"relu"},
           {"op":"dense","units":10}"#,
    );
    let mut bench = Bench::new();
    let train = Train {
        model,
        batch: 16,
        passes: 1,
        checkpoint_every: 0,
        ..small_training(bench.digits(200))
    };
    let weights = run(&bench.order(Work::Train(train.clone())))
        .unwrap()
        .artifact;
    let weights = bench.input(&weights);
    let judge = embermesh_job::spec::Evaluate {
        data: bench.digits(1797),
        split: embermesh_job::spec::Split::All,
        batch: 1024,
        ..support::judgement(&train, weights)
    };
    let plan = judge.model.plan().unwrap().unwrap();
    let (planned, training) = (plan.inference_bytes(1024), plan.peak_bytes(1024));
    let order = bench.order(Work::Evaluate(judge));
    // What the training before left at its highest is not the judgement's.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    run(&order).unwrap();
    let taken = status("VmHWM").saturating_sub(before);
    println!(
        "planned {} MiB of {} MiB to train, taken {} MiB",
        planned >> 20,
        training >> 20,
        taken >> 20
    );
    assert!(taken <= planned + BESIDE_BYTES);
    assert!(planned < training);
}
