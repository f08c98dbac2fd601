//! An operation by its type and its parameters.
//!
//! Parameters are texts: numbers, truths and lists in JSON, lists of numbers with commas
//! alone too. One that the operation does not know is refused by its name.

use std::collections::BTreeMap;

use embermesh_job::program::Op;
use serde_json::{Map, Value};

use super::INPUTS;

/// Axes that a window goes along.
const WINDOW_AXES: usize = 2;

/// Words of this system and others for operations, and ours.
const ACTIVATIONS: [(&str, &str); 17] = [
    ("relu", "relu"),
    ("leaky_relu", "leaky_relu"),
    ("leakyrelu", "leaky_relu"),
    ("elu", "elu"),
    ("celu", "celu"),
    ("selu", "selu"),
    ("gelu", "gelu"),
    ("silu", "silu"),
    ("swish", "silu"),
    ("mish", "mish"),
    ("sigmoid", "sigmoid"),
    ("hard_sigmoid", "hard_sigmoid"),
    ("tanh", "tanh"),
    ("softplus", "softplus"),
    ("softsign", "softsign"),
    ("softmax", "softmax"),
    ("log_softmax", "log_softmax"),
];
const POOLS: [(&str, &str); 3] = [
    ("max", "max_pool"),
    ("avg", "avg_pool"),
    ("average", "avg_pool"),
];
const LOSSES: [(&str, &str); 8] = [
    ("mse", "mse_loss"),
    ("l1", "l1_loss"),
    ("mae", "l1_loss"),
    ("smooth_l1", "smooth_l1_loss"),
    ("huber", "smooth_l1_loss"),
    ("bce_with_logits", "bce_with_logits_loss"),
    ("cross_entropy", "cross_entropy_loss"),
    ("crossentropy", "cross_entropy_loss"),
];
const OPTIMIZERS: [(&str, &str); 3] = [("sgd", "sgd"), ("adam", "adam"), ("adamw", "adam")];

/// The operation of a type, with its parameters. `rank` is how many axes the first
/// operand has, where that is known.
pub(super) fn op(
    kind: i32,
    parameters: &BTreeMap<String, String>,
    rank: Option<usize>,
) -> Result<Op, String> {
    let mut said: BTreeMap<&str, &str> = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    said.remove(INPUTS);
    let (word, renamed): (&str, &[(&str, &str)]) = match kind {
        1 => ("matmul", &[]),
        2 => ("conv", &[]),
        3 => (
            chosen(&mut said, "type", &POOLS)?,
            &[("kernel_size", "kernel")],
        ),
        4 => (chosen(&mut said, "type", &ACTIVATIONS)?, &[]),
        5 => (chosen(&mut said, "type", &LOSSES)?, &[]),
        6 => (
            chosen(&mut said, "type", &OPTIMIZERS)?,
            &[("lr", "learning_rate")],
        ),
        100 => (custom(&mut said)?, &[]),
        other => return Err(format!("operation: {other} is no type of operation")),
    };
    let mut fields: Map<String, Value> = said
        .into_iter()
        .map(|(name, text)| {
            let mut renamed = renamed.iter().filter(|(theirs, _)| *theirs == name);
            let name = renamed.next().map_or(name, |(_, ours)| *ours);
            (name.to_owned(), value(text))
        })
        .collect();
    if matches!(kind, 2 | 3) {
        for list in ["stride", "padding", "dilation", "kernel"] {
            if let Some(every @ Value::Number(_)) = fields.get(list).cloned() {
                fields.insert(list.to_owned(), vec![every; WINDOW_AXES].into());
            }
        }
    }
    if let ("softmax" | "log_softmax", Some(last)) =
        (word, rank.and_then(|rank| rank.checked_sub(1)))
    {
        fields.entry("axis").or_insert_with(|| last.into());
    }
    fields.insert("op".to_owned(), word.into());
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| format!("parameters: {word}: {error}"))
}

/// Our word for what a parameter chooses.
fn chosen(
    said: &mut BTreeMap<&str, &str>,
    name: &str,
    words: &[(&str, &'static str)],
) -> Result<&'static str, String> {
    let chosen = said.remove(name).unwrap_or_default();
    let word = chosen.to_ascii_lowercase();
    let found = words.iter().find(|(theirs, _)| *theirs == word);
    found.map(|(_, ours)| *ours).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(theirs, _)| *theirs).collect();
        format!("parameters: {name}: give one of {}", known.join(", "))
    })
}

/// Any operation of ours, by its word.
fn custom(said: &mut BTreeMap<&str, &str>) -> Result<&'static str, String> {
    let asked = said.remove("op").unwrap_or_default();
    let word = Op::words().iter().find(|word| **word == asked);
    word.copied()
        .ok_or_else(|| "parameters: op: give the word of an operation, such as add".to_owned())
}

/// What a parameter's text says.
fn value(text: &str) -> Value {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let listed: Result<Vec<Value>, _> = text.split(',').map(serde_json::from_str).collect();
    match listed {
        Ok(values) if values.len() > 1 => values.into(),
        _ => text.into(),
    }
}
