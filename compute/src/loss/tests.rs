//! Each loss and its gradient beside PyTorch 2.9.1 in `f64`
//! (`torch.nn.functional`: `cross_entropy`, `binary_cross_entropy_with_logits`,
//! `mse_loss`, `l1_loss`, `huber_loss`; gradients by `backward`).
#![allow(clippy::excessive_precision, reason = "as PyTorch prints them")]

use super::*;

const OUTPUTS: [[f32; 3]; 2] = [[0.5, -1.0, 2.0], [1.5, 0.3, -0.2]];
const NUMBERS: [f32; 6] = [1.0, 0.0, 0.25, 0.0, 1.0, 1.0];

fn check(loss: Loss, value: f32, gradient: [f32; 6]) {
    let device = Device::flex();
    let (target, targets) = match loss {
        Loss::CrossEntropy { .. } => (Target::Classes(3), Targets::Classes(vec![2, 0])),
        _ => (
            Target::Numbers(3),
            Targets::Numbers {
                values: NUMBERS.to_vec(),
                width: 3,
            },
        ),
    };
    let objective = Objective::new(loss.clone(), target);
    let outputs = Tensor::<2>::from_floats(OUTPUTS, &device)
        .autodiff()
        .require_grad();
    let answers = objective.answers(&targets, &device).unwrap();
    let lost = answers.loss(outputs.clone(), objective.weight(&targets));
    let found: f32 = lost.clone().inner().into_scalar();
    assert!((found - value).abs() < 2e-6, "{loss:?}: {found}");
    let mut gradients = lost.backward();
    let found = outputs
        .grad_remove(&mut gradients)
        .unwrap()
        .reshape([6])
        .try_into_vec_as::<f32>()
        .unwrap();
    for (found, expected) in found.iter().zip(gradient) {
        assert!(
            (found - expected).abs() < 2e-6,
            "{loss:?}: {found} {expected}"
        );
    }
}

fn cross_entropy(label_smoothing: f64, class_weights: &[f64]) -> Loss {
    Loss::CrossEntropy {
        label_smoothing,
        class_weights: class_weights.to_vec(),
    }
}

#[test]
fn cross_entropy_is_that_of_pytorch() {
    check(
        cross_entropy(0.0, &[]),
        0.317_985_03,
        [
            0.087_645_196,
            0.019_556_287,
            -0.107_201_48,
            -0.163_045_01,
            0.101_488_89,
            0.061_556_124,
        ],
    );
    check(
        cross_entropy(0.1, &[]),
        0.441_318_36,
        [
            0.070_978_53,
            0.002_889_62,
            -0.073_868_15,
            -0.129_711_68,
            0.084_822_224,
            0.044_889_457,
        ],
    );
}

#[test]
fn class_weights_and_smoothing_are_those_of_pytorch() {
    let weights = [1.0, 2.0, 0.5];
    check(
        cross_entropy(0.0, &weights),
        0.343_542_93,
        [
            0.058_430_13,
            0.013_037_524,
            -0.071_467_655,
            -0.217_393_35,
            0.135_318_52,
            0.082_074_83,
        ],
    );
    check(
        cross_entropy(0.2, &weights),
        0.851_540_8,
        [
            0.029_567_054,
            -0.072_374_69,
            0.042_807_637,
            -0.113_528_69,
            0.050_940_25,
            0.062_588_44,
        ],
    );
}

#[test]
fn binary_cross_entropy_is_that_of_pytorch() {
    check(
        Loss::Bce,
        0.911_362_35,
        [
            -0.062_923_445,
            0.044_823_57,
            0.105_132_85,
            0.136_262_41,
            -0.070_926_25,
            -0.091_639,
        ],
    );
}

#[test]
fn errors_of_numbers_are_those_of_pytorch() {
    check(
        Loss::Mse,
        1.415_416_7,
        [
            -0.166_666_67,
            -0.333_333_33,
            0.583_333_3,
            0.5,
            -0.233_333_33,
            -0.4,
        ],
    );
    let sixth = 1.0 / 6.0;
    check(
        Loss::Mae,
        1.108_333_3,
        [-sixth, -sixth, sixth, sixth, -sixth, -sixth],
    );
    let (near, far) = (0.083_333_333, 0.116_666_667);
    check(
        Loss::Huber { delta: 0.7 },
        0.534_166_67,
        [-near, -far, far, far, -far, -far],
    );
}

/// A sum of a ReLU and a logarithm would give 0 here.
#[test]
fn a_logit_of_zero_has_the_slope_of_a_half() {
    let device = Device::flex();
    let objective = Objective::new(Loss::Bce, Target::Classes(2));
    let answers = objective
        .answers(&Targets::Classes(vec![1, 0]), &device)
        .unwrap();
    let outputs = Tensor::<2>::zeros([2, 1], &device)
        .autodiff()
        .require_grad();
    let mut gradients = answers.loss(outputs.clone(), 1.0).backward();
    let slope = outputs
        .grad_remove(&mut gradients)
        .unwrap()
        .reshape([2])
        .try_into_vec_as::<f32>()
        .unwrap();
    assert_eq!(slope, [-0.5, 0.5]);
}

#[test]
fn right_answers_are_counted_where_there_are_any() {
    let device = Device::flex();
    let count = |loss, target, targets: &Targets, outputs| {
        let answers = Objective::new(loss, target)
            .answers(targets, &device)
            .unwrap();
        let right = answers.correct(outputs).map(|right| right.into_scalar());
        (right, answers.judged())
    };
    let outputs = || Tensor::<2>::from_floats(OUTPUTS, &device);
    let classes = Targets::Classes(vec![2, 1]);
    assert_eq!(
        count(
            cross_entropy(0.0, &[]),
            Target::Classes(3),
            &classes,
            outputs()
        ),
        (Some(1.0), 2)
    );
    let numbers = Targets::Numbers {
        values: NUMBERS.to_vec(),
        width: 3,
    };
    assert_eq!(
        count(Loss::Bce, Target::Numbers(3), &numbers, outputs()),
        (Some(3.0), 6)
    );
    assert_eq!(
        count(Loss::Mse, Target::Numbers(3), &numbers, outputs()),
        (None, 0)
    );
}

#[test]
fn what_is_no_probability_is_refused() {
    let objective = Objective::new(Loss::Bce, Target::Numbers(1));
    for value in [-0.1, 1.5, f32::NAN] {
        let targets = Targets::Numbers {
            values: vec![value],
            width: 1,
        };
        assert!(objective.answers(&targets, &Device::flex()).is_err());
    }
}
