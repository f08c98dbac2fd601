//! Recurrent layers in ONNX's layout and with its gates: i, o, f, c of an LSTM, z,
//! r, h of a GRU.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use embermesh_job::program::{Direction, Op, Rnn};

use super::{Operand, flat};

/// One way through the steps.
struct Way {
    /// What is made of the input: a tensor a step.
    projected: Vec<Tensor<2>>,
    /// From the state to the gates.
    hidden: Tensor<2>,
    /// What is added to the gates of the state.
    bias: Tensor<2>,
    units: usize,
}

impl Way {
    /// A gate's part of what there is for all.
    fn gate(&self, gates: &Tensor<2>, index: usize) -> Tensor<2> {
        gates.clone().narrow(1, index * self.units, self.units)
    }

    /// What the state adds to the gates.
    fn of_state(&self, h: &Tensor<2>) -> Tensor<2> {
        h.clone().matmul(self.hidden.clone()).add(self.bias.clone())
    }
}

pub(super) fn apply(
    op: &Op,
    options: &Rnn,
    operands: Vec<Operand<'_>>,
) -> Result<Vec<Tensor<1>>, String> {
    let [x, w, r, b, first @ ..] = &operands[..] else {
        return Err("operands are missing".to_owned());
    };
    let (&[steps, samples, features], &[directions, rows, units]) =
        (&x.of.shape[..], &r.of.shape[..])
    else {
        return Err("operands have other axes".to_owned());
    };
    let part = |operand: &Operand<'_>, direction: usize, size: usize| {
        operand.x.clone().narrow(0, direction * size, size)
    };
    let lines: Tensor<2> = x.x.clone().reshape([steps * samples, features]);
    let mut every = Vec::with_capacity(directions);
    let mut lasts: Vec<Vec<Tensor<2>>> = vec![Vec::new(); first.len()];
    for direction in 0..directions {
        let input: Tensor<2> = part(w, direction, rows * features).reshape([rows, features]);
        let hidden: Tensor<2> = part(r, direction, rows * units).reshape([rows, units]);
        let biases: Tensor<2> = part(b, direction, 2 * rows).reshape([2, rows]);
        let projected = lines
            .clone()
            .matmul(input.transpose())
            .add(biases.clone().narrow(0, 0, 1))
            .reshape([steps, samples, rows]);
        let mut projected = in_steps(projected);
        let backwards = options.direction == Direction::Reverse || direction == 1;
        if backwards {
            projected.reverse();
        }
        let way = Way {
            projected,
            hidden: hidden.transpose(),
            bias: biases.narrow(0, 1, 1),
            units,
        };
        let states = first
            .iter()
            .map(|state| part(state, direction, samples * units).reshape([samples, units]))
            .collect();
        let (mut outputs, ends) = go(op, options, &way, states);
        if backwards {
            outputs.reverse();
        }
        every.push(Tensor::stack::<3>(outputs, 0).reshape([steps, 1, samples * units]));
        for (all, end) in lasts.iter_mut().zip(ends) {
            all.push(end);
        }
    }
    let mut gives = vec![flat(Tensor::<3>::cat(every, 1))];
    gives.extend(lasts.into_iter().map(|ends| flat(Tensor::cat(ends, 0))));
    Ok(gives)
}

/// Every state on one way, and the last of each kind.
fn go(
    op: &Op,
    options: &Rnn,
    way: &Way,
    states: Vec<Tensor<2>>,
) -> (Vec<Tensor<2>>, Vec<Tensor<2>>) {
    let mut states = states;
    let mut outputs = Vec::with_capacity(way.projected.len());
    for projected in &way.projected {
        states = match op {
            Op::Lstm(_) => lstm(way, projected, &states),
            Op::Gru(_) => vec![gru(way, projected, &states[0], options.reset_after)],
            _ => vec![projected.clone().add(way.of_state(&states[0])).tanh()],
        };
        outputs.push(states[0].clone());
    }
    (outputs, states)
}

fn lstm(way: &Way, projected: &Tensor<2>, states: &[Tensor<2>]) -> Vec<Tensor<2>> {
    let gates = projected.clone().add(way.of_state(&states[0]));
    let [i, o, f] = [0, 1, 2].map(|index| sigmoid(way.gate(&gates, index)));
    let c = f
        .mul(states[1].clone())
        .add(i.mul(way.gate(&gates, 3).tanh()));
    vec![o.mul(c.clone().tanh()), c]
}

fn gru(way: &Way, projected: &Tensor<2>, h: &Tensor<2>, reset_after: bool) -> Tensor<2> {
    let state = way.of_state(h);
    let both = |index: usize| sigmoid(way.gate(projected, index).add(way.gate(&state, index)));
    let (z, r) = (both(0), both(1));
    let inner = if reset_after {
        r.mul(way.gate(&state, 2))
    } else {
        // The matrix sees what is left of the state.
        way.gate(&way.of_state(&r.mul(h.clone())), 2)
    };
    let n = way.gate(projected, 2).add(inner).tanh();
    // (1 - z) n + z h
    n.clone().add(z.mul(h.clone().sub(n)))
}

/// The steps of a sequence. Halved again and again: the gradient of a part has the
/// size of the whole, which one by one would cost the square of the steps.
fn in_steps(sequence: Tensor<3>) -> Vec<Tensor<2>> {
    let [steps, samples, width] = sequence.dims();
    if steps == 1 {
        return vec![sequence.reshape([samples, width])];
    }
    let half = steps / 2;
    let mut parts = in_steps(sequence.clone().narrow(0, 0, half));
    parts.extend(in_steps(sequence.narrow(0, half, steps - half)));
    parts
}
