//! A language model as a job names it: one GGUF file, or the files of a folder
//! as the `transformers` library saves them, each a blob.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use super::{Input, InvalidSpec, Limits, invalid::field};
use crate::units::Bytes;

/// The most files of a model.
pub const MAX_MODEL_FILES: usize = 256;
/// The longest name of a file, its folder included, in bytes.
const MAX_FILE_NAME: usize = 128;
/// Files that every folder has.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Files that are read where they are there.
const OPTIONAL: [&str; 5] = [
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
];
/// The weights, where they are one file.
const WEIGHTS: &str = "model.safetensors";
/// Which tensor is in which file, where the weights are several.
const INDEX: &str = "model.safetensors.index.json";

/// A model with its tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub enum LanguageModel<I = Input> {
    /// A GGUF file.
    File(I),
    /// The files of a folder by their names in it: `config.json`,
    /// `tokenizer.json`, the weights as safetensors, and what else says how
    /// they are used.
    Files(BTreeMap<String, I>),
}

impl<I> From<I> for LanguageModel<I> {
    fn from(file: I) -> Self {
        Self::File(file)
    }
}

impl<I: Serialize> Serialize for LanguageModel<I> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(file) => file.serialize(s),
            Self::Files(files) => {
                let mut map = s.serialize_map(Some(1))?;
                map.serialize_entry("files", files)?;
                map.end()
            }
        }
    }
}

impl<'de, I: Deserialize<'de>> Deserialize<'de> for LanguageModel<I> {
    /// By hand, because an untagged enum does not say which field is wrong.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(d)?;
        let read = match value {
            serde_json::Value::Object(mut fields) if fields.contains_key("files") => {
                let files = fields.remove("files").unwrap_or_default();
                if let Some(other) = fields.keys().next() {
                    return Err(de::Error::unknown_field(other, &["files"]));
                }
                BTreeMap::deserialize(files).map(Self::Files)
            }
            file => I::deserialize(file).map(Self::File),
        };
        read.map_err(de::Error::custom)
    }
}

impl LanguageModel {
    /// Bytes of all its files.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size,
            Self::Files(files) => files
                .values()
                .fold(0, |sum: u64, file| sum.saturating_add(file.size)),
        }
    }

    /// Whether it is whole, and no more than the job may hold.
    pub(super) fn validate(&self, limits: &Limits) -> Result<(), InvalidSpec> {
        if let Self::Files(files) = self {
            let names: Vec<&str> = files.keys().map(String::as_str).collect();
            whole(&names)?;
        }
        if self.size() > limits.memory.0 {
            let what = match self {
                Self::File(_) => "file has",
                Self::Files(_) => "files have",
            };
            return Err(field(
                "limits.memory",
                format!(
                    "the model's {what} {}, and the limit is {}",
                    Bytes(self.size()),
                    limits.memory
                ),
            ));
        }
        Ok(())
    }
}

impl<I> LanguageModel<I> {
    pub(super) fn input_refs(&self) -> Vec<&I> {
        match self {
            Self::File(file) => vec![file],
            Self::Files(files) => files.values().collect(),
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<LanguageModel<J>, E> {
        Ok(match self {
            Self::File(file) => LanguageModel::File(name(file)?),
            Self::Files(files) => LanguageModel::Files(
                files
                    .into_iter()
                    .map(|(path, file)| Ok((path, name(file)?)))
                    .collect::<Result<_, E>>()?,
            ),
        })
    }
}

/// Of the files in a folder, by their paths with `/`, those that a model is
/// made of.
///
/// # Errors
/// [`InvalidSpec`] with what is missing.
pub fn model_files(names: &[String]) -> Result<Vec<String>, InvalidSpec> {
    let there = |name: &str| names.iter().any(|known| known == name);
    let one = there(WEIGHTS);
    let wanted = |name: &str| {
        let modules = || there("modules.json") && is_module(name);
        let weights = || !one && (name == INDEX || is_shard(name));
        REQUIRED.contains(&name)
            || OPTIONAL.contains(&name)
            || name == WEIGHTS
            || weights()
            || modules()
    };
    let found: Vec<String> = names.iter().filter(|name| wanted(name)).cloned().collect();
    whole(&found.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(found)
}

/// A part of the weights, such as `model-00001-of-00002.safetensors`.
fn is_shard(name: &str) -> bool {
    name.starts_with("model-") && name.ends_with(".safetensors") && !name.contains('/')
}

/// The settings of a module, such as `1_Pooling/config.json`.
fn is_module(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(_, file)| file == "config.json")
}

/// Whether these files are a model.
fn whole(names: &[&str]) -> Result<(), InvalidSpec> {
    if names.len() > MAX_MODEL_FILES {
        let reason = format!("{} files are more than {MAX_MODEL_FILES}", names.len());
        return Err(field("model.files", reason));
    }
    if let Some(name) = names.iter().find(|name| !is_path(name)) {
        let shown: String = name.chars().take(MAX_FILE_NAME).collect();
        return Err(field(
            "model.files",
            format!(
                "{shown:?} is no name of a file: letters, digits, `.`, `-`, `_`, and one `/` at most"
            ),
        ));
    }
    for required in REQUIRED {
        if !names.contains(&required) {
            let reason = format!("{required} is missing: give the whole folder of the model");
            return Err(field("model.files", reason));
        }
    }
    let (shards, index) = (
        names.iter().any(|name| is_shard(name)),
        names.contains(&INDEX),
    );
    if names.contains(&WEIGHTS) || (shards && index) {
        return Ok(());
    }
    Err(field(
        "model.files",
        format!(
            "the weights are missing: {WEIGHTS}, or {INDEX} with the files model-*.safetensors that it names"
        ),
    ))
}

fn is_path(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |part: &&str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    name.len() <= MAX_FILE_NAME && parts.len() <= 2 && parts.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        model_files(&names).map_err(|error| error.to_string())
    }

    #[test]
    fn of_a_folder_those_files_are_taken_that_a_model_is_made_of() {
        let found = chosen(&[
            "README.md",
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "pytorch_model.bin",
            "modules.json",
            "1_Pooling/config.json",
            "onnx/model.onnx",
        ]);
        let expected = [
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "modules.json",
            "1_Pooling/config.json",
        ];
        assert_eq!(found.unwrap(), expected);
        let shards = [
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        assert_eq!(chosen(&shards).unwrap(), shards);
    }

    #[test]
    fn what_is_missing_is_named() {
        let said = chosen(&["tokenizer.json", "model.safetensors"]).unwrap_err();
        assert!(said.contains("config.json is missing"), "{said}");
        let said = chosen(&["tokenizer.json", "config.json"]).unwrap_err();
        assert!(said.contains("model.safetensors"), "{said}");
        let part = ["tokenizer.json", "config.json", "model-1.safetensors"];
        assert!(chosen(&part).unwrap_err().contains("index.json"));
        for bad in ["../config.json", "/etc/passwd", "a/b/c", "", "a b", ".x"] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn one_file_and_many_are_told_apart() {
        let one = r#"{"digest":"00","size":1}"#;
        let read = serde_json::from_str::<LanguageModel<serde_json::Value>>(one).unwrap();
        assert!(matches!(read, LanguageModel::File(_)));
        let many = r#"{"files":{"config.json":1}}"#;
        let read = serde_json::from_str::<LanguageModel<u8>>(many).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), many);
        let both = r#"{"files":{},"size":1}"#;
        assert!(serde_json::from_str::<LanguageModel<u8>>(both).is_err());
    }
}
