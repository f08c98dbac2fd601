//! Operators of each number by itself, and of two.

use embermesh_job::program::{
    Approximation, Bare, Bent, Bounds, Kind, Lines, Op, Slope, Threshold, ToKind, Value,
};

use super::super::attributes::Attributes;
use super::super::graph::Importer;
use super::super::wire::{self, NodeProto};
use super::{Made, made};

/// The constants of ONNX's SELU.
const SELU: [f32; 2] = [1.673_263_2, 1.050_701];

pub(super) fn apply(importer: &mut Importer, node: &NodeProto) -> Made {
    if let Some(op) = plain(node) {
        let values = importer.values(node)?;
        return made(importer.apply(op, &values)?);
    }
    match node.op_type.as_str() {
        "Identity" | "Dropout" => {
            let training = importer.known(node, 2).and_then(|literal| literal.single());
            if importer.has(node, 2) && training != Some(0.0) {
                return Err("training mode is not run".to_owned());
            }
            made(importer.value(node, 0)?)
        }
        "Cast" => {
            let to = Attributes(node).int("to", 0);
            let kind = i32::try_from(to).ok().and_then(wire::kind);
            cast(
                importer,
                node,
                kind.ok_or_else(|| format!("data type {to} is not read"))?,
            )
        }
        "CastLike" => {
            let kind = importer.type_of(node, 1)?.kind;
            cast(importer, node, kind)
        }
        "Clip" => clip(importer, node),
        "Pow" => pow(importer, node),
        "Mod" => {
            let values = importer.values(node)?;
            let op = if Attributes(node).flag("fmod", false) {
                Op::Fmod(Bare {})
            } else {
                Op::Remainder(Bare {})
            };
            made(importer.apply(op, &values)?)
        }
        "HardSwish" => {
            let x = importer.value(node, 0)?;
            let lines = Lines {
                alpha: 1.0 / 6.0,
                beta: 0.5,
            };
            let gate = importer.apply(Op::HardSigmoid(lines), &[x])?;
            made(importer.apply(Op::Mul(Bare {}), &[x, gate])?)
        }
        "Swish" => {
            let x = importer.value(node, 0)?;
            let alpha = importer.number(Kind::Float, Attributes(node).float("alpha", 1.0))?;
            let scaled = importer.apply(Op::Mul(Bare {}), &[x, alpha])?;
            let gate = importer.apply(Op::Sigmoid(Bare {}), &[scaled])?;
            made(importer.apply(Op::Mul(Bare {}), &[x, gate])?)
        }
        "Selu" => selu(importer, node),
        "PRelu" => {
            let (x, slope) = (importer.value(node, 0)?, importer.value(node, 1)?);
            let zero = importer.number(Kind::Float, 0.0)?;
            let above = importer.apply(Op::Maximum(Bare {}), &[x, zero])?;
            let below = importer.apply(Op::Minimum(Bare {}), &[x, zero])?;
            let below = importer.apply(Op::Mul(Bare {}), &[below, slope])?;
            made(importer.apply(Op::Add(Bare {}), &[above, below])?)
        }
        "IsInf" => is_inf(importer, node),
        "Max" | "Min" | "Sum" | "Mean" => several(importer, node),
        _ => Ok(None),
    }
}

/// What needs nothing but its operands.
fn plain(node: &NodeProto) -> Option<Op> {
    let attributes = Attributes(node);
    let bare = Bare {};
    Some(match node.op_type.as_str() {
        "Neg" => Op::Neg(bare),
        "Abs" => Op::Abs(bare),
        "Sign" => Op::Sign(bare),
        "Exp" => Op::Exp(bare),
        "Log" => Op::Log(bare),
        "Sqrt" => Op::Sqrt(bare),
        "Reciprocal" => Op::Reciprocal(bare),
        "Erf" => Op::Erf(bare),
        "Floor" => Op::Floor(bare),
        "Ceil" => Op::Ceil(bare),
        "Round" => Op::Round(bare),
        "Sin" => Op::Sin(bare),
        "Cos" => Op::Cos(bare),
        "Tan" => Op::Tan(bare),
        "Asin" => Op::Asin(bare),
        "Acos" => Op::Acos(bare),
        "Atan" => Op::Atan(bare),
        "Sinh" => Op::Sinh(bare),
        "Cosh" => Op::Cosh(bare),
        "Tanh" => Op::Tanh(bare),
        "Asinh" => Op::Asinh(bare),
        "Acosh" => Op::Acosh(bare),
        "Atanh" => Op::Atanh(bare),
        "Relu" => Op::Relu(bare),
        "Mish" => Op::Mish(bare),
        "Sigmoid" => Op::Sigmoid(bare),
        "Softplus" => Op::Softplus(bare),
        "Softsign" => Op::Softsign(bare),
        "LeakyRelu" => Op::LeakyRelu(Slope {
            negative_slope: attributes.float("alpha", 0.01),
        }),
        "Elu" => Op::Elu(Bent {
            alpha: attributes.float("alpha", 1.0),
        }),
        "Celu" => Op::Celu(Bent {
            alpha: attributes.float("alpha", 1.0),
        }),
        "Gelu" => Op::Gelu(Approximation {
            approximate: attributes.text("approximate", "none") == "tanh",
        }),
        "HardSigmoid" => Op::HardSigmoid(Lines {
            alpha: attributes.float("alpha", 0.2),
            beta: attributes.float("beta", 0.5),
        }),
        "ThresholdedRelu" => Op::ThresholdedRelu(Threshold {
            threshold: attributes.float("alpha", 1.0),
        }),
        "IsNaN" => Op::IsNan(bare),
        "Not" => Op::Not(bare),
        "Add" => Op::Add(bare),
        "Sub" => Op::Sub(bare),
        "Mul" => Op::Mul(bare),
        "Div" => Op::Div(bare),
        "Equal" => Op::Equal(bare),
        "Less" => Op::Less(bare),
        "LessOrEqual" => Op::LessEqual(bare),
        "Greater" => Op::Greater(bare),
        "GreaterOrEqual" => Op::GreaterEqual(bare),
        "And" => Op::And(bare),
        "Or" => Op::Or(bare),
        "Xor" => Op::Xor(bare),
        "Where" => Op::Where(bare),
        "MatMul" => Op::MatMul(bare),
        _ => return None,
    })
}

fn cast(importer: &mut Importer, node: &NodeProto, to: Kind) -> Made {
    let x = importer.value(node, 0)?;
    if importer.builder.type_of(x).kind == to {
        return made(x);
    }
    made(importer.apply(Op::Cast(ToKind { to }), &[x])?)
}

fn clip(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let mut bounds = Bounds {
        min: attributes.has("min").then(|| attributes.float("min", 0.0)),
        max: attributes.has("max").then(|| attributes.float("max", 0.0)),
    };
    let mut x = importer.value(node, 0)?;
    for (index, op) in [(1, Op::Maximum(Bare {})), (2, Op::Minimum(Bare {}))] {
        if !importer.has(node, index) {
            continue;
        }
        match importer
            .known(node, index)
            .and_then(|literal| literal.single())
        {
            Some(bound) if index == 1 => bounds.min = Some(bound),
            Some(bound) => bounds.max = Some(bound),
            None => {
                let bound = importer.value(node, index)?;
                x = importer.apply(op, &[x, bound])?;
            }
        }
    }
    if bounds.min.is_none() && bounds.max.is_none() {
        return made(x);
    }
    made(importer.apply(Op::Clip(bounds), &[x])?)
}

fn pow(importer: &mut Importer, node: &NodeProto) -> Made {
    let x = importer.value(node, 0)?;
    let kind = importer.builder.type_of(x).kind;
    let exponent = importer.known(node, 1).and_then(|literal| literal.single());
    let times =
        |importer: &mut Importer, a: Value, b: Value| importer.apply(Op::Mul(Bare {}), &[a, b]);
    match exponent {
        Some(1.0) => made(x),
        Some(2.0) => made(times(importer, x, x)?),
        Some(3.0) => {
            let square = times(importer, x, x)?;
            made(times(importer, square, x)?)
        }
        Some(0.5) if kind == Kind::Float => made(importer.apply(Op::Sqrt(Bare {}), &[x])?),
        _ => {
            let mut exponent = importer.value(node, 1)?;
            let mut base = x;
            // Both as floats where one is; the result is of the kind of the base.
            if importer.builder.type_of(exponent).kind != kind {
                let to = ToKind { to: Kind::Float };
                for value in [&mut base, &mut exponent] {
                    if importer.builder.type_of(*value).kind != Kind::Float {
                        *value = importer.apply(Op::Cast(to.clone()), &[*value])?;
                    }
                }
            }
            let power = importer.apply(Op::Pow(Bare {}), &[base, exponent])?;
            if importer.builder.type_of(power).kind == kind {
                return made(power);
            }
            made(importer.apply(Op::Cast(ToKind { to: kind }), &[power])?)
        }
    }
}

fn selu(importer: &mut Importer, node: &NodeProto) -> Made {
    let x = importer.value(node, 0)?;
    let attributes = Attributes(node);
    let [alpha, gamma] = [
        attributes.float("alpha", SELU[0]),
        attributes.float("gamma", SELU[1]),
    ];
    let bent = importer.apply(Op::Elu(Bent { alpha }), &[x])?;
    let gamma = importer.number(Kind::Float, gamma)?;
    made(importer.apply(Op::Mul(Bare {}), &[bent, gamma])?)
}

fn is_inf(importer: &mut Importer, node: &NodeProto) -> Made {
    let mut x = importer.value(node, 0)?;
    let attributes = Attributes(node);
    x = match (
        attributes.flag("detect_positive", true),
        attributes.flag("detect_negative", true),
    ) {
        (true, true) => importer.apply(Op::Abs(Bare {}), &[x])?,
        (true, false) => x,
        (false, true) => importer.apply(Op::Neg(Bare {}), &[x])?,
        (false, false) => return Err("it detects nothing".to_owned()),
    };
    let most = importer.number(Kind::Float, f64::from(f32::MAX))?;
    made(importer.apply(Op::Greater(Bare {}), &[x, most])?)
}

fn several(importer: &mut Importer, node: &NodeProto) -> Made {
    let values = importer.values(node)?;
    let Some((&first, others)) = values.split_first() else {
        return Err("it has no operands".to_owned());
    };
    let mut all = first;
    for &other in others {
        let op = match node.op_type.as_str() {
            "Max" => Op::Maximum(Bare {}),
            "Min" => Op::Minimum(Bare {}),
            _ => Op::Add(Bare {}),
        };
        all = importer.apply(op, &[all, other])?;
    }
    if node.op_type == "Mean" && !others.is_empty() {
        let count = importer.number(Kind::Float, values.len() as f64)?;
        all = importer.apply(Op::Div(Bare {}), &[all, count])?;
    }
    made(all)
}
