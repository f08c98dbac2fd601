//! Loss and accuracy, summed as they come; what an evaluation measures beside
//! them is in [`measures`].

mod classes;
mod labels;
pub(crate) mod measures;
mod numbers;
mod scores;

use serde::{Deserialize, Serialize};

/// Sums over some samples. It travels in checkpoints, so its sums are kept as
/// bits: JSON may lose the last one of an `f64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    #[serde(with = "bits")]
    loss: f64,
    /// What the sum of losses is divided by to be their mean.
    #[serde(with = "bits")]
    weight: f64,
    correct: u64,
    /// Answers that can be right or wrong.
    judged: u64,
    samples: u64,
}

/// What a batch, or the batches of a step, came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Their mean loss.
    pub(crate) loss: f32,
    /// What it is the mean over.
    pub(crate) weight: f64,
    /// How many answers were right.
    pub(crate) correct: u64,
    /// Of how many.
    pub(crate) judged: u64,
    /// How many samples there were.
    pub(crate) samples: u64,
}

impl Tally {
    /// Adds a batch.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.loss += f64::from(outcome.loss) * outcome.weight;
        self.weight += outcome.weight;
        self.correct += outcome.correct;
        self.judged += outcome.judged;
        self.samples += outcome.samples;
    }

    /// The mean loss.
    pub(crate) fn loss(&self) -> f64 {
        if self.weight > 0.0 {
            self.loss / self.weight
        } else {
            0.0
        }
    }

    /// The share of the answers that is right; none where answers are measures.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.correct as f64 / self.judged as f64)
    }

    /// How many samples were added.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }
}

mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tally_tests {
    use super::*;

    #[test]
    fn a_tally_survives_json_to_the_last_bit() {
        let mut tally = Tally::default();
        for step in 1..1000 {
            tally.add(Outcome {
                loss: 1.0 / step as f32,
                weight: 7.0 / 3.0,
                correct: 3,
                judged: 7,
                samples: 7,
            });
        }
        let text = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), tally);
        assert!((tally.accuracy().unwrap() - 3.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn measures_have_no_accuracy_and_weights_make_the_mean() {
        let mut tally = Tally::default();
        for (loss, weight) in [(1.0, 3.0), (5.0, 1.0)] {
            tally.add(Outcome {
                loss,
                weight,
                samples: 1,
                ..Outcome::default()
            });
        }
        assert_eq!((tally.loss(), tally.accuracy()), (2.0, None));
    }
}
