//! Averages over the results of shards, number by number.
//!
//! All results must have the same form. Each number of the output is computed
//! in the order of the tasks, whenever their results came.

use serde::{Deserialize, Serialize};

use super::{
    InvalidPlan, Value,
    combine::{Answer, unfit},
    leaves::{put_together, take_apart},
    privacy::Privacy,
    run::Failure,
};

/// The most samples that one result may claim to rest on.
pub const MAX_SAMPLES: u64 = 1 << 40;

/// How results are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By the number of samples that each result rests on (McMahan and others,
    /// "Communication-Efficient Learning of Deep Networks from Decentralized
    /// Data", 2017).
    FederatedAveraging,
    /// By the weight of each task.
    WeightedAverage,
    /// The middle one, or the mean of the two in the middle: a minority of
    /// wrong results cannot move it beyond the right ones.
    Median,
}

impl Method {
    /// The word for it on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FederatedAveraging => "federated_averaging",
            Self::WeightedAverage => "weighted_average",
            Self::Median => "median",
        }
    }
}

/// An average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// How.
    pub method: Method,
    /// What hides each single result, where that is asked for.
    pub privacy: Option<Privacy>,
}

impl Average {
    pub(super) fn check(&self) -> Result<(), InvalidPlan> {
        self.privacy.as_ref().map_or(Ok(()), Privacy::check)
    }

    pub(super) fn of(&self, answers: &[Answer<'_>], seed: &[u8; 32]) -> Result<Value, Failure> {
        let mut form = None;
        let mut rows = Vec::with_capacity(answers.len());
        for answer in answers {
            let (its, mut numbers) = take_apart(answer.value)
                .map_err(|error| unfit(format!("that of `{}`: {error}", answer.name)))?;
            match &form {
                None => form = Some((its, answer.name)),
                Some((form, first)) if *form != its => {
                    return Err(unfit(format!(
                        "that of `{}` has another form than that of `{first}`",
                        answer.name
                    )));
                }
                Some(_) => {}
            }
            if let Some(privacy) = &self.privacy {
                privacy.clip(&mut numbers);
            }
            rows.push(numbers);
        }
        let Some((form, _)) = form else {
            return Err(unfit("there are none"));
        };
        let shares = self.shares(answers)?;
        let mut numbers = match self.method {
            Method::Median => median(&rows),
            Method::FederatedAveraging | Method::WeightedAverage => mean(&rows, &shares),
        };
        if let Some(privacy) = &self.privacy {
            let reach = match self.method {
                Method::Median => privacy.reach_of_median(numbers.len()),
                _ => privacy.reach_of_mean(shares.iter().copied().fold(0.0, f64::max)),
            };
            privacy.add_noise(&mut numbers, reach, seed);
        }
        put_together(&form, &numbers).ok_or_else(|| unfit("a number of theirs is not finite"))
    }

    /// What share of the mean each result has.
    fn shares(&self, answers: &[Answer<'_>]) -> Result<Vec<f64>, Failure> {
        let weights = answers.iter().map(|answer| match self.method {
            Method::FederatedAveraging => samples(answer),
            Method::WeightedAverage => Ok(answer.weight),
            Method::Median => Ok(1.0),
        });
        let weights = weights.collect::<Result<Vec<f64>, Failure>>()?;
        let sum: f64 = weights.iter().sum();
        Ok(weights.into_iter().map(|weight| weight / sum).collect())
    }
}

fn samples(answer: &Answer<'_>) -> Result<f64, Failure> {
    match answer.samples {
        Some(samples @ 1..=MAX_SAMPLES) => {
            // A float holds every whole number up to 2^53.
            #[allow(clippy::cast_precision_loss, reason = "it is at most 2^40")]
            let samples = samples as f64;
            Ok(samples)
        }
        Some(samples) => Err(unfit(format!(
            "that of `{}` claims {samples} samples, of 1 to {MAX_SAMPLES} allowed",
            answer.name
        ))),
        None => Err(unfit(format!(
            "that of `{}` does not say on how many samples it rests",
            answer.name
        ))),
    }
}

fn mean(rows: &[Vec<f64>], shares: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.first().map_or(0, Vec::len)];
    for (row, share) in rows.iter().zip(shares) {
        for (sum, number) in sums.iter_mut().zip(row) {
            *sum += share * number;
        }
    }
    sums
}

fn median(rows: &[Vec<f64>]) -> Vec<f64> {
    let width = rows.first().map_or(0, Vec::len);
    let mut column = Vec::with_capacity(rows.len());
    (0..width)
        .map(|place| {
            column.clear();
            column.extend(rows.iter().map(|row| row[place]));
            column.sort_by(f64::total_cmp);
            let middle = column.len() / 2;
            if column.len() % 2 == 1 {
                column[middle]
            } else {
                column[middle - 1] / 2.0 + column[middle] / 2.0
            }
        })
        .collect()
}
