//! Values of a foreign form, under any of their names, as numbers or as texts.

use serde_json::{Map, Value};

/// The longest list that is read.
const MAX_LIST: usize = 512;

/// Named values.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(Map<String, Value>);

impl Parameters {
    pub(super) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Of a value that should be an object.
    pub(super) fn of(value: &Value) -> Result<Self, String> {
        match value {
            Value::Object(fields) => Ok(Self(fields.clone())),
            Value::Null => Ok(Self::default()),
            _ => Err("should be an object of named values".to_owned()),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The first of these names that has a value.
    pub(super) fn value(&self, names: &[&str]) -> Option<(&str, &Value)> {
        names
            .iter()
            .filter_map(|name| self.0.get_key_value(*name))
            .find(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.as_str(), value))
    }

    /// A list of values.
    pub(super) fn list(&self, name: &str) -> Result<&[Value], String> {
        match self.0.get(name) {
            Some(Value::Array(list)) => Ok(list),
            None | Some(Value::Null) => Ok(&[]),
            Some(_) => Err(format!("`{name}` should be a list")),
        }
    }

    /// A text.
    pub(super) fn text(&self, names: &[&str]) -> Result<Option<&str>, String> {
        match self.value(names) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((name, _)) => Err(format!("`{name}` should be a text")),
        }
    }

    /// A whole number, as such or as a text.
    pub(super) fn whole(&self, names: &[&str]) -> Result<Option<usize>, String> {
        self.value(names)
            .map(|(name, value)| {
                whole(value).ok_or_else(|| format!("`{name}` should be a whole number"))
            })
            .transpose()
    }

    /// The same, where it must be given.
    pub(super) fn needed(&self, names: &[&str]) -> Result<usize, String> {
        self.whole(names)?
            .ok_or_else(|| format!("`{}` is missing", names[0]))
    }

    /// A number, as such or as a text.
    pub(super) fn number(&self, names: &[&str]) -> Result<Option<f64>, String> {
        self.value(names)
            .map(|(name, value)| {
                match value {
                    Value::Number(number) => number.as_f64(),
                    Value::String(text) => text.trim().parse().ok(),
                    _ => None,
                }
                .filter(|number| number.is_finite())
                .ok_or_else(|| format!("`{name}` should be a number"))
            })
            .transpose()
    }

    /// Yes or no, also as a text or as 1 and 0.
    pub(super) fn truth(&self, names: &[&str]) -> Result<Option<bool>, String> {
        self.value(names)
            .map(|(name, value)| {
                let word = match value {
                    Value::Bool(truth) => truth.to_string(),
                    Value::Number(number) => number.to_string(),
                    Value::String(text) => text.trim().to_ascii_lowercase(),
                    _ => String::new(),
                };
                match word.as_str() {
                    "true" | "1" | "yes" => Ok(true),
                    "false" | "0" | "no" => Ok(false),
                    _ => Err(format!("`{name}` should be true or false")),
                }
            })
            .transpose()
    }

    /// Whole numbers: a list, one number, or a text such as "1, 28, 28",
    /// "1x28x28" or "(3, 3)".
    pub(super) fn wholes(&self, names: &[&str]) -> Result<Option<Vec<usize>>, String> {
        self.value(names)
            .map(|(name, value)| {
                wholes(value).ok_or_else(|| format!("`{name}` should be a list of whole numbers"))
            })
            .transpose()
    }
}

fn whole(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| exact(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| exact(text.parse().ok()?))
        }
        _ => None,
    }
    .and_then(|number| usize::try_from(number).ok())
}

/// A whole number that was written as 128.0.
fn exact(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
    is_whole.then_some(number as u64)
}

fn wholes(value: &Value) -> Option<Vec<usize>> {
    match value {
        Value::Array(list) if list.len() <= MAX_LIST => list.iter().map(whole).collect(),
        Value::String(text) => text
            .trim_matches(|c: char| "[]() ".contains(c))
            .split([',', 'x'])
            .take(MAX_LIST)
            .map(|number| number.trim())
            .filter(|number| !number.is_empty())
            .map(|number| number.parse().ok())
            .collect(),
        one => whole(one).map(|one| vec![one]),
    }
}
