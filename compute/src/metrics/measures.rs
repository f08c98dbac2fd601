//! The full result of an evaluation: what is summed of each batch's outputs on
//! the host, and the report that becomes of it. Definitions are scikit-learn's;
//! where it would divide by zero, a share is 0 as there.

use std::collections::BTreeMap;

use embermesh_job::spec::{Loss, Target};
use serde::Serialize;

use super::Tally;
use super::classes::{Classes, ClassesReport};
use super::labels::Labels;
use super::numbers::{Numbers, NumbersReport};
use crate::dataset::Targets;
use crate::loss::Objective;

/// Sums over the outputs of an evaluation.
pub(crate) enum Measures {
    /// One of several classes.
    Classes(Classes),
    /// Labels of which each applies or does not.
    Labels(Labels),
    /// Numbers.
    Numbers(Numbers),
}

/// What is written into the file.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    samples: u64,
    loss: f64,
    loss_function: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    /// The exponential of a cross-entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    perplexity: Option<f64>,
    /// The share of the samples of which every label is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact_match: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    classes: Option<ClassesReport>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    numbers: Option<NumbersReport>,
}

impl Measures {
    /// Nothing yet, for so many samples. Ranking needs every score; it is left
    /// out where more than `room` of them would be kept.
    pub(crate) fn new(objective: &Objective, samples: usize, room: usize) -> Self {
        match (objective.target(), objective.loss()) {
            (Target::Classes(classes), _) => {
                Self::Classes(Classes::new(classes as usize, samples, room))
            }
            (Target::Numbers(width), Loss::Bce) => {
                Self::Labels(Labels::new(width as usize, samples, room))
            }
            (Target::Numbers(width), _) => Self::Numbers(Numbers::new(width as usize)),
            (Target::Nothing, _) => Self::Numbers(Numbers::new(0)),
        }
    }

    /// Adds a batch: the outputs, row-major, and what they should have been.
    pub(crate) fn add(&mut self, outputs: &[f32], targets: &Targets) {
        match (self, targets) {
            (Self::Classes(classes), Targets::Classes(labels)) => classes.add(outputs, labels),
            (Self::Labels(labels), Targets::Numbers { values, .. }) => labels.add(outputs, values),
            (Self::Numbers(numbers), Targets::Numbers { values, .. }) => {
                numbers.add(outputs, values);
            }
            // The loss has refused these before.
            _ => {}
        }
    }

    /// Sums up.
    pub(crate) fn report(self, tally: &Tally, loss: &Loss) -> Report {
        let mut report = Report {
            samples: tally.samples(),
            loss: tally.loss(),
            loss_function: loss.word(),
            accuracy: tally.accuracy(),
            perplexity: matches!(loss, Loss::CrossEntropy { .. }).then(|| tally.loss().exp()),
            exact_match: None,
            classes: None,
            numbers: None,
        };
        match self {
            Self::Classes(classes) => report.classes = Some(classes.report()),
            Self::Labels(labels) => {
                report.exact_match = Some(labels.exact_match());
                report.classes = Some(labels.report());
            }
            Self::Numbers(numbers) => report.numbers = Some(numbers.report()),
        }
        report
    }
}

impl Report {
    /// The measures that an event carries.
    pub(crate) fn headline(&self) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::from([("loss".to_owned(), self.loss)]);
        let mut put = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                values.insert(name.to_owned(), value);
            }
        };
        put("accuracy", self.accuracy);
        put("perplexity", self.perplexity);
        put("exact_match", self.exact_match);
        if let Some(classes) = &self.classes {
            let (macro_, weighted) = (&classes.macro_average, &classes.weighted_average);
            put("precision", Some(macro_.precision));
            put("recall", Some(macro_.recall));
            put("f1", Some(macro_.f1));
            put("f1_weighted", Some(weighted.f1));
            put("auc", macro_.auc);
        }
        if let Some(numbers) = &self.numbers {
            put("rmse", Some(numbers.rmse));
            put("mae", Some(numbers.mae));
            put("r2", Some(numbers.r2));
        }
        values
    }
}
