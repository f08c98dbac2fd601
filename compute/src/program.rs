//! A program, executed over burn's tensors.
//!
//! burn's tensors carry their rank in their type and a program's do not, so every
//! tensor is flat here, its shape is the program's, and an operation gives it the few
//! axes that it needs: most go along one axis, `[before, axis, after]`.
//!
//! | module | what it is |
//! |---|---|
//! | `each`, `join` | numbers by themselves, and two at a time |
//! | `arrange`, `lookup` | what moves numbers, and what finds them |
//! | `fold`, `product`, `window` | sums, norms, matrices, convolutions |
//! | `recurrent` | layers that go through steps |
//! | `learn` | losses and the steps of optimisers |

mod arrange;
mod each;
mod fold;
mod join;
mod learn;
mod lookup;
mod product;
mod recurrent;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use embermesh_job::program::{Group, Op, Program, Step, TensorType};

/// An operation that could not be done with the numbers that it got.
#[derive(Debug, thiserror::Error)]
#[error("{word} \"{name}\": {reason}")]
pub struct StepFailed {
    /// The operation's name.
    pub name: String,
    /// The word for what it does.
    pub word: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// A tensor and its shape.
#[derive(Clone, Debug)]
struct Operand<'a> {
    x: Tensor<1>,
    of: &'a TensorType,
}

impl Operand<'_> {
    fn shape(&self) -> &[usize] {
        &self.of.shape
    }

    /// Its numbers before an axis, along it, and after it.
    fn around(&self, axis: usize) -> [usize; 3] {
        around(&self.of.shape, axis)
    }

    /// The same as a tensor of three axes.
    fn along(self, axis: usize) -> Tensor<3> {
        let parts = self.around(axis);
        self.x.reshape(parts)
    }
}

fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    ]
}

/// Any tensor as a flat one.
fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let count: usize = x.dims().iter().product();
    x.reshape([count])
}

/// Numbers on a device.
pub(crate) fn on(device: &Device, values: Vec<f32>) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Does everything once. `constants` and `inputs` are the numbers of the tensors
/// that the program brings along and is given, flat, in its order.
///
/// # Errors
/// [`StepFailed`] when an operation cannot use the numbers that it got.
pub(crate) fn run(
    program: &Program,
    constants: &[Tensor<1>],
    inputs: Vec<Tensor<1>>,
    device: &Device,
) -> Result<Vec<Tensor<1>>, StepFailed> {
    let mut held: Vec<Option<Tensor<1>>> = vec![None; program.types.len()];
    let mut leaves = BTreeMap::new();
    let derived = derived(program);
    for (constant, value) in program.constants.iter().zip(constants) {
        let place = constant.value.place();
        let value = if derived.contains(&place) {
            let leaf = value.clone().autodiff().require_grad();
            leaves.insert(place, leaf.clone());
            leaf
        } else {
            value.clone()
        };
        held[place] = Some(value);
    }
    for (input, value) in program.inputs.iter().zip(inputs) {
        held[input.place()] = Some(value);
    }
    for (step, over) in program.steps.iter().zip(program.last_uses()) {
        let fail = |reason: String| StepFailed {
            name: step.name.clone(),
            word: step.op.word(),
            reason,
        };
        let mut operands = Vec::with_capacity(step.reads.len());
        for (at, value) in step.reads.iter().enumerate() {
            let again = step.reads[at + 1..].contains(value);
            let slot = &mut held[value.place()];
            // A tensor that nobody else holds may be changed in place.
            let x = if over.contains(value) && !again {
                slot.take()
            } else {
                slot.clone()
            };
            operands.push(Operand {
                x: x.ok_or_else(|| fail("an operand is not there".to_owned()))?,
                of: program.type_of(*value),
            });
        }
        let gives = match &step.op {
            Op::Gradient(_) => gradients(step, &operands, &leaves).map_err(fail)?,
            op => {
                let to: Vec<&TensorType> = step
                    .gives
                    .iter()
                    .map(|value| program.type_of(*value))
                    .collect();
                apply(op, operands, &to, device).map_err(fail)?
            }
        };
        for (value, x) in step.gives.iter().zip(gives) {
            if !over.contains(value) {
                held[value.place()] = Some(x);
            }
        }
    }
    program
        .outputs
        .iter()
        .map(|value| {
            held[value.place()].clone().ok_or_else(|| StepFailed {
                name: String::new(),
                word: "output",
                reason: "it is not there".to_owned(),
            })
        })
        .collect()
}

/// Does one operation by itself, which is no gradient.
///
/// # Errors
/// [`StepFailed`] when it cannot use the numbers that it got.
pub(crate) fn step(
    program: &Program,
    step: &Step,
    operands: Vec<Tensor<1>>,
    device: &Device,
) -> Result<Vec<Tensor<1>>, StepFailed> {
    let fail = |reason: String| StepFailed {
        name: step.name.clone(),
        word: step.op.word(),
        reason,
    };
    if matches!(step.op, Op::Gradient(_)) {
        return Err(fail("a gradient is not an operation by itself".to_owned()));
    }
    let types = step.reads.iter().map(|value| program.type_of(*value));
    let operands = operands.into_iter().zip(types);
    let operands = operands.map(|(x, of)| Operand { x, of }).collect();
    let gives = step.gives.iter().map(|value| program.type_of(*value));
    let gives: Vec<&TensorType> = gives.collect();
    apply(&step.op, operands, &gives, device).map_err(fail)
}

/// The places of what something is derived by.
fn derived(program: &Program) -> Vec<usize> {
    program
        .steps
        .iter()
        .filter(|step| matches!(step.op, Op::Gradient(_)))
        .flat_map(|step| &step.reads[1..])
        .map(|value| value.place())
        .collect()
}

fn gradients(
    step: &Step,
    operands: &[Operand<'_>],
    leaves: &BTreeMap<usize, Tensor<1>>,
) -> Result<Vec<Tensor<1>>, String> {
    let Some((of, by)) = operands.split_first() else {
        return Err("there is nothing to derive".to_owned());
    };
    if !of.x.is_autodiff() {
        // It does not depend on any of them.
        return Ok(by
            .iter()
            .map(|by| by.x.clone().without_autodiff().zeros_like())
            .collect());
    }
    let gradients = of.x.backward();
    Ok(step.reads[1..]
        .iter()
        .zip(by)
        .map(|(value, by)| {
            let leaf = leaves.get(&value.place()).unwrap_or(&by.x);
            leaf.grad(&gradients)
                .unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like())
        })
        .collect())
}

fn apply(
    op: &Op,
    mut operands: Vec<Operand<'_>>,
    to: &[&TensorType],
    device: &Device,
) -> Result<Vec<Tensor<1>>, String> {
    let missing = || "an operand is missing".to_owned();
    let Some(&first) = to.first() else {
        return Err("it gives nothing".to_owned());
    };
    match (op.group(), operands.len()) {
        (Group::Each, 1) => {
            let x = operands.pop().ok_or_else(missing)?;
            Ok(vec![each::each(op, x.x)])
        }
        (Group::Test, 1) => {
            let x = operands.pop().ok_or_else(missing)?;
            Ok(vec![each::test(op, x.x)])
        }
        (Group::Join | Group::Compare | Group::Logic, 2) => {
            let y = operands.pop().ok_or_else(missing)?;
            let x = operands.pop().ok_or_else(missing)?;
            Ok(vec![join::join(op, x, y)])
        }
        (Group::Fold, 1) => {
            let x = operands.pop().ok_or_else(missing)?;
            Ok(vec![fold::fold(op, x)])
        }
        _ => own(op, operands, first, device),
    }
}

fn own(
    op: &Op,
    operands: Vec<Operand<'_>>,
    first: &TensorType,
    device: &Device,
) -> Result<Vec<Tensor<1>>, String> {
    let one = |x: Tensor<1>| Ok(vec![x]);
    match op {
        Op::Where(_) => one(join::choose(operands, first)?),
        Op::Cast(_) => one(each::cast(operands, first)?),
        Op::MatMul(_) => one(product::matmul(operands)?),
        Op::Gemm(gemm) => one(product::gemm(gemm, operands)?),
        Op::Conv(conv) => one(window::conv(conv, operands, device)?),
        Op::ConvTranspose(conv) => one(window::transposed(conv, operands)?),
        Op::MaxPool(pool) => one(window::max_pool(pool, operands)?),
        Op::AvgPool(pool) => one(window::avg_pool(pool, operands)?),
        Op::ArgMax(_) | Op::ArgMin(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::CumSum(_) => {
            one(fold::along(op, operands)?)
        }
        Op::LayerNorm(norm) => one(fold::layer_norm(norm, operands)?),
        Op::BatchNorm(norm) => one(fold::batch_norm(norm, operands)?),
        Op::Gather(_) | Op::GatherElements(_) | Op::OneHot(_) => {
            one(lookup::apply(op, operands, device)?)
        }
        Op::Rnn(options) | Op::Gru(options) | Op::Lstm(options) => {
            recurrent::apply(op, options, operands)
        }
        Op::MseLoss(_)
        | Op::L1Loss(_)
        | Op::SmoothL1Loss(_)
        | Op::CrossEntropyLoss(_)
        | Op::BceWithLogitsLoss(_)
        | Op::Sgd(_)
        | Op::Adam(_) => learn::apply(op, operands, device),
        op => arrange::apply(op, operands, first, device),
    }
}

/// The operands, when there are as many as there should be.
fn these<const N: usize>(operands: Vec<Operand<'_>>) -> Result<[Operand<'_>; N], String> {
    <[Operand<'_>; N]>::try_from(operands)
        .map_err(|operands| format!("has {} operands of {N}", operands.len()))
}
