//! One operation, as files have it, and what its results are called.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::program::Op;

/// One operation: what it does, what it reads, and perhaps a name of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// What its result is called; without one, the word and a running number, such
    /// as `matmul_1`. An operation with several results has `NAME.PART` for each:
    /// `lstm_1.every`, `adam_1.parameter`, `split_1.0`, `gradient_1.w`.
    pub name: Option<String>,
    /// The tensors that it reads, by name.
    pub from: Vec<String>,
    /// What it does.
    pub op: Op,
}

impl Operation {
    /// An operation that reads these.
    #[must_use]
    pub fn new<N: Into<String>>(op: Op, from: impl IntoIterator<Item = N>) -> Self {
        Self {
            name: None,
            from: from.into_iter().map(Into::into).collect(),
            op,
        }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What its several results are called; none where it has one only.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match &self.op {
            Op::Split(split) => (0..split.sizes.len()).map(|at| at.to_string()).collect(),
            Op::Rnn(_) | Op::Gru(_) => words(&["every", "hidden"]),
            Op::Lstm(_) => words(&["every", "hidden", "cell"]),
            Op::Sgd(sgd) if sgd.momentum == 0.0 => words(&["parameter"]),
            Op::Sgd(_) => words(&["parameter", "velocity"]),
            Op::Adam(_) => words(&["parameter", "first_moment", "second_moment"]),
            Op::Gradient(_) => self.from.iter().skip(1).cloned().collect(),
            _ => Vec::new(),
        }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
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

impl<'de> Deserialize<'de> for Operation {
    /// By hand, because serde cannot both flatten and refuse unknown fields.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(d)?;
        let name = match fields.remove("name") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(de::Error::custom("an operation's name is a text")),
        };
        let from = match fields.remove("from") {
            None => Vec::new(),
            Some(from) => Vec::<String>::deserialize(from).map_err(|_| {
                de::Error::custom("an operation's `from` is a list of names, such as [\"x\"]")
            })?,
        };
        let op = Op::deserialize(Value::Object(fields)).map_err(de::Error::custom)?;
        Ok(Self { name, from, op })
    }
}
