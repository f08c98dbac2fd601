//! Recurrent layers. What is not given is zero.

use embermesh_job::program::{Direction, Expand, Kind, Op, Reordered, Rnn, Value};

use super::super::attributes::Attributes;
use super::super::graph::{Entry, Importer};
use super::super::literal::Literal;
use super::super::wire::NodeProto;
use super::Made;

pub(super) fn apply(importer: &mut Importer, node: &NodeProto) -> Made {
    let (gates, states, usual): (usize, &[usize], &[&str]) = match node.op_type.as_str() {
        "LSTM" => (4, &[5, 6], &["Sigmoid", "Tanh", "Tanh"]),
        "GRU" => (3, &[5], &["Sigmoid", "Tanh"]),
        "RNN" => (1, &[5], &["Tanh"]),
        _ => return Ok(None),
    };
    let attributes = Attributes(node);
    let direction = match attributes.text("direction", "forward") {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Both,
        other => return Err(format!("the direction {other:?} is not read")),
    };
    if let Some(activations) = attributes.texts("activations") {
        let all: Vec<&str> = (0..direction.count())
            .flat_map(|_| usual.iter().copied())
            .collect();
        if activations != all {
            return Err(format!("activations other than {usual:?} are not read"));
        }
    }
    for name in ["clip", "input_forget"] {
        if attributes.has(name)
            && (attributes.int(name, 0) != 0 || attributes.float(name, 0.0) != 0.0)
        {
            return Err(format!("{name} is not read"));
        }
    }
    let by_sample = attributes.flag("layout", false);
    let mut x = importer.value(node, 0)?;
    if by_sample {
        x = swap(importer, x)?;
    }
    let r = importer.type_of(node, 2)?;
    let (&[steps, samples, _], &[directions, _, units]) =
        (&importer.builder.type_of(x).shape[..], &r.shape[..])
    else {
        return Err("X is [steps, samples, features] and R has three axes".to_owned());
    };
    if importer.has(node, 4) {
        let lengths = importer.ints(node, 4, "list of lengths")?;
        if lengths.iter().any(|&length| length != steps as i64) {
            return Err("sequences of different lengths are not read".to_owned());
        }
    }
    if importer.has(node, 7) {
        return Err("peepholes are not read".to_owned());
    }
    let mut reads = vec![x, importer.value(node, 1)?, importer.value(node, 2)?];
    reads.push(if importer.has(node, 3) {
        importer.value(node, 3)?
    } else {
        let rows = units.checked_mul(2 * gates).ok_or("it is too large")?;
        zeros(importer, &[directions, rows])?
    });
    for &index in states {
        let first = if importer.has(node, index) {
            let state = importer.value(node, index)?;
            if by_sample {
                swap(importer, state)?
            } else {
                state
            }
        } else {
            zeros(importer, &[directions, samples, units])?
        };
        reads.push(first);
    }
    let options = Rnn {
        direction,
        reset_after: attributes.flag("linear_before_reset", false),
    };
    let op = match node.op_type.as_str() {
        "LSTM" => Op::Lstm(options),
        "GRU" => Op::Gru(options),
        _ => Op::Rnn(options),
    };
    let mut gives = importer.apply_all(op, &reads)?;
    if by_sample {
        let order = Reordered {
            axes: vec![2, 0, 1, 3],
        };
        gives[0] = importer.apply(Op::Transpose(order), &[gives[0]])?;
        for state in &mut gives[1..] {
            *state = swap(importer, *state)?;
        }
    }
    Ok(Some(gives.into_iter().map(Entry::Made).collect()))
}

/// The first two axes in the other order.
fn swap(importer: &mut Importer, x: Value) -> Result<Value, String> {
    importer.apply(
        Op::Transpose(Reordered {
            axes: vec![1, 0, 2],
        }),
        &[x],
    )
}

fn zeros(importer: &mut Importer, shape: &[usize]) -> Result<Value, String> {
    let zero = importer.constant("zero", Literal::filled(Kind::Float, &[], 0.0))?;
    let shape = shape.to_vec();
    importer.apply(Op::Expand(Expand { shape }), &[zero])
}
