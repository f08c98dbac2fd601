//! How well classes are told apart.

use serde::Serialize;

use super::scores::Scores;

/// The most classes of which the whole confusion matrix is kept.
const MAX_CONFUSION: usize = 256;

/// The most classes that a report lists one by one.
const MAX_LISTED: usize = 1024;

/// Counts over the samples of an evaluation.
pub(crate) struct Classes {
    counts: Vec<Counts>,
    /// Rows are what is true, columns what was said.
    confusion: Option<Vec<u64>>,
    scores: Scores,
}

/// How often a class was, was said, and both.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) support: u64,
    pub(super) said: u64,
    pub(super) right: u64,
}

/// What is said of all classes.
#[derive(Debug, Serialize)]
pub(crate) struct ClassesReport {
    /// Each class counts the same.
    pub(crate) macro_average: Average,
    /// Each class counts as often as it is.
    pub(crate) weighted_average: Average,
    /// Each class by itself, where they are not too many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<ClassReport>,
    /// Rows are what is true, columns what was said; where they are not too many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    confusion_matrix: Vec<Vec<u64>>,
}

/// Means over classes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Average {
    pub(crate) precision: f64,
    pub(crate) recall: f64,
    pub(crate) f1: f64,
    /// One class against the rest; over the classes that are there and are not
    /// all there is.
    pub(crate) auc: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ClassReport {
    class: usize,
    support: u64,
    precision: f64,
    recall: f64,
    f1: f64,
    auc: Option<f64>,
}

impl Classes {
    pub(super) fn new(classes: usize, samples: usize, room: usize) -> Self {
        Self {
            counts: vec![Counts::default(); classes],
            confusion: (classes <= MAX_CONFUSION).then(|| vec![0; classes * classes]),
            scores: Scores::new(classes, samples, room),
        }
    }

    /// Adds the logits of some samples: one a class, or one in all where there
    /// are two.
    pub(super) fn add(&mut self, outputs: &[f32], labels: &[u32]) {
        let classes = self.counts.len();
        let width = outputs.len() / labels.len().max(1);
        let rows = outputs.chunks_exact(width.max(1));
        for (logits, &label) in rows.zip(labels) {
            let truth = label as usize;
            let probabilities = if let [logit] = *logits {
                let second = 1.0 / (1.0 + (-f64::from(logit)).exp());
                vec![1.0 - second, second]
            } else {
                softmax(logits)
            };
            let said = match *logits {
                [logit] => usize::from(logit > 0.0),
                _ => greatest(logits),
            };
            self.counts[truth].support += 1;
            self.counts[said].said += 1;
            self.counts[truth].right += u64::from(said == truth);
            if let Some(confusion) = &mut self.confusion {
                confusion[truth * classes + said] += 1;
            }
            let is = (0..classes).map(|class| class == truth);
            self.scores.add(&probabilities, is);
        }
    }

    pub(super) fn report(self) -> ClassesReport {
        let classes = self.counts.len();
        let confusion = self.confusion.unwrap_or_default();
        let mut report = report(&self.counts, &self.scores);
        report.confusion_matrix = confusion.chunks(classes).map(<[u64]>::to_vec).collect();
        report
    }
}

/// The report of some classes or labels.
pub(super) fn report(counts: &[Counts], scores: &Scores) -> ClassesReport {
    let each: Vec<ClassReport> = counts
        .iter()
        .enumerate()
        .map(|(class, counts)| ClassReport {
            class,
            support: counts.support,
            precision: share(counts.right, counts.said),
            recall: share(counts.right, counts.support),
            f1: share(2 * counts.right, counts.said + counts.support),
            auc: scores.auc(class),
        })
        .collect();
    ClassesReport {
        macro_average: average(&each, |_| 1.0),
        weighted_average: average(&each, |class| class.support as f64),
        classes: if each.len() <= MAX_LISTED {
            each
        } else {
            Vec::new()
        },
        confusion_matrix: Vec::new(),
    }
}

fn average(classes: &[ClassReport], weight: impl Fn(&ClassReport) -> f64) -> Average {
    let mean = |value: &dyn Fn(&ClassReport) -> Option<f64>| {
        let (sum, weights) = classes
            .iter()
            .filter_map(|class| Some((value(class)?, weight(class))))
            .fold((0.0, 0.0), |(sum, weights), (value, weight)| {
                (sum + value * weight, weights + weight)
            });
        (weights > 0.0).then(|| sum / weights)
    };
    Average {
        precision: mean(&|class| Some(class.precision)).unwrap_or(0.0),
        recall: mean(&|class| Some(class.recall)).unwrap_or(0.0),
        f1: mean(&|class| Some(class.f1)).unwrap_or(0.0),
        auc: mean(&|class| class.auc),
    }
}

/// A share of nothing is 0.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from(logit - top).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The first of the greatest.
fn greatest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = class;
        }
    }
    best
}
