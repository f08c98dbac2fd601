//! Sums along axes, norms and softmaxes.

use embermesh_job::program::{
    Along, Arg, Bare, Epsilon, Gemm, Kind, Op, Reduce, Reshaped, Running, Slice, Value,
};

use super::super::attributes::Attributes;
use super::super::graph::{Entry, Importer};
use super::super::wire::NodeProto;
use super::{Made, axes, made};

pub(super) fn apply(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    match node.op_type.as_str() {
        "Gemm" => {
            let op = Op::Gemm(Gemm {
                alpha: attributes.float("alpha", 1.0),
                beta: attributes.float("beta", 1.0),
                transpose_a: attributes.flag("transA", false),
                transpose_b: attributes.flag("transB", false),
            });
            let values = importer.values(node)?;
            made(importer.apply(op, &values)?)
        }
        name if name.starts_with("Reduce") => reduce(importer, node),
        "ArgMax" | "ArgMin" => search(importer, node),
        "Softmax" | "LogSoftmax" => softmax(importer, node),
        "LayerNormalization" => layer_norm(importer, node),
        "RMSNormalization" => {
            let shape = importer.type_of(node, 0)?.shape;
            let axis = axes::axis(attributes.int("axis", -1), shape.len())?;
            let (x, scale) = (importer.value(node, 0)?, importer.value(node, 1)?);
            let square = importer.apply(Op::Mul(Bare {}), &[x, x])?;
            let mean = Reduce {
                axes: (axis..shape.len()).collect(),
                keep: true,
            };
            let mean = importer.apply(Op::Mean(mean), &[square])?;
            let epsilon = importer.number(Kind::Float, attributes.float("epsilon", 1e-5))?;
            let mean = importer.apply(Op::Add(Bare {}), &[mean, epsilon])?;
            let root = importer.apply(Op::Sqrt(Bare {}), &[mean])?;
            let x = importer.apply(Op::Div(Bare {}), &[x, root])?;
            made(importer.apply(Op::Mul(Bare {}), &[x, scale])?)
        }
        "BatchNormalization" => {
            if attributes.flag("training_mode", false) {
                return Err("training mode is not run".to_owned());
            }
            one_output(node)?;
            let norm = Running {
                epsilon: attributes.float("epsilon", 1e-5),
            };
            let values = importer.values(node)?;
            made(importer.apply(Op::BatchNorm(norm), &values)?)
        }
        "InstanceNormalization" => {
            let channels = importer.type_of(node, 0)?.shape.get(1).copied();
            grouped(importer, node, channels.ok_or("it takes channels")?)
        }
        "GroupNormalization" => {
            let groups = usize::try_from(attributes.int("num_groups", 0)).unwrap_or(0);
            let channels = importer.type_of(node, 0)?.shape.get(1).copied();
            if importer.type_of(node, 1)?.shape.first().copied() != channels {
                return Err(
                    "a scale for each group rather than each channel is not read".to_owned(),
                );
            }
            grouped(importer, node, groups)
        }
        "LpNormalization" => lp_norm(importer, node),
        _ => Ok(None),
    }
}

fn one_output(node: &NodeProto) -> Result<(), String> {
    if node.output.iter().skip(1).any(|name| !name.is_empty()) {
        return Err("outputs after the first are not given".to_owned());
    }
    Ok(())
}

/// The place of the largest or smallest; the last of equal ones is the first from the
/// other end.
fn search(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let shape = importer.type_of(node, 0)?.shape;
    let axis = axes::axis(attributes.int("axis", 0), shape.len())?;
    let arg = Arg {
        axis,
        keep: attributes.flag("keepdims", true),
    };
    let op = if node.op_type == "ArgMax" {
        Op::ArgMax(arg)
    } else {
        Op::ArgMin(arg)
    };
    let x = importer.value(node, 0)?;
    if !attributes.flag("select_last_index", false) {
        return made(importer.apply(op, &[x])?);
    }
    let last = shape[axis].saturating_sub(1);
    let turned = Slice {
        axis,
        start: last,
        length: shape[axis],
        step: -1,
    };
    let x = importer.apply(Op::Slice(turned), &[x])?;
    let place = importer.apply(op, &[x])?;
    let last = importer.number(Kind::Int, last as f64)?;
    made(importer.apply(Op::Sub(Bare {}), &[last, place])?)
}

/// With the mean and the inverse of the deviation, where they are asked for.
fn layer_norm(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let rank = importer.type_of(node, 0)?.shape.len();
    let norm = Epsilon {
        axis: axes::axis(attributes.int("axis", -1), rank)?,
        epsilon: attributes.float("epsilon", 1e-5),
    };
    let (axis, epsilon) = (norm.axis, norm.epsilon);
    let values = importer.values(node)?;
    let out = importer.apply(Op::LayerNorm(norm), &values)?;
    if one_output(node).is_ok() {
        return made(out);
    }
    let mean_of = || {
        Op::Mean(Reduce {
            axes: (axis..rank).collect(),
            keep: true,
        })
    };
    let mean = importer.apply(mean_of(), &values[..1])?;
    let centred = importer.apply(Op::Sub(Bare {}), &[values[0], mean])?;
    let square = importer.apply(Op::Mul(Bare {}), &[centred, centred])?;
    let variance = importer.apply(mean_of(), &[square])?;
    let epsilon = importer.number(Kind::Float, epsilon)?;
    let variance = importer.apply(Op::Add(Bare {}), &[variance, epsilon])?;
    let deviation = importer.apply(Op::Sqrt(Bare {}), &[variance])?;
    let inverse = importer.apply(Op::Reciprocal(Bare {}), &[deviation])?;
    Ok(Some([out, mean, inverse].map(Entry::Made).into()))
}

fn reshape(importer: &mut Importer, x: Value, shape: &[usize]) -> Result<Value, String> {
    let shape = shape.iter().map(|&axis| axis as i64).collect();
    importer.apply(Op::Reshape(Reshaped { shape }), &[x])
}

fn reduce(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let rank = importer.type_of(node, 0)?.shape.len();
    let list = if importer.has(node, 1) {
        importer.ints(node, 1, "list of axes")?
    } else {
        attributes.ints("axes").unwrap_or_default().to_vec()
    };
    let mut x = importer.value(node, 0)?;
    let nothing = list.is_empty() && attributes.flag("noop_with_empty_axes", false);
    let reduce = Reduce {
        axes: axes::axes(&list, rank)?,
        keep: attributes.flag("keepdims", true),
    };
    let fold = |importer: &mut Importer, op: fn(Reduce) -> Op, x: Value| {
        if nothing {
            return Ok(x);
        }
        importer.apply(op(reduce.clone()), &[x])
    };
    let each = |importer: &mut Importer, op: Op, x: Value| importer.apply(op, &[x]);
    let value = match node.op_type.as_str() {
        "ReduceSum" => fold(importer, Op::Sum, x)?,
        "ReduceMean" => fold(importer, Op::Mean, x)?,
        "ReduceMax" | "ReduceMin" => {
            let is_bool = importer.builder.type_of(x).kind == Kind::Bool;
            if is_bool {
                x = each(importer, cast(Kind::Int), x)?;
            }
            let op = if node.op_type == "ReduceMax" {
                Op::Max
            } else {
                Op::Min
            };
            let folded = fold(importer, op, x)?;
            if is_bool {
                each(importer, cast(Kind::Bool), folded)?
            } else {
                folded
            }
        }
        "ReduceProd" => fold(importer, Op::Prod, x)?,
        "ReduceL1" => {
            x = each(importer, Op::Abs(Bare {}), x)?;
            fold(importer, Op::Sum, x)?
        }
        "ReduceL2" | "ReduceSumSquare" => {
            let square = importer.apply(Op::Mul(Bare {}), &[x, x])?;
            let sum = fold(importer, Op::Sum, square)?;
            if node.op_type == "ReduceL2" {
                each(importer, Op::Sqrt(Bare {}), sum)?
            } else {
                sum
            }
        }
        "ReduceLogSum" => {
            let sum = fold(importer, Op::Sum, x)?;
            each(importer, Op::Log(Bare {}), sum)?
        }
        "ReduceLogSumExp" if !nothing => {
            // Less the largest, so that no power overflows.
            let most = Reduce {
                keep: true,
                ..reduce.clone()
            };
            let most = importer.apply(Op::Max(most), &[x])?;
            let less = importer.apply(Op::Sub(Bare {}), &[x, most])?;
            let powers = each(importer, Op::Exp(Bare {}), less)?;
            let sum = importer.apply(Op::Sum(reduce.clone()), &[powers])?;
            let log = each(importer, Op::Log(Bare {}), sum)?;
            let shape = importer.builder.type_of(log).shape.clone();
            let most = reshape(importer, most, &shape)?;
            importer.apply(Op::Add(Bare {}), &[log, most])?
        }
        _ => return Ok(None),
    };
    made(value)
}

fn cast(to: Kind) -> Op {
    Op::Cast(embermesh_job::program::ToKind { to })
}

fn softmax(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let shape = importer.type_of(node, 0)?.shape;
    let old = importer.opset < 13;
    let axis = axes::axis(
        attributes.int("axis", if old { 1 } else { -1 }),
        shape.len(),
    )?;
    let mut x = importer.value(node, 0)?;
    let op = |along: Along| {
        if node.op_type == "Softmax" {
            Op::Softmax(along)
        } else {
            Op::LogSoftmax(along)
        }
    };
    if !old || axis + 1 == shape.len() {
        return made(importer.apply(op(Along { axis }), &[x])?);
    }
    // Once it went over all axes from one on.
    let both = [
        shape[..axis].iter().product(),
        shape[axis..].iter().product(),
    ];
    x = reshape(importer, x, &both)?;
    x = importer.apply(op(Along { axis: 1 }), &[x])?;
    made(reshape(importer, x, &shape)?)
}

/// Each group of channels by itself, then scaled and shifted by channel.
fn grouped(importer: &mut Importer, node: &NodeProto, groups: usize) -> Made {
    let shape = importer.type_of(node, 0)?.shape;
    let &[samples, channels, ..] = &shape[..] else {
        return Err("it takes channels".to_owned());
    };
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{channels} channels do not make {groups} groups"));
    }
    let rest: usize = shape[1..].iter().product::<usize>() / groups;
    let x = importer.value(node, 0)?;
    let lines = reshape(importer, x, &[samples, groups, rest])?;
    let norm = Epsilon {
        axis: 2,
        epsilon: Attributes(node).float("epsilon", 1e-5),
    };
    let lines = importer.apply(Op::LayerNorm(norm), &[lines])?;
    let mut x = reshape(importer, lines, &shape)?;
    let mut by_channel = vec![1; shape.len() - 1];
    by_channel[0] = channels;
    for (index, op) in [(1, Op::Mul(Bare {})), (2, Op::Add(Bare {}))] {
        let of = importer.value(node, index)?;
        let of = reshape(importer, of, &by_channel)?;
        x = importer.apply(op, &[x, of])?;
    }
    made(x)
}

fn lp_norm(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let rank = importer.type_of(node, 0)?.shape.len();
    let sum = Reduce {
        axes: vec![axes::axis(attributes.int("axis", -1), rank)?],
        keep: true,
    };
    let x = importer.value(node, 0)?;
    let norm = match attributes.int("p", 2) {
        1 => {
            let size = importer.apply(Op::Abs(Bare {}), &[x])?;
            importer.apply(Op::Sum(sum), &[size])?
        }
        2 => {
            let square = importer.apply(Op::Mul(Bare {}), &[x, x])?;
            let sum = importer.apply(Op::Sum(sum), &[square])?;
            importer.apply(Op::Sqrt(Bare {}), &[sum])?
        }
        p => return Err(format!("p is 1 or 2, not {p}")),
    };
    made(importer.apply(Op::Div(Bare {}), &[x, norm])?)
}
