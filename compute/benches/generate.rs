//! A language model beside llama.cpp: prompts and answers in tokens a second, and
//! the most memory that was held, on two threads, in turns, each turn a process
//! of its own.
//!
//! ```text
//! EMBERMESH_PYTHON=/path/to/python-with-xllamacpp \
//!   cargo bench -p embermesh-compute --bench generate -- "$(scripts/models)"
//! ```
//!
//! Without `EMBERMESH_PYTHON` only this side is measured. `-- --rounds 5` for more.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use embermesh_compute::pipe::WorkerEventKind;
use embermesh_compute::run_in_process;
use embermesh_compute::worker::ENVIRONMENT;
use embermesh_job::event::EventKind;
use embermesh_job::spec::{Generate, Request, Work};
use support::Bench;

/// Turns of each side.
const ROUNDS: usize = 3;
/// Threads of each side.
const THREADS: u32 = 2;
/// Tokens that are made.
const TOKENS: u32 = 128;
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/llama.py");

/// What a turn says of itself, in tokens a second.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Turn {
    prompt: f64,
    tokens: f64,
    peak_mib: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).cloned()
    };
    if let Some(path) = after("--turn") {
        let count = after("--count").map_or(1, |text| text.parse().unwrap());
        println!("{}", serde_json::to_string(&turn(&path, count)).unwrap());
        return;
    }
    // A test runner that lists or runs every target meets this one too.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let Some(path) = args.iter().find(|arg| arg.ends_with(".gguf")) else {
        return eprintln!("give a model: -- \"$(scripts/models)\"");
    };
    let rounds = after("--rounds").map_or(ROUNDS, |text| text.parse().unwrap());
    let python = std::env::var("EMBERMESH_PYTHON").ok();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(here(path, 1));
        if let Some(python) = &python {
            let words = [PEER, path, &THREADS.to_string(), &TOKENS.to_string()];
            theirs.push(said(Command::new(python).args(words)));
        }
    }
    let us = medians(&ours);
    println!("ours: {us:.1?}");
    if python.is_some() {
        let peer = medians(&theirs);
        let prompt = us.prompt / peer.prompt;
        let tokens = us.tokens / peer.tokens;
        println!("llama.cpp: {peer:.1?}\nratios: prompt {prompt:.2}, tokens {tokens:.2}");
    }
    println!("eight requests: {:.1?}", here(path, 8));
}

fn here(path: &str, count: usize) -> Turn {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let words = ["--turn", path, "--count", &count.to_string()];
    said(command.envs(ENVIRONMENT).args(words))
}

/// 501 tokens.
fn prompt() -> String {
    "The old lighthouse keeper wrote down what he saw. ".repeat(50)
}

fn said(command: &mut Command) -> Turn {
    let streams = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = streams.spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    to.write_all(prompt().as_bytes()).unwrap();
    drop(to);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn medians(turns: &[Turn]) -> Turn {
    let median = |of: fn(&Turn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Turn {
        prompt: median(|turn| turn.prompt),
        tokens: median(|turn| turn.tokens),
        peak_mib: median(|turn| turn.peak_mib),
    }
}

/// Answers so many requests at once.
fn turn(path: &str, count: usize) -> Turn {
    let mut bench = Bench::new();
    let model = bench.input(&std::fs::read(path).unwrap()).into();
    let request = Request {
        max_tokens: TOKENS,
        temperature: 0.0,
        ..Request::prompt(prompt())
    };
    let mut order = bench.order(Work::Generate(Generate {
        model,
        requests: vec![request; count],
        report_every: 1,
    }));
    order.threads = THREADS;
    let begin = Instant::now();
    let (mut ready, mut first, mut last) = (begin, None, begin);
    let mut read = 0;
    let summary = run_in_process(&order, &mut |event| match event.kind {
        WorkerEventKind::Plain(EventKind::Started { .. }) => ready = Instant::now(),
        WorkerEventKind::Plain(EventKind::Generated(piece)) => {
            last = Instant::now();
            first.get_or_insert(last);
            read = piece.prompt_tokens;
        }
        _ => {}
    });
    let steps = summary.unwrap().steps;
    let first = first.unwrap();
    Turn {
        prompt: f64::from(read) / (first - ready).as_secs_f64(),
        tokens: (steps - 1) as f64 / (last - first).as_secs_f64(),
        peak_mib: peak_kib() as f64 / 1024.0,
    }
}

/// The most memory that this process has held.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}
