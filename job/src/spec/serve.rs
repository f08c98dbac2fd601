//! A deployment: a model that stays in memory on a node and is asked there.

use std::cmp::Reverse;

use embermesh_crypto::{Digest, PeerId, statement::DeviceKind};
use serde::{Deserialize, Serialize};

use super::{
    Input, InvalidSpec, LanguageModel, Limits, Normalise, Outputs, Requirements,
    invalid::{field, within},
};
use crate::{
    ask::{AskKind, MAX_PART_NUMBERS},
    model::{Model, Plan},
    units::{MAX_EXACT, Millis},
};

/// The most asks that are answered side by side.
pub const MAX_CONCURRENCY: u32 = 16;
/// The most asks that wait.
pub const MAX_QUEUE: u32 = 256;
/// The most tokens of prompt and answer together.
pub const MAX_CONTEXT: u32 = 1 << 20;
/// The most keys that a deployment names.
pub const MAX_ASKERS: usize = 64;
/// Rows that a network computes at once.
pub const SERVED_BATCH: u32 = 64;
/// The longest label of a class, in bytes.
const MAX_LABEL: usize = 256;
/// The shortest idle time, in milliseconds.
const MIN_IDLE_MS: u64 = 1000;

/// A model that is loaded once and then asked, until it is unloaded, has been idle
/// for long enough, or `limits.wall` is over. Where its node dies it is loaded on
/// another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve<I = Input> {
    /// What is loaded.
    pub model: Served<I>,
    /// Asks that are answered side by side, from 1.
    #[serde(default = "usual_concurrency")]
    pub concurrency: u32,
    /// Asks that wait beyond these; one more is told to try again later.
    #[serde(default = "usual_queue")]
    pub queue: u32,
    /// Tokens that prompt and answer of an ask may have together; the model's own
    /// bound holds beside it. A network has none.
    #[serde(default = "usual_context")]
    pub context: u32,
    /// It unloads itself when nobody has asked for this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Millis>,
    /// Who may ask.
    #[serde(default)]
    pub askers: Askers,
}

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Served<I = Input> {
    /// A language model with its tokenizer: a GGUF file, or the files of a folder.
    Language(LanguageModel<I>),
    /// A declared network with its weights.
    Network(Box<ServedNetwork<I>>),
}

/// A network that answers rows of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedNetwork<I = Input> {
    /// The network.
    pub model: Model,
    /// Its weights, as safetensors.
    pub weights: I,
    /// What its outputs mean.
    pub outputs: Outputs,
    /// What the classes or labels are called, in the order of the outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How the numbers of a row are scaled, as they were for the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

/// Who may ask a deployment, beside its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Askers {
    /// Nobody.
    #[default]
    Owner,
    /// These keys.
    Peers(Vec<PeerId>),
    /// Every key that the node's owner allows to use the node.
    Anyone,
}

impl Askers {
    /// Whether a key may ask. `allowed` is whether the node's owner allows it.
    #[must_use]
    pub fn admit(&self, asker: &PeerId, owner: &PeerId, allowed: bool) -> bool {
        asker == owner
            || match self {
                Self::Owner => false,
                Self::Peers(peers) => peers.contains(asker),
                Self::Anyone => allowed,
            }
    }
}

fn usual_concurrency() -> u32 {
    4
}

fn usual_queue() -> u32 {
    16
}

fn usual_context() -> u32 {
    2048
}

impl<I> Serve<I> {
    /// A deployment of a model with the usual for the rest.
    #[must_use]
    pub fn new(model: Served<I>) -> Self {
        Self {
            model,
            concurrency: usual_concurrency(),
            queue: usual_queue(),
            context: usual_context(),
            idle: None,
            askers: Askers::Owner,
        }
    }

    /// What it is asked.
    #[must_use]
    pub fn kind(&self) -> AskKind {
        match &self.model {
            Served::Language(_) => AskKind::Text,
            Served::Network(_) => AskKind::Rows,
        }
    }

    /// Asks under way and waiting, at most.
    #[must_use]
    pub fn most_asks(&self) -> u32 {
        self.concurrency.saturating_add(self.queue)
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        match &self.model {
            Served::Language(model) => model.input_refs(),
            Served::Network(network) => vec![&network.weights],
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Serve<J>, E> {
        let model = match self.model {
            Served::Language(model) => Served::Language(model.try_map(name)?),
            Served::Network(network) => Served::Network(Box::new(ServedNetwork {
                model: network.model,
                weights: name(network.weights)?,
                outputs: network.outputs,
                labels: network.labels,
                normalise: network.normalise,
            })),
        };
        Ok(Serve {
            model,
            concurrency: self.concurrency,
            queue: self.queue,
            context: self.context,
            idle: self.idle,
            askers: self.askers,
        })
    }
}

impl Serve {
    /// The file that it is known by: the model, or the largest of its files, which has
    /// the weights.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let inputs = self.input_refs().into_iter();
        inputs
            .max_by_key(|input| (input.size, Reverse(input.digest)))
            .map_or(Digest::from_bytes([0; 32]), |input| input.digest)
    }

    pub(super) fn validate(
        &self,
        requires: &Requirements,
        limits: &Limits,
    ) -> Result<(), InvalidSpec> {
        within(
            "concurrency",
            self.concurrency.into(),
            1,
            MAX_CONCURRENCY.into(),
        )?;
        within("queue", self.queue.into(), 0, MAX_QUEUE.into())?;
        within("context", self.context.into(), 2, MAX_CONTEXT.into())?;
        if let Some(idle) = self.idle {
            within("idle", idle.0, MIN_IDLE_MS, MAX_EXACT)?;
        }
        if let Askers::Peers(peers) = &self.askers {
            within("askers.peers", peers.len() as u64, 1, MAX_ASKERS as u64)?;
        }
        match &self.model {
            Served::Language(model) => {
                if requires
                    .device
                    .is_some_and(|device| device != DeviceKind::Cpu)
                {
                    let reason = "language models run on the processor: say \"cpu\", or nothing";
                    return Err(field("requires.device", reason));
                }
                model.validate(limits)
            }
            Served::Network(network) => network.validate(limits),
        }
    }
}

impl ServedNetwork {
    fn validate(&self, limits: &Limits) -> Result<(), InvalidSpec> {
        let plan = self.model.plan()?;
        let outputs = self.width(&plan)?;
        if let Some(normalise) = self.normalise {
            normalise.validate()?;
        }
        let named = match self.outputs {
            Outputs::Classes => outputs.max(2),
            Outputs::Labels => outputs,
            Outputs::Numbers => 0,
        };
        if !self.labels.is_empty() && self.labels.len() != named {
            return Err(field(
                "labels",
                format!(
                    "there are {}, and the outputs have names for {named}: give one each, or none",
                    self.labels.len()
                ),
            ));
        }
        if self
            .labels
            .iter()
            .any(|label| !(1..=MAX_LABEL).contains(&label.len()))
        {
            return Err(field("labels", format!("give 1 to {MAX_LABEL} bytes each")));
        }
        super::affords(plan.peak_bytes(SERVED_BATCH as usize), SERVED_BATCH, limits)
    }

    fn width(&self, plan: &Plan) -> Result<usize, InvalidSpec> {
        match plan.output_shape[..] {
            [outputs] if outputs <= MAX_PART_NUMBERS => Ok(outputs),
            [outputs] => Err(field(
                "model",
                format!("{outputs} outputs are more than the {MAX_PART_NUMBERS} of an answer"),
            )),
            _ => Err(field(
                "model",
                format!(
                    "its output has the shape {:?}: end with a dense layer, which makes a row of it",
                    plan.output_shape
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
