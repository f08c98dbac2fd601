//! Preparation: a dataset in, a closed list of steps over its columns, and
//! files that a training can read out.
//!
//! | module | what it is |
//! |---|---|
//! | [`raw`] | the data as it comes: columns of numbers, texts and pictures |
//! | [`step`] | the steps |
//! | [`encode`], [`picture`], [`tokenise`] | the words of the longer ones |
//! | [`condition`] | which rows a filter keeps |
//! | [`schema`] | what columns there are after each step |

pub mod condition;
pub mod encode;
pub mod picture;
pub mod raw;
pub mod schema;
pub mod step;
pub mod tokenise;

use serde::{Deserialize, Serialize};

use self::{raw::Raw, schema::Schema, step::Step};
use super::{
    Input, InvalidSpec,
    invalid::{field, within},
};

/// The most steps of a preparation.
pub const MAX_STEPS: usize = 64;
/// The most columns that a spec may name in one place.
pub const MAX_COLUMNS: usize = 16_384;
/// The longest name of a column, in bytes.
pub const MAX_COLUMN_NAME: usize = 256;

/// Steps over a dataset. The result is a file a split (`train`, `validation` and
/// `test`, or `prepared` where nothing is split), and `prepared.json`, which says
/// what columns there are and what was learnt for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare<I = Input> {
    /// What is prepared.
    pub data: Raw<I>,
    /// The steps, one after another.
    #[serde(default = "no_steps", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step<I>>,
    /// The `prepared.json` of an earlier preparation: what steps would learn of
    /// this data (means, classes and so on) is taken from there.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub learnt: Option<I>,
    /// How the files are written.
    #[serde(default, skip_serializing_if = "PreparedFormat::is_usual")]
    pub format: PreparedFormat,
}

/// How prepared data is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreparedFormat {
    /// Apache Parquet: a column a column; one of several numbers is a list.
    #[default]
    Parquet,
    /// Safetensors: a tensor a column, whose first axis counts rows. It has no
    /// texts.
    Safetensors,
}

impl PreparedFormat {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The ending of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Safetensors => "safetensors",
        }
    }
}

fn none<I>() -> Option<I> {
    None
}

// Not `default`, which would ask a default of `I`.
fn no_steps<I>() -> Vec<Step<I>> {
    Vec::new()
}

impl Prepare {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        within("steps", self.steps.len() as u64, 0, MAX_STEPS as u64)?;
        self.data.validate()?;
        let schema = self.data.schema();
        self.fits(schema)
            .map(drop)
            .map_err(|reason| field("steps", reason))
    }
}

impl<I> Prepare<I> {
    /// What columns there are in the end, where those of the data are `schema`.
    ///
    /// # Errors
    /// What does not fit, with the number of the step.
    pub fn fits(&self, mut schema: Schema) -> Result<Schema, String> {
        for (number, step) in (1..).zip(&self.steps) {
            schema
                .apply(step)
                .map_err(|reason| format!("step {number} ({}): {reason}", step.word()))?;
        }
        schema
            .can_be_written(self.format)
            .map_err(|reason| format!("after the last step: {reason}"))?;
        Ok(schema)
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        let mut inputs = self.data.input_refs();
        inputs.extend(self.steps.iter().filter_map(Step::input));
        inputs.extend(&self.learnt);
        inputs
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Prepare<J>, E> {
        let steps = self.steps.into_iter();
        Ok(Prepare {
            data: self.data.try_map(name)?,
            steps: steps
                .map(|step| step.try_map(name))
                .collect::<Result<_, _>>()?,
            learnt: self.learnt.map(&mut *name).transpose()?,
            format: self.format,
        })
    }
}

#[cfg(test)]
mod tests;
