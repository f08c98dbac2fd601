//! The example job files of the repository do what they say.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "support/folder.rs"]
mod folder;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use embermesh_compute::pipe::WorkerEventKind;
use embermesh_compute::proven::offline::verify_file;
use embermesh_job::event::EventKind;
use embermesh_job::file::{Format, JobFile};
use embermesh_job::spec::{JobSpec, Predict, Work};
use support::runs::{Run, run};
use support::{Bench, judgement};

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

fn summary(name: &str) -> embermesh_compute::pipe::WorkSummary {
    let mut bench = Bench::new();
    let spec = example(&mut bench, name);
    run(&bench.order(spec.work)).unwrap().summary
}

#[test]
fn tables_arrays_and_rows_of_the_spec_are_learnt() {
    for (name, least) in [
        ("iris-train.toml", 0.9),
        ("wine-npz.toml", 0.9),
        ("xor-inline.toml", 1.0),
    ] {
        let accuracy = summary(name).accuracy.unwrap();
        println!("{name}: {accuracy}");
        assert!(accuracy >= least, "{name}: {accuracy}");
    }
}

#[test]
fn a_regression_comes_to_less_than_always_saying_the_mean() {
    let mut bench = Bench::new();
    let spec = example(&mut bench, "diabetes-regression.toml");
    let trained = run(&bench.order(spec.work.clone())).unwrap();
    assert_eq!(trained.summary.accuracy, None);
    let Work::Train(train) = spec.work else {
        panic!("it is a training")
    };
    // Elsewhere, with the scale that the weights carry.
    let weights = bench.input(&trained.artifact);
    let order = bench.order(Work::Evaluate(judgement(&train, weights)));
    let judged = run(&order).unwrap();
    let (judged_loss, loss) = (judged.summary.loss.unwrap(), trained.summary.loss.unwrap());
    assert!(
        (judged_loss - loss).abs() < 1e-3 * loss,
        "{judged_loss} {loss}"
    );
    let text = std::fs::read_to_string(order.workdir.join("metrics.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let r2 = report["r2"].as_f64().unwrap();
    println!("{text}");
    assert!(r2 > 0.3, "{r2}");
}

#[test]
fn weights_predict_what_they_were_trained_for() {
    let mut bench = Bench::new();
    let spec = example(&mut bench, "iris-train.toml");
    let weights = run(&bench.order(spec.work)).unwrap().artifact;
    let weights = bench.input(&weights);
    let spec = example(&mut bench, "iris-predict.toml");
    let Work::Predict(predict) = spec.work else {
        panic!("it is a prediction")
    };
    let predict = Predict {
        weights: Some(weights),
        ..predict
    };
    let order = bench.order(Work::Predict(predict));
    let predicted = run(&order).unwrap();
    assert_eq!(predicted.summary.samples, 150);
    assert_eq!(predicted.summary.loss, None);
    let text = std::fs::read_to_string(order.workdir.join("predictions.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("class,probability_setosa,probability_versicolor,probability_virginica")
    );
    let truth =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/iris.csv"))
            .unwrap();
    let right = lines
        .zip(truth.lines().skip(1))
        .filter(|(answer, flower)| answer.split(',').next() == flower.split(',').next_back())
        .count();
    assert!(right >= 135, "{right} of 150");
}

#[test]
fn the_digits_that_stay_are_learnt() {
    use embermesh_compute::away::LocalData;
    let mut bench = Bench::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let text = std::fs::read_to_string(folder.join("digits-stays.toml")).unwrap();
    let file = JobFile::parse(&text, Format::Toml).unwrap();
    let (data, model, paths) = file.staying().unwrap();
    let input = bench.input(&std::fs::read(folder.join(paths[0])).unwrap());
    let data = data.clone().try_map_inputs(|_| Ok::<_, ()>(input)).unwrap();
    let local = LocalData::load(&data, model, bench.inputs().clone(), 1 << 30).unwrap();
    let file = file.with_client_data(local.description().clone());
    let order = bench.bare_order(file.resolve(&BTreeMap::new()).unwrap().work);
    let local = std::sync::Arc::new(local);
    let summary = embermesh_compute::run_with_data(&order, local, &mut |_| ()).unwrap();
    let accuracy = summary.accuracy.unwrap();
    println!("{accuracy}");
    assert!(accuracy >= 0.95, "{accuracy}");
}

#[test]
fn what_a_node_fetches_is_learnt_like_any_file() {
    for name in ["iris-web.toml", "iris-s3.toml", "iris-shared.toml"] {
        let mut bench = Bench::new();
        let iris = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/iris.csv");
        bench.input(&std::fs::read(iris).unwrap());
        let spec = example(&mut bench, name);
        let accuracy = run(&bench.order(spec.work))
            .unwrap()
            .summary
            .accuracy
            .unwrap();
        assert!(accuracy >= 0.9, "{name}: {accuracy}");
    }
}

/// The job of an example of a language model, with these files in place of those
/// that it names.
fn with_model(bench: &mut Bench, name: &str, files: &folder::Files) -> JobSpec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let mut file = JobFile::parse(&text, Format::Toml).unwrap();
    let named = file.folder().unwrap().to_owned();
    let names: Vec<String> = files.keys().cloned().collect();
    file.expand(&named, &names).unwrap();
    let blobs = files
        .iter()
        .map(|(name, bytes)| (named.join(name), bench.input(bytes)))
        .collect();
    file.resolve(&blobs).unwrap()
}

#[test]
fn texts_of_like_meaning_are_close_to_each_other() {
    let real = folder::fetched("all-MiniLM-L6-v2");
    let means_something = real.is_some();
    let files = real.unwrap_or_else(|| folder::committed("tiny-bert"));
    let mut bench = Bench::new();
    let spec = with_model(&mut bench, "embed.toml", &files);
    let order = bench.order(spec.work);
    run(&order).unwrap();
    let text = std::fs::read_to_string(order.workdir.join("embeddings.jsonl")).unwrap();
    let vectors: Vec<Vec<f64>> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| serde_json::from_value(line["embedding"].clone()).unwrap())
        .collect();
    let cosine = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let alike = cosine(&vectors[0], &vectors[1]);
    let others = cosine(&vectors[0], &vectors[2]);
    println!("{alike} {others}");
    assert!((cosine(&vectors[0], &vectors[0]) - 1.0).abs() < 1e-5);
    assert!(!means_something || alike > others + 0.2, "{alike} {others}");
}

#[test]
fn the_chat_of_a_folder_is_answered() {
    let mut bench = Bench::new();
    let files = folder::committed("tiny-llama");
    let spec = with_model(&mut bench, "chat-folder.toml", &files);
    let order = bench.order(spec.work);
    let run = run(&order).unwrap();
    assert!(run.summary.steps >= 1);
    let text = std::fs::read_to_string(order.workdir.join("answers.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn the_perplexity_of_english_is_not_that_of_noise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let text = std::fs::read_to_string(folder.join("perplexity.toml")).unwrap();
    let file = JobFile::parse(&text, Format::Toml).unwrap();
    let Some(model) = smollm2() else {
        println!("skipped: the model is not there; run scripts/models");
        return;
    };
    let mut bench = Bench::new();
    let input = bench.input(&std::fs::read(model).unwrap());
    let sources = file.sources().into_iter();
    let blobs = sources.map(|path| (path.to_owned(), input)).collect();
    let order = bench.order(file.resolve(&blobs).unwrap().work);
    let run = run(&order).unwrap();
    let perplexity = run.summary.loss.unwrap().exp();
    println!("{perplexity}");
    assert!((1.0..60.0).contains(&perplexity), "{perplexity}");
}

#[test]
fn the_preparations_give_a_file_a_split_and_a_record() {
    for (name, files) in [
        (
            "iris-prepare.toml",
            &["test.parquet", "train.parquet", "validation.parquet"][..],
        ),
        (
            "digits-prepare.toml",
            &["train.safetensors", "validation.safetensors"][..],
        ),
        (
            "topics-prepare.toml",
            &["test.parquet", "train.parquet"][..],
        ),
    ] {
        let mut bench = Bench::new();
        let spec = example(&mut bench, name);
        let limits = spec.limits;
        let mut order = bench.order(spec.work);
        order.ceilings.memory_bytes = limits.memory.0;
        order.ceilings.output_bytes = limits.output.0;
        run(&order).unwrap();
        let mut made: Vec<String> = std::fs::read_dir(&order.workdir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        made.sort();
        let mut expected: Vec<&str> = files.to_vec();
        expected.push("prepared.json");
        expected.sort_unstable();
        assert_eq!(made, expected, "{name}");
    }
}

#[test]
fn the_proof_of_the_computation_holds_offline() {
    let mut bench = Bench::new();
    let spec = example(&mut bench, "proven.toml");
    let order = bench.order_of(&spec);
    run(&order).unwrap();
    let read = |name: &str| std::fs::read(order.workdir.join(name)).unwrap();
    let verified = verify_file(&read("proof.bin"), |_| None).unwrap();
    assert_eq!(verified.spec, spec);
    assert_eq!((verified.steps, verified.opened), (6, 4));
    verified
        .check_results(&read("results.safetensors"))
        .unwrap();
}
