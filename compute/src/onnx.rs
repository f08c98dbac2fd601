//! Models in the ONNX format, made into programs.
//!
//! A file is read, its inputs are bound to shapes, and its nodes are gone through
//! once, in their order. With every shape known, what a file computes of shapes is
//! known too: it is computed here, on the host, and so is which branch of an `If` is
//! taken. What is left is a [`Program`] of checked operations, and the weights are
//! its constants. Another size of batch is another program of the same file.
//!
//! Files come from strangers. The whole of a file is walked before it is decoded
//! (`scan`), a tensor's size is what its bytes are, and every result is bounded
//! before anything of that size is there.
//!
//! | module | what it is |
//! |---|---|
//! | `wire`, `scan` | the format, and how much of it there is |
//! | `literal`, `fold` | tensors of the file, and what is computed of them here |
//! | `graph`, `need`, `attributes` | nodes, one after the other: those that are needed |
//! | `model` | a file fitted to a job |
//! | `operators` | what each kind of node becomes |
//!
//! The operators are those of [`OPERATORS`], of the standard domain, in the versions
//! of opsets 7 to 23.

mod attributes;
mod fold;
mod graph;
mod invalid;
mod literal;
mod model;
mod need;
mod operators;
mod scan;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;

use embermesh_job::program::{Kind, Program};

use self::{graph::Importer, wire::ModelProto};
pub use self::{
    invalid::InvalidOnnx,
    literal::{Data, Literal},
    model::{Checked, Fitted, check, fit},
    operators::OPERATORS,
};

/// The largest file, in bytes.
pub const MAX_FILE: usize = 2 << 30;
/// The oldest opset whose files are read.
const OLDEST: i64 = 7;

/// What an input of a file is bound to.
#[derive(Clone, Debug)]
pub enum Bound {
    /// Given at each run, in this shape.
    Given(Vec<usize>),
    /// The same at each run.
    Fixed(Literal),
}

/// A file made into a program.
#[derive(Debug)]
pub struct Imported {
    /// What is done. Its inputs are those that are given, in the order of the file.
    pub program: Program,
    /// The numbers of its constants, in their order.
    pub constants: Vec<Literal>,
    /// What the inputs of the program are called.
    pub inputs: Vec<String>,
    /// What its outputs are called.
    pub outputs: Vec<String>,
}

/// What a file says of one of its inputs or outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// What its numbers are; none where they are no numbers.
    pub kind: Option<Kind>,
    /// Its axes, where the file tells them.
    pub axes: Option<Vec<Axis>>,
}

/// What a file says of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// How long it is.
    Length(usize),
    /// What its length is called; empty where it has no name.
    Named(String),
}

/// A file that has been read.
#[derive(Debug)]
pub struct OnnxFile {
    model: ModelProto,
    opset: i64,
}

impl OnnxFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`InvalidOnnx`] when it is none, or too large, or of another time.
    pub fn read(bytes: bytes::Bytes) -> Result<Self, InvalidOnnx> {
        if bytes.len() > MAX_FILE {
            return Err(InvalidOnnx::TooLarge {
                what: "bytes",
                most: MAX_FILE,
            });
        }
        scan::check(&bytes)?;
        let model = <ModelProto as prost::Message>::decode(bytes)
            .map_err(|error| InvalidOnnx::Format(error.to_string()))?;
        let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let opset = model
            .opset_import
            .iter()
            .find(|import| standard(&import.domain))
            .map_or(0, |import| import.version);
        if model.graph.is_none() {
            return Err(InvalidOnnx::Format("there is no graph in it".to_owned()));
        }
        if opset < OLDEST {
            return Err(InvalidOnnx::Opset(opset));
        }
        Ok(Self { model, opset })
    }

    /// The inputs that it needs, without those that it has values for.
    #[must_use]
    pub fn inputs(&self) -> Vec<Port> {
        let Some(graph) = &self.model.graph else {
            return Vec::new();
        };
        let has_value = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
        let inputs = graph.input.iter().filter(|input| !has_value(&input.name));
        inputs.map(wire::port).collect()
    }

    /// What comes out of it.
    #[must_use]
    pub fn outputs(&self) -> Vec<Port> {
        let graph = self.model.graph.as_ref();
        graph.map_or_else(Vec::new, |graph| {
            graph.output.iter().map(wire::port).collect()
        })
    }

    /// Makes a program of it that gives these outputs.
    ///
    /// # Errors
    /// [`InvalidOnnx`], which names the node.
    pub fn import(
        &self,
        bound: &BTreeMap<String, Bound>,
        outputs: &[String],
    ) -> Result<Imported, InvalidOnnx> {
        let graph = self
            .model
            .graph
            .as_ref()
            .ok_or_else(|| InvalidOnnx::Format("there is no graph in it".to_owned()))?;
        Importer::new(self.opset).import(graph, bound, outputs)
    }
}
