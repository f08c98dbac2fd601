//! Resident models: what they answer, and how nodes and indexes list them.

use embermesh_crypto::{Digest, JobId, PeerId, UnixMillis};
use embermesh_proto::v1::{self, infer_update};
use serde::Serialize;

use super::{InvalidMessage, digest, digest_bytes, job_id, peer, text};
use crate::{
    address::PeerAddress,
    ask::{AskKind, MAX_ASK_ROWS, MAX_PART_NUMBERS, Part, RowAnswer},
    event::Loaded,
    lifecycle::JobState,
    spec::MAX_NAME,
};

impl From<Loaded> for v1::event::Loaded {
    fn from(loaded: Loaded) -> Self {
        Self {
            model: digest_bytes(&loaded.model),
            memory_bytes: loaded.memory_bytes,
            context: loaded.context,
            concurrency: loaded.concurrency,
        }
    }
}

impl TryFrom<v1::event::Loaded> for Loaded {
    type Error = InvalidMessage;

    fn try_from(wire: v1::event::Loaded) -> Result<Self, Self::Error> {
        Ok(Self {
            model: digest("loaded.model", &wire.model)?,
            memory_bytes: wire.memory_bytes,
            context: wire.context,
            concurrency: wire.concurrency,
        })
    }
}

/// A part as an update; why it cannot be answered, where it is a refusal.
impl TryFrom<Part> for v1::InferUpdate {
    type Error = String;

    fn try_from(part: Part) -> Result<Self, Self::Error> {
        let part = match part {
            Part::Text(piece) => infer_update::Part::Text(piece.into()),
            Part::Rows { answers, last } => infer_update::Part::Rows(infer_update::Rows {
                rows: answers.into_iter().map(Into::into).collect(),
                last,
            }),
            Part::Refused(reason) => return Err(reason),
        };
        Ok(Self { part: Some(part) })
    }
}

impl TryFrom<v1::InferUpdate> for Part {
    type Error = InvalidMessage;

    fn try_from(wire: v1::InferUpdate) -> Result<Self, Self::Error> {
        match wire.part.ok_or_else(|| InvalidMessage::missing("part"))? {
            infer_update::Part::Text(piece) => Ok(Self::Text(piece.try_into()?)),
            infer_update::Part::Rows(rows) => {
                if rows.rows.len() > MAX_ASK_ROWS {
                    return Err(InvalidMessage::new("rows", "there are too many"));
                }
                let last = rows.last;
                let answers = rows.rows.into_iter().map(TryInto::try_into);
                Ok(Self::Rows {
                    answers: answers.collect::<Result<_, _>>()?,
                    last,
                })
            }
        }
    }
}

impl From<RowAnswer> for infer_update::Row {
    fn from(answer: RowAnswer) -> Self {
        Self {
            class: answer.class.unwrap_or_default(),
            probabilities: answer.probabilities,
            numbers: answer.numbers,
        }
    }
}

impl TryFrom<infer_update::Row> for RowAnswer {
    type Error = InvalidMessage;

    fn try_from(wire: infer_update::Row) -> Result<Self, Self::Error> {
        if wire.probabilities.len().max(wire.numbers.len()) > MAX_PART_NUMBERS {
            return Err(InvalidMessage::new("rows", "a row is too long"));
        }
        let class = text("rows.class", wire.class)?;
        Ok(Self {
            class: (!class.is_empty()).then_some(class),
            probabilities: wire.probabilities,
            numbers: wire.numbers,
        })
    }
}

/// A resident model, as its node shows it to those who may ask it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResidentModel {
    /// The deployment's job.
    pub job: JobId,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: PeerId,
    /// The blob of the model, or of its weights.
    pub model: Digest,
    /// What it is asked.
    pub kind: AskKind,
    /// Whether it can be asked now.
    pub ready: bool,
    /// Memory that it takes, in bytes, as measured; 0 before it is loaded.
    pub memory_bytes: u64,
    /// Asks that are answered side by side.
    pub concurrency: u32,
    /// Asks under way and waiting.
    pub asks: u32,
    /// The most of them.
    pub most_asks: u32,
    /// Asks answered to the end since it was loaded.
    pub answered: u64,
    /// Asks refused, by the model or because it was busy.
    pub refused: u64,
    /// Asks whose caller went away before the end.
    pub cancelled: u64,
    /// Tokens read of prompts that were answered.
    pub prompt_tokens: u64,
    /// Tokens made.
    pub tokens: u64,
    /// When it was brought here.
    pub since: UnixMillis,
}

impl From<ResidentModel> for v1::ResidentModel {
    fn from(model: ResidentModel) -> Self {
        Self {
            job_id: model.job.to_string(),
            name: model.name,
            owner: model.owner.to_string(),
            model: digest_bytes(&model.model),
            kind: model.kind.word().to_owned(),
            ready: model.ready,
            memory_bytes: model.memory_bytes,
            concurrency: model.concurrency,
            asks: model.asks,
            most_asks: model.most_asks,
            answered: model.answered,
            refused: model.refused,
            cancelled: model.cancelled,
            prompt_tokens: model.prompt_tokens,
            tokens: model.tokens,
            since_ms: model.since.0,
        }
    }
}

impl TryFrom<v1::ResidentModel> for ResidentModel {
    type Error = InvalidMessage;

    fn try_from(wire: v1::ResidentModel) -> Result<Self, Self::Error> {
        Ok(Self {
            job: job_id(&wire.job_id)?,
            name: name(wire.name)?,
            owner: peer("owner", &wire.owner)?,
            model: digest("model", &wire.model)?,
            kind: match wire.kind.as_str() {
                "text" => AskKind::Text,
                "rows" => AskKind::Rows,
                _ => return Err(InvalidMessage::new("kind", "it is neither text nor rows")),
            },
            ready: wire.ready,
            memory_bytes: wire.memory_bytes,
            concurrency: wire.concurrency,
            asks: wire.asks,
            most_asks: wire.most_asks,
            answered: wire.answered,
            refused: wire.refused,
            cancelled: wire.cancelled,
            prompt_tokens: wire.prompt_tokens,
            tokens: wire.tokens,
            since: UnixMillis(wire.since_ms),
        })
    }
}

/// A deployment, as an index shows it to those who may ask it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deployment {
    /// Its job.
    pub job: JobId,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: PeerId,
    /// Where its job stands.
    pub state: JobState,
    /// The blob of the model, or of its weights.
    pub model: Digest,
    /// When it was submitted.
    pub submitted_at: UnixMillis,
    /// Where it is, when it has a node that the index can name.
    pub node: Option<PeerAddress>,
    /// Whether it has said that it can be asked.
    pub loaded: bool,
}

impl From<Deployment> for v1::Deployment {
    fn from(deployment: Deployment) -> Self {
        Self {
            job_id: deployment.job.to_string(),
            name: deployment.name,
            owner: deployment.owner.to_string(),
            state: v1::JobState::from(deployment.state).into(),
            model: digest_bytes(&deployment.model),
            submitted_at_ms: deployment.submitted_at.0,
            node: deployment.node.map(Into::into),
            loaded: deployment.loaded,
        }
    }
}

impl TryFrom<v1::Deployment> for Deployment {
    type Error = InvalidMessage;

    fn try_from(wire: v1::Deployment) -> Result<Self, Self::Error> {
        let state = wire.state().try_into()?;
        Ok(Self {
            job: job_id(&wire.job_id)?,
            name: name(wire.name)?,
            owner: peer("owner", &wire.owner)?,
            state,
            model: digest("model", &wire.model)?,
            submitted_at: UnixMillis(wire.submitted_at_ms),
            node: wire.node.map(TryInto::try_into).transpose()?,
            loaded: wire.loaded,
        })
    }
}

fn name(name: String) -> Result<String, InvalidMessage> {
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(InvalidMessage::new("name", "it is too long or not text"));
    }
    Ok(name)
}
