//! Losses, gradients, and the steps of optimisers.

use super::super::{Kind, Op, TensorType};
use super::{Effect, kind, shape_is, takes};

pub(super) fn apply(op: &Op, reads: &[&TensorType]) -> Result<Effect, String> {
    match (op, reads) {
        (Op::CrossEntropyLoss(_), [logits, classes]) => {
            kind("what holds the logits", logits, &[Kind::Float])?;
            kind("what holds the classes", classes, &[Kind::Int])?;
            let [samples, _] = logits.shape[..] else {
                return Err(format!(
                    "takes logits [samples, classes], and gets {logits}"
                ));
            };
            shape_is("what holds the classes", classes, &[samples])?;
            Ok(Effect::each(TensorType::floats([]), 1).costing(logits.len().saturating_mul(5)))
        }
        (
            Op::MseLoss(_) | Op::L1Loss(_) | Op::SmoothL1Loss(_) | Op::BceWithLogitsLoss(_),
            [x, target],
        ) => {
            kind("it", x, &[Kind::Float])?;
            kind("its target", target, &[Kind::Float])?;
            shape_is("its target", target, &x.shape)?;
            let mut effect =
                Effect::each(TensorType::floats([]), 1).costing(x.len().saturating_mul(4));
            effect.kept = x.len().saturating_mul(3);
            Ok(effect)
        }
        (Op::Gradient(_), [of, by @ ..]) if !by.is_empty() => {
            kind("what is derived", of, &[Kind::Float])?;
            if of.len() != 1 {
                return Err(format!(
                    "derives a single number, and gets {of}: take a loss, a sum or a mean of it"
                ));
            }
            for tensor in by {
                kind("what it is derived by", tensor, &[Kind::Float])?;
            }
            Ok(Effect {
                outputs: by.iter().map(|tensor| (*tensor).clone()).collect(),
                flops: 0,
                kept: 0,
            })
        }
        (Op::Gradient(_), _) => Err(takes(
            "a single number and the tensors that it is derived by",
            reads,
        )),
        (Op::Sgd(sgd), [parameter, rest @ ..]) => {
            let state = usize::from(sgd.momentum != 0.0);
            rate("learning_rate", sgd.learning_rate, 1e6)?;
            rate("momentum", sgd.momentum, 1.0)?;
            rate("weight_decay", sgd.weight_decay, 1e6)?;
            update(parameter, rest, state, 4)
        }
        (Op::Adam(adam), [parameter, rest @ ..]) => {
            rate("learning_rate", adam.learning_rate, 1e6)?;
            rate("beta1", adam.beta1, 1.0)?;
            rate("beta2", adam.beta2, 1.0)?;
            rate("epsilon", adam.epsilon, 1.0)?;
            rate("weight_decay", adam.weight_decay, 1e6)?;
            if adam.step == 0 {
                return Err("step counts from 1".to_owned());
            }
            update(parameter, rest, 2, 14)
        }
        _ => Err(takes("other tensors", reads)),
    }
}

/// The parameter and so many moments, after a step.
fn update(
    parameter: &TensorType,
    rest: &[&TensorType],
    moments: usize,
    cost: u64,
) -> Result<Effect, String> {
    if rest.len() != moments + 1 {
        return Err(format!(
            "takes a parameter, its gradient and {moments} moments, and reads {}",
            rest.len() + 1
        ));
    }
    kind("the parameter", parameter, &[Kind::Float])?;
    for other in rest {
        kind("an operand", other, &[Kind::Float])?;
        shape_is("each of gradient and moments", other, &parameter.shape)?;
    }
    Ok(Effect {
        outputs: vec![parameter.clone(); moments + 1],
        flops: parameter.len().saturating_mul(cost),
        kept: 0,
    })
}

fn rate(what: &str, value: f64, below: f64) -> Result<(), String> {
    if (0.0..below).contains(&value) {
        return Ok(());
    }
    Err(format!(
        "{what} {value} is not at least 0 and below {below}"
    ))
}
