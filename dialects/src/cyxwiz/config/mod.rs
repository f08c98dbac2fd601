//! A `JobConfig` turned into a job of ours.
//!
//! | module | what it is |
//! |---|---|
//! | `hyper` | hyperparameters, each read once; what nobody reads is refused |
//! | `place` | where data lies: in the call, on the web, in a bucket, in a shared folder |
//! | `format` | what bytes or a name look like |
//! | `samples` | data of such a format, and what of it is the target |
//! | `remote` | data that stays with the client |
//! | `recipe` | loss, optimizer and the rest of a training |
//! | `work` | the four types of jobs |
//! | `compute` | operations over tensors, in an inference's place |
//!
//! What cannot be expressed is refused by the name of its field; nothing is dropped.

mod compute;
mod format;
mod hyper;
mod place;
mod recipe;
mod remote;
mod samples;
mod work;

use std::collections::BTreeMap;

use bytes::Bytes;
use embermesh_crypto::Digest;
use embermesh_job::{
    spec::{Input, JobSpec, Limits, Origin, Requirements},
    units::{Bytes as Size, MicroUnits, Millis},
};

use self::hyper::Hyper;
pub(super) use self::work::estimate;
use super::code;
use crate::port::jobs::{Payment, Submission};

/// The note that has the type of a job, as its number.
pub(super) const TYPE: &str = "cyxwiz.type";
/// The weights that a training leaves.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// What a job is called whose caller does not call it anything.
pub(super) const UNNAMED: &str = "cyxwiz";
/// Milliseconds in a second.
const MILLIS: u64 = 1000;

/// A part of a config that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub(super) struct InvalidConfig {
    /// Which field.
    pub(super) field: String,
    /// Why, and what to do.
    pub(super) reason: String,
}

/// A refusal of a field.
fn wrong(field: impl Into<String>, reason: impl Into<String>) -> InvalidConfig {
    InvalidConfig {
        field: field.into(),
        reason: reason.into(),
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Training,
    Inference,
    Evaluation,
    Preprocessing,
}

impl Kind {
    fn of(code: i32) -> Result<Self, InvalidConfig> {
        match code {
            1 => Ok(Self::Training),
            2 => Ok(Self::Inference),
            3 => Ok(Self::Evaluation),
            4 => Ok(Self::Preprocessing),
            other => Err(wrong(
                "config.job_type",
                format!(
                    "{other} is none of 1 (training), 2 (inference), 3 (evaluation) and 4 (preprocessing)"
                ),
            )),
        }
    }
}

/// A config as both forms of the wire have it.
#[derive(Default)]
pub(super) struct Config {
    /// What the caller calls the job; may be empty.
    pub(super) job_id: String,
    /// The number of its type.
    pub(super) job_type: i32,
    /// The number of its priority.
    pub(super) priority: i32,
    /// The model, in one of the forms that are carried.
    pub(super) model_definition: String,
    /// Everything that has no field.
    pub(super) hyperparameters: BTreeMap<String, String>,
    /// Where the data lies.
    pub(super) dataset_uri: String,
    /// Samples a step.
    pub(super) batch_size: i32,
    /// Passes over the data.
    pub(super) epochs: i32,
    /// The number of the device.
    pub(super) required_device: i32,
    /// Bytes of memory.
    pub(super) estimated_memory: i64,
    /// Seconds.
    pub(super) estimated_duration: i64,
    /// Units that the whole job may cost.
    pub(super) payment_amount: f64,
    /// Who pays.
    pub(super) payment_address: String,
    /// The hold that pays.
    pub(super) escrow: String,
    /// Minutes of a reservation.
    pub(super) reservation_minutes: i32,
    /// The bytes that came with the call.
    pub(super) data: Bytes,
}

/// What is gathered while a config is read.
#[derive(Default)]
struct Gathered {
    inputs: BTreeMap<Digest, Bytes>,
    origins: Vec<Origin>,
}

impl Config {
    /// The job whose weights this one works with, where it names one.
    pub(super) fn weights_of(&self) -> Option<&str> {
        let weights = self.hyperparameters.get("weights")?;
        weights.strip_prefix("job:")
    }

    /// The job; `weights` are those of the job that [`Config::weights_of`] names.
    pub(super) fn submission(
        mut self,
        weights: Option<Input>,
    ) -> Result<Submission, InvalidConfig> {
        let kind = Kind::of(self.job_type)?;
        self.is_expressible()?;
        let mut hyper = Hyper::new(std::mem::take(&mut self.hyperparameters))?;
        let mut gathered = Gathered::default();
        let limits = self.limits()?;
        let mut requires = self.requires(limits)?;
        let attempts = hyper.whole(&["attempts", "max_retries"])?.unwrap_or(5);
        let work = work::read(kind, &self, &mut hyper, weights, &mut gathered)?;
        hyper.finish()?;
        gathered.origins.dedup();
        requires.origins = gathered.origins;
        let spec = JobSpec {
            name: match self.job_id.as_str() {
                "" => UNNAMED.to_owned(),
                name => name.to_owned(),
            },
            work,
            requires,
            limits,
            attempts,
        };
        spec.validate()
            .map_err(|error| wrong("config", error.to_string()))?;
        let notes = BTreeMap::from([(TYPE.to_owned(), self.job_type.to_string())]);
        let paid = code::micros(self.payment_amount)
            .map_err(|reason| wrong("config.payment_amount", reason))?;
        let payment = match (self.escrow.is_empty(), paid) {
            (false, _) => Some(Payment::Hold(self.escrow)),
            (true, 0) => None,
            (true, paid) => Some(Payment::AtMost(paid)),
        };
        Ok(Submission {
            foreign_id: (!self.job_id.is_empty()).then_some(self.job_id),
            spec,
            inputs: gathered.inputs,
            notes,
            payment,
        })
    }

    /// Whether anything is said that no job of ours can say.
    fn is_expressible(&self) -> Result<(), InvalidConfig> {
        match self.priority {
            0 | 1 => {}
            2 | 3 => {
                return Err(wrong(
                    "config.priority",
                    "jobs are placed in the order in which they come: leave it low or normal",
                ));
            }
            other => {
                return Err(wrong("config.priority", format!("{other} is no priority")));
            }
        }
        if self.reservation_minutes != 0 {
            return Err(wrong(
                "config.reservation_duration_minutes",
                "a job here reserves its node while it runs and no longer: leave it 0",
            ));
        }
        Ok(())
    }

    /// Memory as it is estimated. A job that takes longer than was estimated is given
    /// twice the time, and an hour at least.
    fn limits(&self) -> Result<Limits, InvalidConfig> {
        let usual = Limits::default();
        let memory = count("config.estimated_memory", self.estimated_memory)?;
        let seconds = count("config.estimated_duration", self.estimated_duration)?;
        Ok(Limits {
            memory: if memory == 0 {
                usual.memory
            } else {
                Size(memory)
            },
            wall: Millis(seconds.saturating_mul(2 * MILLIS).max(usual.wall.0)),
            ..usual
        })
    }

    /// A job of at most so long costs at most what is paid when an hour costs no more
    /// than this.
    fn requires(&self, limits: Limits) -> Result<Requirements, InvalidConfig> {
        let device = code::device(self.required_device)
            .map_err(|reason| wrong("config.required_device", reason))?;
        let paid = code::micros(self.payment_amount)
            .map_err(|reason| wrong("config.payment_amount", reason))?;
        let hourly = u128::from(paid) * 3_600_000 / u128::from(limits.wall.0.max(1));
        Ok(Requirements {
            device,
            max_price: (paid > 0).then(|| MicroUnits(u64::try_from(hourly).unwrap_or(u64::MAX))),
            ..Requirements::default()
        })
    }
}

/// A count that is not negative.
fn count(field: &str, value: i64) -> Result<u64, InvalidConfig> {
    u64::try_from(value).map_err(|_| wrong(field, format!("{value} is less than nothing")))
}
