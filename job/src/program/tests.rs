//! Shapes, costs and refusals of programs.

use super::*;

fn floats(shape: &[usize]) -> TensorType {
    TensorType::floats(shape)
}

/// What comes out of one operation, or why not.
fn out(op: serde_json::Value, reads: &[TensorType]) -> Result<Vec<TensorType>, String> {
    let op: Op = serde_json::from_value(op).map_err(|error| error.to_string())?;
    let mut builder = Builder::default();
    let values: Vec<Value> = reads
        .iter()
        .map(|of| builder.input("x", of.clone()).unwrap())
        .collect();
    let gives = builder
        .apply("it", op, &values)
        .map_err(|error| error.to_string())?;
    Ok(gives
        .iter()
        .map(|value| builder.type_of(*value).clone())
        .collect())
}

macro_rules! op {
    ($($json:tt)+) => { serde_json::json!({ $($json)+ }) };
}

#[test]
fn shapes_follow_from_operands() {
    let int = |shape: &[usize]| TensorType {
        kind: Kind::Int,
        shape: shape.to_vec(),
    };
    for (op, reads, shape) in [
        (
            op!("op": "add"),
            vec![floats(&[2, 3]), floats(&[3])],
            vec![2, 3],
        ),
        (
            op!("op": "matmul"),
            vec![floats(&[4, 2, 3]), floats(&[3, 5])],
            vec![4, 2, 5],
        ),
        (
            op!("op": "matmul"),
            vec![floats(&[3]), floats(&[3])],
            vec![],
        ),
        (
            op!("op": "gemm", "transpose_a": true),
            vec![floats(&[3, 2]), floats(&[3, 4]), floats(&[4])],
            vec![2, 4],
        ),
        (
            op!("op": "conv", "stride": [2, 2], "padding": [1, 1]),
            vec![floats(&[1, 3, 8, 8]), floats(&[16, 3, 3, 3]), floats(&[16])],
            vec![1, 16, 4, 4],
        ),
        (
            op!("op": "conv_transpose", "stride": [2], "output_padding": [1]),
            vec![floats(&[1, 3, 4]), floats(&[3, 2, 3])],
            vec![1, 2, 10],
        ),
        (
            op!("op": "max_pool", "kernel": [2]),
            vec![floats(&[1, 2, 7])],
            vec![1, 2, 3],
        ),
        (
            op!("op": "mean", "axes": [1], "keep": true),
            vec![floats(&[2, 3])],
            vec![2, 1],
        ),
        (op!("op": "sum"), vec![floats(&[2, 3])], vec![]),
        (
            op!("op": "arg_max", "axis": 1),
            vec![floats(&[2, 3])],
            vec![2],
        ),
        (
            op!("op": "reshape", "shape": [3, -1]),
            vec![floats(&[2, 6])],
            vec![3, 4],
        ),
        (
            op!("op": "transpose", "axes": [2, 0, 1]),
            vec![floats(&[2, 3, 4])],
            vec![4, 2, 3],
        ),
        (
            op!("op": "slice", "axis": 0, "start": 4, "length": 2, "step": -2),
            vec![floats(&[5])],
            vec![2],
        ),
        (
            op!("op": "concat", "axis": 1),
            vec![floats(&[2, 3]), floats(&[2, 1])],
            vec![2, 4],
        ),
        (
            op!("op": "gather", "axis": 1),
            vec![floats(&[2, 9]), int(&[4, 5])],
            vec![2, 4, 5],
        ),
        (
            op!("op": "expand", "shape": [2, 3]),
            vec![floats(&[1])],
            vec![2, 3],
        ),
        (
            op!("op": "pad", "before": [1, 0], "after": [0, 2]),
            vec![floats(&[2, 3])],
            vec![3, 5],
        ),
        (
            op!("op": "one_hot", "depth": 7),
            vec![int(&[2])],
            vec![2, 7],
        ),
        (
            op!("op": "cross_entropy_loss"),
            vec![floats(&[4, 3]), int(&[4])],
            vec![],
        ),
    ] {
        let given = out(op.clone(), &reads).unwrap_or_else(|error| panic!("{op}: {error}"));
        assert_eq!(given[0].shape, shape, "{op}");
    }
    let parts = out(
        op!("op": "split", "axis": 0, "sizes": [1, 2]),
        &[floats(&[3, 2])],
    )
    .unwrap();
    assert_eq!(
        [&parts[0].shape[..], &parts[1].shape],
        [&[1, 2][..], &[2, 2]]
    );
    let lstm = out(
        op!("op": "lstm"),
        &[
            floats(&[5, 2, 3]),
            floats(&[1, 16, 3]),
            floats(&[1, 16, 4]),
            floats(&[1, 32]),
            floats(&[1, 2, 4]),
            floats(&[1, 2, 4]),
        ],
    );
    assert_eq!(lstm.unwrap()[0].shape, [5, 1, 2, 4]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let big = 1 << 20;
    for (op, reads, word) in [
        (
            op!("op": "add"),
            vec![floats(&[2]), floats(&[3])],
            "stretched",
        ),
        (op!("op": "add"), vec![floats(&[2])], "two tensors"),
        (
            op!("op": "matmul"),
            vec![floats(&[2, 3]), floats(&[2, 3])],
            "multiplied",
        ),
        (
            op!("op": "reshape", "shape": [4]),
            vec![floats(&[3])],
            "reshaped",
        ),
        (
            op!("op": "reshape", "shape": [-1, -1]),
            vec![floats(&[3])],
            "reshaped",
        ),
        (
            op!("op": "reshape", "shape": [i64::MAX, 4]),
            vec![floats(&[3])],
            "reshaped",
        ),
        (
            op!("op": "slice", "axis": 0, "start": 2, "length": 2),
            vec![floats(&[3])],
            "within",
        ),
        (
            op!("op": "slice", "axis": 0, "start": 2, "length": usize::MAX, "step": i64::MAX),
            vec![floats(&[3])],
            "within",
        ),
        (
            op!("op": "slice", "axis": 3, "start": 0, "length": 1),
            vec![floats(&[])],
            "axis 3",
        ),
        (
            op!("op": "expand", "shape": [big, big, big]),
            vec![floats(&[1])],
            "too large",
        ),
        (
            op!("op": "matmul"),
            vec![floats(&[big, 1]), floats(&[1, big])],
            "too large",
        ),
        (
            op!("op": "pad", "before": [usize::MAX], "after": [2]),
            vec![floats(&[1])],
            "too large",
        ),
        (
            op!("op": "conv"),
            vec![floats(&[1, 1, 2]), floats(&[1, 1, 3])],
            "does not fit",
        ),
        (
            op!("op": "conv", "groups": 0),
            vec![floats(&[1, 1, 2]), floats(&[1, 1, 1])],
            "groups",
        ),
        (
            op!("op": "gather", "axis": 0),
            vec![floats(&[3]), floats(&[1])],
            "wrong kind",
        ),
        (
            op!("op": "exp"),
            vec![floats(&[3]), floats(&[1])],
            "one tensor",
        ),
        (
            op!("op": "adam", "learning_rate": 0.1),
            vec![floats(&[3]), floats(&[3])],
            "moments",
        ),
        (
            op!("op": "gradient"),
            vec![floats(&[3]), floats(&[3])],
            "single number",
        ),
        (
            op!("op": "exp", "beta": 2),
            vec![floats(&[3])],
            "unknown field",
        ),
        (op!("op": "system"), vec![floats(&[3])], "unknown variant"),
    ] {
        let text = out(op.clone(), &reads).unwrap_err();
        assert!(text.contains(word), "{op}: {text}");
    }
    let mut builder = Builder::default();
    assert!(builder.input("x", floats(&[usize::MAX, 2])).is_err());
    assert!(builder.input("x", floats(&[0])).is_err());
    assert!(builder.input("x", floats(&[1; MAX_RANK + 1])).is_err());
}

#[test]
fn costs_are_known_before_anything_is_there() {
    let mut builder = Builder::default();
    let x = builder.input("x", floats(&[64, 100])).unwrap();
    let w = builder.constant("w", floats(&[100, 10])).unwrap();
    let y = builder.apply("y", Op::MatMul(Bare {}), &[x, w]).unwrap()[0];
    let z = builder.apply("z", Op::Relu(Bare {}), &[y]).unwrap()[0];
    let cost = builder.finish(&[z]).cost;
    assert_eq!(cost.parameters, 1000);
    assert_eq!(cost.flops, 2 * 64 * 100 * 10 + 640);
    assert!(cost.live_bytes >= 4 * (6400 + 640));
    assert!(cost.activation_bytes >= cost.live_bytes / 2);
}

#[test]
fn there_are_only_so_many_operations() {
    let mut builder = Builder::default();
    let mut x = builder.input("x", floats(&[1])).unwrap();
    for _ in 0..MAX_STEPS {
        x = builder.apply("n", Op::Neg(Bare {}), &[x]).unwrap()[0];
    }
    let refused = builder.apply("n", Op::Neg(Bare {}), &[x]).unwrap_err();
    assert!(refused.to_string().contains("more than"));
}
