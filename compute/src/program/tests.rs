//! Every operation gives what NumPy makes of its definition, and gradients are those
//! of differences.

use std::collections::BTreeSet;

use burn::tensor::Device;
use embermesh_job::program::{Bare, Builder, Kind, MAX_EXACT, Op, TensorType, Value};
use serde::Deserialize;

use super::{on, run};

/// One operation: made by `scripts/compute-golden.py`.
#[derive(Deserialize)]
struct Case {
    op: Op,
    reads: Vec<Numbers>,
    gives: Vec<Numbers>,
}

#[derive(Deserialize)]
struct Numbers {
    kind: Kind,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Numbers {
    fn of(&self) -> TensorType {
        TensorType {
            kind: self.kind,
            shape: self.shape.clone(),
        }
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

/// Does one operation, and gives what comes out with its types.
fn done(case: &Case) -> (Vec<TensorType>, Vec<Vec<f32>>) {
    let device = Device::flex();
    let mut builder = Builder::default();
    let values: Vec<Value> = case
        .reads
        .iter()
        .map(|read| builder.input("x", read.of()).unwrap())
        .collect();
    let gives = builder.apply("it", case.op.clone(), &values).unwrap();
    let program = builder.finish(&gives);
    let inputs = case
        .reads
        .iter()
        .map(|read| on(&device, read.values.clone()))
        .collect();
    let results = run(&program, &[], inputs, &device).unwrap();
    let types = gives
        .iter()
        .map(|value| program.type_of(*value).clone())
        .collect();
    let numbers = results.into_iter().map(|x| x.try_into_vec_as().unwrap());
    (types, numbers.collect())
}

#[test]
fn every_operation_gives_what_numpy_gives() {
    let mut words = BTreeSet::new();
    for case in cases() {
        words.insert(case.op.word());
        let (types, numbers) = done(&case);
        assert_eq!(types.len(), case.gives.len(), "{:?}", case.op);
        for ((of, numbers), expected) in types.iter().zip(&numbers).zip(&case.gives) {
            assert_eq!(*of, expected.of(), "{:?}", case.op);
            assert_eq!(numbers.len(), expected.values.len(), "{:?}", case.op);
            for (found, expected) in numbers.iter().zip(&expected.values) {
                assert!(
                    (found - expected).abs() <= 2e-5 + 2e-5 * expected.abs(),
                    "{:?}: {found} and not {expected}",
                    case.op
                );
            }
        }
    }
    // Gradients are tested below.
    let all: BTreeSet<&str> = Op::words().iter().copied().collect();
    let left: Vec<_> = all.difference(&words).collect();
    assert_eq!(left, [&"gradient"]);
}

/// The gradient of the sum of squares of what an operation gives, by a tensor that it
/// reads, against differences.
fn derives(case: &Case, by: usize) {
    let device = Device::flex();
    let mut builder = Builder::default();
    let values: Vec<Value> = case
        .reads
        .iter()
        .map(|read| builder.constant("x", read.of()).unwrap())
        .collect();
    let given = builder.apply("it", case.op.clone(), &values).unwrap()[0];
    let square = builder
        .apply("s", Op::Mul(Bare {}), &[given, given])
        .unwrap()[0];
    let mean = serde_json::from_str(r#"{"op":"mean"}"#).unwrap();
    let loss = builder.apply("l", mean, &[square]).unwrap()[0];
    let gradient = Op::Gradient(Bare {});
    let gradient = builder.apply("g", gradient, &[loss, values[by]]).unwrap()[0];
    let program = builder.finish(&[loss, gradient]);
    let at = |change: Option<(usize, f32)>| {
        let constants: Vec<_> = case
            .reads
            .iter()
            .enumerate()
            .map(|(number, read)| {
                let mut values = read.values.clone();
                if let (true, Some((place, change))) = (number == by, change) {
                    values[place] += change;
                }
                on(&device, values)
            })
            .collect();
        let results = run(&program, &constants, Vec::new(), &device).unwrap();
        let numbers = |x: &burn::tensor::Tensor<1>| -> Vec<f32> {
            x.clone().without_autodiff().try_into_vec_as().unwrap()
        };
        (numbers(&results[0])[0], numbers(&results[1]))
    };
    let (_, gradient) = at(None);
    let step = 1e-2_f32;
    for place in 0..case.reads[by].values.len().min(6) {
        let difference = (at(Some((place, step))).0 - at(Some((place, -step))).0) / (2.0 * step);
        assert!(
            (gradient[place] - difference).abs() <= 5e-3 + 5e-2 * difference.abs(),
            "{:?} by {by} at {place}: {} and not {difference}",
            case.op,
            gradient[place]
        );
    }
}

#[test]
fn gradients_are_those_of_differences() {
    let smooth = [
        "exp",
        "tanh",
        "sigmoid",
        "gelu",
        "mul",
        "matmul",
        "gemm",
        "conv",
        "conv_transpose",
        "avg_pool",
        "mean",
        "softmax",
        "layer_norm",
        "transpose",
        "slice",
        "concat",
        "gather",
        "pad",
        "lstm",
        "gru",
        "mse_loss",
        "cross_entropy_loss",
        "expand",
    ];
    let mut seen = BTreeSet::new();
    for case in cases() {
        let word = case.op.word();
        if !smooth.contains(&word) || !seen.insert(word) {
            continue;
        }
        for by in 0..case.reads.len() {
            if case.reads[by].kind == Kind::Float {
                derives(&case, by);
            }
        }
    }
    assert_eq!(seen.len(), smooth.len());
}

#[test]
fn places_that_are_none_are_refused() {
    let device = Device::flex();
    let text = |op: &str, place: f32| {
        let mut builder = Builder::default();
        let x = builder.input("x", TensorType::floats([3, 2])).unwrap();
        let places = TensorType {
            kind: Kind::Int,
            shape: vec![3],
        };
        let places = builder.input("places", places).unwrap();
        let op = serde_json::from_str(op).unwrap();
        let gives = builder.apply("found", op, &[x, places]).unwrap();
        let program = builder.finish(&gives);
        let inputs = vec![
            on(&device, vec![0.5; 6]),
            on(&device, vec![0.0, place, 1.0]),
        ];
        run(&program, &[], inputs, &device)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    for op in [
        r#"{"op":"gather","axis":1}"#,
        r#"{"op":"cross_entropy_loss"}"#,
    ] {
        assert_eq!(text(op, 1.0), Ok(()));
        for place in [
            2.0,
            -3.0,
            0.5,
            f32::NAN,
            f32::INFINITY,
            MAX_EXACT as f32 * 1e9,
        ] {
            let refused = text(op, place).unwrap_err();
            assert!(refused.contains("\"found\""), "{refused}");
        }
    }
}
