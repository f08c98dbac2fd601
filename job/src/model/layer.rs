//! One layer, as files have it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::Op;

/// One layer: an operation, what it reads, and perhaps a name of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The name in messages and in the weights' file; without one it is the
    /// operation's word and a running number, such as `conv2d_1`.
    pub name: Option<String>,
    /// The layers that it reads, by name; `input` is the model's input. Empty
    /// means the layer before, or the input for the first.
    pub from: Vec<String>,
    /// What it does.
    pub op: Op,
}

impl Layer {
    /// A layer without a name that reads the one before.
    #[must_use]
    pub fn new(op: impl Into<Op>) -> Self {
        Self {
            name: None,
            from: Vec::new(),
            op: op.into(),
        }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same, reading these layers.
    #[must_use]
    pub fn reading<N: Into<String>>(mut self, from: impl IntoIterator<Item = N>) -> Self {
        self.from = from.into_iter().map(Into::into).collect();
        self
    }
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            from: &'a [String],
            #[serde(flatten)]
            op: &'a Op,
        }
        Form {
            name: self.name.as_deref(),
            from: &self.from,
            op: &self.op,
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for Layer {
    /// By hand, because serde cannot both flatten and refuse unknown fields.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(d)?;
        let name = match fields.remove("name") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(de::Error::custom("a layer's name is a text")),
        };
        let from = match fields.remove("from") {
            None => Vec::new(),
            Some(from) => Vec::<String>::deserialize(from)
                .ok()
                .filter(|from| !from.is_empty())
                .ok_or_else(|| {
                    de::Error::custom("a layer's `from` is a list of names, such as [\"conv2d_1\"]")
                })?,
        };
        let op = Op::deserialize(Value::Object(fields)).map_err(de::Error::custom)?;
        Ok(Self { name, from, op })
    }
}
