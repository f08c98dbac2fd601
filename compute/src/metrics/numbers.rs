//! How far numbers are from what they should be.

use serde::Serialize;

/// The most outputs that a report lists one by one.
const MAX_LISTED: usize = 1024;

/// Sums over the samples of an evaluation.
pub(crate) struct Numbers {
    outputs: Vec<Sums>,
}

/// Sums of one output. Mean and spread run along (Welford), so that large
/// numbers do not cancel each other.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: f64,
    mean: f64,
    spread: f64,
    squares: f64,
    sizes: f64,
}

/// What is said of all outputs.
#[derive(Debug, Serialize)]
pub(crate) struct NumbersReport {
    /// The root of the mean squared error over all outputs.
    pub(crate) rmse: f64,
    /// The mean absolute error over all outputs.
    pub(crate) mae: f64,
    /// The coefficient of determination, the mean over the outputs.
    pub(crate) r2: f64,
    /// Each output by itself, where they are not too many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<OutputReport>,
}

#[derive(Debug, Serialize)]
struct OutputReport {
    rmse: f64,
    mae: f64,
    r2: f64,
}

impl Numbers {
    pub(super) fn new(width: usize) -> Self {
        Self {
            outputs: vec![Sums::default(); width],
        }
    }

    /// Adds the outputs of some samples.
    pub(super) fn add(&mut self, outputs: &[f32], values: &[f32]) {
        let width = self.outputs.len().max(1);
        for (outputs, values) in outputs.chunks_exact(width).zip(values.chunks_exact(width)) {
            for ((sums, &output), &value) in self.outputs.iter_mut().zip(outputs).zip(values) {
                sums.add(f64::from(output), f64::from(value));
            }
        }
    }

    pub(super) fn report(self) -> NumbersReport {
        let each: Vec<OutputReport> = self.outputs.iter().map(Sums::report).collect();
        let over = |value: fn(&Sums) -> f64| {
            let sum: f64 = self.outputs.iter().map(value).sum();
            let count: f64 = self.outputs.iter().map(|sums| sums.count).sum();
            sum / count.max(1.0)
        };
        NumbersReport {
            rmse: over(|sums| sums.squares).sqrt(),
            mae: over(|sums| sums.sizes),
            r2: each.iter().map(|output| output.r2).sum::<f64>() / each.len().max(1) as f64,
            outputs: if each.len() <= MAX_LISTED {
                each
            } else {
                Vec::new()
            },
        }
    }
}

impl Sums {
    fn add(&mut self, output: f64, value: f64) {
        let error = output - value;
        self.count += 1.0;
        self.squares += error * error;
        self.sizes += error.abs();
        let off = value - self.mean;
        self.mean += off / self.count;
        self.spread += off * (value - self.mean);
    }

    fn report(&self) -> OutputReport {
        let count = self.count.max(1.0);
        // Where the truth is one number, being right is all there is.
        let r2 = match (self.squares == 0.0, self.spread == 0.0) {
            (true, _) => 1.0,
            (false, true) => 0.0,
            (false, false) => 1.0 - self.squares / self.spread,
        };
        OutputReport {
            rmse: (self.squares / count).sqrt(),
            mae: self.sizes / count,
            r2,
        }
    }
}
