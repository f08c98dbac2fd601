//! A language model in this process: time to the first token, tokens a second,
//! and the most memory that was held.
//!
//! `cargo bench -p embermesh-compute --bench generate -- "$(scripts/models)"`
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use embermesh_compute::pipe::WorkerEventKind;
use embermesh_compute::run_in_process;
use embermesh_job::event::EventKind;
use embermesh_job::spec::{Generate, Request, Work};
use support::Bench;

/// Tokens that each request makes.
const TOKENS: u32 = 128;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // A test runner that lists or runs every target meets this one too.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let Some(path) = args.iter().find(|arg| arg.ends_with(".gguf")) else {
        return eprintln!("give a model: -- \"$(scripts/models)\"");
    };
    let model = std::fs::read(path).unwrap();
    let mut bench = Bench::new();
    let input = bench.input(&model);
    drop(model);
    let story = "The old lighthouse keeper wrote down what he saw. ".repeat(50);
    for (name, prompt, count) in [
        ("one request", "Once upon a time", 1),
        ("the same again", "Once upon a time", 1),
        ("a long prompt", story.as_str(), 1),
        ("eight requests", "Once upon a time", 8),
    ] {
        let request = Request {
            max_tokens: TOKENS,
            temperature: 0.0,
            ..Request::prompt(prompt)
        };
        let order = bench.order(Work::Generate(Generate {
            model: input,
            requests: vec![request; count],
            report_every: 1,
        }));
        measure(name, &order);
    }
    println!("most memory: {} MiB", peak_kib() / 1024);
}

fn measure(name: &str, order: &embermesh_compute::pipe::WorkOrder) {
    let begin = Instant::now();
    let (mut ready, mut first, mut last) = (begin, None, begin);
    let (mut tokens, mut prompt) = (0, 0);
    let summary = run_in_process(order, &mut |event| match event.kind {
        WorkerEventKind::Plain(EventKind::Started { .. }) => ready = Instant::now(),
        WorkerEventKind::Plain(EventKind::Generated(piece)) => {
            last = Instant::now();
            first.get_or_insert(last);
            prompt = piece.prompt_tokens;
            tokens += 1;
        }
        _ => {}
    });
    let steps = summary.unwrap().steps;
    let first = first.unwrap();
    println!(
        "{name}: file read in {:.0} ms, first token {:.0} ms later ({prompt} tokens of prompt, {:.0} tokens/s), then {:.1} tokens/s ({steps} tokens, {tokens} events)",
        (ready - begin).as_secs_f64() * 1e3,
        (first - ready).as_secs_f64() * 1e3,
        f64::from(prompt) / (first - ready).as_secs_f64(),
        (steps - 1) as f64 / (last - first).as_secs_f64(),
    );
}

/// The most memory that this process has held.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}
