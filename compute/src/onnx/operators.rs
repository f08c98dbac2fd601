//! What each kind of node becomes.
//!
//! | module | operators |
//! |---|---|
//! | `each` | of each number by itself, and of two |
//! | `shape`, `spread` | what tells of shapes and moves numbers |
//! | `fold` | sums, norms, softmaxes |
//! | `window` | convolutions and poolings |
//! | `recurrent` | layers that go through steps |
//! | `axes` | axes and places as ONNX counts them |

pub(super) mod axes;
mod each;
mod fold;
mod recurrent;
mod shape;
mod spread;
mod window;

use super::graph::{Entry, Importer};
use super::wire::NodeProto;
pub(super) use shape::reshape;

/// The operators of the standard domain that are read.
pub const OPERATORS: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "GRU",
    "Gather",
    "GatherElements",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "If",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "RMSNormalization",
    "RNN",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Round",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
];

/// Appends what a node does. A refusal says what of it is not read.
pub(super) fn apply(importer: &mut Importer, node: &NodeProto) -> Result<Vec<Entry>, String> {
    let makers: [fn(&mut Importer, &NodeProto) -> Made; 6] = [
        each::apply,
        shape::apply,
        spread::apply,
        fold::apply,
        window::apply,
        recurrent::apply,
    ];
    for make in makers {
        if let Some(gives) = make(importer, node)? {
            return Ok(gives);
        }
    }
    if OPERATORS.contains(&node.op_type.as_str()) {
        return Err(
            "it works on shapes here, and these depend on the numbers of an input".to_owned(),
        );
    }
    let closest = OPERATORS
        .iter()
        .find(|known| known.eq_ignore_ascii_case(&node.op_type));
    Err(match closest {
        Some(known) => format!("the operator is not one that is read: is it {known}?"),
        None => format!(
            "the operator is not one of the {} that are read",
            OPERATORS.len()
        ),
    })
}

/// What a node gives; none when it is for others to say.
type Made = Result<Option<Vec<Entry>>, String>;

/// One value.
fn made(value: embermesh_job::program::Value) -> Made {
    Ok(Some(vec![Entry::Made(value)]))
}
