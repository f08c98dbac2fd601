//! One turn of this side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use embermesh_compute::pipe::{Ceilings, WorkOrder, WorkerEventKind};
use embermesh_compute::{DeviceChoice, run_in_process};
use embermesh_job::crypto::Digest;
use embermesh_job::spec::JobSpec;

use crate::Turn;
use crate::contest::{CONTESTS, Contest};

/// Samples that are inferred one by one in a turn.
const INFERRED: usize = 2000;
/// Products of a turn.
const PRODUCTS: usize = 40;

/// Takes the turn that a text like `train:mlp` names.
pub(crate) fn take(what: &str, threads: u32) -> Turn {
    match what.split_once(':').unwrap() {
        ("matmul", side) => matmul(side.parse().unwrap(), threads),
        ("train", name) => {
            let mut bench = Bench::new(name, threads);
            let Contest { batch, steps, .. } = bench.contest;
            let work = bench.training(batch * steps, batch);
            bench.run(&work, steps)
        }
        (_, name) => {
            let mut bench = Bench::new(name, threads);
            let work = bench.training(64, 64);
            bench.run(&work, 1);
            let work = bench.prediction(INFERRED);
            bench.run(&work, INFERRED)
        }
    }
}

/// A folder with the inputs of one network's jobs.
struct Bench {
    folder: tempfile::TempDir,
    inputs: BTreeMap<Digest, PathBuf>,
    contest: Contest,
    threads: u32,
}

impl Bench {
    fn new(name: &str, threads: u32) -> Self {
        let contest = CONTESTS.into_iter().find(|contest| contest.name == name);
        Self {
            folder: tempfile::tempdir().unwrap(),
            inputs: BTreeMap::new(),
            contest: contest.unwrap(),
            threads,
        }
    }

    fn input(&mut self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes);
        let path = self.folder.path().join(digest.short());
        std::fs::write(&path, bytes).unwrap();
        self.inputs.insert(digest, path);
        format!(r#"{{"digest":"{digest}","size":{}}}"#, bytes.len())
    }

    fn model(&self) -> String {
        let Contest { input, layers, .. } = self.contest;
        format!(r#"{{"input":{input},"layers":{layers}}}"#)
    }

    /// One pass over random samples.
    fn training(&mut self, samples: usize, batch: usize) -> String {
        let contest = self.contest;
        let features = self.input(&contest.features(samples));
        let targets = self.input(&contest.targets(samples));
        let (model, classes) = (self.model(), contest.classes);
        let scale = contest.scale();
        format!(
            r#"{{"train":{{"model":{model},"data":{{"npy":{{"features":{features},"targets":{targets},
            "target":{{"classes":{classes}}}{scale}}}}},"passes":1,"batch":{batch},"report_every":{samples}}}}}"#
        )
    }

    /// What the weights of the training before make of random samples, one by one.
    fn prediction(&mut self, samples: usize) -> String {
        let weights = std::fs::read(self.folder.path().join("work/model.safetensors")).unwrap();
        let weights = self.input(&weights);
        let features = self.input(&self.contest.features(samples));
        let (model, scale) = (self.model(), self.contest.scale());
        format!(
            r#"{{"predict":{{"model":{model},"weights":{weights},"data":{{"npy":{{"features":{features}{scale}}}}},
            "outputs":"numbers","batch":1}}}}"#
        )
    }

    /// Runs a job and measures from the start of its loop to its last event.
    fn run(&self, work: &str, steps: usize) -> Turn {
        let json = format!(
            r#"{{"name":"peer","work":{work},
            "limits":{{"memory":8589934592,"wall":3600000,"output":1073741824}}}}"#
        );
        let spec: JobSpec = serde_json::from_str(&json).unwrap();
        spec.validate().unwrap();
        let workdir = self.folder.path().join("work");
        std::fs::create_dir_all(&workdir).unwrap();
        let order = WorkOrder {
            spec: String::from_utf8(spec.canonical()).unwrap(),
            attempt: None,
            device: DeviceChoice::Cpu,
            inputs: self.inputs.clone(),
            resume: None,
            workdir,
            ceilings: Ceilings {
                memory_bytes: spec.limits.memory.0,
                output_bytes: spec.limits.output.0,
            },
            threads: self.threads,
        };
        let mut clock = None;
        let mut turn = None;
        run_in_process(&order, &mut |event| {
            if let WorkerEventKind::Plain(_) | WorkerEventKind::Artifact { .. } = event.kind {
                let clock = clock.get_or_insert_with(Clock::start);
                turn = Some(clock.turn(steps));
            }
        })
        .unwrap();
        turn.unwrap()
    }
}

fn matmul(side: usize, threads: u32) -> Turn {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads as usize);
    pool.build().unwrap().install(|| {
        let device = Device::flex();
        let left = Tensor::<2>::full([side, side], 0.5, &device);
        let right = Tensor::<2>::full([side, side], 0.25, &device);
        let once = || left.clone().matmul(right.clone());
        let first = once().try_into_vec_as::<f32>().unwrap();
        assert!(first.iter().all(|value| *value == side as f32 * 0.125));
        let clock = Clock::start();
        for _ in 0..PRODUCTS {
            std::hint::black_box(once());
        }
        clock.turn(PRODUCTS)
    })
}

/// The time and this process's CPU time when something began.
struct Clock {
    since: Instant,
    cpu_ms: f64,
}

impl Clock {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            cpu_ms: cpu_ms(),
        }
    }

    fn turn(&self, steps: usize) -> Turn {
        Turn {
            steps_per_second: steps as f64 / self.since.elapsed().as_secs_f64(),
            cpu_ms_per_step: (cpu_ms() - self.cpu_ms) / steps as f64,
            peak_mib: peak_mib(),
        }
    }
}

/// What this process has computed so far: all threads, in user and kernel. Linux counts
/// in hundredths of a second.
fn cpu_ms() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (_, fields) = status.rsplit_once(')').unwrap_or_default();
    let ticks = |at: usize| -> f64 {
        let field = fields.split_whitespace().nth(at);
        field.and_then(|field| field.parse().ok()).unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) * 10.0
}

/// The most memory that this process ever held.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}
