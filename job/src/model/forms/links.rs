//! A graph of nodes and links between them. Types are names, or the numbers
//! that the engine of the CyxWiz system has for them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::assemble::{Part, assemble};
use super::{Definition, InvalidDefinition, MAX_PARTS, Parameters, part};

/// The most links: more than any graph of so many nodes that can be computed.
const MAX_LINKS: usize = 8192;

/// Node types of the engine that are known, by number.
const TYPES: [(u64, &str); 15] = [
    (0, "Dense"),
    (14, "Dropout"),
    (15, "Flatten"),
    (29, "ReLU"),
    (30, "LeakyReLU"),
    (32, "ELU"),
    (34, "GELU"),
    (35, "Swish"),
    (36, "Mish"),
    (37, "Sigmoid"),
    (38, "Tanh"),
    (39, "Softmax"),
    (50, "Output"),
    (51, "MSELoss"),
    (52, "CrossEntropyLoss"),
];
/// The node that stands for the data.
const DATASET_INPUT: (u64, &str) = (77, "DatasetInput");

pub(super) fn read(
    fields: &Parameters,
    given: Option<&[usize]>,
) -> Result<Definition, InvalidDefinition> {
    let here = "the definition";
    let nodes = fields.list("nodes").map_err(part(here))?;
    let links = fields.list("links").map_err(part(here))?;
    if nodes.len() > MAX_PARTS {
        return Err(InvalidDefinition::Size(nodes.len()));
    }
    if links.len() > MAX_LINKS {
        return Err(part(here)(format!(
            "has {} links, of {MAX_LINKS} allowed",
            links.len()
        )));
    }
    let mut parts = Vec::with_capacity(nodes.len());
    let mut places = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let (id, part) = node_part(index, node)?;
        if places.insert(id.clone(), index).is_some() {
            return Err(InvalidDefinition::Part {
                part: part.label,
                reason: "another node has this id".to_owned(),
            });
        }
        parts.push(part);
    }
    for (index, link) in links.iter().enumerate() {
        let label = format!("link {}", index + 1);
        let wrong = part(&label);
        let ends = Parameters::of(link).map_err(&wrong)?;
        let end = |name: &str| {
            let (_, id) = ends
                .value(&[name])
                .ok_or_else(|| wrong(format!("has no `{name}`")))?;
            places
                .get(&id_text(id))
                .copied()
                .ok_or_else(|| wrong(format!("`{name}` names no node: {}", id_text(id))))
        };
        let (from, to) = (end("from_node")?, end("to_node")?);
        if !parts[to].reads.contains(&from) {
            parts[to].reads.push(from);
        }
    }
    assemble(&parts, None, given, None)
}

fn node_part(index: usize, node: &Value) -> Result<(String, Part), InvalidDefinition> {
    let unnamed = format!("node {}", index + 1);
    let own = Parameters::of(node).map_err(part(&unnamed))?;
    let id = own
        .value(&["id"])
        .map(|(_, id)| id_text(id))
        .ok_or_else(|| part(&unnamed)("has no `id`".to_owned()))?;
    let label = format!("node {id}");
    let wrong = part(&label);
    let (_, kind) = own
        .value(&["type"])
        .ok_or_else(|| wrong("has no `type`".to_owned()))?;
    let word = word_of(&label, kind)?;
    let parameters = match own.value(&["parameters"]) {
        Some((_, value)) => Parameters::of(value).map_err(&wrong)?,
        None => Parameters::default(),
    };
    let name = own
        .text(&["name"])
        .map_err(&wrong)?
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    drop(wrong);
    Ok((
        id,
        Part {
            label,
            name,
            word,
            parameters,
            reads: Vec::new(),
        },
    ))
}

fn word_of(label: &str, kind: &Value) -> Result<String, InvalidDefinition> {
    let number = match kind {
        Value::String(text) => match text.trim().parse() {
            Ok(number) => number,
            Err(_) => return Ok(text.clone()),
        },
        Value::Number(number) => number.as_u64().unwrap_or(u64::MAX),
        _ => {
            return Err(part(label)(
                "`type` should be a name or a number".to_owned(),
            ));
        }
    };
    TYPES
        .iter()
        .chain([&DATASET_INPUT])
        .find(|(known, _)| *known == number)
        .map(|(_, word)| (*word).to_owned())
        .ok_or_else(|| InvalidDefinition::UnknownWord {
            what: format!("the type of {label},"),
            word: number.to_string(),
        })
}

/// An id as text, so that 7 and "7" are one.
fn id_text(id: &Value) -> String {
    let text = match id {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    text.chars().take(64).collect()
}
