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

/// Where `scripts/models` puts the model; none if it is not there.
fn smollm2() -> Option<std::path::PathBuf> {
    let folder = |name| std::env::var_os(name).map(std::path::PathBuf::from);
    let home = || folder("HOME").map(|home| home.join(".cache"));
    let cache = || folder("XDG_CACHE_HOME").or_else(home);
    let models = folder("EMBERMESH_MODELS").or_else(|| Some(cache()?.join("embermesh/models")))?;
    let path = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    path.exists().then_some(path)
}

#[test]
fn the_chat_knows_the_capital_of_france() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let text = std::fs::read_to_string(folder.join("chat.toml")).unwrap();
    let file = JobFile::parse(&text, Format::Toml).unwrap();
    let Some(model) = smollm2() else {
        println!("skipped: the model is not there; run scripts/models");
        return;
    };
    let mut bench = Bench::new();
    let input = bench.input(&std::fs::read(model).unwrap());
    let blobs = file
        .sources()
        .into_iter()
        .map(|path| (path.to_owned(), input))
        .collect();
    let order = bench.order(file.resolve(&blobs).unwrap().work);
    let run = run(&order).unwrap();
    let text = std::fs::read_to_string(order.workdir.join("answers.jsonl")).unwrap();
    println!("{text}");
    assert!(text.lines().next().unwrap().contains("Paris"), "{text}");
    assert_eq!(text.lines().count(), 2);
    assert!(run.summary.steps > 10);
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
