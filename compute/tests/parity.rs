//! A GPU must compute what the CPU computes, or it is not used.
#![cfg(feature = "wgpu")]
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use embermesh_compute::frame;
use embermesh_compute::pipe::{FromWorker, ToWorker, WorkOrder, WorkerEventKind};
use embermesh_compute::probe::{WorkerCommand, probe_with};
use embermesh_compute::{DeviceChoice, DeviceFault, run_in_process};
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

/// Whether a probe found that there is no such device, or none in this build.
fn no_device(fault: &DeviceFault) -> bool {
    let said = fault.to_string();
    said.starts_with("there is no wgpu:0: 0 such devices") || said.contains("is not compiled in")
}

#[test]
fn only_an_absent_device_is_skipped() {
    let absent = DeviceFault::Absent {
        choice: DeviceChoice::Wgpu(0),
        found: 0,
    };
    assert!(no_device(&DeviceFault::Reported(absent.to_string())));
    let wrong = DeviceFault::Driver {
        choice: DeviceChoice::Wgpu(0),
        message: "it computed 63 where 64 is right".to_owned(),
    };
    assert!(!no_device(&DeviceFault::Reported(wrong.to_string())));
    let died = DeviceFault::Died {
        choice: DeviceChoice::Wgpu(0),
        status: "signal 11".to_owned(),
    };
    assert!(!no_device(&died));
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
        // Nothing to compare with. Any other fault is one of ours or of the driver.
        Err(fault) if no_device(&fault) => {
            println!("skipped: {fault}");
            return;
        }
        Err(fault) => panic!("the device is there and does not work: {fault}"),
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
    let there = losses_of_worker(order);
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

/// The losses of an order that a worker takes over its pipe, fenced in with its driver.
fn losses_of_worker(order: WorkOrder) -> Vec<f64> {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_compute-worker"))
        .args(["--device", &order.device.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = worker.stdin.take().unwrap();
    let mut from = worker.stdout.take().unwrap();
    assert!(matches!(
        frame::read(&mut from).unwrap(),
        FromWorker::Ready(_)
    ));
    frame::write(&mut to, &ToWorker::Start(Box::new(order))).unwrap();
    let mut losses = Vec::new();
    loop {
        match frame::read(&mut from).unwrap() {
            FromWorker::Sandboxed(report) => {
                println!("{report:?}");
                if cfg!(target_os = "linux") {
                    assert!(report.calls.starts_with("seccomp"), "{report:?}");
                }
            }
            FromWorker::Event(event) => {
                if let WorkerEventKind::Plain(EventKind::Progress(progress)) = event.kind {
                    losses.push(progress.loss);
                }
            }
            FromWorker::Done(_) => break,
            FromWorker::Failed { class, message } => panic!("{class:?}: {message}"),
            _ => {}
        }
    }
    drop(to);
    let _ = worker.wait();
    losses
}
