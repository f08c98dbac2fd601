//! What a batch should have given, on a device: the loss of what it gave, and
//! how much of that is right. Formulas are PyTorch's, with `reduction="mean"`.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use embermesh_job::spec::{Loss, Target};

use crate::dataset::Targets;
use crate::failure::{InvalidData, WorkFailed};

/// A loss, and the kind of targets that it judges by.
#[derive(Clone, Debug)]
pub(crate) struct Objective {
    loss: Loss,
    target: Target,
}

/// The right answers of a batch, on a device.
pub(crate) struct Answers {
    truth: Truth,
    /// How many answers can be right or wrong; none where they are measures.
    judged: u64,
}

#[allow(clippy::large_enum_variant, reason = "there is one a batch")]
enum Truth {
    /// One of several classes.
    Classes {
        classes: Tensor<2, Int>,
        /// One row a sample: what the logarithm of each class's probability
        /// counts. Picking by a product rather than by an index keeps the
        /// gradient free of scattered writes, whose order some GPUs do not
        /// keep.
        shares: Tensor<2>,
    },
    /// Probabilities, from a logit each.
    Bits(Tensor<2>),
    /// Numbers.
    Numbers { values: Tensor<2>, loss: Loss },
}

impl Objective {
    /// A loss over targets of a kind, which the spec has checked to fit.
    pub(crate) fn new(loss: Loss, target: Target) -> Self {
        Self { loss, target }
    }

    /// The loss.
    pub(crate) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// The kind of targets.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// What a sum over such samples is divided by to be their mean.
    pub(crate) fn weight(&self, targets: &Targets) -> f64 {
        match (targets, &self.loss) {
            (Targets::Classes(classes), Loss::CrossEntropy { class_weights, .. })
                if !class_weights.is_empty() =>
            {
                classes
                    .iter()
                    .map(|&class| weight_of(class_weights, class))
                    .sum()
            }
            (Targets::Classes(classes), _) => classes.len() as f64,
            (Targets::Numbers { values, .. }, _) => values.len() as f64,
            (Targets::Absent(_), _) => 0.0,
        }
    }

    /// Brings the answers of a batch to a device.
    ///
    /// # Errors
    /// When the samples bring another kind than the dataset has promised, or
    /// numbers that are no probabilities where those are asked.
    pub(crate) fn answers(
        &self,
        targets: &Targets,
        device: &Device,
    ) -> Result<Answers, WorkFailed> {
        let count = targets.len();
        let matrix = |values: Vec<f32>, width: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [count, width]), device)
        };
        let (truth, judged) = match (targets, &self.loss, self.target) {
            (
                Targets::Classes(labels),
                Loss::CrossEntropy {
                    label_smoothing,
                    class_weights,
                },
                Target::Classes(classes),
            ) => {
                let width = classes as usize;
                let shares = shares(labels, width, *label_smoothing, class_weights);
                let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
                let classes = Tensor::from_data(TensorData::new(labels, [count, 1]), device);
                let shares = matrix(shares, width);
                (Truth::Classes { classes, shares }, count)
            }
            (Targets::Classes(labels), Loss::Bce, _) => {
                let bits = labels.iter().map(|&label| label as f32).collect();
                (Truth::Bits(matrix(bits, 1)), count)
            }
            (Targets::Numbers { values, width }, Loss::Bce, _) => {
                if let Some(row) = values.iter().position(|value| !(0.0..=1.0).contains(value)) {
                    return Err(InvalidData::NoProbability { value: values[row] }.into());
                }
                (Truth::Bits(matrix(values.clone(), *width)), values.len())
            }
            (Targets::Numbers { values, width }, loss, Target::Numbers(_)) => {
                let values = matrix(values.clone(), *width);
                let loss = loss.clone();
                (Truth::Numbers { values, loss }, 0)
            }
            _ => {
                return Err(WorkFailed::Internal(format!(
                    "{} was asked to judge by targets of another kind",
                    self.loss.word()
                )));
            }
        };
        let judged = judged as u64;
        Ok(Answers { truth, judged })
    }
}

impl Answers {
    /// The sum of the losses of the outputs, divided by `weight`.
    pub(crate) fn loss(&self, outputs: Tensor<2>, weight: f64) -> Tensor<1> {
        let share = 1.0 / weight;
        match &self.truth {
            Truth::Classes { shares, .. } => log_softmax(outputs, 1)
                .mul(shares.clone())
                .sum()
                .mul_scalar(-share),
            Truth::Bits(bits) => {
                let no = bits.clone().neg().add_scalar(1.0);
                log_sigmoid(outputs.clone())
                    .mul(bits.clone())
                    .add(log_sigmoid(outputs.neg()).mul(no))
                    .sum()
                    .mul_scalar(-share)
            }
            Truth::Numbers { values, loss } => {
                let error = outputs.sub(values.clone());
                let each = match *loss {
                    Loss::Mae => error.abs(),
                    Loss::Huber { delta } => {
                        let size = error.abs();
                        let near = size.clone().clamp_max(delta);
                        let far = size.sub(near.clone()).mul_scalar(delta);
                        near.clone().mul(near).mul_scalar(0.5).add(far)
                    }
                    _ => error.clone().mul(error),
                };
                each.sum().mul_scalar(share)
            }
        }
    }

    /// How many answers are right, where answers can be: the class with the
    /// greatest logit, and a probability on the right side of a half.
    pub(crate) fn correct(&self, outputs: Tensor<2>) -> Option<Tensor<1>> {
        let right = match &self.truth {
            Truth::Classes { classes, .. } => outputs.argmax(1).equal(classes.clone()),
            Truth::Bits(bits) => outputs
                .greater_elem(0.0)
                .equal(bits.clone().greater_elem(0.5)),
            Truth::Numbers { .. } => return None,
        };
        Some(right.int().sum().float())
    }

    /// How many answers can be right or wrong.
    pub(crate) fn judged(&self) -> u64 {
        self.judged
    }
}

/// What each class's logarithm counts: a one at the target, less what label
/// smoothing spreads, each times the class's weight.
fn shares(labels: &[u32], classes: usize, smoothing: f64, weights: &[f64]) -> Vec<f32> {
    let spread = smoothing / classes as f64;
    let row: Vec<f32> = (0..classes as u32)
        .map(|class| (spread * weight_of(weights, class)) as f32)
        .collect();
    let mut shares = row.repeat(labels.len());
    for (sample, &label) in labels.iter().enumerate() {
        let whole = (1.0 - smoothing + spread) * weight_of(weights, label);
        shares[sample * classes + label as usize] = whole as f32;
    }
    shares
}

fn weight_of(weights: &[f64], class: u32) -> f64 {
    weights.get(class as usize).copied().unwrap_or(1.0)
}

#[cfg(test)]
mod tests;
