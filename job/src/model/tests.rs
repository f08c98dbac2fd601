use serde_json::json;

use super::*;

fn layer(value: serde_json::Value) -> Layer {
    serde_json::from_value(value).unwrap()
}

fn layers(values: serde_json::Value) -> Vec<Layer> {
    serde_json::from_value(values).unwrap()
}

fn plan(input: &[usize], values: serde_json::Value) -> Plan {
    Model::new(input, layers(values)).plan().unwrap()
}

fn refused(input: &[usize], values: serde_json::Value) -> String {
    Model::new(input, layers(values))
        .plan()
        .unwrap_err()
        .to_string()
}

#[test]
fn shapes_and_costs_are_known() {
    let plan = Model::new(
        [1, 8, 8],
        vec![
            Layer::new(Op::conv2d(16, 3, 1)),
            Layer::new(Op::relu()),
            Layer::new(Op::max_pool2d(2)),
            Layer::new(Op::flatten()),
            Layer::new(Op::dense(10)),
        ],
    )
    .plan()
    .unwrap();
    assert_eq!(plan.layers[0].output_shape, [16, 8, 8]);
    assert_eq!(plan.layers[0].parameters, 16 * 9 + 16);
    assert_eq!(plan.layers[0].flops, 2 * 16 * 64 * 9);
    assert_eq!(plan.layers[2].output_shape, [16, 4, 4]);
    assert_eq!(plan.output_shape, [10]);
    assert_eq!(plan.parameters, 160 + 2570);
    assert_eq!(plan.activation_bytes, 4 * (1024 + 1024 + 256 + 256 + 10));
    assert_eq!(plan.live_bytes, 4 * (1024 + 1024));
    assert_eq!(
        plan.peak_bytes(64),
        16 * plan.parameters + 128 * plan.activation_bytes
    );
    assert!(plan.inference_bytes(64) < plan.peak_bytes(64));
    assert_eq!(plan.layers[4].name, "dense_1");
}

/// PyTorch's counts for the same layers.
#[test]
fn every_operation_counts_its_parameters() {
    for (input, value, parameters, output) in [
        (
            &[8, 5][..],
            json!({"op":"dense","units":3}),
            18,
            &[8, 3][..],
        ),
        (&[5], json!({"op":"dense","units":3,"bias":false}), 15, &[3]),
        (
            &[4, 10],
            json!({"op":"conv1d","channels":6,"kernel":3,"groups":2}),
            42,
            &[6, 8],
        ),
        (
            &[3, 9, 9],
            json!({"op":"conv2d","channels":4,"kernel":[3,1],"dilation":2,"bias":false}),
            36,
            &[4, 5, 9],
        ),
        (
            &[3, 9, 9],
            json!({"op":"avg_pool2d","kernel":3,"padding":1,"stride":2}),
            0,
            &[3, 5, 5],
        ),
        (&[3, 9], json!({"op":"max_pool1d","kernel":2}), 0, &[3, 4]),
        (&[3, 9, 9], json!({"op":"global_avg_pool"}), 0, &[3]),
        (&[3, 9, 9], json!({"op":"batch_norm"}), 6, &[3, 9, 9]),
        (&[7, 6], json!({"op":"layer_norm"}), 12, &[7, 6]),
        (
            &[6, 2, 2],
            json!({"op":"group_norm","groups":3}),
            12,
            &[6, 2, 2],
        ),
        (
            &[7],
            json!({"op":"embedding","entries":50,"features":6}),
            300,
            &[7, 6],
        ),
        (
            &[7, 6],
            json!({"op":"lstm","units":5}),
            4 * 5 * (6 + 5 + 2),
            &[7, 5],
        ),
        (
            &[7, 6],
            json!({"op":"gru","units":5,"layers":2,"output":"last"}),
            195 + 180,
            &[5],
        ),
        (
            &[7, 6],
            json!({"op":"attention","heads":2}),
            4 * (36 + 6),
            &[7, 6],
        ),
        (
            &[7, 6],
            json!({"op":"transformer_encoder","heads":3,"units":12}),
            168 + 84 + 78 + 24,
            &[7, 6],
        ),
        (&[7, 6], json!({"op":"position"}), 42, &[7, 6]),
        (
            &[7, 6],
            json!({"op":"position","kind":"sinusoidal"}),
            0,
            &[7, 6],
        ),
        (
            &[2, 3, 4],
            json!({"op":"reshape","shape":[-1,4]}),
            0,
            &[6, 4],
        ),
        (
            &[2, 3, 4],
            json!({"op":"transpose","axes":[2,0,1]}),
            0,
            &[4, 2, 3],
        ),
        (&[7, 6], json!({"op":"mean","axis":0}), 0, &[6]),
        (&[7, 6], json!({"op":"last"}), 0, &[6]),
    ] {
        let plan = plan(input, json!([value]));
        assert_eq!(plan.parameters, parameters, "{value}");
        assert_eq!(plan.output_shape, output, "{value}");
    }
    assert_eq!(plan(&[3], json!([{"op":"batch_norm"}])).state, 6);
}

#[test]
fn what_does_not_fit_names_its_layer() {
    let message = |layers| {
        Model::new([1, 8, 8], layers)
            .plan()
            .unwrap_err()
            .to_string()
    };
    let new = |op: Op| Layer::new(op);
    assert_eq!(
        message(vec![
            new(Op::conv2d(4, 3, 1)),
            new(Op::max_pool2d(2)),
            new(Op::conv2d(4, 5, 0))
        ]),
        "layer 3 \"conv2d_2\": kernel 5 does not fit input 4x4x4"
    );
    assert!(message(vec![new(Op::dense(10))]).contains("put a flatten layer before it"));
    assert!(message(vec![new(Op::dropout(1.0))]).contains("probability 1"));
    assert!(message(vec![new(Op::dropout(f64::NAN))]).contains("layer 1"));
    assert!(message(vec![new(Op::conv2d(0, 3, 1))]).contains("channels must be at least 1"));
    assert!(message(vec![new(Op::conv2d(usize::MAX, 3, 1))]).contains("too large"));
    assert!(message(vec![new(Op::conv2d(4, 3, usize::MAX))]).contains("padding"));
    assert!(message(vec![]).contains("1 to 256 layers"));
    let named = |name: &str| new(Op::relu()).named(name);
    assert!(message(vec![named("a"), named("a")]).contains("another layer"));
    assert!(message(vec![named("a/b")]).contains("letters"));
    assert!(message(vec![named("input")]).contains("another name"));
    for input in [&[0, 8, 8][..], &[], &[1, 1, 1, 1], &[usize::MAX, 2]] {
        assert!(Model::new(input, vec![new(Op::relu())]).plan().is_err());
    }
}

#[test]
fn every_operation_refuses_what_does_not_fit() {
    for (input, value, word) in [
        (&[2, 3, 4][..], json!({"op":"dense","units":3}), "flatten"),
        (&[5], json!({"op":"dense","units":0}), "units must be"),
        (
            &[5],
            json!({"op":"dense","units":4_000_000_000_u64}),
            "too large",
        ),
        (
            &[5],
            json!({"op":"conv1d","channels":6,"kernel":3}),
            "[channels, length]",
        ),
        (
            &[3, 9],
            json!({"op":"conv1d","channels":4,"kernel":3,"groups":2}),
            "groups",
        ),
        (
            &[3, 9],
            json!({"op":"conv1d","channels":4,"kernel":3,"groups":0}),
            "groups must be",
        ),
        (
            &[3, 9],
            json!({"op":"conv2d","channels":4,"kernel":3}),
            "an image",
        ),
        (
            &[3, 9, 9],
            json!({"op":"conv2d","channels":4,"kernel":5,"dilation":3}),
            "at dilation 3",
        ),
        (
            &[3, 9, 9],
            json!({"op":"conv2d","channels":4,"kernel":3,"stride":0}),
            "stride must be",
        ),
        (
            &[3, 9, 9],
            json!({"op":"conv2d","channels":4,"kernel":3,"padding":3}),
            "lower it",
        ),
        (
            &[3, 9, 9],
            json!({"op":"max_pool2d","kernel":3,"padding":2}),
            "more than half",
        ),
        (
            &[3, 9, 9],
            json!({"op":"avg_pool1d","kernel":3}),
            "[channels, length]",
        ),
        (
            &[3],
            json!({"op":"max_pool1d","kernel":3}),
            "[channels, length]",
        ),
        (
            &[3, 9, 9],
            json!({"op":"avg_pool2d","kernel":10}),
            "does not fit",
        ),
        (&[3], json!({"op":"global_avg_pool"}), "needs channels"),
        (&[3], json!({"op":"global_max_pool"}), "needs channels"),
        (&[3], json!({"op":"batch_norm","epsilon":0}), "epsilon"),
        (&[3], json!({"op":"batch_norm","momentum":1.5}), "momentum"),
        (&[3], json!({"op":"layer_norm","epsilon":-1}), "epsilon"),
        (&[3], json!({"op":"group_norm","groups":2}), "2 groups"),
        (
            &[2, 3, 4],
            json!({"op":"embedding","entries":5,"features":2}),
            "axis of features",
        ),
        (
            &[2],
            json!({"op":"embedding","entries":20_000_000,"features":2}),
            "exact",
        ),
        (&[5], json!({"op":"lstm","units":3}), "a sequence"),
        (
            &[5000, 2],
            json!({"op":"gru","units":3}),
            "shorten the sequence",
        ),
        (
            &[5, 2],
            json!({"op":"gru","units":3,"layers":17}),
            "layers is 1 to 16",
        ),
        (&[5], json!({"op":"attention","heads":1}), "a sequence"),
        (
            &[5, 6],
            json!({"op":"attention","heads":4}),
            "heads that divide",
        ),
        (
            &[1 << 20, 2],
            json!({"op":"attention","heads":1}),
            "too large",
        ),
        (
            &[5, 6],
            json!({"op":"transformer_encoder","heads":0}),
            "heads must be",
        ),
        (
            &[5, 6],
            json!({"op":"transformer_encoder","heads":2,"dropout":1}),
            "dropout",
        ),
        (&[5], json!({"op":"position"}), "a sequence"),
        (
            &[5, 6],
            json!({"op":"reshape","shape":[4,7]}),
            "does not hold the 30 values",
        ),
        (
            &[5, 6],
            json!({"op":"reshape","shape":[-1,-1]}),
            "only one axis",
        ),
        (&[5, 6], json!({"op":"reshape","shape":[0]}), "at least 1"),
        (&[5, 6], json!({"op":"reshape","shape":[]}), "1 to 3 axes"),
        (
            &[5, 6],
            json!({"op":"transpose","axes":[0,0]}),
            "each axis of 5x6 once",
        ),
        (&[5, 6], json!({"op":"concat"}), "joins 2 or more layers"),
        (&[5, 6], json!({"op":"add"}), "name them in its `from`"),
        (&[5, 6], json!({"op":"multiply"}), "name them in its `from`"),
        (
            &[5, 6],
            json!({"op":"mean","axis":2}),
            "axis 2 is not one of 5x6",
        ),
        (&[5], json!({"op":"mean","axis":0}), "no axis"),
        (&[5], json!({"op":"last"}), "a sequence"),
        (&[5], json!({"op":"softmax","axis":1}), "axis 1"),
        (&[5], json!({"op":"log_softmax","axis":3}), "axis 3"),
        (
            &[5],
            json!({"op":"leaky_relu","negative_slope":-1}),
            "negative_slope",
        ),
        (&[5], json!({"op":"elu","alpha":1e9}), "alpha"),
        (&[5], json!({"op":"softplus","beta":0}), "beta"),
    ] {
        let said = refused(input, json!([value]));
        assert!(said.contains(word), "{value}: {said}");
        assert!(said.starts_with("layer 1 \""), "{said}");
    }
}

#[test]
fn layers_read_whom_they_name() {
    let branches = json!([
        {"op":"conv2d","channels":4,"kernel":3,"padding":1,"name":"stem"},
        {"op":"relu"},
        {"op":"conv2d","channels":4,"kernel":3,"padding":1},
        {"op":"add","from":["conv2d_1","stem"],"name":"sum"},
        {"op":"concat","from":["sum","stem","input"]},
    ]);
    // A default name counts every layer of its operation, named or not.
    let said = refused(&[1, 8, 8], branches.clone());
    assert!(said.contains("did you mean \"conv2d_2\""), "{said}");
    let mut right = branches;
    right[3]["from"][0] = json!("conv2d_2");
    let plan = plan(&[1, 8, 8], right.clone());
    assert_eq!(plan.output_shape, [9, 8, 8]);
    assert_eq!(
        plan.layers[4].sources,
        [Source::Layer(3), Source::Layer(0), Source::Input]
    );
    let text = serde_json::to_value(layers(right.clone())).unwrap();
    assert_eq!(
        text[3],
        json!({"op":"add","from":["conv2d_2","stem"],"name":"sum"})
    );
    assert_eq!(layers(text), layers(right));
}

#[test]
fn graphs_that_cannot_be_computed_are_refused() {
    let graph = |from: serde_json::Value| {
        json!([
            {"op":"dense","units":4,"name":"a"},
            {"op":"add","from":from,"name":"b"},
            {"op":"dense","units":4,"name":"c"},
        ])
    };
    for (from, word) in [
        (json!(["a", "c"]), "comes after it"),
        (json!(["a", "b"]), "reads itself"),
        (json!(["a", "nobody"]), "no layer has that name"),
        (json!(["input", "input"]), "no layer reads what it gives"),
        (json!(["a"]), "joins 2 or more layers, and reads 1"),
        (json!(vec!["a"; 17]), "reads 17 layers"),
        (json!(["a", "input"]), "4 and 3 cannot be joined"),
    ] {
        let said = refused(&[3], graph(from));
        assert!(said.contains(word), "{said}");
    }
    let said = refused(
        &[3],
        json!([
            {"op":"dense","units":4,"name":"a"},
            {"op":"relu","from":["a", "a"]},
        ]),
    );
    assert!(
        said.contains("reads 2 layers, and relu may read 1"),
        "{said}"
    );
    for bad in [json!([]), json!("a"), json!([1])] {
        let value = json!({"op":"relu","from":bad});
        assert!(serde_json::from_value::<Layer>(value).is_err());
    }
}

#[test]
fn unknown_fields_of_a_layer_are_refused() {
    let parse = |json: &str| serde_json::from_str::<Layer>(json);
    let layer = parse(r#"{"op":"dense","units":3,"name":"head"}"#).unwrap();
    assert_eq!(layer.name.as_deref(), Some("head"));
    assert!(parse(r#"{"op":"dense","units":3,"biass":false}"#).is_err());
    assert!(parse(r#"{"op":"relu","units":3}"#).is_err());
    assert!(parse(r#"{"op":"exec","path":"x"}"#).is_err());
    let text = serde_json::to_string(&layer).unwrap();
    assert_eq!(parse(&text).unwrap(), layer);
}

#[test]
fn a_default_is_not_written_but_where_it_always_was() {
    for (given, written) in [
        (
            json!({"op":"conv2d","channels":8,"kernel":[3,3],"groups":1,"bias":true,"dilation":[1,1]}),
            r#"{"op":"conv2d","channels":8,"kernel":3,"stride":1,"padding":0}"#,
        ),
        (
            json!({"op":"max_pool2d","kernel":2,"padding":0}),
            r#"{"op":"max_pool2d","kernel":2,"stride":0}"#,
        ),
        (
            json!({"op":"dense","units":3,"bias":true}),
            r#"{"op":"dense","units":3}"#,
        ),
        (
            json!({"op":"lstm","units":3,"output":"every","layers":1}),
            r#"{"op":"lstm","units":3}"#,
        ),
        (
            json!({"op":"transformer_encoder","heads":2,"units":2048,"dropout":0.1,"epsilon":1e-5}),
            r#"{"op":"transformer_encoder","heads":2}"#,
        ),
        (json!({"op":"elu","alpha":1.0}), r#"{"op":"elu"}"#),
        (
            json!({"op":"batch_norm","momentum":0.1}),
            r#"{"op":"batch_norm"}"#,
        ),
        (
            json!({"op":"conv2d","channels":8,"kernel":[3,1],"padding":[1,0]}),
            r#"{"op":"conv2d","channels":8,"kernel":[3,1],"stride":1,"padding":[1,0]}"#,
        ),
    ] {
        assert_eq!(serde_json::to_string(&layer(given)).unwrap(), written);
    }
}

#[test]
fn a_model_may_be_given_as_a_foreign_definition() {
    let text = json!({"input": [1, 8, 8], "definition":
        r#"{"layers":[{"type":"dense","units":"32","activation":"relu"},{"type":"dense","units":10}]}"#});
    let model: Model = serde_json::from_value(text.clone()).unwrap();
    let written = serde_json::to_value(&model).unwrap();
    assert_eq!(
        written,
        json!({"input":[1,8,8],"layers":[
            {"op":"flatten"},{"op":"dense","units":32},{"op":"relu"},{"op":"dense","units":10}
        ]})
    );
    let mut both = text;
    both["layers"] = json!([]);
    let refused = |value| {
        serde_json::from_value::<Model>(value)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(both).contains("not both"));
    assert!(refused(json!({"layers":[]})).contains("missing field `input`"));
    assert!(refused(json!({"input":[1]})).contains("missing field `layers`"));
    let bad = json!({"definition": r#"{"layers":[{"type":"exec"}]}"#});
    assert!(refused(bad).contains("\"exec\" is not known"));
}

mod property {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that are small, or at the edge of what can be counted.
    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![
            4 => 0..9usize,
            1 => any::<usize>(),
            1 => (0..64u32).prop_map(|shift| 1_usize << shift),
            1 => (0..64u32).prop_map(|shift| (1_usize << shift) - 1),
        ]
    }

    fn pair() -> impl Strategy<Value = Pair> {
        (size(), size()).prop_map(|(height, width)| Pair { height, width })
    }

    fn conv<S>(
        channels: usize,
        kernel: S,
        [stride, padding, dilation]: [S; 3],
        groups: usize,
    ) -> Conv<S> {
        Conv {
            channels,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias: true,
        }
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (size(), size(), [size(), size(), size()], size())
                .prop_map(|(c, k, more, g)| Op::Conv1d(conv(c, k, more, g))),
            (size(), pair(), [pair(), pair(), pair()], size())
                .prop_map(|(c, k, more, g)| Op::Conv2d(conv(c, k, more, g))),
            (pair(), pair(), pair()).prop_map(|(kernel, stride, padding)| {
                Op::MaxPool2d(Pool {
                    kernel,
                    stride,
                    padding,
                })
            }),
            (size(), size(), size()).prop_map(|(kernel, stride, padding)| {
                Op::AvgPool1d(Pool {
                    kernel,
                    stride,
                    padding,
                })
            }),
            Just(Op::GlobalAvgPool(Bare {})),
            Just(Op::BatchNorm(BatchNorm::default())),
            size().prop_map(|groups| Op::GroupNorm(GroupNorm {
                groups,
                epsilon: 1e-5
            })),
            (size(), size())
                .prop_map(|(entries, features)| { Op::Embedding(Embedding { entries, features }) }),
            (size(), size()).prop_map(|(units, layers)| {
                Op::Lstm(Recurrent {
                    layers,
                    ..Recurrent::new(units, Steps::Every)
                })
            }),
            size().prop_map(|units| Op::Gru(Recurrent::new(units, Steps::Last))),
            size().prop_map(|heads| Op::Attention(Attention::new(heads))),
            (size(), size())
                .prop_map(|(heads, units)| { Op::TransformerEncoder(Encoder::new(heads, units)) }),
            Just(Op::Position(Position::default())),
            Just(Op::flatten()),
            prop::collection::vec(any::<i64>(), 0..5)
                .prop_map(|shape| { Op::Reshape(Reshape { shape }) }),
            prop::collection::vec(-1..9_i64, 0..4)
                .prop_map(|shape| { Op::Reshape(Reshape { shape }) }),
            prop::collection::vec(size(), 0..5).prop_map(|axes| Op::Transpose(Transpose { axes })),
            size().prop_map(|axis| Op::Concat(Concat { axis })),
            Just(Op::Add(Bare {})),
            size().prop_map(|axis| Op::Mean(Mean { axis })),
            Just(Op::Last(Bare {})),
            size().prop_map(Op::dense),
            size().prop_map(|axis| Op::Softmax(Softmax { axis: Some(axis) })),
            Just(Op::Mish(Bare {})),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_plan_never_panics(
            input in prop::collection::vec(size(), 0..5),
            ops in prop::collection::vec((op(), prop::collection::vec(0..8usize, 0..4)), 0..8),
        ) {
            let mut model = Model::new(input, Vec::new());
            for (op, reads) in ops {
                let names = model.names();
                let from = reads.iter().map(|read| match names.get(*read) {
                    Some(name) => name.clone(),
                    None => INPUT.to_owned(),
                });
                let layer = Layer::new(op).reading(from);
                model.layers.push(layer);
                match model.plan() {
                    // What does not fit is left out, so that graphs grow.
                    Err(_) => drop(model.layers.pop()),
                    Ok(plan) => {
                        prop_assert!(plan.peak_bytes(usize::MAX) >= plan.inference_bytes(1) / 2);
                        let bounded = plan
                            .layers
                            .iter()
                            .all(|layer| shape::elements(&layer.output_shape).is_some());
                        prop_assert!(bounded);
                    }
                }
            }
        }
    }
}
