//! Recurrent layers in ONNX's layout: x `[steps, samples, features]`, W
//! `[directions, gates * units, features]`, R `[directions, gates * units, units]`, B
//! `[directions, 2 * gates * units]`, states `[directions, samples, units]`.
//!
//! What comes out is every state `[steps, directions, samples, units]`, the last
//! one, and of an LSTM the last cell.

use super::super::{Kind, Op, TensorType};
use super::{Effect, count, kind, shape_is, takes};
use crate::model::MAX_STEPS;

pub(super) fn apply(op: &Op, reads: &[&TensorType]) -> Result<Effect, String> {
    let (options, gates, states) = match op {
        Op::Gru(options) => (options, 3, 1),
        Op::Lstm(options) => (options, 4, 2),
        Op::Rnn(options) => (options, 1, 1),
        _ => return Err("is not recurrent".to_owned()),
    };
    let [x, w, r, b, first @ ..] = reads else {
        return Err(takes("x, W, R, B and first states", reads));
    };
    if first.len() != states {
        return Err(takes("x, W, R, B and first states", reads));
    }
    for operand in reads {
        kind("an operand", operand, &[Kind::Float])?;
    }
    let [steps, samples, features] = x.shape[..] else {
        return Err(format!("takes [steps, samples, features], and gets {x}"));
    };
    let &[directions, _, units] = &r.shape[..] else {
        return Err(format!("R is [directions, gates, units], not {r}"));
    };
    if directions != options.direction.count() {
        return Err(format!(
            "R is {r} and should have {} directions",
            options.direction.count()
        ));
    }
    if steps > MAX_STEPS {
        return Err(format!(
            "{steps} steps are more than the {MAX_STEPS} that are gone through one after the other"
        ));
    }
    let rows = units.checked_mul(gates).ok_or("it is too large")?;
    shape_is("W", w, &[directions, rows, features])?;
    shape_is("R", r, &[directions, rows, units])?;
    shape_is(
        "B",
        b,
        &[directions, rows.checked_mul(2).ok_or("it is too large")?],
    )?;
    for state in first {
        shape_is("a first state", state, &[directions, samples, units])?;
    }
    let last = TensorType::floats([directions, samples, units]);
    let mut outputs = vec![TensorType::floats([steps, directions, samples, units])];
    outputs.extend(std::iter::repeat_n(last, states));
    let each = count(&[steps, samples, directions, rows]);
    Ok(Effect {
        outputs,
        flops: each
            .saturating_mul(2)
            .saturating_mul(features.saturating_add(units) as u64),
        kept: each.saturating_mul(6),
    })
}
