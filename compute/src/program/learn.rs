//! Losses, and the steps of optimisers.

use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor};
use embermesh_job::program::{Adam, Op, Sgd};

use super::arrange::places_on;
use super::{Operand, flat, these};

pub(super) fn apply(
    op: &Op,
    operands: Vec<Operand<'_>>,
    device: &Device,
) -> Result<Vec<Tensor<1>>, String> {
    match op {
        Op::Sgd(options) => sgd(options, operands),
        Op::Adam(options) => adam(options, operands),
        Op::CrossEntropyLoss(_) => Ok(vec![cross_entropy(operands, device)?]),
        op => {
            let [x, target] = these(operands)?;
            Ok(vec![loss(op, x.x, target.x).mean()])
        }
    }
}

/// The loss of each number.
fn loss(op: &Op, x: Tensor<1>, target: Tensor<1>) -> Tensor<1> {
    match op {
        Op::L1Loss(_) => x.sub(target).abs(),
        Op::SmoothL1Loss(_) => {
            let far = x.sub(target).abs();
            // Half a square up to 1, and a line of the same slope from there.
            let near = far.clone().clamp_max(1.0);
            let square = near.clone().mul(near.clone()).mul_scalar(0.5);
            square.add(far.sub(near))
        }
        // max(x, 0) - x y + log(1 + e^-|x|), which never overflows.
        Op::BceWithLogitsLoss(_) => relu(x.clone())
            .sub(x.clone().mul(target))
            .add(x.abs().neg().exp().add_scalar(1.0).log()),
        _ => {
            let difference = x.sub(target);
            difference.clone().mul(difference)
        }
    }
}

fn cross_entropy(operands: Vec<Operand<'_>>, device: &Device) -> Result<Tensor<1>, String> {
    let [logits, classes] = these(operands)?;
    let &[samples, width] = &logits.of.shape[..] else {
        return Err("logits have two axes".to_owned());
    };
    let classes = classes
        .x
        .without_autodiff()
        .try_into_vec_as::<f32>()
        .map_err(|error| format!("classes cannot be read: {error}"))?;
    let is_class = |class: f32| class >= 0.0 && (class as usize) < width && class.fract() == 0.0;
    if let Some(class) = classes.iter().find(|class| !is_class(**class)) {
        return Err(format!("class {class} is not from 0 to below {width}"));
    }
    let places = places_on(device, classes.into_iter().map(|class| class as i64));
    let logits: Tensor<2> = logits.x.reshape([samples, width]);
    let chosen = log_softmax(logits, 1).gather(1, places.reshape([samples, 1]));
    Ok(flat(chosen).mean().neg())
}

fn sgd(options: &Sgd, operands: Vec<Operand<'_>>) -> Result<Vec<Tensor<1>>, String> {
    let mut operands = operands
        .into_iter()
        .map(|operand| operand.x.without_autodiff());
    let missing = "an operand is missing";
    let parameter = operands.next().ok_or(missing)?;
    let mut gradient = operands.next().ok_or(missing)?;
    if options.weight_decay != 0.0 {
        gradient = gradient.add(parameter.clone().mul_scalar(options.weight_decay));
    }
    let Some(velocity) = operands.next() else {
        return Ok(vec![
            parameter.sub(gradient.mul_scalar(options.learning_rate)),
        ]);
    };
    let velocity = velocity.mul_scalar(options.momentum).add(gradient);
    let parameter = parameter.sub(velocity.clone().mul_scalar(options.learning_rate));
    Ok(vec![parameter, velocity])
}

/// Kingma and Ba 2015, with the decay of Loshchilov and Hutter 2019.
fn adam(options: &Adam, operands: Vec<Operand<'_>>) -> Result<Vec<Tensor<1>>, String> {
    let [parameter, gradient, first, second] = these(operands)?;
    let [parameter, gradient, first, second] =
        [parameter, gradient, first, second].map(|operand| operand.x.without_autodiff());
    let (beta1, beta2) = (options.beta1, options.beta2);
    let first = first
        .mul_scalar(beta1)
        .add(gradient.clone().mul_scalar(1.0 - beta1));
    let second = second
        .mul_scalar(beta2)
        .add(gradient.clone().mul(gradient).mul_scalar(1.0 - beta2));
    let step = f64::from(options.step);
    let unbiased = |x: &Tensor<1>, beta: f64| x.clone().div_scalar(1.0 - beta.powf(step));
    let divisor = unbiased(&second, beta2).sqrt().add_scalar(options.epsilon);
    let towards = unbiased(&first, beta1).div(divisor);
    let kept = parameter.mul_scalar(1.0 - options.learning_rate * options.weight_decay);
    let parameter = kept.sub(towards.mul_scalar(options.learning_rate));
    Ok(vec![parameter, first, second])
}
