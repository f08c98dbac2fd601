//! How the numbers of samples are scaled on their way into a batch, and what of
//! that is learnt from the samples that train.

use embermesh_job::spec::{Dataset, Missing, Normalise};
use serde::{Deserialize, Serialize};

use super::Set;
use crate::failure::{InvalidData, WorkFailed};

/// Mean and deviation of each number of a row, or of each channel of an image,
/// over the samples that train. The weights of a training carry them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fitted {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

/// What becomes of each number: what is missing is filled, `mean` is taken off,
/// and the rest is multiplied by `factor`. Each list has an entry a group of
/// neighbouring numbers, or one for all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    fill: Vec<f32>,
    mean: Vec<f32>,
    factor: Vec<f32>,
}

impl Scale {
    /// Only a factor.
    pub(crate) fn by(factor: f32) -> Self {
        Self {
            fill: Vec::new(),
            mean: vec![0.0],
            factor: vec![factor],
        }
    }

    /// The factor of its first group.
    pub(crate) fn factor(&self) -> f32 {
        self.factor.first().copied().unwrap_or(1.0)
    }

    /// Appends a sample to a batch.
    pub(crate) fn apply<T: Copy + Into<f32>>(&self, sample: &[T], to: &mut Vec<f32>) {
        let groups = self.mean.len().max(1);
        let size = (sample.len() / groups).max(1);
        for (group, numbers) in sample.chunks(size).enumerate() {
            let (mean, factor) = (self.mean[group], self.factor[group]);
            match self.fill.get(group) {
                None => to.extend(numbers.iter().map(|&x| (x.into() - mean) * factor)),
                Some(&fill) => to.extend(numbers.iter().map(|&x| {
                    let x: f32 = x.into();
                    let x = if x.is_nan() { fill } else { x };
                    (x - mean) * factor
                })),
            }
        }
    }
}

/// Whether the data asks for what only a training can tell.
pub(crate) fn is_needed(data: &Dataset) -> bool {
    data.normalise() == Some(Normalise::Standardise) || data.missing() == Missing::Mean
}

/// Learns from the samples with these numbers, where the data asks for it.
///
/// # Errors
/// When samples that are with a client do not come.
pub(crate) fn learn(
    data: &Dataset,
    set: &Set,
    numbers: &[u32],
) -> Result<Option<Fitted>, WorkFailed> {
    if !is_needed(data) {
        return Ok(None);
    }
    let groups = set.groups();
    let mut sums = vec![Sums::default(); groups];
    set.each_group(numbers, groups, |group, x| sums[group].add(x))?;
    Ok(Some(Fitted {
        mean: sums.iter().map(|sums| sums.mean as f32).collect(),
        deviation: sums.iter().map(Sums::deviation).collect(),
    }))
}

/// Makes a set scale its samples as the data says.
///
/// # Errors
/// When that takes what a training has learnt, and that is not there or of
/// other samples.
pub(crate) fn scale(
    data: &Dataset,
    set: &mut Set,
    fitted: Option<&Fitted>,
) -> Result<(), InvalidData> {
    let fitted = match (is_needed(data), fitted) {
        (false, _) => None,
        (true, None) => return Err(InvalidData::NotFitted),
        (true, Some(fitted)) => {
            let (found, expected) = (fitted.mean.len(), set.groups());
            if found != expected || fitted.deviation.len() != expected {
                return Err(InvalidData::OtherFit { found, expected });
            }
            Some(fitted)
        }
    };
    match (data.normalise(), fitted) {
        (Some(Normalise::Scale { from, to }), _) => {
            set.scale = Scale {
                fill: Vec::new(),
                mean: vec![from as f32],
                factor: vec![(1.0 / (to - from)) as f32],
            };
        }
        (Some(Normalise::Standardise), Some(fitted)) => {
            set.scale = Scale {
                fill: Vec::new(),
                mean: fitted.mean.clone(),
                factor: fitted
                    .deviation
                    .iter()
                    .map(|deviation| 1.0 / deviation)
                    .collect(),
            };
        }
        _ => {}
    }
    if data.missing() == Missing::Mean
        && let Some(fitted) = fitted
    {
        let groups = fitted.mean.len();
        set.scale.fill.clone_from(&fitted.mean);
        for list in [&mut set.scale.mean, &mut set.scale.factor] {
            if list.len() == 1 {
                *list = vec![list[0]; groups];
            }
        }
    }
    Ok(())
}

/// Mean and spread as they run along (Welford).
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: f64,
    mean: f64,
    spread: f64,
}

impl Sums {
    fn add(&mut self, x: f32) {
        if x.is_nan() {
            return;
        }
        let x = f64::from(x);
        self.count += 1.0;
        let off = x - self.mean;
        self.mean += off / self.count;
        self.spread += off * (x - self.mean);
    }

    /// The deviation of the whole, as scikit-learn's `StandardScaler` has it;
    /// 1 where all are the same.
    fn deviation(&self) -> f32 {
        let deviation = (self.spread / self.count.max(1.0)).sqrt() as f32;
        if deviation < f32::MIN_POSITIVE {
            1.0
        } else {
            deviation
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Features, Targets};

    fn data(json: &str) -> Dataset {
        let json = format!(
            r#"{{"csv":{{"file":{{"digest":"{}","size":1}},{json}}}}}"#,
            "0".repeat(64)
        );
        serde_json::from_str(&json).unwrap()
    }

    fn set() -> Set {
        let rows = vec![1.0, 10.0, 3.0, 10.0, f32::NAN, 10.0, 100.0, 13.0];
        Set::new(vec![2], Features::Floats(rows), Targets::Absent(4)).unwrap()
    }

    #[test]
    fn samples_are_standardised_by_those_that_train_and_gaps_are_filled() {
        let data = data(r#""normalise":"standardise","missing":"mean""#);
        let mut set = set();
        let fitted = learn(&data, &set, &[0, 1, 2]).unwrap().unwrap();
        assert_eq!(
            (&fitted.mean[..], &fitted.deviation[..]),
            (&[2.0, 10.0][..], &[1.0, 1.0][..])
        );
        scale(&data, &mut set, Some(&fitted)).unwrap();
        assert_eq!(
            set.batch(&[0, 2, 3]).unwrap().pixels,
            [-1.0, 0.0, 0.0, 0.0, 98.0, 3.0]
        );
        let text = serde_json::to_string(&fitted).unwrap();
        assert_eq!(serde_json::from_str::<Fitted>(&text).unwrap(), fitted);
        // Without what the training learnt there is nothing to go by.
        assert!(matches!(
            scale(&data, &mut set, None),
            Err(InvalidData::NotFitted)
        ));
        let other = Fitted {
            mean: vec![0.0],
            deviation: vec![1.0],
        };
        assert!(matches!(
            scale(&data, &mut set, Some(&other)),
            Err(InvalidData::OtherFit {
                found: 1,
                expected: 2
            })
        ));
    }

    #[test]
    fn gaps_are_filled_where_nothing_is_standardised_too() {
        let data = data(r#""normalise":{"scale":{"from":0,"to":10}},"missing":"mean""#);
        let mut set = set();
        let fitted = learn(&data, &set, &[0, 1]).unwrap().unwrap();
        scale(&data, &mut set, Some(&fitted)).unwrap();
        assert_eq!(set.batch(&[2]).unwrap().pixels, [0.2, 1.0]);
    }

    #[test]
    fn channels_of_an_image_are_a_group_each() {
        let data = data(r#""normalise":"standardise""#);
        let pixels = vec![0, 2, 5, 5, 0, 2, 5, 5];
        let mut set = Set::new(vec![2, 1, 2], Features::Bytes(pixels), Targets::Absent(2)).unwrap();
        let fitted = learn(&data, &set, &[0, 1]).unwrap().unwrap();
        scale(&data, &mut set, Some(&fitted)).unwrap();
        assert_eq!(set.batch(&[1]).unwrap().pixels, [-1.0, 1.0, 0.0, 0.0]);
    }
}
