//! Folders of models: those that are committed, and what scripts have fetched.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use embermesh_job::spec::{Input, LanguageModel, model_files};
use serde_json::Value;

use super::Bench;

/// The files of a model by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hub");
    folder.join(name)
}

/// What others made of a model.
pub(crate) fn expected(name: &str) -> Value {
    let text = std::fs::read_to_string(golden(&format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A folder that is committed.
pub(crate) fn committed(name: &str) -> Files {
    read(&golden(name))
}

/// A folder that `scripts/models` has fetched; none, with the reason, if it is
/// not there.
pub(crate) fn fetched(name: &str) -> Option<Files> {
    let path = cache()?.join(name);
    if path.is_dir() {
        return Some(read(&path));
    }
    println!(
        "skipped: {} is not there; run scripts/models",
        path.display()
    );
    None
}

/// A file that `scripts/models` has fetched.
pub(crate) fn fetched_file(name: &str) -> Option<Vec<u8>> {
    let path = cache()?.join(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        println!(
            "skipped: {} is not there; run scripts/models",
            path.display()
        );
    }
    bytes
}

fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(".cache"));
    let cache = || {
        Some(
            set("XDG_CACHE_HOME")
                .or_else(home)?
                .join("embermesh/models"),
        )
    };
    set("EMBERMESH_MODELS").or_else(cache)
}

fn read(folder: &Path) -> Files {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let inner = std::fs::read_dir(&path).unwrap();
            names.extend(inner.map(|file| {
                let file = file.unwrap().file_name();
                format!("{name}/{}", file.to_string_lossy())
            }));
        } else {
            names.push(name);
        }
    }
    let wanted = model_files(&names).unwrap().into_iter();
    wanted
        .map(|name| (name.clone(), std::fs::read(folder.join(&name)).unwrap()))
        .collect()
}

/// A folder as a model whose files an order brings.
pub(crate) fn model(bench: &mut Bench, files: &Files) -> LanguageModel {
    let inputs = files
        .iter()
        .map(|(name, bytes)| (name.clone(), bench.input(bytes)))
        .collect::<BTreeMap<String, Input>>();
    LanguageModel::Files(inputs)
}

/// The same folder with other settings in a file of JSON.
pub(crate) fn changed(files: &Files, name: &str, change: &Value) -> Files {
    let mut files = files.clone();
    let mut settings: Value = match files.get(name) {
        Some(bytes) => serde_json::from_slice(bytes).unwrap(),
        None => Value::Object(serde_json::Map::new()),
    };
    for (key, value) in change.as_object().unwrap() {
        settings[key] = value.clone();
    }
    files.insert(name.to_owned(), serde_json::to_vec(&settings).unwrap());
    files
}

/// The same folder with a file changed.
pub(crate) fn with(files: &Files, name: &str, bytes: Vec<u8>) -> Files {
    let mut files = files.clone();
    files.insert(name.to_owned(), bytes);
    files
}

/// Two tensor files and an index in place of one.
pub(crate) fn in_shards(files: &Files) -> Files {
    let mut files = files.clone();
    let whole = files.remove("model.safetensors").unwrap();
    let parsed = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let mut tensors = parsed.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let second = tensors.split_off(tensors.len() / 2);
    let mut map = BTreeMap::new();
    for (number, part) in [tensors, second].into_iter().enumerate() {
        let name = format!("model-{:05}-of-00002.safetensors", number + 1);
        for (tensor, _) in &part {
            map.insert(tensor.clone(), name.clone());
        }
        files.insert(name, safetensors::serialize(part, None).unwrap());
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    files.insert(
        "model.safetensors.index.json".to_owned(),
        serde_json::to_vec(&index).unwrap(),
    );
    files
}

/// Cosines and such: the largest difference of two lists.
pub(crate) fn apart(found: &[f32], expected: &Value) -> f64 {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(found, expected)| (f64::from(*found) - expected.as_f64().unwrap()).abs())
        .fold(0.0, f64::max)
}
