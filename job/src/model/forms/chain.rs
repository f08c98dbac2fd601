//! A list of layers, each reading the one before; or, where layers say the
//! names of their ends, whichever has that name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::assemble::{Part, assemble};
use super::{Definition, InvalidDefinition, Parameters, part, words};

pub(super) fn read(
    fields: &Parameters,
    given: Option<&[usize]>,
) -> Result<Definition, InvalidDefinition> {
    let here = "the definition";
    let layers = fields.list("layers").map_err(part(here))?;
    if layers.len() > super::MAX_PARTS {
        return Err(InvalidDefinition::Size(layers.len()));
    }
    let mut parts = Vec::with_capacity(layers.len());
    let mut ends = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let label = format!("layer {}", index + 1);
        let (part, end) = layer_part(label, layer)?;
        parts.push(part);
        ends.push(end);
    }
    connect(&mut parts, &ends)?;
    let said = words::input_shape(fields).map_err(part(here))?;
    let loss = fields
        .text(&["loss", "loss_function"])
        .map_err(part(here))?
        .filter(|word| !word.is_empty())
        .map(words::loss)
        .transpose()?;
    assemble(&parts, said, given, loss)
}

/// The names that a layer reads and gives.
#[derive(Default)]
struct Ends {
    reads: Vec<String>,
    gives: Vec<String>,
}

fn layer_part(label: String, layer: &Value) -> Result<(Part, Ends), InvalidDefinition> {
    let wrong = part(&label);
    let own = Parameters::of(layer).map_err(&wrong)?;
    let word = own
        .text(&["type", "layer_type", "op", "class_name"])
        .map_err(&wrong)?
        .ok_or_else(|| wrong("has no `type`".to_owned()))?
        .to_owned();
    let name = own
        .text(&["name", "layer_name"])
        .map_err(&wrong)?
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let names = |field: &str| -> Result<Vec<String>, InvalidDefinition> {
        let list = own.list(field).map_err(&wrong)?;
        list.iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| wrong(format!("`{field}` should be a list of names")))
    };
    let ends = Ends {
        reads: names("input_names")?,
        gives: names("output_names")?,
    };
    let parameters = match own.value(&["parameters", "params", "config"]) {
        Some((_, value)) => Parameters::of(value).map_err(&wrong)?,
        None => own.clone(),
    };
    drop(wrong);
    Ok((
        Part {
            label,
            name,
            word,
            parameters,
            reads: Vec::new(),
        },
        ends,
    ))
}

fn connect(parts: &mut [Part], ends: &[Ends]) -> Result<(), InvalidDefinition> {
    let mut giver = BTreeMap::<&str, usize>::new();
    for (index, (part, ends)) in parts.iter().zip(ends).enumerate() {
        for name in part.name.iter().chain(&ends.gives) {
            giver.entry(name).or_insert(index);
        }
    }
    let is_named = ends.iter().any(|ends| !ends.reads.is_empty());
    let mut reads = Vec::with_capacity(parts.len());
    for (index, (from, ends)) in parts.iter().zip(ends).enumerate() {
        let before = index.checked_sub(1).into_iter().collect();
        reads.push(if ends.reads.is_empty() && !(is_named && index > 0) {
            before
        } else {
            let mut read = Vec::with_capacity(ends.reads.len());
            for name in &ends.reads {
                match giver.get(name.as_str()) {
                    Some(giver) => read.push(*giver),
                    // The model's own input has a name that no layer gives.
                    None if is_input(name) || index == 0 => {}
                    None => {
                        return Err(part(&from.label)(format!(
                            "reads {name:?}, which no layer gives"
                        )));
                    }
                }
            }
            if ends.reads.is_empty() { before } else { read }
        });
    }
    for (part, reads) in parts.iter_mut().zip(reads) {
        part.reads = reads;
    }
    Ok(())
}

fn is_input(name: &str) -> bool {
    matches!(name, "input" | "inputs" | "data" | "x")
}
