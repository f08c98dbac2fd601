//! Recurrent layers, with the gates in PyTorch's order: i, f, g, o of an LSTM,
//! r, z, n of a GRU.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use embermesh_job::model::{Recurrent, Steps};

use super::Stage;
use super::flow::Flow;
use super::pass::Pass;

/// The tensors of one layer of a stack.
struct Cell {
    /// What is made of the input, of all steps at once.
    projected: Tensor<3>,
    /// From the state to the gates, transposed.
    hidden: Tensor<2>,
    /// What is added to the gates of the state.
    bias: Option<Tensor<2>>,
    units: usize,
}

pub(super) fn lstm(pass: &Pass<'_>, stage: &Stage, options: &Recurrent, flow: Flow) -> Flow {
    through(pass, stage, options, flow, |cell, samples| {
        let mut h: Tensor<2> = pass.zeros([samples, cell.units]);
        let mut c: Tensor<2> = pass.zeros([samples, cell.units]);
        let mut outputs = Vec::new();
        for projected in steps(cell.projected.clone()) {
            let gates = projected.add(cell.of_state(h));
            let gate = |index: usize| gates.clone().narrow(1, index * cell.units, cell.units);
            let (i, f, o) = (sigmoid(gate(0)), sigmoid(gate(1)), sigmoid(gate(3)));
            c = f.mul(c).add(i.mul(gate(2).tanh()));
            h = o.mul(c.clone().tanh());
            outputs.push(h.clone());
        }
        outputs
    })
}

pub(super) fn gru(pass: &Pass<'_>, stage: &Stage, options: &Recurrent, flow: Flow) -> Flow {
    through(pass, stage, options, flow, |cell, samples| {
        let mut h: Tensor<2> = pass.zeros([samples, cell.units]);
        let mut outputs = Vec::new();
        for projected in steps(cell.projected.clone()) {
            let state = cell.of_state(h.clone());
            let of = |gates: &Tensor<2>, index: usize| {
                gates.clone().narrow(1, index * cell.units, cell.units)
            };
            let r = sigmoid(of(&projected, 0).add(of(&state, 0)));
            let z = sigmoid(of(&projected, 1).add(of(&state, 1)));
            let n = of(&projected, 2).add(r.mul(of(&state, 2))).tanh();
            // (1 - z) n + z h
            h = n.clone().add(z.mul(h.sub(n)));
            outputs.push(h.clone());
        }
        outputs
    })
}

/// Goes through a stack of layers, each over all steps of the one before.
fn through(
    pass: &Pass<'_>,
    stage: &Stage,
    options: &Recurrent,
    flow: Flow,
    layer: impl Fn(&Cell, usize) -> Vec<Tensor<2>>,
) -> Flow {
    let mut sequence = flow.lines();
    let samples = sequence.dims()[0];
    for index in 0..options.layers {
        let cell = Cell::new(pass, stage, options, index, sequence);
        let mut outputs = layer(&cell, samples);
        if index + 1 == options.layers && options.output == Steps::Last {
            return Flow::Rows(outputs.pop().expect("a sequence has a step"));
        }
        sequence = Tensor::stack(outputs, 1);
    }
    Flow::Lines(sequence)
}

impl Cell {
    fn new(
        pass: &Pass<'_>,
        stage: &Stage,
        options: &Recurrent,
        index: usize,
        sequence: Tensor<3>,
    ) -> Self {
        let tensors = if options.bias { 4 } else { 2 };
        let at = |place: usize| index * tensors + place;
        let [samples, steps, features] = sequence.dims();
        let input = pass.matrix(stage, at(0)).transpose();
        let gates = input.dims()[1];
        let bias = |place: usize| {
            options
                .bias
                .then(|| pass.value(stage, at(place)).reshape([1, gates]))
        };
        let mut projected: Tensor<2> = sequence.reshape([samples * steps, features]).matmul(input);
        if let Some(bias) = bias(2) {
            projected = projected.add(bias);
        }
        Self {
            projected: projected.reshape([samples, steps, gates]),
            hidden: pass.matrix(stage, at(1)).transpose(),
            bias: bias(3),
            units: options.units,
        }
    }

    /// What the state adds to the gates.
    fn of_state(&self, h: Tensor<2>) -> Tensor<2> {
        let gates = h.matmul(self.hidden.clone());
        match &self.bias {
            None => gates,
            Some(bias) => gates.add(bias.clone()),
        }
    }
}

/// The steps of a sequence. Halved again and again: the gradient of a part has
/// the size of the whole, which one by one would cost the square of the steps.
fn steps(sequence: Tensor<3>) -> Vec<Tensor<2>> {
    let [samples, length, features] = sequence.dims();
    if length == 1 {
        return vec![sequence.reshape([samples, features])];
    }
    let half = length / 2;
    let mut steps = self::steps(sequence.clone().narrow(1, 0, half));
    steps.extend(self::steps(sequence.narrow(1, half, length - half)));
    steps
}
