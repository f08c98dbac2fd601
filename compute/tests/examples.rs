//! The example job files of the repository do what they say.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use embermesh_compute::pipe::WorkerEventKind;
use embermesh_job::event::EventKind;
use embermesh_job::file::{Format, JobFile};
use embermesh_job::spec::JobSpec;
use support::Bench;
use support::runs::{Run, run};

/// The job of an example, with the files that it names as inputs.
fn example(bench: &mut Bench, name: &str) -> JobSpec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let file = JobFile::parse(&text, Format::Toml).unwrap();
    let blobs: BTreeMap<_, _> = file
        .sources()
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(folder.join(path)).unwrap();
            (path.to_owned(), bench.input(&bytes))
        })
        .collect();
    file.resolve(&blobs).unwrap()
}

fn stopped(run: &Run) -> Option<&str> {
    run.events.iter().find_map(|event| match &event.kind {
        WorkerEventKind::Plain(EventKind::Stopped { reason, .. }) => Some(reason.as_str()),
        _ => None,
    })
}

/// Runs an example to its end and gives the accuracy over what it held out.
fn accuracy(name: &str) -> f64 {
    let mut bench = Bench::new();
    let spec = example(&mut bench, name);
    let since = std::time::Instant::now();
    let run = run(&bench.order(spec.work)).unwrap();
    let accuracy = run.summary.accuracy.unwrap();
    println!("{name}: {accuracy:.4} in {:.1?}", since.elapsed());
    accuracy
}

#[test]
fn the_residual_net_learns_the_digits() {
    assert!(accuracy("digits-residual.toml") >= 0.98);
}

#[test]
fn the_lstm_learns_the_digits_row_by_row() {
    assert!(accuracy("digits-lstm.toml") >= 0.95);
}

#[test]
fn the_transformer_learns_the_digits_row_by_row() {
    assert!(accuracy("digits-transformer.toml") >= 0.96);
}

#[test]
fn a_foreign_definition_learns_the_digits() {
    assert!(accuracy("digits-definition.toml") >= 0.95);
}

#[test]
fn the_recipe_learns_the_digits_and_knows_when_to_stop() {
    let mut bench = Bench::new();
    let spec = example(&mut bench, "digits-recipe.toml");
    let run = run(&bench.order(spec.work)).unwrap();
    let accuracy = run.summary.accuracy.unwrap();
    println!("{accuracy} {:?}", stopped(&run));
    assert!(accuracy >= 0.98, "{accuracy}");
    assert!(stopped(&run).is_some_and(|reason| reason.contains("the best pass")));
}
