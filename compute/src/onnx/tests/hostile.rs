//! Files that lie: about lengths, shapes and sizes. Each is refused before anything of
//! that size is there.

use std::collections::BTreeMap;

use prost::Message as _;

use super::super::wire::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::super::{InvalidOnnx, OnnxFile};
use super::given;

fn info(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: 1,
                shape: Some(TensorShapeProto::default()),
            }),
        }),
    }
}

fn node(kind: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: kind.to_owned(),
        ..NodeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: 7,
        int64_data: values.to_vec(),
        name: name.to_owned(),
        ..TensorProto::default()
    }
}

fn model(nodes: Vec<NodeProto>, tensors: Vec<TensorProto>) -> ModelProto {
    ModelProto {
        graph: Some(GraphProto {
            node: nodes,
            initializer: tensors,
            input: vec![info("x")],
            output: vec![info("y")],
        }),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
    }
}

fn refused(model: &ModelProto) -> String {
    let file = OnnxFile::read(model.encode_to_vec().into()).unwrap();
    let bound = BTreeMap::from([("x".to_owned(), given(&[2, 3]))]);
    let error = file.import(&bound, &["y".to_owned()]).unwrap_err();
    println!("{error}");
    error.to_string()
}

#[test]
fn shapes_that_overflow_are_refused_by_the_name_of_the_node() {
    let huge = i64::MAX;
    for (nodes, tensors, words) in [
        (
            vec![node("Expand", &["x", "s"], "y")],
            vec![ints("s", &[1 << 40, 2, 3])],
            vec!["(Expand)", "too large"],
        ),
        (
            vec![node("ConstantOfShape", &["s"], "y")],
            vec![ints("s", &[huge, huge])],
            vec!["(ConstantOfShape)", "too large"],
        ),
        (
            vec![node("Reshape", &["x", "s"], "y")],
            vec![ints("s", &[huge, huge])],
            vec!["(Reshape)", "reshaped"],
        ),
        (
            vec![node("Tile", &["x", "s"], "y")],
            vec![ints("s", &[huge, huge])],
            vec!["(Tile)"],
        ),
        (
            vec![node("Pad", &["x", "s"], "y")],
            vec![ints("s", &[huge, 1, huge, 1])],
            vec!["(Pad)", "too large"],
        ),
        (
            vec![node("Range", &["a", "s", "b"], "y")],
            vec![
                TensorProto {
                    dims: vec![],
                    ..ints("a", &[0])
                },
                TensorProto {
                    dims: vec![],
                    ..ints("s", &[huge])
                },
                TensorProto {
                    dims: vec![],
                    ..ints("b", &[1])
                },
            ],
            vec!["(Range)", "more than"],
        ),
        (
            vec![node("Slice", &["x", "a", "b", "c", "d"], "y")],
            vec![
                ints("a", &[0]),
                ints("b", &[huge]),
                ints("c", &[0]),
                ints("d", &[i64::MIN]),
            ],
            vec!["(Slice)", "step"],
        ),
        (
            vec![node("Gather", &["x", "x"], "y")],
            vec![],
            vec!["(Gather)", "wrong kind"],
        ),
        (
            vec![node("Add", &["x", "nowhere"], "y")],
            vec![],
            vec!["(Add)", "nowhere"],
        ),
        (
            vec![node("Add", &["x"], "y")],
            vec![],
            vec!["(Add)", "two tensors"],
        ),
        (
            vec![node("If", &["x"], "y")],
            vec![],
            vec!["(If)", "fix the input"],
        ),
        (
            vec![node("Einsum", &["x"], "y")],
            vec![],
            vec!["(Einsum)", "not one of"],
        ),
        (vec![node("relu", &["x"], "y")], vec![], vec!["is it Relu"]),
        (
            vec![NodeProto {
                domain: "com.vendor".to_owned(),
                ..node("Add", &["x", "x"], "y")
            }],
            vec![],
            vec!["com.vendor"],
        ),
    ] {
        let text = refused(&model(nodes, tensors));
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn tensors_that_lie_about_their_size_are_refused() {
    let lying =
        |tensor: TensorProto| refused(&model(vec![node("Add", &["x", "w"], "y")], vec![tensor]));
    let of = |dims: &[i64], bytes: usize| TensorProto {
        dims: dims.to_vec(),
        data_type: 1,
        raw_data: vec![0; bytes].into(),
        name: "w".to_owned(),
        ..TensorProto::default()
    };
    for (tensor, word) in [
        (of(&[1 << 20, 1 << 20], 8), "too large"),
        (of(&[i64::MAX, i64::MAX], 8), "too large"),
        (of(&[1 << 20], 8), "8 bytes where 1048576"),
        (of(&[-1], 4), "shorter than nothing"),
        (of(&[2], 7), "7 bytes"),
        (
            TensorProto {
                data_type: 8,
                ..of(&[1], 4)
            },
            "data type 8",
        ),
        (
            TensorProto {
                data_location: 1,
                ..of(&[1], 4)
            },
            "another file",
        ),
        (ints("w", &[1; 3]), "one kind"),
    ] {
        let text = lying(tensor);
        assert!(text.contains("\"w\"") || text.contains("(Add)"), "{text}");
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_file_of_a_million_nodes_is_refused_before_it_is_decoded() {
    // A node of two bytes each.
    let nodes = [0x0a, 0x00].repeat(1 << 20);
    let mut bytes = vec![0x3a];
    prost::encoding::encode_varint(nodes.len() as u64, &mut bytes);
    bytes.extend(nodes);
    let error = OnnxFile::read(bytes.into()).unwrap_err();
    assert!(matches!(error, InvalidOnnx::TooLarge { .. }), "{error}");
}

#[test]
fn operations_without_end_are_refused() {
    let mut nodes = vec![node("Neg", &["x"], "n0")];
    for at in 0..9000 {
        nodes.push(node("Neg", &[&format!("n{at}")], &format!("n{}", at + 1)));
    }
    nodes.push(node("Neg", &["n9000"], "y"));
    assert!(refused(&model(nodes, vec![])).contains("more than 8192 operations"));
}

#[test]
fn graphs_within_graphs_end_somewhere() {
    let mut graph = GraphProto::default();
    for _ in 0..40 {
        graph = GraphProto {
            node: vec![NodeProto {
                attribute: vec![AttributeProto {
                    name: "then_branch".to_owned(),
                    g: Some(Box::new(graph)),
                    ..AttributeProto::default()
                }],
                ..node("If", &["c"], "y")
            }],
            output: vec![info("y")],
            ..GraphProto::default()
        };
    }
    graph.input.push(info("x"));
    graph.initializer.push(TensorProto {
        dims: vec![],
        data_type: 9,
        int32_data: vec![1],
        name: "c".to_owned(),
        ..TensorProto::default()
    });
    let deep = ModelProto {
        graph: Some(graph),
        ..model(vec![], vec![])
    };
    match OnnxFile::read(deep.encode_to_vec().into()) {
        Err(error) => assert!(matches!(
            error,
            InvalidOnnx::TooLarge { .. } | InvalidOnnx::Format(_)
        )),
        Ok(_) => assert!(refused(&deep).contains("deep")),
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let good = model(vec![node("Neg", &["x"], "y")], vec![]).encode_to_vec();
    assert!(OnnxFile::read(good.clone().into()).is_ok());
    // Cut anywhere, it is none, or it has lost its end.
    for end in 0..good.len() {
        let _ = OnnxFile::read(good[..end].to_vec().into()).map(|file| {
            let bound = BTreeMap::from([("x".to_owned(), given(&[2]))]);
            file.import(&bound, &["y".to_owned()])
        });
    }
    // Any byte of it may be another.
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            let _ = OnnxFile::read(bytes.into()).map(|file| {
                let bound = BTreeMap::from([("x".to_owned(), given(&[2]))]);
                file.import(&bound, &["y".to_owned()])
            });
        }
    }
    for bytes in [
        &b"GGUF"[..],
        b"",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(OnnxFile::read(bytes.to_vec().into()).is_err());
    }
    let old = ModelProto {
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 3,
        }],
        ..model(vec![], vec![])
    };
    let error = OnnxFile::read(old.encode_to_vec().into()).unwrap_err();
    assert!(error.to_string().contains("opset 3"), "{error}");
}
