//! The network of a folder beside numpy, and beside the same one as GGUF.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::gguf::Gguf;
use super::llama;
use super::model::Model;
use super::tests::logits;
use super::tiny;
use crate::hub::Folder;
use crate::hub::weights::Weights;

const WEIGHTS: &[u8] = include_bytes!("../../tests/golden/hub/tiny-llama/model.safetensors");
const CONFIG: &[u8] = include_bytes!("../../tests/golden/hub/tiny-llama/config.json");
const EXPECTED: &str = include_str!("../../tests/golden/hub/tiny-llama.expected.json");

fn folder(config: &Value, weights: Vec<u8>) -> Folder {
    Folder::of(BTreeMap::from([
        (
            "config.json".to_owned(),
            serde_json::to_vec(config).unwrap(),
        ),
        ("model.safetensors".to_owned(), weights),
    ]))
}

fn network(folder: &Folder) -> Model<'_> {
    let config = llama::Config::read(folder).unwrap();
    llama::read(&config, &mut Weights::read(folder).unwrap()).unwrap()
}

#[test]
fn a_folder_is_the_network_that_numpy_runs() {
    let golden: Value = serde_json::from_str(EXPECTED).unwrap();
    let tokens: Vec<u32> = serde_json::from_value(golden["tokens"].clone()).unwrap();
    for variant in golden["variants"].as_array().unwrap() {
        let mut config: Value = serde_json::from_slice(CONFIG).unwrap();
        for (key, value) in variant["change"].as_object().unwrap() {
            config[key] = value.clone();
        }
        let folder = folder(&config, WEIGHTS.to_vec());
        let found = logits(&network(&folder), &tokens, 64);
        let expected: Vec<f64> = serde_json::from_value(variant["logits"].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        let pairs = found.iter().zip(&expected);
        let worst = pairs
            .map(|(found, expected)| (f64::from(*found) - expected).abs())
            .fold(0.0, f64::max);
        println!("{}: off by {worst:e}", variant["change"]);
        assert!(worst < 1e-3, "{}: {worst}", variant["change"]);
    }
}

/// The rows of a matrix in the order of the other library, whose pairs are
/// halves of a head.
fn in_halves(bytes: &[u8], heads: usize, row: usize) -> Vec<u8> {
    let mut turned = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact(bytes.len() / heads) {
        let rows: Vec<&[u8]> = head.chunks_exact(row).collect();
        let halves = rows.iter().step_by(2).chain(rows.iter().skip(1).step_by(2));
        turned.extend(halves.flat_map(|row| row.iter().copied()));
    }
    turned
}

#[test]
fn the_same_model_gives_the_same_numbers_in_both_forms() {
    let bytes = tiny::writer().bytes();
    let file = Gguf::parse(&bytes).unwrap();
    let mut tensors = Vec::new();
    for tensor in file.tensors() {
        let [columns, rows, ..] = tensor.shape.map(|axis| axis as usize);
        let (name, heads) = match tensor.name.split('.').collect::<Vec<_>>()[..] {
            ["token_embd", _] => ("model.embed_tokens.weight".to_owned(), None),
            ["output_norm", _] => ("model.norm.weight".to_owned(), None),
            [_, layer, part, _] => {
                let (name, heads) = match part {
                    "attn_norm" => ("input_layernorm", None),
                    "attn_q" => ("self_attn.q_proj", Some(4)),
                    "attn_k" => ("self_attn.k_proj", Some(2)),
                    "attn_v" => ("self_attn.v_proj", None),
                    "attn_output" => ("self_attn.o_proj", None),
                    "ffn_norm" => ("post_attention_layernorm", None),
                    "ffn_gate" => ("mlp.gate_proj", None),
                    "ffn_up" => ("mlp.up_proj", None),
                    _ => ("mlp.down_proj", None),
                };
                (format!("model.layers.{layer}.{name}.weight"), heads)
            }
            _ => panic!("{}", tensor.name),
        };
        let data = match heads {
            Some(heads) => in_halves(tensor.bytes, heads, 4 * columns),
            None => tensor.bytes.to_vec(),
        };
        let shape = match name.contains("norm") {
            true => vec![columns],
            false => vec![rows, columns],
        };
        tensors.push((name, shape, data));
    }
    let views = tensors.iter().map(|(name, shape, data)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    let weights = safetensors::serialize(views, None).unwrap();
    let model = Model::read(&file).unwrap();
    let shape = &model.shape;
    let config = json!({
        "model_type": "llama", "hidden_size": shape.width, "intermediate_size": shape.inner,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": shape.vocabulary, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
    });
    let folder = folder(&config, weights);
    let tokens: Vec<u32> = (0..37).map(|at| 3 + at * 7 % 60).collect();
    let (one, other) = (
        logits(&model, &tokens, 64),
        logits(&network(&folder), &tokens, 64),
    );
    let worst = one
        .iter()
        .zip(&other)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    println!("off by {worst:e}");
    assert!(worst < 1e-4, "{worst}");
    assert_eq!(model.parameters, network(&folder).parameters);
}
