//! Operators that put numbers elsewhere: around a tensor, again and again, in blocks.

use embermesh_job::program::{
    Along, Bare, Expand, Kind, OneHot, Op, Pad, Padding, Reordered, Slice, ToKind,
};

use super::super::attributes::Attributes;
use super::super::graph::Importer;
use super::super::literal::Literal;
use super::super::wire::NodeProto;
use super::shape::{reshape_to, sizes};
use super::{Made, axes, made};

/// The longest side of a matrix whose triangle is taken.
const MAX_SIDE: usize = 1 << 16;

pub(super) fn apply(importer: &mut Importer, node: &NodeProto) -> Made {
    match node.op_type.as_str() {
        "Tile" => tile(importer, node),
        "Pad" => pad(importer, node),
        "OneHot" => one_hot(importer, node),
        "CumSum" => cum_sum(importer, node),
        "DepthToSpace" | "SpaceToDepth" => blocks(importer, node),
        "Trilu" => trilu(importer, node),
        _ => Ok(None),
    }
}

/// Repeats by an axis of its own for each that is repeated.
fn tile(importer: &mut Importer, node: &NodeProto) -> Made {
    let shape = importer.type_of(node, 0)?.shape;
    let repeats = sizes(&importer.ints(node, 1, "list of repeats")?)?;
    if repeats.len() != shape.len() {
        return Err(format!("repeats {repeats:?} are not as many as axes"));
    }
    let mut x = importer.value(node, 0)?;
    let mut now = shape.clone();
    for (axis, &times) in repeats.iter().enumerate() {
        if times == 1 {
            continue;
        }
        let (before, after) = now.split_at(axis);
        let outer: usize = before.iter().product();
        let inner: usize = after.iter().product();
        x = reshape_to(importer, x, &[outer, 1, inner])?;
        let expand = Expand {
            shape: vec![outer, times, inner],
        };
        x = importer.apply(Op::Expand(expand), &[x])?;
        now[axis] = now[axis].checked_mul(times).ok_or("it is too large")?;
        x = reshape_to(importer, x, &now)?;
    }
    made(x)
}

fn pad(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let shape = importer.type_of(node, 0)?.shape;
    let rank = shape.len();
    let pads = match attributes.ints("pads") {
        Some(pads) => pads.to_vec(),
        None => importer.ints(node, 1, "list of pads")?,
    };
    let value = if importer.has(node, 2) {
        let known = importer.known(node, 2).and_then(|literal| literal.single());
        known.ok_or("what it puts around depends on the numbers of an input")?
    } else {
        attributes.float("value", 0.0)
    };
    let along = if importer.has(node, 3) {
        let list = importer.ints(node, 3, "list of axes")?;
        list.iter()
            .map(|&axis| axes::axis(axis, rank))
            .collect::<Result<Vec<_>, _>>()?
    } else {
        (0..rank).collect()
    };
    if pads.len() != 2 * along.len() {
        return Err(format!("pads {pads:?} are not two for each axis"));
    }
    let mode = match attributes.text("mode", "constant") {
        "constant" => Padding::Constant,
        "edge" => Padding::Edge,
        "reflect" => Padding::Reflect,
        other => return Err(format!("the mode {other:?} is not read")),
    };
    let mut x = importer.value(node, 0)?;
    let mut amounts = [vec![0_usize; rank], vec![0; rank]];
    for (at, &axis) in along.iter().enumerate() {
        for (side, amount) in [(0, pads[at]), (1, pads[at + along.len()])] {
            if let Ok(amount) = usize::try_from(amount) {
                amounts[side][axis] = amount;
                continue;
            }
            // Less than nothing takes away.
            let length = importer.builder.type_of(x).shape[axis];
            let gone = usize::try_from(amount.unsigned_abs())
                .ok()
                .filter(|&gone| gone < length)
                .ok_or_else(|| format!("pads {pads:?} leave nothing"))?;
            let part = Slice {
                axis,
                start: if side == 0 { gone } else { 0 },
                length: length - gone,
                step: 1,
            };
            x = importer.apply(Op::Slice(part), &[x])?;
        }
    }
    let [before, after] = amounts;
    if before.iter().chain(&after).all(|&amount| amount == 0) {
        return made(x);
    }
    let pad = Pad {
        before,
        after,
        mode,
        value,
    };
    made(importer.apply(Op::Pad(pad), &[x])?)
}

fn one_hot(importer: &mut Importer, node: &NodeProto) -> Made {
    let depth = importer.known(node, 1).and_then(|literal| literal.single());
    let depth = depth
        .filter(|depth| (1.0..1e7).contains(depth))
        .ok_or("its depth must be known, and at least 1")? as usize;
    let mut x = importer.value(node, 0)?;
    let of = importer.builder.type_of(x).clone();
    if of.kind != Kind::Int {
        let to = ToKind { to: Kind::Int };
        x = importer.apply(Op::Cast(to), &[x])?;
    }
    let values = importer.value(node, 2)?;
    let mut hot = importer.apply(Op::OneHot(OneHot { depth }), &[x])?;
    let rank = of.shape.len() + 1;
    let axis = axes::axis(Attributes(node).int("axis", -1), rank)?;
    if axis + 1 != rank {
        let mut order: Vec<usize> = (0..rank - 1).collect();
        order.insert(axis, rank - 1);
        hot = importer.apply(Op::Transpose(Reordered { axes: order }), &[hot])?;
    }
    let part = |start: usize| Slice {
        axis: 0,
        start,
        length: 1,
        step: 1,
    };
    let off = importer.apply(Op::Slice(part(0)), &[values])?;
    let on = importer.apply(Op::Slice(part(1)), &[values])?;
    let zero = importer.number(Kind::Float, 0.0)?;
    let is_hot = importer.apply(Op::Greater(Bare {}), &[hot, zero])?;
    made(importer.apply(Op::Where(Bare {}), &[is_hot, on, off])?)
}

fn cum_sum(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let shape = importer.type_of(node, 0)?.shape;
    let axis = importer.known(node, 1).and_then(|literal| literal.single());
    let axis = axes::axis(axis.ok_or("its axis must be known")? as i64, shape.len())?;
    let x = importer.value(node, 0)?;
    let turned = Slice {
        axis,
        start: shape[axis] - 1,
        length: shape[axis],
        step: -1,
    };
    let reverse = attributes.flag("reverse", false);
    let mut sum = x;
    if reverse {
        sum = importer.apply(Op::Slice(turned.clone()), &[sum])?;
    }
    sum = importer.apply(Op::CumSum(Along { axis }), &[sum])?;
    if reverse {
        sum = importer.apply(Op::Slice(turned), &[sum])?;
    }
    if attributes.flag("exclusive", false) {
        sum = importer.apply(Op::Sub(Bare {}), &[sum, x])?;
    }
    made(sum)
}

fn blocks(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let shape = importer.type_of(node, 0)?.shape;
    let size = usize::try_from(attributes.int("blocksize", 0)).unwrap_or(0);
    let &[samples, channels, height, width] = &shape[..] else {
        return Err("it takes images".to_owned());
    };
    let x = importer.value(node, 0)?;
    let square = size.checked_mul(size).filter(|&square| square > 0);
    let square = square.ok_or("its blocksize is at least 1")?;
    let (between, order, after) = if node.op_type == "DepthToSpace" {
        let depth = channels / square;
        let after = vec![
            samples,
            depth,
            height.saturating_mul(size),
            width.saturating_mul(size),
        ];
        if attributes.text("mode", "DCR") == "CRD" {
            (
                vec![samples, depth, size, size, height, width],
                [0, 1, 4, 2, 5, 3],
                after,
            )
        } else {
            (
                vec![samples, size, size, depth, height, width],
                [0, 3, 4, 1, 5, 2],
                after,
            )
        }
    } else {
        let (rows, columns) = (height / size, width / size);
        let after = vec![samples, channels.saturating_mul(square), rows, columns];
        (
            vec![samples, channels, rows, size, columns, size],
            [0, 3, 5, 1, 2, 4],
            after,
        )
    };
    let x = reshape_to(importer, x, &between)?;
    let axes = order.to_vec();
    let x = importer.apply(Op::Transpose(Reordered { axes }), &[x])?;
    made(reshape_to(importer, x, &after)?)
}

fn trilu(importer: &mut Importer, node: &NodeProto) -> Made {
    let of = importer.type_of(node, 0)?;
    let [.., rows, columns] = of.shape[..] else {
        return Err("it takes matrices".to_owned());
    };
    let k = if importer.has(node, 1) {
        let known = importer.known(node, 1).and_then(|literal| literal.single());
        known.ok_or("its diagonal must be known")? as i64
    } else {
        0
    };
    let upper = Attributes(node).flag("upper", true);
    if rows.max(columns) > MAX_SIDE {
        return Err(format!("a side is longer than {MAX_SIDE}"));
    }
    // The places of columns less those of rows, against the diagonal.
    let line = |count: usize| Literal::ints((0..count as i64).collect());
    let along = line(columns);
    let mut down = line(rows);
    down.shape = vec![rows, 1];
    let along = importer.constant("columns", along)?;
    let down = importer.constant("rows", down)?;
    let apart = importer.apply(Op::Sub(Bare {}), &[along, down])?;
    let k = importer.number(Kind::Int, k as f64)?;
    let stays = if upper {
        Op::GreaterEqual(Bare {})
    } else {
        Op::LessEqual(Bare {})
    };
    let stays = importer.apply(stays, &[apart, k])?;
    let x = importer.value(node, 0)?;
    let zero = importer.number(of.kind, 0.0)?;
    made(importer.apply(Op::Where(Bare {}), &[stays, x, zero])?)
}
