//! What outputs mean, and what a table has of them.

use embermesh_job::spec::{Column, Dataset, Outputs, Predict, Target, TargetColumns};

/// What outputs mean.
pub(crate) struct Meaning {
    outputs: Outputs,
    /// How many a sample has.
    width: usize,
    /// What the classes are called; empty where they have numbers.
    labels: Vec<String>,
    /// What the columns of the table are called, but for the class.
    pub(super) names: Vec<String>,
}

/// The answer to a sample.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    /// The likeliest class.
    pub(crate) class: Option<usize>,
    /// The probability of each class or label, or the numbers.
    pub(crate) values: Vec<f32>,
}

impl Meaning {
    /// What the outputs of a prediction mean, of which a sample has so many.
    pub(super) fn of(predict: &Predict, width: usize) -> Self {
        let outputs = predict.outputs();
        let labels = match outputs {
            Outputs::Classes => predict.data.labels().to_vec(),
            Outputs::Labels | Outputs::Numbers => Vec::new(),
        };
        let count = match outputs {
            Outputs::Classes => width.max(2),
            Outputs::Labels | Outputs::Numbers => width,
        };
        let names = (0..count)
            .map(|at| match outputs {
                Outputs::Classes => match labels.get(at) {
                    Some(label) => format!("probability_{label}"),
                    None => format!("probability_{at}"),
                },
                Outputs::Labels => format!("probability_{}", at + 1),
                Outputs::Numbers => column(&predict.data, at),
            })
            .collect();
        Self {
            outputs,
            width,
            labels,
            names,
        }
    }

    /// What outputs mean that are in no table.
    pub(crate) fn new(outputs: Outputs, width: usize, labels: &[String]) -> Self {
        Self {
            outputs,
            width,
            labels: labels.to_vec(),
            names: Vec::new(),
        }
    }

    /// Whether the table has a class.
    pub(super) fn has_class(&self) -> bool {
        self.outputs == Outputs::Classes
    }

    /// The word for the values of an answer.
    pub(super) fn word(&self) -> &'static str {
        match self.outputs {
            Outputs::Classes | Outputs::Labels => "probabilities",
            Outputs::Numbers => "numbers",
        }
    }

    /// What a class is called, where it has a name.
    pub(crate) fn label(&self, class: usize) -> Option<&str> {
        self.labels.get(class).map(String::as_str)
    }

    /// Whether classes have names.
    pub(super) fn has_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// The answers to the samples of a batch.
    pub(crate) fn answers(&self, outputs: &[f32]) -> Vec<Answer> {
        outputs
            .chunks(self.width.max(1))
            .map(|outputs| self.answer(outputs))
            .collect()
    }

    fn answer(&self, outputs: &[f32]) -> Answer {
        match (self.outputs, outputs) {
            (Outputs::Classes, &[logit]) => {
                let second = sigmoid(logit);
                Answer {
                    class: Some(usize::from(logit > 0.0)),
                    values: vec![1.0 - second, second],
                }
            }
            (Outputs::Classes, _) => Answer {
                class: (0..outputs.len()).max_by(|&one, &other| {
                    // The first of several that are as likely.
                    outputs[one]
                        .total_cmp(&outputs[other])
                        .then(other.cmp(&one))
                }),
                values: softmax(outputs),
            },
            (Outputs::Labels, _) => Answer {
                class: None,
                values: outputs.iter().map(|&logit| sigmoid(logit)).collect(),
            },
            (Outputs::Numbers, _) => Answer {
                class: None,
                values: outputs.to_vec(),
            },
        }
    }
}

/// What a number is called: as its target's column, where that has a name.
fn column(data: &Dataset, at: usize) -> String {
    let named = match data {
        Dataset::Csv(table) | Dataset::Jsonl(table) | Dataset::Parquet(table) => {
            match &table.target {
                Some(TargetColumns::Numbers { columns }) => columns.get(at),
                _ => None,
            }
        }
        _ => None,
    };
    match (named, data.target()) {
        (Some(Column::Name(name)), Target::Numbers(_)) => name.clone(),
        _ => format!("number_{}", at + 1),
    }
}

fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from(logit - most).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(outputs: Outputs, width: usize) -> Meaning {
        Meaning {
            outputs,
            width,
            labels: Vec::new(),
            names: Vec::new(),
        }
    }

    #[test]
    fn outputs_become_probabilities() {
        let answers = meaning(Outputs::Classes, 2).answers(&[0.0, 0.0, 1.0, 3.0]);
        assert_eq!(answers[0].class, Some(0));
        assert_eq!(answers[0].values, [0.5, 0.5]);
        assert_eq!(answers[1].class, Some(1));
        let answers = meaning(Outputs::Classes, 1).answers(&[-2.0, 90.0]);
        assert_eq!((answers[0].class, answers[1].class), (Some(0), Some(1)));
        assert_eq!(answers[1].values, [0.0, 1.0]);
        // However large the logits are.
        let answers = meaning(Outputs::Classes, 2).answers(&[3e38, -3e38]);
        assert_eq!(answers[0].values, [1.0, 0.0]);
        let answers = meaning(Outputs::Labels, 2).answers(&[0.0, 100.0]);
        assert_eq!(answers[0].values, [0.5, 1.0]);
        let answers = meaning(Outputs::Numbers, 2).answers(&[7.5, -1.0]);
        assert_eq!(answers[0].values, [7.5, -1.0]);
        assert_eq!(answers[0].class, None);
    }
}
