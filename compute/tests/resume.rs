//! A training that goes on from a checkpoint is the training that never
//! stopped: the same events and, to the last bit, the same weights, with every
//! optimiser and with everything that a training can have.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;

use embermesh_compute::pipe::{ResumeFrom, WorkerEventKind};
use embermesh_job::event::EventKind;
use embermesh_job::model::Op;
use embermesh_job::spec::{Clip, Dataset, EarlyStopping, Loss, Schedule, Span, Train, Watch, Work};
use support::runs::{Run, checkpoints, essence, run};
use support::{Bench, adam, layer, rule, small_training, stateful_model};

/// Trains straight, then again from each checkpoint.
fn resumes_bit_exactly(bench: &mut Bench, train: &Train) -> Run {
    let straight = run(&bench.order(Work::Train(train.clone()))).unwrap();
    let saved = checkpoints(&straight.events);
    assert!(saved.len() >= 3, "{} checkpoints", saved.len());
    for (step, path, next_seq) in saved {
        let mut order = bench.order(Work::Train(train.clone()));
        order.resume = Some(ResumeFrom {
            path,
            replay_after: None,
        });
        let resumed = run(&order).unwrap();
        assert!(
            resumed.artifact == straight.artifact,
            "weights differ from step {step}"
        );
        assert_eq!(resumed.summary, straight.summary, "from step {step}");
        let rest = straight.events.iter().filter(|event| event.seq >= next_seq);
        assert_eq!(
            resumed.events.iter().map(essence).collect::<Vec<_>>(),
            rest.map(essence).collect::<Vec<_>>(),
            "from step {step}"
        );
    }
    straight
}

fn with(change: impl FnOnce(&mut Train)) -> Run {
    let mut bench = Bench::new();
    let mut train = small_training(bench.digits(200));
    change(&mut train);
    resumes_bit_exactly(&mut bench, &train)
}

fn optimizer(json: &str) {
    let run = with(|train| train.optimizer = rule(json));
    // Step 4 is in mid-pass and mid-report, 20 is the end and saves nothing.
    let steps: Vec<u64> = checkpoints(&run.events)
        .iter()
        .map(|(step, ..)| *step)
        .collect();
    assert_eq!(steps, [4, 8, 12, 16]);
}

#[test]
fn adam_resumes() {
    optimizer(r#"{"adam":{"lr":0.005,"weight_decay":0.0001}}"#);
}

#[test]
fn adamw_resumes() {
    optimizer(r#"{"adamw":{"lr":0.005}}"#);
}

#[test]
fn plain_descent_resumes() {
    optimizer(r#"{"sgd":{"lr":0.05}}"#);
}

#[test]
fn momentum_resumes() {
    optimizer(r#"{"sgd":{"lr":0.05,"momentum":0.9}}"#);
    optimizer(r#"{"sgd":{"lr":0.05,"momentum":0.9,"nesterov":true,"weight_decay":0.001}}"#);
}

#[test]
fn rmsprop_resumes() {
    optimizer(r#"{"rmsprop":{"lr":0.001}}"#);
    optimizer(r#"{"rmsprop":{"lr":0.001,"momentum":0.5,"centered":true}}"#);
}

#[test]
fn adagrad_resumes() {
    optimizer(r#"{"adagrad":{"lr":0.01,"lr_decay":0.01}}"#);
}

#[test]
fn every_schedule_resumes_and_changes_the_result() {
    let schedules = [
        r#""constant""#,
        r#"{"step":{"every":{"passes":1}}}"#,
        r#"{"exponential":{"gamma":0.5}}"#,
        r#"{"cosine":{}}"#,
        r#"{"linear":{}}"#,
        r#"{"polynomial":{"power":2}}"#,
        r#"{"one_cycle":{}}"#,
    ];
    let mut artifacts: Vec<Vec<u8>> = schedules
        .iter()
        .map(|json| {
            let schedule: Schedule = serde_json::from_str(json).unwrap();
            with(|train| {
                train.schedule = Some(schedule);
                train.warmup = Some(Span::Steps(3));
                train.clip = Some(Clip::Norm(0.5));
            })
            .artifact
        })
        .collect();
    artifacts.sort();
    artifacts.dedup();
    assert_eq!(artifacts.len(), schedules.len());
}

#[test]
fn clipped_values_label_smoothing_weights_and_no_shuffle_resume() {
    with(|train| {
        train.clip = Some(Clip::Value(0.01));
        train.shuffle = false;
        train.loss = Some(Loss::CrossEntropy {
            label_smoothing: 0.1,
            class_weights: (1..=10).map(f64::from).collect(),
        });
    });
}

/// 160 samples in batches of 8, four a step: as many steps as batches of 32.
#[test]
fn gathered_gradients_resume_and_are_those_of_a_large_batch() {
    let mut losses = [(8, 4), (32, 1)].map(|(batch, accumulate)| {
        let run = with(|train| {
            (train.batch, train.accumulate) = (batch, accumulate);
            // Masks belong to batches, so the two would drop differently.
            train
                .model
                .layers
                .retain(|layer| !matches!(layer.op, Op::Dropout(_)));
        });
        assert_eq!(run.summary.steps, 20);
        run.summary.loss.unwrap()
    });
    losses.sort_by(f64::total_cmp);
    assert!(losses[1] - losses[0] < 1e-4, "{losses:?}");
}

/// A rate that learns nothing: no pass is better than the first by so much.
#[test]
fn early_stopping_resumes_and_gives_the_best_weights() {
    let stopping = |restore_best| EarlyStopping {
        watch: Watch::Loss,
        patience: 2,
        min_delta: 1.0,
        restore_best,
    };
    let run = |restore_best| {
        with(|train| {
            train.passes = 50;
            train.optimizer = adam(1e-5);
            train.early_stopping = Some(stopping(restore_best));
        })
    };
    let best = run(true);
    assert_eq!(best.summary.steps, 15);
    let stopped = best.events.iter().find_map(|event| match &event.kind {
        WorkerEventKind::Plain(EventKind::Stopped { step, reason }) => Some((*step, reason)),
        _ => None,
    });
    let (step, reason) = stopped.unwrap();
    assert_eq!(step, 15);
    assert!(
        reason.contains("none was better than pass 1 for 2 passes"),
        "{reason}"
    );
    // The weights of the first pass are those of a training of one pass.
    let first = with(|train| {
        train.passes = 1;
        train.checkpoint_every = 1;
        train.optimizer = adam(1e-5);
    });
    let tensors = |run: &Run| {
        let header = u64::from_le_bytes(run.artifact[..8].try_into().unwrap()) as usize;
        run.artifact[8 + header..].to_vec()
    };
    assert!(tensors(&best) == tensors(&first));
    assert_eq!(best.summary.loss, first.summary.loss);
    assert!(tensors(&run(false)) != tensors(&first));
}

/// Running statistics, masks and gates, gathered over two batches a step.
#[test]
fn batch_norm_dropout_and_lstm_resume() {
    let run = with(|train| {
        train.model = stateful_model();
        (train.batch, train.accumulate) = (16, 2);
    });
    let file = String::from_utf8_lossy(&run.artifact);
    assert!(file.contains("first.running_var"));
}

/// The weights of the best pass are given with the statistics of that pass.
#[test]
fn the_best_pass_resumes_with_its_statistics() {
    let passes = |passes, stop| {
        with(|train| {
            train.model = stateful_model();
            train.passes = passes;
            train.checkpoint_every = 1;
            train.optimizer = adam(1e-5);
            train.early_stopping = stop;
        })
    };
    let stopped = passes(
        50,
        Some(EarlyStopping {
            watch: Watch::Loss,
            patience: 2,
            min_delta: 1.0,
            restore_best: true,
        }),
    );
    let first = passes(1, None);
    assert_eq!(stopped.summary.steps, 15);
    assert_eq!(stopped.summary.loss, first.summary.loss);
    let tensors = |run: &Run| {
        let header = u64::from_le_bytes(run.artifact[..8].try_into().unwrap()) as usize;
        run.artifact[8 + header..].to_vec()
    };
    assert!(tensors(&stopped) == tensors(&first));
}

#[test]
fn two_classes_are_learnt_from_one_logit() {
    let mut bench = Bench::new();
    let rows: String = (0..200)
        .map(|row| format!("{}{}\n", format!("{},", row % 2 * 16).repeat(64), row % 2))
        .collect();
    let data = Dataset::DigitsCsv {
        file: bench.input(rows.as_bytes()),
        classes: 2,
    };
    let mut train = small_training(data);
    train.loss = Some(Loss::Bce);
    train.model.layers.pop();
    train.model.layers.push(layer(Op::dense(1)));
    let run = resumes_bit_exactly(&mut bench, &train);
    assert_eq!(run.summary.accuracy, Some(1.0));
}

#[test]
fn clipping_does_not_depend_on_the_threads() {
    let mut bench = Bench::new();
    let mut train = small_training(bench.digits(200));
    train.clip = Some(Clip::Norm(0.1));
    let mut order = bench.order(Work::Train(train.clone()));
    order.threads = 1;
    let single = run(&order).unwrap();
    let double = run(&bench.order(Work::Train(train))).unwrap();
    assert!(single.artifact == double.artifact);
}
