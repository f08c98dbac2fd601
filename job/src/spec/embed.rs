//! Embedding: what an encoder makes of texts, a vector each.

use serde::{Deserialize, Serialize};

use super::{
    Input, InvalidSpec, LanguageModel, Limits, Texts,
    invalid::{field, within},
};

/// The most texts of one step.
const MAX_BATCH: u64 = 1024;

/// Sentence embeddings. Each text becomes a vector of as many numbers as the
/// model is wide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embed<I = Input> {
    /// The encoder with its tokenizer: the files of a folder.
    pub model: LanguageModel<I>,
    /// What is embedded, in this order.
    pub texts: Texts<I>,
    /// Texts a step, at most.
    #[serde(default = "usual_batch", skip_serializing_if = "is_usual_batch")]
    pub batch: u32,
    /// Longer texts are cut to so many tokens, those that begin and end a text
    /// included; without it, to what the model's files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How the vectors of a text's tokens become one; without it, as the model's
    /// files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether vectors have a length of one; without it, as the model's files
    /// say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<bool>,
    /// Whether the vectors are given as JSON Lines too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub jsonl: bool,
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    Cls,
    /// The largest number at each place.
    Max,
}

impl Pooling {
    /// Its name in a spec.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Max => "max",
        }
    }
}

fn usual_batch() -> u32 {
    32
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_usual_batch(batch: &u32) -> bool {
    *batch == usual_batch()
}

impl<I> Embed<I> {
    /// Embeddings of texts, with the usual for the rest.
    #[must_use]
    pub fn new(model: LanguageModel<I>, texts: Texts<I>) -> Self {
        Self {
            model,
            texts,
            batch: usual_batch(),
            max_tokens: None,
            pooling: None,
            normalise: None,
            jsonl: false,
        }
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        let mut inputs = self.model.input_refs();
        inputs.extend(self.texts.input_refs());
        inputs
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Embed<J>, E> {
        Ok(Embed {
            model: self.model.try_map(name)?,
            texts: self.texts.try_map(name)?,
            batch: self.batch,
            max_tokens: self.max_tokens,
            pooling: self.pooling,
            normalise: self.normalise,
            jsonl: self.jsonl,
        })
    }
}

impl Embed {
    pub(super) fn validate(&self, limits: &Limits) -> Result<(), InvalidSpec> {
        if let LanguageModel::File(_) = self.model {
            return Err(field(
                "model",
                "an encoder is a folder with config.json, tokenizer.json and safetensors: say { folder = \"PATH\" }",
            ));
        }
        self.model.validate(limits)?;
        self.texts.validate()?;
        within("batch", self.batch.into(), 1, MAX_BATCH)?;
        if let Some(tokens) = self.max_tokens {
            within("max_tokens", tokens.into(), 3, 65_536)?;
        }
        Ok(())
    }
}
