//! How well labels are told, of which each applies to a sample or does not.

use super::classes::{ClassesReport, Counts, report};
use super::scores::Scores;

/// Counts over the samples of an evaluation.
pub(crate) struct Labels {
    counts: Vec<Counts>,
    scores: Scores,
    samples: u64,
    /// Samples of which every label is right.
    exact: u64,
}

impl Labels {
    pub(super) fn new(labels: usize, samples: usize, room: usize) -> Self {
        Self {
            counts: vec![Counts::default(); labels],
            scores: Scores::new(labels, samples, room),
            samples: 0,
            exact: 0,
        }
    }

    /// Adds the logits of some samples.
    pub(super) fn add(&mut self, outputs: &[f32], values: &[f32]) {
        let width = self.counts.len().max(1);
        for (logits, values) in outputs.chunks_exact(width).zip(values.chunks_exact(width)) {
            let mut exact = true;
            for ((counts, &logit), &value) in self.counts.iter_mut().zip(logits).zip(values) {
                let (said, is) = (logit > 0.0, value > 0.5);
                counts.said += u64::from(said);
                counts.support += u64::from(is);
                counts.right += u64::from(said && is);
                exact &= said == is;
            }
            self.samples += 1;
            self.exact += u64::from(exact);
            let scores: Vec<f64> = logits.iter().copied().map(f64::from).collect();
            self.scores
                .add(&scores, values.iter().map(|&value| value > 0.5));
        }
    }

    /// The share of the samples of which every label is right.
    pub(super) fn exact_match(&self) -> f64 {
        self.exact as f64 / self.samples.max(1) as f64
    }

    pub(super) fn report(self) -> ClassesReport {
        report(&self.counts, &self.scores)
    }
}
