//! Early stopping: whether a pass was better than all before it, and whether to
//! wait for a better one.

use embermesh_job::spec::{EarlyStopping, Watch};
use serde::{Deserialize, Serialize};

/// What is remembered between passes. It travels in checkpoints, so the best
/// value is kept as bits: JSON may lose the last one of an `f64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patience {
    best: Option<u64>,
    /// The pass of the best value, from 1; 0 before there is one.
    pub(crate) best_pass: u32,
    /// Passes since then.
    pub(crate) waited: u32,
}

impl Patience {
    /// Hears the value of a pass. True when it is the best so far.
    pub(crate) fn hear(&mut self, rule: &EarlyStopping, pass: u32, value: f64) -> bool {
        let better = match self.best.map(f64::from_bits) {
            None => !value.is_nan(),
            Some(best) => match rule.watch {
                Watch::Loss => value < best - rule.min_delta,
                Watch::Accuracy => value > best + rule.min_delta,
            },
        };
        if better {
            *self = Self {
                best: Some(value.to_bits()),
                best_pass: pass,
                waited: 0,
            };
        } else {
            self.waited += 1;
        }
        better
    }

    /// Whether it has waited long enough.
    pub(crate) fn is_over(&self, rule: &EarlyStopping) -> bool {
        self.waited >= rule.patience
    }

    /// Whether there is a best pass.
    pub(crate) fn has_best(&self) -> bool {
        self.best.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops_after(watch: Watch, min_delta: f64, values: &[f64]) -> (u32, u32) {
        let rule = EarlyStopping {
            watch,
            patience: 2,
            min_delta,
            restore_best: true,
        };
        let mut patience = Patience::default();
        for (pass, &value) in (1..).zip(values) {
            patience.hear(&rule, pass, value);
            if patience.is_over(&rule) {
                return (pass, patience.best_pass);
            }
        }
        (0, patience.best_pass)
    }

    #[test]
    fn it_waits_as_many_passes_as_it_has_patience() {
        let losses = [1.0, 0.5, 0.6, 0.4, 0.4, 0.41, 0.1];
        assert_eq!(stops_after(Watch::Loss, 0.0, &losses), (6, 4));
        let shares = [0.5, 0.6, 0.55, 0.7, 0.71];
        assert_eq!(stops_after(Watch::Accuracy, 0.0, &shares), (0, 5));
    }

    #[test]
    fn what_is_hardly_better_is_not_better() {
        let losses = [1.0, 0.95, 0.91, 0.89];
        assert_eq!(stops_after(Watch::Loss, 0.1, &losses), (3, 1));
        assert_eq!(stops_after(Watch::Loss, 0.0, &losses), (0, 4));
    }

    #[test]
    fn what_is_no_number_is_not_better() {
        assert_eq!(stops_after(Watch::Loss, 0.0, &[f64::NAN, f64::NAN]), (2, 0));
    }
}
