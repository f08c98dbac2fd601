//! ONNX files and direct computations as jobs: the examples do what they say, and what
//! does not fit is refused by the worker too.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use embermesh_compute::pipe::{WorkOrder, WorkerEventKind};
use embermesh_compute::{FailureClass, onnx};
use embermesh_job::event::EventKind;
use embermesh_job::file::{Format, JobFile};
use embermesh_job::spec::{Feeds, JobSpec, Network, Work};
use safetensors::SafeTensors;
use support::Bench;
use support::runs::{refusal, run};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs")
}

/// The job of a text, whose paths are those of the examples.
fn job(bench: &mut Bench, text: &str) -> JobSpec {
    let file = JobFile::parse(text, Format::Toml).unwrap();
    let blobs: BTreeMap<_, _> = file
        .sources()
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(folder().join(path)).unwrap();
            (path.to_owned(), bench.input(&bytes))
        })
        .collect();
    file.resolve(&blobs).unwrap()
}

fn example(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn made(order: &WorkOrder, name: &str) -> Vec<u8> {
    std::fs::read(order.workdir.join(name)).unwrap()
}

/// What the command says of a job before it sends it.
fn checked(spec: &JobSpec, order: &WorkOrder) -> Result<Option<onnx::Checked>, String> {
    onnx::check(spec, |input| {
        std::fs::read(&order.inputs[&input.digest]).ok()
    })
    .map_err(|error| error.to_string())
}

#[test]
fn a_foreign_net_judges_the_digits() {
    let mut bench = Bench::new();
    let spec = job(&mut bench, &example("digits-onnx.toml"));
    let order = bench.order(spec.work.clone());
    let checked = checked(&spec, &order).unwrap().unwrap();
    assert_eq!(checked.output_shape, [10]);
    assert_eq!(checked.parameters, 12 * 10 + 48 * 12 * 9 + 48 + 10 * 193);
    let run = run(&order).unwrap();
    assert_eq!(run.summary.samples, 1797);
    // What onnxruntime gets right of all rows.
    let accuracy = run.summary.accuracy.unwrap();
    println!("{accuracy}");
    assert!((accuracy - 0.962_715_6).abs() < 0.002, "{accuracy}");
    assert!(
        String::from_utf8(made(&order, "metrics.json"))
            .unwrap()
            .contains("confusion")
    );
}

/// Batches of another size give the same.
#[test]
fn the_batch_changes_nothing() {
    let mut answers = Vec::new();
    for batch in [8, 3, 1] {
        let mut bench = Bench::new();
        let text = example("encoder-onnx.toml").replace("batch = 8", &format!("batch = {batch}"));
        let spec = job(&mut bench, &text);
        let order = bench.order(spec.work);
        assert_eq!(run(&order).unwrap().summary.samples, 2);
        let text = String::from_utf8(made(&order, "predictions.jsonl")).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                serde_json::from_value(row["probabilities"].clone()).unwrap()
            })
            .collect();
        assert_eq!(rows.len(), 2);
        assert!((rows[0].iter().sum::<f64>() - 1.0).abs() < 1e-4);
        answers.push(rows);
    }
    for other in &answers[1..] {
        for (one, other) in answers[0].iter().flatten().zip(other.iter().flatten()) {
            assert!((one - other).abs() < 1e-5, "{answers:?}");
        }
    }
}

#[test]
fn files_that_do_not_fit_are_refused_by_the_command_and_by_the_worker() {
    let mut bench = Bench::new();
    let spec = job(&mut bench, &example("digits-onnx.toml"));
    let changed = |bench: &mut Bench, change: &dyn Fn(&mut embermesh_job::spec::Onnx)| {
        let mut spec = spec.clone();
        if let Work::Evaluate(evaluate) = &mut spec.work
            && let Network::Onnx(onnx) = &mut evaluate.model
        {
            change(onnx);
        }
        let order = bench.order(spec.work.clone());
        (spec, order)
    };
    let broken = bench.input(b"no such file");
    let encoder = std::fs::read(folder().join("../../data/encoder.onnx")).unwrap();
    let encoder = bench.input(&encoder);
    let cases: [(&dyn Fn(&mut embermesh_job::spec::Onnx), &str); 4] = [
        (&|onnx| onnx.file = broken, "not a whole ONNX file"),
        (&|onnx| onnx.file = encoder, "[\"ids\", \"mask\"]"),
        (
            &|onnx| onnx.feeds = Feeds::One(vec![8, 8]),
            "[batch, 1, 8, 8]",
        ),
        (
            &|onnx| onnx.output = Some("softmax".to_owned()),
            "\"softmax\"",
        ),
    ];
    for (change, word) in cases {
        let (spec, order) = changed(&mut bench, change);
        let said = checked(&spec, &order).unwrap_err();
        assert!(said.contains(word), "{said}");
        let failed = refusal(&order);
        assert_eq!(failed.class(), Some(FailureClass::Invalid));
        assert!(failed.to_string().contains(word), "{failed}");
    }
}

#[test]
fn a_model_that_needs_more_memory_than_there_is_is_refused_before_it_is_there() {
    let mut bench = Bench::new();
    let text = example("digits-onnx.toml").replace("batch = 64", "batch = 65536");
    let spec = job(&mut bench, &text);
    let order = bench.order(spec.work.clone());
    let mut low = spec.clone();
    low.limits.memory.0 = 64 << 20;
    assert!(checked(&low, &order).unwrap_err().contains("limits.memory"));
    let mut order = order;
    order.ceilings.memory_bytes = 64 << 20;
    assert_eq!(refusal(&order).class(), Some(FailureClass::Resource));
}

#[test]
fn a_step_of_training_is_computed() {
    let mut bench = Bench::new();
    let spec = job(&mut bench, &example("compute.toml"));
    let order = bench.order(spec.work);
    let run = run(&order).unwrap();
    let bytes = made(&order, "results.safetensors");
    let results = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| -> Vec<f32> {
        let view = results.tensor(name).unwrap();
        let (parts, _) = view.data().as_chunks();
        parts.iter().map(|part| f32::from_le_bytes(*part)).collect()
    };
    // As PyTorch has it, worked out by hand: softmax less one-hot, over the samples.
    let x = [[1., 0., 2.], [0., 1., 1.], [2., 1., 0.], [1., 1., 1.]];
    let chances = numbers("chances");
    let classes = [0, 1, 1, 0];
    let mut wanted = [0_f32; 6];
    let mut loss = 0.0;
    for (sample, row) in x.iter().enumerate() {
        loss -= chances[sample * 2 + classes[sample]].ln() / 4.0;
        for class in 0..2 {
            let is = f32::from(u8::from(classes[sample] == class));
            let wrong = (chances[sample * 2 + class] - is) / 4.0;
            for at in 0..3 {
                wanted[class * 3 + at] += wrong * row[at];
            }
        }
    }
    for (found, wanted) in numbers("d.w").iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-6);
    }
    assert!((numbers("loss")[0] - loss).abs() < 1e-6);
    // Adam's first step goes by the learning rate, against the gradient.
    let before = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6];
    for ((after, before), gradient) in numbers("step.parameter").iter().zip(before).zip(wanted) {
        assert!((after - (before - 0.01 * gradient.signum())).abs() < 1e-5);
    }
    assert_eq!(results.tensor("step.parameter").unwrap().shape(), [2, 3]);
    let shown = run.events.iter().find_map(|event| match &event.kind {
        WorkerEventKind::Plain(EventKind::Metrics { values }) => Some(values),
        _ => None,
    });
    let shown = shown.unwrap();
    assert!((shown["loss"] - f64::from(loss)).abs() < 1e-6);
    assert!(shown.contains_key("d.w[5]"));
}

#[test]
fn tensors_of_files_are_what_the_spec_says() {
    use safetensors::tensor::{Dtype, TensorView};
    let floats: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let ints: Vec<u8> = [1_i64, 0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let far: Vec<u8> = [1_i64 << 30, 0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let views = [
        (
            "w",
            TensorView::new(Dtype::F32, vec![2, 2], &floats).unwrap(),
        ),
        ("rows", TensorView::new(Dtype::I64, vec![2], &ints).unwrap()),
        ("far", TensorView::new(Dtype::I64, vec![2], &far).unwrap()),
    ];
    let file = safetensors::serialize(views, None).unwrap();
    let mut bench = Bench::new();
    let input = bench.input(&file);
    let text = |tensor: &str| {
        format!(
            "name = \"files\"\n[work.compute]\ntensors = [\n    {{ name = \"w\", shape = [2, 2], file = {{ digest = \"{0}\", size = {1} }} }},\n    {{ name = \"places\", {tensor}, file = {{ digest = \"{0}\", size = {1} }} }},\n]\noperations = [{{ op = \"gather\", axis = 0, name = \"found\", from = [\"w\", \"places\"] }}]",
            input.digest, input.size
        )
    };
    let good = "kind = \"int\", shape = [2], key = \"rows\"";
    let spec = job(&mut bench, &text(good));
    let order = bench.order(spec.work);
    run(&order).unwrap();
    let bytes = made(&order, "results.safetensors");
    let results = SafeTensors::deserialize(&bytes).unwrap();
    let found = results.tensor("found").unwrap();
    assert_eq!(found.data()[..4], 3.0_f32.to_le_bytes());
    for (tensor, word) in [
        ("kind = \"int\", shape = [2], key = \"row\"", "no \"row\""),
        (
            "kind = \"int\", shape = [3], key = \"rows\"",
            "[2] in its file, and [3]",
        ),
        ("kind = \"int\", shape = [2, 2], key = \"w\"", "F32"),
        ("kind = \"int\", shape = [2], key = \"far\"", "2^24"),
    ] {
        let spec = job(&mut bench, &text(tensor));
        let failed = refusal(&bench.order(spec.work));
        assert_eq!(failed.class(), Some(FailureClass::Invalid));
        let said = failed.to_string();
        assert!(said.contains("\"places\"") && said.contains(word), "{said}");
    }
    // Places that are none are known only when they are there.
    let wrong: Vec<u8> = [1_i64, 2].iter().flat_map(|x| x.to_le_bytes()).collect();
    let views = [
        (
            "w",
            TensorView::new(Dtype::F32, vec![2, 2], &floats).unwrap(),
        ),
        (
            "rows",
            TensorView::new(Dtype::I64, vec![2], &wrong).unwrap(),
        ),
    ];
    let wrong = bench.input(&safetensors::serialize(views, None).unwrap());
    let text = text(good).replace(&input.digest.to_string(), &wrong.digest.to_string());
    let text = text.replace(
        &format!("size = {}", input.size),
        &format!("size = {}", wrong.size),
    );
    let spec = job(&mut bench, &text);
    let said = refusal(&bench.order(spec.work)).to_string();
    assert!(
        said.contains("gather \"found\"") && said.contains("place 2"),
        "{said}"
    );
}

#[test]
fn the_page_lists_the_operators_that_are_read() {
    let page = include_str!("../../docs/onnx.md");
    for name in onnx::OPERATORS {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    let page = include_str!("../../docs/compute.md");
    for word in embermesh_job::program::Op::words() {
        assert!(page.contains(&format!("`{word}")), "{word}");
    }
}
