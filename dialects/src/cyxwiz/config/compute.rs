//! A computation: operations over tensors in the model's place, of a job of type
//! inference. Tensors without numbers are those of the job's data, a safetensors file.

use embermesh_job::spec::{Compute, Prove, Work};
use serde_json::{Map, Value, json};

use super::{
    Config, Gathered, InvalidConfig,
    hyper::{Hyper, refuse},
    place, wrong,
};

const FIELD: &str = "config.model_definition";

/// The definition, where it is one of a computation.
pub(super) fn definition(config: &Config) -> Option<Map<String, Value>> {
    let told: Value = serde_json::from_str(config.model_definition.trim()).ok()?;
    match told {
        Value::Object(fields) if fields.contains_key("operations") => Some(fields),
        _ => None,
    }
}

/// What a definition asks for.
pub(super) fn read(
    mut fields: Map<String, Value>,
    config: &Config,
    hyper: &mut Hyper,
    gathered: &mut Gathered,
) -> Result<Work, InvalidConfig> {
    if config.batch_size != 0 || config.epochs > 1 {
        let reason = "a computation is done once: it has no batches and no epochs";
        return Err(wrong("config.batch_size", reason));
    }
    let tensors = fields.entry("tensors").or_insert_with(|| json!([]));
    let tensors = tensors.as_array_mut();
    let tensors = tensors.ok_or_else(|| wrong(FIELD, "`tensors` is no list"))?;
    let mut lacking = Vec::new();
    for tensor in tensors.iter_mut().filter_map(Value::as_object_mut) {
        if tensor.contains_key("file") {
            let reason = "the data is named by dataset_uri or initial_data: a tensor without `values` is looked for there";
            return Err(wrong(FIELD, reason));
        }
        if !tensor.contains_key("values") {
            lacking.push(tensor);
        }
    }
    let is_inline = place::is_inline(&config.dataset_uri);
    let has_data = !is_inline || !config.data.is_empty();
    if has_data == lacking.is_empty() {
        let reason = if has_data {
            "every tensor has `values`, so there is no use for data"
        } else {
            "a tensor has no `values`: name a safetensors file, or send it in initial_data"
        };
        return Err(wrong("config.dataset_uri", reason));
    }
    if !is_inline && !config.data.is_empty() {
        let reason = "there is a dataset_uri too: give one of them";
        return Err(wrong("initial_data", reason));
    }
    if has_data {
        let placed = if is_inline {
            place::inline(&config.data, gathered)
        } else {
            place::read("config.dataset_uri", &config.dataset_uri, gathered)?
        };
        for tensor in lacking {
            tensor.insert("file".to_owned(), json!(placed.input));
        }
    }
    let mut compute: Compute = serde_json::from_value(Value::Object(fields))
        .map_err(|error| wrong(FIELD, error.to_string()))?;
    if let Some(opened) = hyper.whole(&["prove"])? {
        if compute.prove.is_some() {
            return Err(refuse("prove", "the definition says it too".to_owned()));
        }
        compute.prove = Some(Prove::alone(opened));
    }
    Ok(Work::Compute(compute))
}

/// Refuses a proof of anything else.
pub(super) fn none_else(hyper: &mut Hyper) -> Result<(), InvalidConfig> {
    match hyper.text(&["prove"]) {
        None => Ok(()),
        Some(_) => Err(refuse(
            "prove",
            "only a computation can be proven: an inference whose model_definition has `operations`"
                .to_owned(),
        )),
    }
}
