//! Each rule beside `torch.optim` of PyTorch 2.9.1 in `f64`: three parameters,
//! four steps.
#![allow(clippy::excessive_precision, reason = "as PyTorch prints them")]

use burn::tensor::Device;
use embermesh_job::model::{Layer, Model, Op};

use super::*;

const START: [f32; 3] = [0.5, -1.0, 2.0];
const GRADIENTS: [[f32; 3]; 4] = [
    [0.1, -0.2, 0.3],
    [0.4, 0.1, -0.6],
    [-0.3, 0.2, 0.05],
    [0.02, -0.7, 0.1],
];

type Step = fn(&mut Optimizer, &mut Network, Vec<Tensor<1>>, u64, f64);

/// The CPU's way and that of other devices, which come to the same bits.
fn check(rule: &str, expected: [f32; 3]) {
    let fused = check_by(Optimizer::step, rule, expected);
    let by_tensors = check_by(Optimizer::step_by_tensors, rule, expected);
    assert_eq!(fused, by_tensors, "{rule}");
}

fn check_by(take: Step, rule: &str, expected: [f32; 3]) -> Vec<f32> {
    let rule: Rule = serde_json::from_str(rule).unwrap();
    let device = Device::flex();
    let model = Model {
        input: vec![3],
        layers: vec![Layer::new(Op::dense(1))],
    };
    let mut network = Network::new(&model, 0, &device).unwrap();
    network.set(0, Tensor::from_floats(START, &device));
    let mut optimizer = Optimizer::new(rule, network.parameters());
    for (step, gradient) in (1..).zip(GRADIENTS) {
        let gradients = vec![
            Tensor::from_floats(gradient, &device),
            Tensor::zeros([1], &device),
        ];
        // The learning rate is halved and its factor doubled: the same.
        take(&mut optimizer, &mut network, gradients, step, 2.0);
    }
    let found = network.parameters()[0]
        .value
        .clone()
        .try_into_vec_as::<f32>()
        .unwrap();
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 3e-6,
            "{rule:?}: {found} {expected}"
        );
    }
    found
}

#[test]
fn descent_is_that_of_pytorch() {
    check(
        r#"{"sgd":{"lr":0.05,"weight_decay":0.01}}"#,
        [0.476_082_93, -0.936_025_95, 2.006_987],
    );
    check(
        r#"{"sgd":{"lr":0.05,"momentum":0.9}}"#,
        [0.412_21, -0.926_32, 2.039_93],
    );
    check(
        r#"{"sgd":{"lr":0.05,"momentum":0.9,"nesterov":true,"weight_decay":0.01}}"#,
        [0.393_441_27, -0.861_810_73, 2.026_729_4],
    );
}

#[test]
fn adam_and_adamw_are_those_of_pytorch() {
    check(
        r#"{"adam":{"lr":0.05,"weight_decay":0.01}}"#,
        [0.274_103_36, -0.843_659_36, 1.956_263],
    );
    check(
        r#"{"adamw":{"lr":0.05}}"#,
        [0.275_645_41, -0.852_337_04, 1.962_757_7],
    );
}

#[test]
fn rmsprop_and_adagrad_are_those_of_pytorch() {
    check(
        r#"{"rmsprop":{"lr":0.005}}"#,
        [0.358_044_07, -0.919_845_93, 1.967_191_1],
    );
    check(
        r#"{"rmsprop":{"lr":0.005,"momentum":0.9,"centered":true,"weight_decay":0.01}}"#,
        [-0.003_250_061, -0.792_733_65, 1.854_696_5],
    );
    check(
        r#"{"adagrad":{"lr":0.05,"lr_decay":0.05,"weight_decay":0.01}}"#,
        [0.356_515_8, -0.915_861_84, 1.958_537_6],
    );
}

/// More than one task, and a value that something else holds too.
#[test]
fn a_large_parameter_is_changed_as_a_whole_and_alone() {
    let device = Device::flex();
    let model = Model {
        input: vec![300],
        layers: vec![Layer::new(Op::dense(200))],
    };
    let rule: Rule = serde_json::from_str(r#"{"adam":{"lr":0.05}}"#).unwrap();
    let after = |take: Step| {
        let mut network = Network::new(&model, 0, &device).unwrap();
        let before = network.snapshot();
        let mut optimizer = Optimizer::new(rule, network.parameters());
        for step in 1..=3 {
            let gradients = before.iter().map(|value| value.clone().sin()).collect();
            take(&mut optimizer, &mut network, gradients, step, 1.0);
        }
        let held = before[0].clone().try_into_vec_as::<f32>().unwrap();
        let fresh = Network::new(&model, 0, &device).unwrap().parameters()[0]
            .value
            .clone();
        assert_eq!(held, fresh.try_into_vec_as::<f32>().unwrap());
        let moment = optimizer.moments(1)[0]
            .clone()
            .try_into_vec_as::<f32>()
            .unwrap();
        let value = network.parameters()[0].value.clone();
        (value.try_into_vec_as::<f32>().unwrap(), moment)
    };
    assert_eq!(after(Optimizer::step), after(Optimizer::step_by_tensors));
}
