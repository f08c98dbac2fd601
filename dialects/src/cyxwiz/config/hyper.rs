//! Hyperparameters: texts by name, each read once. What nobody has read is refused.

use std::{collections::BTreeMap, str::FromStr};

use serde::de::DeserializeOwned;

use super::{InvalidConfig, wrong};

/// The most hyperparameters of a job.
const MAX_PARAMETERS: usize = 256;
/// What all of them may have together, in bytes.
const MAX_BYTES: usize = 256 << 10;

/// Those that are not read yet.
pub(super) struct Hyper(BTreeMap<String, String>);

impl Hyper {
    pub(super) fn new(all: BTreeMap<String, String>) -> Result<Self, InvalidConfig> {
        let bytes: usize = all
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if all.len() > MAX_PARAMETERS || bytes > MAX_BYTES {
            return Err(wrong(
                "config.hyperparameters",
                format!("there are more than {MAX_PARAMETERS}, or {MAX_BYTES} bytes of them"),
            ));
        }
        Ok(Self(all))
    }

    /// The value of the first of these names that is there. A second is left, and so
    /// refused.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| self.0.remove(*name))
            .map(|value| value.trim().to_owned())
    }

    /// The same, read as something.
    pub(super) fn value<T: FromStr>(
        &mut self,
        names: &[&str],
        what: &str,
    ) -> Result<Option<T>, InvalidConfig> {
        self.text(names)
            .map(|text| {
                text.parse()
                    .map_err(|_| refuse(names[0], format!("{text:?} is not {what}")))
            })
            .transpose()
    }

    /// A number that is finite.
    pub(super) fn number(&mut self, names: &[&str]) -> Result<Option<f64>, InvalidConfig> {
        match self.value::<f64>(names, "a number")? {
            Some(number) if !number.is_finite() => {
                Err(refuse(names[0], format!("{number} is not finite")))
            }
            number => Ok(number),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn whole(&mut self, names: &[&str]) -> Result<Option<u32>, InvalidConfig> {
        self.value(names, "a whole number")
    }

    /// Yes or no.
    pub(super) fn truth(&mut self, names: &[&str]) -> Result<Option<bool>, InvalidConfig> {
        self.text(names)
            .map(|text| match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Ok(true),
                "false" | "0" | "no" => Ok(false),
                _ => Err(refuse(
                    names[0],
                    format!("{text:?} is neither true nor false"),
                )),
            })
            .transpose()
    }

    /// Texts with commas between.
    pub(super) fn list(&mut self, names: &[&str]) -> Vec<String> {
        let text = self.text(names).unwrap_or_default();
        text.split(',')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// Something in its own JSON form, or a word of it.
    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, InvalidConfig> {
        self.text(&[name])
            .map(|text| {
                let word = || serde_json::from_value(serde_json::Value::String(text.clone()));
                serde_json::from_str(&text)
                    .or_else(|error| word().map_err(|_| error))
                    .map_err(|error| refuse(name, error.to_string()))
            })
            .transpose()
    }

    /// That every one was read.
    pub(super) fn finish(self) -> Result<(), InvalidConfig> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(refuse(
                &name,
                "a job of this type has none of this name, or has it already".to_owned(),
            )),
        }
    }
}

/// A refusal of one of them.
pub(super) fn refuse(name: &str, reason: String) -> InvalidConfig {
    wrong(format!("config.hyperparameters.{name}"), reason)
}
