//! Why an ONNX file is refused.

/// An ONNX file that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOnnx {
    /// Not a file of that format, or a broken one.
    #[error("it is not a whole ONNX file: {0}")]
    Format(String),
    /// More of something than a file may have.
    #[error("it has more than {most} {what}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many it may have.
        most: usize,
    },
    /// Made for a version of the operators that is not read.
    #[error(
        "it is of opset {0}, and files are read from opset 7 on: convert it with a newer exporter"
    )]
    Opset(i64),
    /// A tensor in it.
    #[error("tensor {name:?}: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An input.
    #[error("input {name:?}: {reason}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An output.
    #[error("output {name:?}: {reason}")]
    Output {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A node.
    #[error("node {number} {name:?} ({operator}): {reason}")]
    Node {
        /// Its place in its graph, from 1.
        number: usize,
        /// Its name, or that of its first output.
        name: String,
        /// Its operator.
        operator: String,
        /// What is wrong.
        reason: String,
    },
    /// It does not fit what the job says of it.
    #[error("{0}")]
    Job(String),
}

/// A name as far as a message can carry it.
pub(super) fn short(name: &str) -> String {
    name.chars().take(96).collect()
}
