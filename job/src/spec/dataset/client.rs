//! Samples that stay with the client: the node asks for those of a batch while it
//! works, and never has the file.
//!
//! A spec says how many samples there are and how each travels, so that an answer
//! of another size is refused before it is read: the numbers of the sample, each a
//! byte or a little-endian `f32`, then its targets, a little-endian `u32` for a
//! class or `f32`s for numbers.

use embermesh_crypto::Digest;
use serde::{Deserialize, Serialize};

use super::{Missing, Target, named, normalise::Normalise};
use crate::{
    model::Model,
    spec::{
        InvalidSpec,
        invalid::{field, within},
    },
};

/// The most samples that a client may keep, held out ones included.
pub const MAX_CLIENT_SAMPLES: u32 = 1 << 27;
/// The most bytes of one sample on its way.
pub const MAX_CLIENT_RECORD: u64 = 4 << 20;
/// The most axes of a sample.
const MAX_AXES: usize = 8;

/// What a spec says of samples that stay with the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientData {
    /// The BLAKE3 digest of all samples as they travel, one after another, those
    /// that are held out last. The receipt names it; it is the client's word.
    pub digest: Digest,
    /// How many samples there are, beside those that are held out.
    pub samples: u32,
    /// How many more are always kept out of training.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holdout: u32,
    /// The shape of a sample.
    pub shape: Vec<usize>,
    /// How its numbers travel.
    pub element: Element,
    /// What a sample should give. Only a prediction can do without.
    #[serde(default, skip_serializing_if = "Target::is_nothing")]
    pub target: Target,
    /// What the classes, or the numbers of the target, are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What becomes of a number that is not there: refused, or the mean.
    #[serde(default, skip_serializing_if = "is_refused")]
    pub missing: Missing,
    /// How the numbers are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

/// How a number of a sample travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Element {
    /// As a byte, of which `white` becomes 1.0 where nothing else is said.
    Byte {
        /// 1 to 255.
        white: u8,
    },
    /// As an IEEE 754 number of 32 bits.
    Float,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_refused(missing: &Missing) -> bool {
    *missing == Missing::Refuse
}

impl Element {
    /// Bytes of a number.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte { .. } => 1,
            Self::Float => 4,
        }
    }
}

impl ClientData {
    /// Numbers of a sample, without its targets.
    #[must_use]
    pub fn volume(&self) -> u64 {
        self.shape
            .iter()
            .fold(1_u64, |product, &axis| product.saturating_mul(axis as u64))
    }

    /// Bytes of a sample on its way.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        let targets = match self.target {
            Target::Classes(_) => 4,
            Target::Numbers(width) => 4 * u64::from(width),
            Target::Nothing => 0,
        };
        self.volume()
            .saturating_mul(self.element.bytes())
            .saturating_add(targets)
    }

    /// Samples in all.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.samples.saturating_add(self.holdout)
    }

    pub(super) fn validate(&self, model: &Model) -> Result<Target, InvalidSpec> {
        let most = u64::from(MAX_CLIENT_SAMPLES);
        within("data.client.samples", self.samples.into(), 1, most)?;
        let left = most - u64::from(self.samples);
        within("data.client.holdout", self.holdout.into(), 0, left)?;
        if self.shape.is_empty() || self.shape.len() > MAX_AXES {
            return Err(field(
                "data.client.shape",
                format!("give 1 to {MAX_AXES} axes"),
            ));
        }
        within(
            "data.client.shape",
            self.record_bytes(),
            1,
            MAX_CLIENT_RECORD,
        )?;
        let takes = model
            .input
            .iter()
            .fold(1_u64, |product, &axis| product.saturating_mul(axis as u64));
        if takes != self.volume() {
            return Err(field(
                "data.client.shape",
                format!(
                    "its samples are {:?}, and the model's input is {:?}",
                    self.shape, model.input
                ),
            ));
        }
        if self.element == (Element::Byte { white: 0 }) {
            return Err(field("data.client.element.byte.white", "give 1 to 255"));
        }
        if !matches!(self.missing, Missing::Refuse | Missing::Mean) {
            return Err(field(
                "data.client.missing",
                "what is left out or filled with a number is so before it travels: refuse, or mean",
            ));
        }
        for label in &self.labels {
            named("data.client.labels", label)?;
        }
        let things = match self.target {
            Target::Classes(count) | Target::Numbers(count) => count as usize,
            Target::Nothing => 0,
        };
        if !self.labels.is_empty() && self.labels.len() != things {
            return Err(field(
                "data.client.labels",
                format!(
                    "{} names for {things} classes or numbers",
                    self.labels.len()
                ),
            ));
        }
        self.target.validate()
    }
}
