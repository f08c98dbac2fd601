//! Prediction: what given weights make of samples, in a table.

use serde::{Deserialize, Serialize};

use super::{
    Dataset, Input, InvalidSpec, Limits, Missing, Network, Target,
    invalid::{field, within},
};

/// The forward pass over samples, whose results are kept: a row a sample, in
/// the order of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predict<I = Input> {
    /// The network.
    pub model: Network<I>,
    /// Its weights, as safetensors; an ONNX file brings its own.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub weights: Option<I>,
    /// The samples. What the data says of targets says what the outputs mean;
    /// data without targets says nothing of them, and `outputs` does.
    pub data: Dataset<I>,
    /// What the model's outputs mean, where the data does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
    /// How the table is written.
    #[serde(default)]
    pub out: TableFormat,
    /// Samples a step.
    pub batch: u32,
}

/// What the outputs of a model mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// A logit a class, or one logit for the second of two: the table has the
    /// likeliest class and the probability of each.
    Classes,
    /// A logit each for labels that do not exclude one another: the table has
    /// their probabilities.
    Labels,
    /// Numbers, as they are.
    Numbers,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableFormat {
    /// JSON Lines.
    #[default]
    Jsonl,
    /// CSV with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl TableFormat {
    /// The ending of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// The most outputs that CSV and Parquet, which have a column for each, take.
const MAX_COLUMNS: usize = 4096;

impl Predict {
    pub(super) fn validate(&self, limits: &Limits) -> Result<(), InvalidSpec> {
        within("batch", self.batch.into(), 1, 65_536)?;
        self.model.validate(self.weights.as_ref())?;
        let target = self.data.validate(&self.model.takes())?;
        if self.data.missing() == Missing::Drop {
            return Err(field(
                "data.missing",
                "a prediction answers every row: refuse what is missing, or fill it",
            ));
        }
        let Some(plan) = self.model.plan()? else {
            return self.is_told(target);
        };
        self.means(target, &plan.output_shape)?;
        let peak = plan.peak_bytes(self.batch as usize);
        super::affords(peak, self.batch, limits)
    }

    /// Whether it is said, once, what outputs mean.
    fn is_told(&self, target: Target) -> Result<(), InvalidSpec> {
        match (self.outputs, target) {
            (None, Target::Nothing) => Err(field(
                "outputs",
                "the data has no targets: say whether outputs are classes, labels or numbers",
            )),
            (Some(Outputs::Classes), Target::Numbers(_))
            | (Some(Outputs::Numbers | Outputs::Labels), Target::Classes(_)) => Err(field(
                "outputs",
                "the data says what its targets are, and that is something else",
            )),
            _ => Ok(()),
        }
    }

    /// Whether a model whose outputs have this shape, without the batch, gives as
    /// many as they should mean.
    fn means(&self, target: Target, shape: &[usize]) -> Result<(), InvalidSpec> {
        self.is_told(target)?;
        let &[outputs] = shape else {
            return Err(field(
                "model",
                format!(
                    "its output has the shape {shape:?}: end with a dense layer, which makes a row of it"
                ),
            ));
        };
        if self.out != TableFormat::Jsonl && outputs > MAX_COLUMNS {
            return Err(field(
                "out",
                format!("{outputs} outputs are more than {MAX_COLUMNS} columns: use jsonl"),
            ));
        }
        let fits = match target {
            Target::Classes(classes) => {
                outputs == classes as usize || (classes == 2 && outputs == 1)
            }
            Target::Numbers(width) => outputs == width as usize,
            Target::Nothing => true,
        };
        if fits {
            return Ok(());
        }
        Err(field(
            "model",
            format!("it has {outputs} outputs, and the data's targets are {target:?}"),
        ))
    }
    /// Whether a model whose outputs have this shape, without the batch, fits the
    /// data and what its outputs should mean.
    ///
    /// # Errors
    /// [`InvalidSpec`] when it does not.
    pub fn fits(&self, shape: &[usize]) -> Result<(), InvalidSpec> {
        self.means(self.data.target(), shape)
    }
}

fn none<I>() -> Option<I> {
    None
}

impl<I> Predict<I> {
    /// What the outputs mean.
    #[must_use]
    pub fn outputs(&self) -> Outputs {
        self.outputs.unwrap_or(match self.data.target() {
            Target::Classes(_) => Outputs::Classes,
            Target::Numbers(_) | Target::Nothing => Outputs::Numbers,
        })
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        let mut inputs = self.data.input_refs();
        inputs.extend(self.model.input_refs());
        inputs.extend(&self.weights);
        inputs
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Predict<J>, E> {
        Ok(Predict {
            data: self.data.try_map(name)?,
            model: self.model.try_map(name)?,
            weights: self.weights.map(&mut *name).transpose()?,
            outputs: self.outputs,
            out: self.out,
            batch: self.batch,
        })
    }
}
