//! What is asked of the mesh: a job's spec.
//!
//! A spec has one canonical form, JSON by RFC 8785, and its BLAKE3 digest is
//! what an assignment is bound to. Bytes that are not in that form are refused,
//! so that a digest names one spec and a spec has one digest.

mod compute;
mod dataset;
mod embed;
mod evaluate;
mod generate;
mod invalid;
mod language;
mod limits;
mod loss;
mod network;
mod optimizer;
pub mod origin;
mod perplexity;
mod precision;
mod predict;
pub mod prepare;
mod schedule;
mod script;
mod serve;
mod stopping;
mod subject;
mod texts;
mod train;

use std::collections::BTreeSet;

use embermesh_crypto::Digest;
use serde::{Deserialize, Serialize};

use self::invalid::{field, within};
pub use self::precision::Precision;
pub use self::{
    compute::{
        COMMITMENT, Compute, MAX_OPERATIONS, MAX_RESULTS, MAX_TENSORS, Operation, PROOF, Part,
        Planned, Prove, Tensor, output_bytes,
    },
    dataset::{
        ClientData, Column, Dataset, Dialect, Element, Images, Inline, InlineTargets,
        MAX_CLIENT_RECORD, MAX_CLIENT_SAMPLES, Missing, Normalise, Npy, Npz, Table, Target,
        TargetColumns, Tensors,
    },
    embed::{Embed, Pooling},
    evaluate::{Evaluate, Split},
    generate::{
        Generate, MAX_MESSAGES, MAX_NEW_TOKENS, MAX_REQUESTS, MAX_STOP, MAX_STOPS,
        MAX_TOTAL_TOKENS, Message, Request, Role,
    },
    invalid::InvalidSpec,
    language::{LanguageModel, MAX_MODEL_FILES, model_files},
    limits::{Limits, Requirements},
    loss::Loss,
    network::{Feed, Feeds, Network, Onnx},
    optimizer::Optimizer,
    origin::{Location, Origin},
    perplexity::{Perplexity, USUAL_WINDOW},
    predict::{Outputs, Predict, TableFormat},
    prepare::{Prepare, PreparedFormat},
    schedule::{Schedule, Span},
    script::{
        ARCHIVE, MAX_ARG, MAX_ARGS, MAX_FILE_NAME, MAX_FILES, MAX_OUTPUTS, MAX_PROGRAM, MAX_STDIN,
        MAX_VARIABLES, MIN_SCRIPT_MEMORY, Runtime, Script,
    },
    serve::{
        Askers, MAX_ASKERS, MAX_CONCURRENCY, MAX_CONTEXT, MAX_QUEUE, SERVED_BATCH, Serve, Served,
        ServedNetwork,
    },
    stopping::{Clip, EarlyStopping, Watch},
    subject::Subject,
    texts::{MAX_TEXTS, Texts},
    train::Train,
};
use crate::{
    model::{InvalidModel, Model, Plan},
    units::{Bytes, MAX_EXACT},
};

/// The largest canonical spec, in bytes.
pub const MAX_SPEC_LEN: usize = 256 * 1024;
/// The most attempts that a job may have.
pub const MAX_ATTEMPTS: u32 = 20;
/// The longest name of a job, in characters.
pub const MAX_NAME: usize = 128;
/// The most nodes that a spec may name or avoid.
pub const MAX_NAMED_NODES: usize = 64;

/// A job's spec. `I` is how it names its inputs: by digest, or, in a file that
/// people write, by path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec<I = Input> {
    /// What people call it.
    pub name: String,
    /// What is to be done.
    pub work: Work<I>,
    /// Which nodes will do.
    #[serde(default)]
    pub requires: Requirements,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// How many nodes may try, one after the other.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
}

/// A blob that a job reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// The kinds of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work<I = Input> {
    /// Make weights from data.
    Train(Train<I>),
    /// Judge weights by data.
    Evaluate(Evaluate<I>),
    /// Say what weights make of data.
    Predict(Predict<I>),
    /// Go on from texts with a language model.
    Generate(Generate<I>),
    /// Run a program of the client's.
    Script(Script<I>),
    /// Operations over tensors.
    Compute(Compute<I>),
    /// Make vectors of texts with an encoder.
    Embed(Embed<I>),
    /// Judge a language model by texts.
    Perplexity(Perplexity<I>),
    /// Keep a model in memory and answer what it is asked.
    Serve(Serve<I>),
    /// Make samples of data.
    Prepare(Prepare<I>),
}

impl<I> Work<I> {
    /// Whether it can be ended before its last step and have something to show:
    /// weights, texts, vectors, a measure.
    #[must_use]
    pub fn ends_early(&self) -> bool {
        matches!(
            self,
            Self::Train(_)
                | Self::Generate(_)
                | Self::Embed(_)
                | Self::Perplexity(_)
                | Self::Serve(_)
        )
    }
}

fn default_attempts() -> u32 {
    5
}

impl JobSpec {
    /// The canonical bytes (RFC 8785).
    ///
    /// # Panics
    /// Never: every value of a spec has a JSON form.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self)
            .expect("a spec holds texts, integers and finite floats")
    }

    /// The digest of the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }

    /// Reads canonical bytes and validates what they say.
    ///
    /// # Errors
    /// [`InvalidSpec`].
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, InvalidSpec> {
        if bytes.len() > MAX_SPEC_LEN {
            return Err(InvalidSpec::TooLarge(bytes.len()));
        }
        let spec: Self = serde_json::from_slice(bytes)
            .map_err(|error| InvalidSpec::Malformed(error.to_string()))?;
        spec.validate()?;
        if spec.canonical() != bytes {
            return Err(InvalidSpec::NotCanonical);
        }
        Ok(spec)
    }

    /// Checks shapes, bounds and costs.
    ///
    /// # Errors
    /// [`InvalidSpec`] for the first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let length = self.name.chars().count();
        if length == 0 || length > MAX_NAME || self.name.chars().any(char::is_control) {
            return Err(field("name", format!("give 1 to {MAX_NAME} characters")));
        }
        within("attempts", self.attempts.into(), 1, MAX_ATTEMPTS.into())?;
        self.limits.validate()?;
        self.requires.validate()?;
        for input in self.inputs() {
            within("size", input.size, 1, MAX_EXACT)?;
        }
        origin::validate(&self.requires.origins, &self.inputs())?;
        match &self.work {
            Work::Train(train) => train.validate(&self.requires, &self.limits),
            Work::Evaluate(evaluate) => evaluate.validate(&self.limits),
            Work::Predict(predict) => predict.validate(&self.limits),
            Work::Generate(generate) => generate.validate(&self.requires, &self.limits),
            Work::Script(script) => script.validate(self.attempts, &self.requires, &self.limits),
            Work::Compute(compute) => compute.validate(&self.requires, &self.limits),
            Work::Embed(embed) => embed.validate(&self.limits),
            Work::Perplexity(judge) => judge.validate(&self.requires, &self.limits),
            Work::Serve(serve) => serve.validate(&self.requires, &self.limits),
            Work::Prepare(prepare) => prepare.validate(),
        }
    }

    /// The shapes and costs of the declared network, where there is one.
    ///
    /// # Errors
    /// When it does not fit together.
    pub fn plan(&self) -> Result<Option<Plan>, InvalidModel> {
        self.model().map(Model::plan).transpose()
    }

    /// The blobs that it reads, each once, in order of digest.
    #[must_use]
    pub fn inputs(&self) -> Vec<Input> {
        self.input_refs()
            .into_iter()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}

impl<I> JobSpec<I> {
    /// The declared network; none where the model is a file of its own.
    #[must_use]
    pub fn model(&self) -> Option<&Model> {
        match &self.work {
            Work::Train(train) => Some(&train.model),
            Work::Evaluate(evaluate) => evaluate.model.declared(),
            Work::Predict(predict) => predict.model.declared(),
            Work::Generate(_) | Work::Compute(_) | Work::Script(_) => None,
            Work::Embed(_) | Work::Perplexity(_) | Work::Prepare(_) => None,
            Work::Serve(serve) => match &serve.model {
                Served::Language(_) => None,
                Served::Network(network) => Some(&network.model),
            },
        }
    }

    /// The runtime that a node must offer for it; none for what every node does.
    #[must_use]
    pub fn runtime(&self) -> Option<Runtime> {
        match &self.work {
            Work::Script(script) => Some(script.runtime),
            _ => None,
        }
    }

    /// The language model that it names, where it names one.
    #[must_use]
    pub fn language_model(&self) -> Option<&LanguageModel<I>> {
        match &self.work {
            Work::Generate(generate) => Some(&generate.model),
            Work::Embed(embed) => Some(&embed.model),
            Work::Perplexity(judge) => Some(&judge.model),
            Work::Serve(serve) => match &serve.model {
                Served::Language(model) => Some(model),
                Served::Network(_) => None,
            },
            _ => None,
        }
    }

    /// The same, to be named otherwise.
    pub(crate) fn language_model_mut(&mut self) -> Option<&mut LanguageModel<I>> {
        match &mut self.work {
            Work::Generate(generate) => Some(&mut generate.model),
            Work::Embed(embed) => Some(&mut embed.model),
            Work::Perplexity(judge) => Some(&mut judge.model),
            Work::Serve(serve) => match &mut serve.model {
                Served::Language(model) => Some(model),
                Served::Network(_) => None,
            },
            _ => None,
        }
    }

    /// The data that it learns from, judges by or answers, where there is any.
    #[must_use]
    pub fn data(&self) -> Option<&Dataset<I>> {
        match &self.work {
            Work::Train(train) => Some(&train.data),
            Work::Evaluate(evaluate) => Some(&evaluate.data),
            Work::Predict(predict) => Some(&predict.data),
            _ => None,
        }
    }

    /// What it says of samples that stay with the client.
    #[must_use]
    pub fn client_data(&self) -> Option<&ClientData> {
        match self.data() {
            Some(Dataset::Client(data)) => Some(data),
            _ => None,
        }
    }

    /// The same spec with other data.
    #[must_use]
    pub fn with_data(mut self, data: Dataset<I>) -> Self {
        match &mut self.work {
            Work::Train(train) => train.data = data,
            Work::Evaluate(evaluate) => evaluate.data = data,
            Work::Predict(predict) => predict.data = data,
            _ => {}
        }
        self
    }

    /// Everything that it reads, as often as it is named.
    #[must_use]
    pub fn input_refs(&self) -> Vec<&I> {
        match &self.work {
            Work::Train(train) => train.input_refs(),
            Work::Evaluate(evaluate) => evaluate.input_refs(),
            Work::Predict(predict) => predict.input_refs(),
            Work::Generate(generate) => generate.input_refs(),
            Work::Script(script) => script.input_refs(),
            Work::Compute(compute) => compute.input_refs(),
            Work::Embed(embed) => embed.input_refs(),
            Work::Perplexity(judge) => judge.input_refs(),
            Work::Serve(serve) => serve.input_refs(),
            Work::Prepare(prepare) => prepare.input_refs(),
        }
    }

    /// The same spec with other names for its inputs.
    ///
    /// # Errors
    /// The first that `name` gives.
    pub fn try_map_inputs<J, E>(
        self,
        mut name: impl FnMut(I) -> Result<J, E>,
    ) -> Result<JobSpec<J>, E> {
        let work = match self.work {
            Work::Train(train) => Work::Train(train.try_map(&mut name)?),
            Work::Evaluate(evaluate) => Work::Evaluate(evaluate.try_map(&mut name)?),
            Work::Predict(predict) => Work::Predict(predict.try_map(&mut name)?),
            Work::Generate(generate) => Work::Generate(generate.try_map(&mut name)?),
            Work::Script(script) => Work::Script(script.try_map(&mut name)?),
            Work::Compute(compute) => Work::Compute(compute.try_map(&mut name)?),
            Work::Embed(embed) => Work::Embed(embed.try_map(&mut name)?),
            Work::Perplexity(judge) => Work::Perplexity(judge.try_map(&mut name)?),
            Work::Serve(serve) => Work::Serve(serve.try_map(&mut name)?),
            Work::Prepare(prepare) => Work::Prepare(prepare.try_map(&mut name)?),
        };
        Ok(JobSpec {
            name: self.name,
            work,
            requires: self.requires,
            limits: self.limits,
            attempts: self.attempts,
        })
    }
}

/// Whether a model whose outputs have this shape, without the batch, gives as many
/// numbers a sample as its loss takes.
fn gives(shape: &[usize], target: Target, outputs: u32) -> Result<(), InvalidSpec> {
    if shape == [outputs as usize] {
        return Ok(());
    }
    let what = match target {
        Target::Classes(classes) => format!("{classes} classes"),
        Target::Numbers(width) => format!("{width} numbers as targets"),
        Target::Nothing => "no targets".to_owned(),
    };
    let units = if outputs == 1 { "unit" } else { "units" };
    Err(field(
        "model",
        format!(
            "its output has the shape {shape:?}, and the data has {what}: end with a dense layer of {outputs} {units}"
        ),
    ))
}

/// Whether that much memory is within the limits.
fn affords(peak: u64, batch: u32, limits: &Limits) -> Result<(), InvalidSpec> {
    if peak <= limits.memory.0 {
        return Ok(());
    }
    Err(field(
        "limits.memory",
        format!(
            "the model needs about {} with a batch of {batch}, and the limit is {}",
            Bytes(peak),
            limits.memory
        ),
    ))
}
