//! Each measure beside scikit-learn 1.9.1 over the same twelve samples
//! (`precision_recall_fscore_support`, `roc_auc_score`, `confusion_matrix`,
//! `r2_score`, `mean_absolute_error`).

use embermesh_job::spec::{Loss, Target};
use serde_json::Value;

use super::measures::Measures;
use super::*;
use crate::dataset::Targets;
use crate::loss::Objective;

const OUTPUTS: [f32; 36] = [
    -1.2, -1.99, -0.37, 0.63, 1.7, 0.16, -0.83, -1.18, 1.12, -1.2, -1.99, -0.37, -1.44, 2.4, 0.3,
    -2.6, -0.13, -1.74, -0.94, -0.73, -1.07, 0.83, -0.09, -0.88, 0.61, 1.24, -2.46, -0.39, -1.47,
    -0.26, -1.93, 0.03, -0.06, -0.46, -1.57, -0.59,
];
const CLASSES: [u32; 12] = [0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 2, 0];
const LABELS: [u8; 36] = [
    1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1,
    0, 0, 0, 1,
];
const NUMBERS: [f32; 24] = [
    -2.17, -3.15, 0.79, 0.42, 0.42, -0.35, -3.08, -1.52, -2.4, 2.19, -2.3, -2.11, -1.08, -0.91,
    1.71, -1.26, 1.29, 0.02, -0.68, -2.16, -0.29, 0.6, 2.02, -0.77,
];

/// The report over all samples in two batches.
fn judge(loss: Loss, target: Target, outputs: &[f32], targets: [Targets; 2]) -> Value {
    judge_in(1 << 20, loss, target, outputs, targets)
}

fn judge_in(
    room: usize,
    loss: Loss,
    target: Target,
    outputs: &[f32],
    targets: [Targets; 2],
) -> Value {
    let objective = Objective::new(loss, target);
    let mut measures = Measures::new(&objective, 12, room);
    let mut rest = outputs;
    for targets in &targets {
        let (part, after) = rest.split_at(outputs.len() / 12 * targets.len());
        measures.add(part, targets);
        rest = after;
    }
    let report = measures.report(&Tally::default(), objective.loss());
    assert!(report.headline().len() <= embermesh_job::event::MAX_METRICS);
    serde_json::to_value(&report).unwrap()
}

fn is(report: &Value, path: &str, expected: f64) {
    let found = report.pointer(path).and_then(Value::as_f64);
    let found = found.unwrap_or_else(|| panic!("{path} is not in {report}"));
    assert!(
        (found - expected).abs() < 1e-6,
        "{path}: {found} {expected}"
    );
}

#[test]
fn classes_are_judged_as_by_scikit_learn() {
    let target = Target::Classes(3);
    let targets = || {
        [
            Targets::Classes(CLASSES[..5].to_vec()),
            Targets::Classes(CLASSES[5..].to_vec()),
        ]
    };
    let report = judge(Loss::usual(target), target, &OUTPUTS, targets());
    assert_eq!(
        report["confusion_matrix"].to_string(),
        "[[2,1,2],[0,3,0],[0,2,2]]"
    );
    is(&report, "/macro_average/precision", 0.666_666_667);
    is(&report, "/macro_average/recall", 0.633_333_333);
    is(&report, "/macro_average/f1", 0.579_365_079);
    is(&report, "/macro_average/auc", 0.834_832_451);
    is(&report, "/weighted_average/precision", 0.708_333_333);
    is(&report, "/weighted_average/recall", 0.583_333_333);
    is(&report, "/weighted_average/f1", 0.571_428_571);
    is(&report, "/weighted_average/auc", 0.826_719_577);
    is(&report, "/classes/0/auc", 0.828_571_429);
    is(&report, "/classes/2/f1", 0.5);
    assert_eq!(report["classes"][1]["support"], 3);
    // Ranking needs every score.
    let report = judge_in(35, Loss::usual(target), target, &OUTPUTS, targets());
    assert!(report["macro_average"]["auc"].is_null());
}

#[test]
fn labels_are_judged_as_by_scikit_learn() {
    let part = |labels: &[u8]| Targets::Numbers {
        values: labels.iter().map(|&label| f32::from(label)).collect(),
        width: 3,
    };
    let targets = [part(&LABELS[..9]), part(&LABELS[9..])];
    let report = judge(Loss::Bce, Target::Numbers(3), &OUTPUTS, targets);
    is(&report, "/macro_average/precision", 0.388_888_889);
    is(&report, "/macro_average/recall", 0.247_619_048);
    is(&report, "/macro_average/f1", 0.298_148_148);
    is(&report, "/macro_average/auc", 0.5);
    is(&report, "/weighted_average/f1", 0.286_601_307);
    is(&report, "/weighted_average/auc", 0.464_705_882);
    is(&report, "/exact_match", 0.166_666_667);
}

#[test]
fn numbers_are_judged_as_by_scikit_learn() {
    let outputs: Vec<f32> = OUTPUTS
        .chunks(3)
        .flat_map(|row| row[..2].to_vec())
        .collect();
    let part = |values: &[f32]| Targets::Numbers {
        values: values.to_vec(),
        width: 2,
    };
    let targets = [part(&NUMBERS[..10]), part(&NUMBERS[10..])];
    let report = judge(Loss::Mse, Target::Numbers(2), &outputs, targets);
    is(&report, "/rmse", 1.107_634_491);
    is(&report, "/mae", 0.924_583_333);
    is(&report, "/r2", 0.479_389_198);
    is(&report, "/outputs/1/r2", 0.471_527_796);
    is(&report, "/outputs/0/rmse", 1.199_149_004);
}

#[test]
fn one_logit_tells_two_classes_apart() {
    let outputs = [
        -2.0, 3.0, 0.5, -0.5, 1.0, -1.0, -2.0, 3.0, 0.5, -0.5, 1.0, -1.0,
    ];
    let labels = [0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0];
    let targets = [
        Targets::Classes(labels[..6].to_vec()),
        Targets::Classes(labels[6..].to_vec()),
    ];
    let report = judge(Loss::Bce, Target::Classes(2), &outputs, targets);
    assert_eq!(report["confusion_matrix"].to_string(), "[[4,2],[2,4]]");
    // Of nine pairs of different classes one is in the wrong order.
    is(&report, "/macro_average/auc", 8.0 / 9.0);
}

#[test]
fn a_truth_of_one_number_and_a_class_that_never_is_do_not_divide_by_zero() {
    let part = |count| Targets::Numbers {
        values: vec![5.0; count],
        width: 1,
    };
    let report = judge(
        Loss::Mae,
        Target::Numbers(1),
        &[5.0; 12],
        [part(6), part(6)],
    );
    is(&report, "/r2", 1.0);
    let report = judge(
        Loss::Mae,
        Target::Numbers(1),
        &[4.0; 12],
        [part(6), part(6)],
    );
    is(&report, "/r2", 0.0);
    let target = Target::Classes(3);
    let all = [Targets::Classes(vec![0; 6]), Targets::Classes(vec![0; 6])];
    let report = judge(Loss::usual(target), target, &OUTPUTS, all);
    assert!(report["macro_average"]["auc"].is_null());
    is(&report, "/classes/1/recall", 0.0);
}
