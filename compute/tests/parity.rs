//! A GPU must compute what the CPU computes, or it is not used.
#![cfg(feature = "wgpu")]
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use std::time::Duration;

use embermesh_compute::DeviceChoice;
use embermesh_compute::pipe::{WorkOrder, WorkerEventKind};
use embermesh_compute::probe::{WorkerCommand, probe_with};
use embermesh_compute::run_in_process;
use embermesh_job::event::EventKind;
use embermesh_job::spec::{Train, Work};
use support::{Bench, small_training};

/// How far two losses may be apart, relative to their size: sums of some
/// thousand products in another order, over ten steps.
const TOLERANCE: f64 = 1e-3;

fn losses(order: &WorkOrder) -> Vec<f64> {
    let mut losses = Vec::new();
    run_in_process(order, &mut |event| {
        if let WorkerEventKind::Plain(EventKind::Progress(progress)) = event.kind {
            losses.push(progress.loss);
        }
    })
    .unwrap();
    losses
}

#[test]
#[ignore = "a software Vulkan compiles its shaders for a minute: `scripts/test --workspace --run-ignored only wgpu_trains`"]
fn wgpu_trains_as_the_cpu_does() {
    let choice = DeviceChoice::Wgpu(0);
    let command = WorkerCommand {
        program: env!("CARGO_BIN_EXE_compute-worker").into(),
        args: Vec::new(),
    };
    match probe_with(&command, choice, Duration::from_secs(120)) {
        Ok(report) => println!("{report:?}"),
        Err(fault) => {
            println!("skipped: {fault}");
            return;
        }
    }
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = Train {
        passes: 2,
        report_every: 1,
        checkpoint_every: 0,
        ..small_training(data)
    };
    let here = losses(&bench.order(Work::Train(train.clone())));
    let mut order = bench.order(Work::Train(train));
    order.device = choice;
    let there = losses(&order);
    assert_eq!(here.len(), there.len());
    for (step, (here, there)) in here.iter().zip(&there).enumerate() {
        let apart = (here - there).abs() / here.abs().max(1e-6);
        assert!(
            apart < TOLERANCE,
            "step {}: {here} on the CPU, {there} on the GPU",
            step + 1
        );
    }
}
