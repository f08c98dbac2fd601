use serde_json::json;

use super::*;

fn layers(text: &str, input: Option<&[usize]>) -> (Vec<usize>, Value, Option<Loss>) {
    let definition = read(text, input).unwrap_or_else(|error| panic!("{text}: {error}"));
    let value = serde_json::to_value(&definition.model.layers).unwrap();
    (definition.model.input, value, definition.loss)
}

fn refused(text: &str) -> String {
    read(text, Some(&[64])).unwrap_err().to_string()
}

const CROSS_ENTROPY: Loss = Loss::CrossEntropy {
    label_smoothing: 0.0,
    class_weights: Vec::new(),
};

#[test]
fn a_list_of_layers() {
    let text = r#"{"layers":[
        {"type":"conv2d","filters":8,"kernel_size":"3","padding":"same","activation":"relu"},
        {"type":"MaxPooling2D","pool_size":[2,2]},
        {"type":"batch_normalization"},
        {"type":"flatten"},
        {"type":"dropout","rate":"0.25"},
        {"type":"dense","units":10,"activation":"softmax"}],"loss":"categorical_crossentropy"}"#;
    let (input, layers, loss) = layers(text, Some(&[1, 8, 8]));
    assert_eq!(input, [1, 8, 8]);
    assert_eq!(
        layers,
        json!([
            {"op":"conv2d","channels":8,"kernel":3,"stride":1,"padding":1},
            {"op":"relu"},
            {"op":"max_pool2d","kernel":2,"stride":0},
            {"op":"batch_norm"},
            {"op":"flatten"},
            {"op":"dropout","probability":0.25},
            {"op":"dense","units":10},
        ])
    );
    assert_eq!(loss, Some(CROSS_ENTROPY));
}

#[test]
fn layers_with_named_ends() {
    let text = r#"{"model_name":"net","model_type":"custom","loss_function":"mse","layers":[
        {"layer_name":"sum","layer_type":"Add","input_names":["a_out","b"]},
        {"layer_name":"a","layer_type":"Dense","parameters":{"units":"8","in_features":"4"},
         "input_names":["input"],"output_names":["a_out"]},
        {"layer_name":"b","layer_type":"Dense","parameters":{"units":"8","use_bias":"false"},
         "input_names":["input"]},
        {"layer_name":"out","layer_type":"Linear","parameters":{"out_features":1},
         "input_names":["sum"]}]}"#;
    let (input, layers, loss) = layers(text, None);
    assert_eq!(input, [4]);
    assert_eq!(
        layers,
        json!([
            {"op":"dense","units":8,"name":"a"},
            {"op":"dense","units":8,"bias":false,"name":"b","from":["input"]},
            {"op":"add","name":"sum","from":["a","b"]},
            {"op":"dense","units":1,"name":"out"},
        ])
    );
    assert_eq!(loss, Some(Loss::Mse));
}

#[test]
fn nodes_and_links() {
    let text = r#"{"nodes":[
        {"id":9,"type":52,"name":"loss"},
        {"id":1,"type":77,"name":"data","parameters":{"input_shape":"1,8,8"}},
        {"id":2,"type":15,"name":"flat"},
        {"id":3,"type":0,"name":"hidden layer","parameters":{"units":"32","in_features":"64"}},
        {"id":4,"type":30,"parameters":{"negative_slope":"0.2"}},
        {"id":5,"type":14,"parameters":{"rate":"0.1"}},
        {"id":6,"type":0,"parameters":{"units":10}},
        {"id":7,"type":39},{"id":8,"type":50}],
      "links":[{"from_node":1,"to_node":2},{"from_node":2,"to_node":3},{"from_node":3,"to_node":4},
        {"from_node":4,"to_node":5},{"from_node":5,"to_node":6},{"from_node":6,"to_node":7},
        {"from_node":7,"to_node":8},{"from_node":8,"to_node":9}]}"#;
    let (input, layers, loss) = layers(text, None);
    assert_eq!(input, [1, 8, 8]);
    assert_eq!(
        layers,
        json!([
            {"op":"flatten","name":"flat"},
            {"op":"dense","units":32,"name":"hidden_layer"},
            {"op":"leaky_relu","negative_slope":0.2},
            {"op":"dropout","probability":0.1},
            {"op":"dense","units":10},
        ])
    );
    assert_eq!(loss, Some(CROSS_ENTROPY));
}

#[test]
fn every_node_type_of_the_engine_is_known_by_its_number() {
    let activations = [29, 30, 32, 34, 35, 36, 37, 38];
    for number in activations {
        let text = format!(
            r#"{{"nodes":[{{"id":"a","type":"{number}"}},{{"id":"b","type":"Dense","parameters":{{"units":2}}}},{{"id":3,"type":51}}],
               "links":[{{"from_node":"a","to_node":"b"}},{{"from_node":"b","to_node":"3"}}]}}"#
        );
        let (_, layers, loss) = layers(&text, Some(&[4]));
        assert_eq!(layers.as_array().unwrap().len(), 2, "{layers}");
        assert_eq!(loss, Some(Loss::Mse));
    }
}

#[test]
fn sizes_alone() {
    let hidden = json!([
        {"op":"dense","units":256},{"op":"tanh"},
        {"op":"dense","units":128},{"op":"tanh"},
        {"op":"dense","units":10},
    ]);
    let text = r#"{"type":"mlp","input_size":"784","output_size":10,"hidden_layers":[256,128],
        "activation":"tanh","output_activation":"softmax"}"#;
    let (input, found, _) = layers(text, None);
    assert_eq!((input, found), (vec![784], hidden.clone()));
    // The same for samples of another shape with as many values.
    let (input, found, _) = layers(text, Some(&[1, 28, 28]));
    assert_eq!(input, [1, 28, 28]);
    assert_eq!(found[0], json!({"op":"flatten"}));
    assert_eq!(
        found.as_array().unwrap()[1..],
        hidden.as_array().unwrap()[..]
    );

    let text = r#"{"architecture":"MLP","layers":[784,256,128,10]}"#;
    let (input, found, loss) = layers(text, None);
    assert_eq!(input, [784]);
    assert_eq!(found[1], json!({"op":"relu"}));
    assert_eq!(found.as_array().unwrap().len(), 5);
    assert_eq!(loss, None);
}

#[test]
fn a_sigmoid_that_the_loss_does_not_do_stays() {
    let text = |loss: &str| {
        format!(
            r#"{{"type":"mlp","input_size":4,"output_size":1,"hidden_layers":"8","output_activation":"sigmoid","loss":"{loss}"}}"#
        )
    };
    let count = |loss| layers(&text(loss), None).1.as_array().unwrap().len();
    assert_eq!(count("mse"), 4);
    assert_eq!(count("binary_crossentropy"), 3);
}

#[test]
fn sequences_and_blocks() {
    let text = r#"{"layers":[
        {"type":"embedding","vocab_size":"100","embedding_dim":16},
        {"type":"TransformerEncoderLayer","nhead":4,"dim_feedforward":32,"activation":"gelu"},
        {"type":"LSTM","units":8,"return_sequences":true},
        {"type":"gru","hidden_size":8},
        {"type":"activation","activation":"swish"},
        {"type":"dense","units":2}]}"#;
    let (_, layers, _) = layers(text, Some(&[12]));
    assert_eq!(
        layers,
        json!([
            {"op":"embedding","entries":100,"features":16},
            {"op":"transformer_encoder","heads":4,"units":32,"activation":"gelu"},
            {"op":"lstm","units":8},
            {"op":"gru","units":8,"output":"last"},
            {"op":"silu"},
            {"op":"dense","units":2},
        ])
    );
}

#[test]
fn what_is_not_known_is_refused_by_its_name() {
    for (text, word) in [
        (r#"{"layers":[{"type":"capsule"}]}"#, "\"capsule\""),
        (
            r#"{"layers":[{"type":"dense","units":2,"activation":"wave"}]}"#,
            "\"wave\"",
        ),
        (
            r#"{"nodes":[{"id":1,"type":3}],"links":[]}"#,
            "the type of node 1, \"3\" is not known",
        ),
        (
            r#"{"type":"cnn","input_size":3,"output_size":2}"#,
            "\"cnn\"",
        ),
        (r#"{"architecture":"ResNet-50"}"#, "\"ResNet-50\""),
        (
            r#"{"layers":[{"type":"dense","units":2}],"loss":"hinge"}"#,
            "\"hinge\"",
        ),
        (r#"{"layers":[{"units":2}]}"#, "layer 1: has no `type`"),
        (
            r#"{"layers":[{"type":"dense"}]}"#,
            "layer 1: `units` is missing",
        ),
        (
            r#"{"layers":[{"type":"dense","units":"many"}]}"#,
            "`units` should be a whole number",
        ),
        (
            r#"{"layers":[{"type":"dense","units":2.5}]}"#,
            "`units` should be a whole number",
        ),
        (
            r#"{"layers":[{"type":"lstm","units":2,"bidirectional":true}]}"#,
            "bidirectional",
        ),
        (r#"{"layers":[]}"#, "0 layers"),
        (r#"{"layers":7}"#, "`layers` should be a list"),
        (
            r#"{"layers":[{"type":"flatten"},{"type":"conv2d","filters":2,"kernel_size":3}]}"#,
            "layer 2 \"conv2d_1\"",
        ),
        (
            r#"{"nodes":[{"id":1,"type":0,"parameters":{"units":2}}],"links":[{"from_node":1,"to_node":5}]}"#,
            "names no node: 5",
        ),
        (
            r#"{"nodes":[{"id":1,"type":29},{"id":2,"type":29}],"links":[{"from_node":1,"to_node":2},{"from_node":2,"to_node":1}]}"#,
            "cycle",
        ),
        (
            r#"{"nodes":[{"id":1,"type":29},{"id":1,"type":29}],"links":[]}"#,
            "this id",
        ),
        (
            r#"{"architecture":"MLP","layers":[9,2]}"#,
            "samples of the shape [9]",
        ),
        (r#"{"name":"x"}"#, "in no form"),
        ("[]", "not JSON"),
        ("nonsense", "not JSON"),
    ] {
        let said = refused(text);
        assert!(said.contains(word), "{text}: {said}");
    }
    let nobody = read(r#"{"layers":[{"type":"dense","units":2}]}"#, None).unwrap_err();
    assert_eq!(nobody, InvalidDefinition::NoInput);
    assert!(matches!(
        read(&" ".repeat(MAX_DEFINITION + 1), None),
        Err(InvalidDefinition::TooLarge(_))
    ));
}
