//! Operations as they are asked, and what becomes of them.

use bytes::Bytes;
use embermesh_job::{
    program::{Kind, Op},
    spec::Work,
};

use super::*;
use crate::cyxwiz::tensor::Dtype;

fn floats(shape: &[i64], numbers: &[f32]) -> Tensor {
    Tensor {
        name: String::new(),
        shape: shape.to_vec(),
        dtype: Dtype::F32.number(),
        data: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn square() -> Tensor {
    floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])
}

fn asked(id: &str, kind: i32, inputs: Vec<Tensor>, parameters: &[(&str, &str)]) -> Asked {
    Asked {
        id: id.to_owned(),
        kind,
        inputs,
        parameters: parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        device: 0,
    }
}

fn said(planned: &Planned) -> Vec<&str> {
    planned
        .results
        .iter()
        .map(|given| given.said.as_str())
        .collect()
}

fn by_name(name: &str) -> Vec<Given> {
    vec![Given {
        said: name.to_owned(),
        name: name.to_owned(),
    }]
}

fn computed(planned: &Planned) -> &Compute {
    match &planned.order.spec.work {
        Work::Compute(compute) => compute,
        other => panic!("{other:?}"),
    }
}

fn refused(asked: Vec<Asked>, order: &[&str]) -> String {
    let order: Vec<String> = order.iter().map(|id| (*id).to_owned()).collect();
    plan(asked, &order).unwrap_err().message
}

#[test]
fn an_operation_is_a_computation_over_a_file_of_its_tensors() {
    let planned = plan(vec![asked("y", 1, vec![square(), square()], &[])], &[]).unwrap();
    let compute = computed(&planned);
    assert_eq!(said(&planned), ["y"]);
    let names: Vec<_> = compute.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["t0", "t1"]);
    assert_eq!(compute.operations[0].from, ["t0", "t1"]);
    // The file is what it says that it is, and reads back as it was written.
    let (digest, bytes) = planned.order.inputs.iter().next().unwrap();
    assert_eq!(
        (*digest, planned.order.inputs.len()),
        (Digest::of(bytes), 1)
    );
    assert_eq!(compute.tensors[0].file.unwrap().size, bytes.len() as u64);
    let read = results(bytes, &by_name("t1")).unwrap();
    assert_eq!(
        (&read[0].shape, &read[0].data),
        (&vec![2, 2], &square().data)
    );
    assert!(results(bytes, &by_name("t9")).is_err());
    for cut in [0, 7, 20, bytes.len() - 1] {
        assert!(
            results(&bytes.slice(..cut), &by_name("t1")).is_err(),
            "{cut}"
        );
    }
}

#[test]
fn numbers_of_every_type_are_taken_as_what_they_are() {
    let other = |dtype: Dtype, data: Vec<u8>| Tensor {
        dtype: dtype.number(),
        data: data.into(),
        ..floats(&[2], &[0.0, 0.0])
    };
    for (dtype, data, kind) in [
        (
            Dtype::F64,
            [1.5_f64, 2.0].map(f64::to_le_bytes).concat(),
            Kind::Float,
        ),
        (
            Dtype::I32,
            [1_i32, 2].map(i32::to_le_bytes).concat(),
            Kind::Int,
        ),
        (
            Dtype::I64,
            [1_i64, 2].map(i64::to_le_bytes).concat(),
            Kind::Int,
        ),
        (Dtype::U8, vec![1, 2], Kind::Int),
    ] {
        let one = asked("a", 100, vec![other(dtype, data)], &[("op", "abs")]);
        let planned = plan(vec![one], &[]).unwrap();
        assert_eq!(computed(&planned).tensors[0].kind, kind, "{dtype:?}");
    }
    let single = asked("a", 100, vec![floats(&[], &[2.0])], &[("op", "neg")]);
    assert_eq!(
        computed(&plan(vec![single], &[]).unwrap()).tensors[0].shape,
        Some(vec![])
    );
}

#[test]
fn a_graph_is_wired_by_order_and_by_name_and_gives_what_nobody_reads() {
    let graph = vec![
        asked("act", 4, vec![], &[("type", "ReLU")]),
        asked("mm", 1, vec![square(), square()], &[]),
        asked("sum", 100, vec![], &[("op", "add"), ("inputs", "mm, #0x")]),
    ];
    assert!(refused(graph, &["mm", "act", "sum"]).contains("operation \"sum\""));
    let graph = vec![
        asked("act", 4, vec![], &[("type", "ReLU")]),
        asked("mm", 1, vec![square(), square()], &[]),
        asked(
            "sum",
            100,
            vec![square()],
            &[("op", "add"), ("inputs", "mm, #0")],
        ),
        asked("more", 100, vec![], &[("op", "mul"), ("inputs", "mm#1,mm")]),
    ];
    let order = ["mm", "act", "sum", "more"].map(str::to_owned);
    let planned = plan(graph, &order).unwrap();
    let from: Vec<_> = computed(&planned)
        .operations
        .iter()
        .map(|o| o.from.clone())
        .collect();
    assert_eq!(
        from,
        [
            vec!["t0", "t1"],
            vec!["mm"],
            vec!["mm", "t2"],
            vec!["t1", "mm"]
        ]
    );
    assert_eq!(said(&planned), ["act", "sum", "more"]);

    // Parts have names of their own.
    let split = [("op", "split"), ("axis", "0"), ("sizes", "1,1")];
    let parts = vec![
        asked("s", 100, vec![square()], &split),
        asked("n", 100, vec![], &[("op", "neg"), ("inputs", "s.1")]),
    ];
    assert_eq!(said(&plan(parts, &[]).unwrap()), ["s.0", "n"]);

    let derived = vec![
        asked("l", 5, vec![square(), square()], &[("type", "mse")]),
        asked(
            "g",
            100,
            vec![],
            &[("op", "gradient"), ("inputs", "l,l#1,l#0")],
        ),
        asked("n", 100, vec![], &[("op", "neg"), ("inputs", "g.1")]),
    ];
    let planned = plan(derived, &[]).unwrap();
    assert_eq!(said(&planned), ["g.0", "n"]);
    assert_eq!(computed(&planned).results, ["g.t1", "n"]);
}

#[test]
fn parameters_are_the_operations_own() {
    let image = || floats(&[1, 1, 2, 2], &[1.0; 4]);
    for (one, expected) in [
        (
            asked(
                "c",
                2,
                vec![image(), image()],
                &[("padding", "1"), ("stride", "1,2")],
            ),
            r#"{"conv": {"stride": [1, 2], "padding": [1, 1]}}"#,
        ),
        (
            asked(
                "p",
                3,
                vec![image()],
                &[("type", "max"), ("kernel_size", "2")],
            ),
            r#"{"max_pool": {"kernel": [2, 2]}}"#,
        ),
        (
            asked("s", 4, vec![square()], &[("type", "softmax")]),
            r#"{"softmax": {"axis": 1}}"#,
        ),
        (
            asked("l", 5, vec![square(), square()], &[("type", "mse")]),
            r#"{"mse_loss": {}}"#,
        ),
        (
            asked(
                "o",
                6,
                vec![square(), square()],
                &[("type", "sgd"), ("lr", "0.5")],
            ),
            r#"{"sgd": {"learning_rate": 0.5}}"#,
        ),
    ] {
        let planned = plan(vec![one.clone()], &[]).unwrap_or_else(|e| panic!("{one:?}: {e}"));
        let expected: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(expected).unwrap();
        let (word, mut fields) = expected.into_iter().next().unwrap();
        assert!(fields.is_object());
        fields["op"] = word.into();
        let op: Op = serde_json::from_value(fields).unwrap();
        assert_eq!(computed(&planned).operations[0].op, op);
    }
}

#[test]
fn what_cannot_be_is_refused_by_the_name_of_its_operation() {
    let mut wrong = square();
    wrong.data = Bytes::from_static(b"short");
    let mut huge = square();
    huge.shape = vec![i64::MAX, i64::MAX];
    let mut negative = square();
    negative.shape = vec![-2, -2];
    let long = "x".repeat(MAX_PARAMETER + 1);
    for (one, word) in [
        (asked("a", 1, vec![square()], &[]), "matmul"),
        (
            asked("a", 1, vec![square(), floats(&[3], &[0.0; 3])], &[]),
            "matmul",
        ),
        (asked("a", 1, vec![wrong.clone(), square()], &[]), "bytes"),
        (asked("a", 1, vec![huge, square()], &[]), "bytes"),
        (
            asked("a", 1, vec![negative, square()], &[]),
            "less than nothing",
        ),
        (
            asked("a", 1, vec![square(), square()], &[("speed", "9")]),
            "speed",
        ),
        (
            asked("a", 1, vec![square(), square()], &[("x", &long)]),
            "parameters",
        ),
        (asked("a", 0, vec![square()], &[]), "no type of operation"),
        (
            asked("a", 4, vec![square()], &[("type", "magic")]),
            "give one of",
        ),
        (
            asked("a", 100, vec![square()], &[("op", "launch")]),
            "such as add",
        ),
        (
            asked(
                "a",
                100,
                vec![square()],
                &[("op", "clip"), ("min", "1e999")],
            ),
            "clip",
        ),
        (asked("a", 4, vec![], &[("type", "relu")]), "reads nothing"),
        (
            asked("a", 4, vec![], &[("type", "relu"), ("inputs", "b")]),
            "no operation",
        ),
        (
            asked("a", 4, vec![], &[("type", "relu"), ("inputs", "#7")]),
            "no tensor",
        ),
        (
            asked("a", 4, vec![], &[("type", "relu"), ("inputs", "a")]),
            "by then",
        ),
    ] {
        let message = refused(vec![one.clone()], &[]);
        assert!(
            message.contains(word) && message.contains("\"a\""),
            "{one:?}: {message}"
        );
    }
    let endless = "x".repeat(1 << 20);
    let message = refused(vec![asked(&endless, 1, vec![], &[])], &[]);
    assert!(
        message.contains("an id has") && message.len() < 200,
        "{message}"
    );
    let mut opencl = asked("a", 1, vec![square(), square()], &[]);
    opencl.device = 3;
    assert!(refused(vec![opencl], &[]).contains("OpenCL"));
    let twice = || asked("a", 1, vec![square(), square()], &[]);
    assert!(refused(vec![twice(), twice()], &[]).contains("has this id"));
    for order in [&["a", "b"][..], &["b"]] {
        assert!(refused(vec![twice()], order).contains("execution_order"));
    }
    assert!(refused(vec![], &[]).contains("operations"));
    let many = vec![floats(&[1], &[0.0]); MAX_TENSORS + 1];
    assert!(refused(vec![asked("a", 100, many, &[("op", "concat")])], &[]).contains("tensors"));
    // Read before it is there.
    let early = vec![
        asked("a", 4, vec![], &[("type", "relu"), ("inputs", "b")]),
        asked("b", 1, vec![square(), square()], &[]),
    ];
    assert!(refused(early, &[]).contains("by then"));
    // Larger than an answer.
    let wide = [("op", "expand"), ("shape", "[4096, 4097]")];
    let wide = asked("a", 100, vec![floats(&[1], &[0.0])], &wide);
    assert!(refused(vec![wide], &[]).contains("an answer has"));
}
