//! The loop through its public face, in this process: results that depend on
//! nothing but the job, and refusals that say what is wrong.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use embermesh_compute::pipe::{ResumeFrom, WorkerEventKind};
use embermesh_compute::{FailureClass, InvalidData, InvalidWeights, WorkFailed};
use embermesh_job::crypto::Digest;
use embermesh_job::event::EventKind;
use embermesh_job::model::Op;
use embermesh_job::spec::{Dataset, Split, Train, Work};
use support::runs::{checkpoints, refusal, run};
use support::{
    Bench, adam, declared, judgement, layer, model, rule, small_training, stateful_model,
};

#[test]
fn events_are_numbered_by_the_work() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let events = run(&bench.order(Work::Train(small_training(data))))
        .unwrap()
        .events;
    assert!(
        events
            .iter()
            .map(|event| event.seq)
            .eq(1..=events.len() as u64)
    );
    let words: Vec<&str> = events
        .iter()
        .map(|event| match &event.kind {
            WorkerEventKind::Plain(EventKind::Started { .. }) => "started",
            WorkerEventKind::Plain(EventKind::Progress(_)) => "progress",
            WorkerEventKind::Plain(EventKind::EpochEnded { .. }) => "pass",
            WorkerEventKind::Checkpoint { .. } => "checkpoint",
            WorkerEventKind::Artifact { .. } => "artifact",
            WorkerEventKind::Plain(_) => "other",
        })
        .collect();
    // 20 steps: a report each 3 and at the end, a pass each 5, a checkpoint
    // each 4 but not at the end.
    assert_eq!(
        words.join(" "),
        "started progress checkpoint pass progress checkpoint progress pass progress checkpoint \
         progress pass checkpoint progress progress pass artifact"
    );
}

#[test]
fn the_result_is_a_function_of_the_seed_and_not_of_the_threads() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data);
    let first = run(&bench.order(Work::Train(train.clone()))).unwrap();
    let mut single = bench.order(Work::Train(train.clone()));
    single.threads = 1;
    assert!(run(&single).unwrap().artifact == first.artifact);
    let other = Train { seed: 8, ..train };
    assert!(run(&bench.order(Work::Train(other))).unwrap().artifact != first.artifact);
}

/// What the kernels and the order of sums of before gave: the first values, the
/// masks and every step are the same since.
#[test]
fn the_first_models_still_train_to_the_same_bits() {
    let mut bench = Bench::new();
    let train = small_training(bench.digits(200));
    let run = run(&bench.order(Work::Train(train))).unwrap();
    println!("{} {:?}", Digest::of(&run.artifact), run.summary.loss);
    let loss = run.summary.loss.unwrap();
    // Other processors may sum in wider registers.
    assert!((loss - 1.636_982_369_422_912_6).abs() < 1e-4, "{loss}");
}

#[test]
fn a_graph_with_state_is_a_function_of_the_seed_and_judged_alike_elsewhere() {
    let mut bench = Bench::new();
    let train = Train {
        model: stateful_model(),
        ..small_training(bench.digits(400))
    };
    let trained = run(&bench.order(Work::Train(train.clone()))).unwrap();
    let mut single = bench.order(Work::Train(train.clone()));
    single.threads = 1;
    assert!(run(&single).unwrap().artifact == trained.artifact);
    let weights = bench.input(&trained.artifact);
    let judged = run(&bench.order(Work::Evaluate(judgement(&train, weights)))).unwrap();
    assert_eq!(judged.summary.accuracy, trained.summary.accuracy);
    let apart = judged.summary.loss.unwrap() - trained.summary.loss.unwrap();
    assert!(apart.abs() < 1e-5, "{apart}");
}

#[test]
fn attention_does_not_depend_on_the_threads() {
    let mut bench = Bench::new();
    let train = Train {
        model: declared(
            r#"{"op":"reshape","shape":[8,8]},
               {"op":"conv1d","channels":8,"kernel":3,"padding":1},
               {"op":"transformer_encoder","heads":2,"units":16,"activation":"gelu"},
               {"op":"gru","units":8},
               {"op":"mean","axis":0},
               {"op":"dense","units":10}"#,
        ),
        ..small_training(bench.digits(200))
    };
    let double = run(&bench.order(Work::Train(train.clone()))).unwrap();
    let mut single = bench.order(Work::Train(train));
    single.threads = 1;
    assert!(run(&single).unwrap().artifact == double.artifact);
}

#[test]
fn pixels_that_are_no_ids_are_refused() {
    let mut bench = Bench::new();
    let train = Train {
        model: declared(
            r#"{"op":"flatten"},{"op":"embedding","entries":17,"features":2},
               {"op":"flatten"},{"op":"dense","units":10}"#,
        ),
        ..small_training(bench.digits(200))
    };
    let failed = refusal(&bench.order(Work::Train(train)));
    assert_eq!(failed.class(), Some(FailureClass::Invalid));
    assert!(
        failed.to_string().contains("whole numbers from 0 to 16"),
        "{failed}"
    );
}

#[test]
fn an_evaluation_elsewhere_agrees_with_the_training() {
    let mut bench = Bench::new();
    let data = bench.digits(400);
    let train = small_training(data);
    let trained = run(&bench.order(Work::Train(train.clone()))).unwrap();
    let weights = bench.input(&trained.artifact);
    let order = bench.order(Work::Evaluate(judgement(&train, weights)));
    let judged = run(&order).unwrap();
    assert_eq!(judged.summary.samples, 80);
    assert_eq!(judged.summary.accuracy, trained.summary.accuracy);
    let (judged_loss, trained_loss) = (judged.summary.loss.unwrap(), trained.summary.loss.unwrap());
    assert!((judged_loss - trained_loss).abs() < 1e-5);
    let headline = judged.events.iter().find_map(|event| match &event.kind {
        WorkerEventKind::Plain(EventKind::Metrics { values }) => Some(values),
        _ => None,
    });
    let headline = headline.unwrap();
    assert_eq!(headline.get("accuracy").copied(), judged.summary.accuracy);
    assert!((headline["perplexity"] - judged_loss.exp()).abs() < 1e-12);
    assert!(headline["auc"] > 0.5, "{headline:?}");
    let text = std::fs::read_to_string(order.workdir.join("metrics.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["samples"], 80);
    let confusion = report["confusion_matrix"].as_array().unwrap();
    let count = |row: &serde_json::Value, column: usize| row[column].as_u64().unwrap();
    let right: u64 = (0..10).map(|class| count(&confusion[class], class)).sum();
    let all: u64 = confusion
        .iter()
        .flat_map(|row| (0..10).map(|column| count(row, column)))
        .sum();
    assert_eq!((right as f64 / all as f64, all), (headline["accuracy"], 80));
    assert!(matches!(
        judged.events.last().unwrap().kind,
        WorkerEventKind::Plain(EventKind::Evaluated { samples: 80, .. })
    ));
}

/// The task of the demo: 97.5 % of the digits that the training never saw.
#[test]
fn the_digits_are_learnt() {
    let mut bench = Bench::new();
    let train = Train {
        model: model(16, 32, 0.25),
        optimizer: adam(0.002),
        passes: 15,
        seed: 3,
        report_every: 0,
        checkpoint_every: 0,
        ..small_training(bench.digits(1797))
    };
    let accuracy = run(&bench.order(Work::Train(train)))
        .unwrap()
        .summary
        .accuracy
        .unwrap();
    assert!(accuracy >= 0.975, "{accuracy}");
}

/// IDX bytes of these dimensions.
fn idx(dimensions: &[u32], elements: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(
        dimensions
            .iter()
            .flat_map(|dimension| dimension.to_be_bytes()),
    );
    bytes.extend(elements);
    bytes
}

#[test]
fn idx_files_train_and_their_own_holdout_judges() {
    let mut bench = Bench::new();
    // Class 1 is white, class 0 is black: learnt at once.
    let mut pair = |count: u32| {
        let labels: Vec<u8> = (0..count).map(|number| (number % 2) as u8).collect();
        let pixels = labels
            .iter()
            .flat_map(|&label| vec![label * 255; 64])
            .collect();
        let images = bench.input(&idx(&[count, 8, 8], pixels));
        (images, bench.input(&idx(&[count], labels)))
    };
    let (images, labels) = pair(64);
    let (holdout_images, holdout_labels) = pair(10);
    let data = Dataset::Idx {
        images,
        labels: Some(labels),
        holdout_images: Some(holdout_images),
        holdout_labels: Some(holdout_labels),
        classes: 2,
    };
    let mut train = small_training(data);
    train.model.layers.pop();
    train.model.layers.push(layer(Op::dense(2)));
    let trained = run(&bench.order(Work::Train(train.clone()))).unwrap();
    assert_eq!(trained.summary.accuracy, Some(1.0));
    // All 64 train: the share holds out nothing where files do.
    assert_eq!(trained.summary.samples, 64 * 4);
    let weights = bench.input(&trained.artifact);
    let judged = run(&bench.order(Work::Evaluate(judgement(&train, weights)))).unwrap();
    assert_eq!(judged.summary.samples, 10);
}

#[test]
fn a_row_model_takes_the_pixels_in_a_row() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let mut train = small_training(data);
    train.model.input = vec![64];
    train.model.layers.drain(..6);
    run(&bench.order(Work::Train(train))).unwrap();
}

#[test]
fn a_loss_that_leaves_the_numbers_names_the_step() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let mut train = Train {
        optimizer: rule(r#"{"sgd":{"lr":900,"momentum":0.9}}"#),
        ..small_training(data)
    };
    // A ReLU would die of it first, and stay at a loss that is a number.
    train.model.layers.retain(|layer| layer.op != Op::relu());
    let failed = refusal(&bench.order(Work::Train(train)));
    assert_eq!(failed.class(), Some(FailureClass::Invalid));
    assert!(
        matches!(failed, WorkFailed::NotFinite { step: 2..=20, .. }),
        "{failed}"
    );
    assert!(failed.to_string().contains("learning rate"));
}

#[test]
fn ceilings_are_kept_before_anything_is_allocated() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let mut order = bench.order(Work::Train(small_training(data)));
    order.ceilings.memory_bytes = 100_000;
    let failed = refusal(&order);
    assert!(matches!(
        failed,
        WorkFailed::Memory {
            ceiling: 100_000,
            ..
        }
    ));
    assert_eq!(failed.class(), Some(FailureClass::Resource));
    order.ceilings.memory_bytes = 1 << 30;
    order.ceilings.output_bytes = 1000;
    assert!(matches!(
        refusal(&order),
        WorkFailed::Output { ceiling: 1000, .. }
    ));
}

#[test]
fn inputs_must_be_there_and_be_what_they_are_named_for() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let mut order = bench.order(Work::Train(small_training(data)));
    let path = order.inputs.values().next().unwrap().clone();
    std::fs::write(&path, "1,2,3").unwrap();
    assert!(matches!(refusal(&order), WorkFailed::InputCorrupt { .. }));
    std::fs::remove_file(&path).unwrap();
    let failed = refusal(&order);
    assert!(
        failed.to_string().contains(&path.display().to_string()),
        "{failed}"
    );
    order.inputs.clear();
    let failed = refusal(&order);
    assert!(matches!(failed, WorkFailed::InputAbsent(_)));
    assert_eq!(failed.class(), Some(FailureClass::Internal));
}

#[test]
fn data_and_model_must_fit() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let mut train = small_training(data);
    train.model.input = vec![1, 16, 16];
    let failed = refusal(&bench.order(Work::Train(train.clone())));
    assert!(
        matches!(failed, WorkFailed::Data(InvalidData::Shape { .. })),
        "{failed}"
    );
    assert_eq!(failed.class(), Some(FailureClass::Invalid));

    train.model.input = vec![1, 8, 8];
    train.data = Dataset::DigitsCsv {
        file: bench.input(b"not,a,digit\n"),
        classes: 10,
    };
    let failed = refusal(&bench.order(Work::Train(train)));
    assert!(matches!(failed, WorkFailed::Data(_)), "{failed}");
}

#[test]
fn a_spec_that_is_not_one_is_refused() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let mut order = bench.order(Work::Train(small_training(data)));
    order.spec.push(' ');
    assert!(matches!(refusal(&order), WorkFailed::Spec(_)));
}

#[test]
fn weights_of_another_model_are_refused_by_the_name_of_the_tensor() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data);
    let artifact = run(&bench.order(Work::Train(train.clone())))
        .unwrap()
        .artifact;
    let mut said = |weights: &[u8], change: &dyn Fn(&mut Train)| {
        let mut train = train.clone();
        change(&mut train);
        let weights = bench.input(weights);
        let failed = refusal(&bench.order(Work::Evaluate(judgement(&train, weights))));
        assert_eq!(failed.class(), Some(FailureClass::Invalid));
        match failed {
            WorkFailed::Weights(invalid) => invalid,
            other => panic!("{other}"),
        }
    };
    let wider = said(&artifact, &|train| train.model = model(5, 8, 0.2));
    assert_eq!(
        wider.to_string(),
        "tensor \"conv2d_1.weight\" has shape [4, 1, 3, 3] where the model has [5, 1, 3, 3]"
    );
    let renamed = said(&artifact, &|train| {
        train.model.layers[0].name = Some("stem".to_owned());
    });
    assert_eq!(
        renamed.to_string(),
        "tensor \"stem.weight\" of the model is missing from it"
    );
    for end in [1, 7, 100, artifact.len() - 1] {
        assert!(matches!(
            said(&artifact[..end], &|_| ()),
            InvalidWeights::Format(_)
        ));
    }
    let mut poisoned = artifact.clone();
    let last = poisoned.len() - 4;
    poisoned[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(matches!(
        said(&poisoned, &|_| ()),
        InvalidWeights::NotFinite(_)
    ));
}

#[test]
fn a_tensor_that_nobody_asked_for_is_refused() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data);
    let mut deeper = train.clone();
    deeper.model.layers.push(layer(Op::dense(10)));
    let artifact = run(&bench.order(Work::Train(deeper))).unwrap().artifact;
    let weights = bench.input(&artifact);
    let failed = refusal(&bench.order(Work::Evaluate(judgement(&train, weights))));
    assert_eq!(
        failed.to_string(),
        "the weights are not valid: tensor \"dense_2.bias\" in it is not part of the model"
    );
}

#[test]
fn a_checkpoint_of_another_job_is_refused() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data);
    let straight = run(&bench.order(Work::Train(train.clone()))).unwrap();
    let (_, path, _) = checkpoints(&straight.events).remove(0);
    let mut order = bench.order(Work::Train(Train { seed: 99, ..train }));
    order.resume = Some(ResumeFrom {
        path: path.clone(),
        replay_after: None,
    });
    let failed = refusal(&order);
    assert!(matches!(
        failed,
        WorkFailed::Checkpoint(InvalidWeights::OtherSpec { .. })
    ));
    // The job is fine: another node may have a better checkpoint.
    assert_eq!(failed.class(), Some(FailureClass::Internal));

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(
        refusal(&order),
        WorkFailed::Checkpoint(InvalidWeights::Format(_))
    ));
    std::fs::write(&path, &straight.artifact).unwrap();
    assert!(matches!(
        refusal(&order),
        WorkFailed::Checkpoint(InvalidWeights::NotACheckpoint(_))
    ));
}

#[test]
fn an_evaluation_of_nothing_is_refused() {
    let mut bench = Bench::new();
    let data = bench.digits(200);
    let train = small_training(data);
    let order = bench.order(Work::Train(train.clone()));
    run(&order).unwrap();
    let bytes = std::fs::read(order.workdir.join("model.safetensors")).unwrap();
    let weights = bench.input(&bytes);
    let mut evaluate = judgement(&train, weights);
    evaluate.split = Split::Holdout {
        share: 0.0,
        seed: 1,
    };
    assert!(matches!(
        refusal(&bench.order(Work::Evaluate(evaluate))),
        WorkFailed::Data(InvalidData::NothingHeldOut)
    ));
}
