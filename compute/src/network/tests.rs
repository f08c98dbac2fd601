//! What a plan promises is what comes out, whatever the graph.

use burn::tensor::Device;
use embermesh_job::model::{Layer, Model, Op, Plan};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::flow::Flow;
use super::*;
use crate::dataset::Targets;

const SAMPLES: usize = 2;

/// An operation with small options, fitting or not.
fn op() -> impl Strategy<Value = Value> {
    let n = 1..5usize;
    let options = (n.clone(), n.clone(), 0..3usize, 1..3usize, any::<bool>());
    (0..37usize, options).prop_map(|(word, (a, b, c, d, yes))| match word {
        0 => json!({"op":"conv1d","channels":a,"kernel":b,"padding":c,"stride":d,"bias":yes}),
        1 => json!({"op":"conv2d","channels":a,"kernel":[b,d],"padding":c,"dilation":d}),
        2 => json!({"op":"conv2d","channels":2*a,"kernel":b,"groups":d,"bias":yes}),
        3 => json!({"op":"max_pool1d","kernel":b,"padding":c,"stride":d}),
        4 => json!({"op":"max_pool2d","kernel":[b,d],"stride":c}),
        5 => json!({"op":"avg_pool1d","kernel":b,"padding":c}),
        6 => json!({"op":"avg_pool2d","kernel":b,"padding":[c,0],"stride":d}),
        7 => json!({"op":"global_avg_pool"}),
        8 => json!({"op":"global_max_pool"}),
        9 => json!({"op":"batch_norm"}),
        10 => json!({"op":"layer_norm"}),
        11 => json!({"op":"group_norm","groups":d}),
        12 => json!({"op":"dropout","probability":0.25 * c as f64}),
        13 => json!({"op":"lstm","units":a,"layers":d,"bias":yes}),
        14 => json!({"op":"gru","units":a,"output":"last"}),
        15 => json!({"op":"attention","heads":d,"causal":yes,"dropout":0.25 * c as f64}),
        16 => json!({"op":"transformer_encoder","heads":d,"units":a,"norm_first":yes}),
        17 => json!({"op":"position"}),
        18 => json!({"op":"position","kind":"sinusoidal"}),
        19 => json!({"op":"flatten"}),
        20 => json!({"op":"reshape","shape":[-1,a]}),
        21 => json!({"op":"reshape","shape":[a,-1,d]}),
        22 => json!({"op":"transpose","axes":[1,0]}),
        23 => json!({"op":"transpose","axes":[c,(c+1)%3,(c+2)%3]}),
        24 => json!({"op":"mean","axis":c}),
        25 => json!({"op":"last"}),
        26 => json!({"op":"dense","units":a,"bias":yes}),
        27 => json!({"op":"relu"}),
        28 => json!({"op":"leaky_relu"}),
        29 => json!({"op":"elu"}),
        30 => json!({"op":"gelu","approximate":yes}),
        31 => json!({"op":"silu"}),
        32 => json!({"op":"mish"}),
        33 => json!({"op":"softmax","axis":c}),
        34 => json!({"op":"log_softmax"}),
        35 => json!({"op":"softplus"}),
        _ => json!({"op":"tanh"}),
    })
}

/// Reads the layer before, and perhaps some other.
fn joined(before: &str, other: &str, kind: usize) -> Layer {
    let value = match kind {
        0 => json!({"op":"add"}),
        1 => json!({"op":"multiply"}),
        2 => json!({"op":"concat"}),
        3 => json!({"op":"concat","axis":1}),
        _ => json!({"op":"attention","heads":1}),
    };
    let layer: Layer = serde_json::from_value(value).unwrap();
    layer.reading([before, other])
}

prop_compose! {
    /// A model of those candidates that fit, one after the other.
    fn graph()(
        input in prop::collection::vec(1..7usize, 1..4),
        candidates in prop::collection::vec((op(), any::<Index>(), 0..10usize), 1..12),
    ) -> Model {
        let mut model = Model::new(input, Vec::new());
        for (op, other, kind) in candidates {
            let mut names = model.names();
            names.insert(0, "input".to_owned());
            let layer = if kind < 5 {
                joined(names.last().unwrap(), other.get::<String>(&names), kind)
            } else {
                serde_json::from_value(op).unwrap()
            };
            model.layers.push(layer);
            if model.plan().is_err() {
                model.layers.pop();
            }
        }
        if model.layers.is_empty() {
            model.layers.push(Layer::new(Op::relu()));
        }
        model
    }
}

fn batch(model: &Model) -> Batch {
    let size = SAMPLES * model.input.iter().product::<usize>();
    Batch {
        pixels: (0..size)
            .map(|at| (at * 7 % 11) as f32 * 0.1 - 0.4)
            .collect(),
        targets: Targets::Classes(vec![0; SAMPLES]),
    }
}

fn shape(flow: &Flow) -> Vec<usize> {
    match flow {
        Flow::Rows(rows) => rows.dims()[1..].to_vec(),
        Flow::Lines(lines) => lines.dims()[1..].to_vec(),
        Flow::Maps(maps) => maps.dims()[1..].to_vec(),
    }
}

fn goes_as_planned(model: &Model, plan: &Plan) {
    let network = Network::new(model, 3, &Device::flex()).unwrap();
    assert_eq!(network.count(), plan.parameters);
    let numbers: u64 = network
        .tensors()
        .map(|tensor| tensor.value.dims()[0] as u64)
        .sum();
    assert_eq!(numbers * 4, plan.weight_bytes());
    for mode in [Mode::Infer, Mode::Train { seed: 5, step: 2 }] {
        let values = network.leaves();
        let mut pass = Pass::new(&network, &values, mode);
        let pixels = network.constant(batch(model).pixels);
        let mut seen = Vec::new();
        let outputs = pass.run_watched(Flow::of(pixels, SAMPLES, &model.input), &mut |_, flow| {
            seen.push(shape(flow));
        });
        let planned: Vec<_> = plan
            .layers
            .iter()
            .map(|layer| &layer.output_shape)
            .collect();
        assert_eq!(seen.iter().collect::<Vec<_>>(), planned);
        if let (Mode::Train { .. }, false) = (mode, values.is_empty()) {
            let gradients = outputs.rows().sum().backward();
            for leaf in &values {
                if let Some(gradient) = leaf.grad(&gradients) {
                    assert_eq!(gradient.dims(), leaf.dims());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_graph_comes_out_as_planned(model in graph()) {
        let plan = model.plan().unwrap();
        goes_as_planned(&model, &plan);
    }
}

fn of(value: Value) -> Model {
    serde_json::from_value(value).unwrap()
}

#[test]
fn ids_that_an_embedding_does_not_have_are_refused() {
    let model = of(json!({"input":[4,1],"layers":[
        {"op":"reshape","shape":[4]},
        {"op":"embedding","entries":5,"features":3},
        {"op":"flatten"},
    ]}));
    let network = Network::new(&model, 0, &Device::flex()).unwrap();
    let run = |pixels: [f32; 4]| {
        let batch = Batch {
            pixels: pixels.to_vec(),
            targets: Targets::Classes(vec![0]),
        };
        network
            .forward(&network.constants(), &batch, Mode::Infer)
            .map(|passed| passed.outputs.dims())
            .map_err(|error| error.to_string())
    };
    assert_eq!(run([0.0, 4.0, 1.0, 1.0]), Ok([1, 12]));
    for bad in [5.0, -1.0, 0.5, f32::NAN] {
        let said = run([0.0, bad, 1.0, 1.0]).unwrap_err();
        assert!(said.contains("whole numbers from 0 to 4"), "{said}");
    }
}

/// The places of values among all parameters key what they are drawn from, so a
/// layer without any changes nothing.
#[test]
fn first_values_spread_as_pytorchs() {
    let model = of(json!({"input":[64],"layers":[
        {"op":"embedding","entries":100,"features":64},
        {"op":"position"},
        {"op":"lstm","units":16},
        {"op":"batch_norm"},
        {"op":"transformer_encoder","heads":2,"units":64},
        {"op":"layer_norm"},
    ]}));
    let network = Network::new(&model, 9, &Device::flex()).unwrap();
    let values = |name: &str| {
        let tensor = network.tensors().find(|tensor| tensor.name == name);
        tensor.unwrap().value.try_to_vec_as::<f32>().unwrap()
    };
    let spread = |name: &str| {
        let values = values(name);
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        (squares / values.len() as f64).sqrt()
    };
    let even = |bound: f64| bound / 3f64.sqrt();
    for (name, expected) in [
        ("embedding_1.weight", 1.0),
        ("position_1.weight", 0.02),
        ("lstm_1.weight_hh_l0", even(0.25)),
        ("lstm_1.weight_ih_l0", even(0.25)),
        (
            "transformer_encoder_1.self_attn.in_proj_weight",
            even((6.0_f64 / 64.0).sqrt()),
        ),
        (
            "transformer_encoder_1.self_attn.out_proj.weight",
            even(0.25),
        ),
        ("transformer_encoder_1.linear2.weight", even(0.125)),
    ] {
        let found = spread(name);
        assert!(
            (found / expected - 1.0).abs() < 0.1,
            "{name}: {found} {expected}"
        );
    }
    for (name, value) in [
        ("batch_norm_1.weight", 1.0),
        ("batch_norm_1.bias", 0.0),
        ("batch_norm_1.running_mean", 0.0),
        ("batch_norm_1.running_var", 1.0),
        ("transformer_encoder_1.norm2.weight", 1.0),
        ("transformer_encoder_1.self_attn.in_proj_bias", 0.0),
        ("layer_norm_1.bias", 0.0),
    ] {
        assert!(values(name).iter().all(|found| *found == value), "{name}");
    }
}
