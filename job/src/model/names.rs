//! What layers are called.

use std::collections::BTreeMap;

use super::{INPUT, Model};

/// The longest name of a layer, in bytes.
const MAX_NAME: usize = 64;

impl Model {
    /// The layers' names: their own, or the operation's word and a number that
    /// counts that operation.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut counts = BTreeMap::<&str, usize>::new();
        self.layers
            .iter()
            .map(|layer| {
                let word = layer.op.word();
                let count = counts.entry(word).or_default();
                *count += 1;
                layer
                    .name
                    .clone()
                    .unwrap_or_else(|| format!("{word}_{count}"))
            })
            .collect()
    }
}

/// Whether a layer may have this name after those before it.
pub(super) fn check(name: &str, before: &[String]) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        return Err(format!(
            "a name has 1 to {MAX_NAME} letters, digits, - or _"
        ));
    }
    if name == INPUT {
        return Err(format!(
            "`{INPUT}` is the model's input: give the layer another name"
        ));
    }
    if before.iter().any(|earlier| earlier == name) {
        return Err("another layer has this name".to_owned());
    }
    Ok(())
}
