//! A registry of models: what they are, and their bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis};
use futures::stream::BoxStream;

use super::Principal;
use crate::Failure;

/// How a model is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelFormat {
    /// Nobody has said.
    #[default]
    Unknown,
    /// ONNX.
    Onnx,
    /// GGUF, a language model with its tokenizer.
    Gguf,
    /// A pickle of PyTorch.
    PyTorch,
    /// A SavedModel of TensorFlow.
    TensorFlow,
    /// Tensors by name, without the network.
    Safetensors,
    /// TensorFlow Lite.
    TfLite,
    /// A TorchScript archive.
    TorchScript,
    /// CyxWiz's own.
    CyxModel,
}

impl ModelFormat {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Onnx,
        Self::Gguf,
        Self::PyTorch,
        Self::TensorFlow,
        Self::Safetensors,
        Self::TfLite,
        Self::TorchScript,
        Self::CyxModel,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Onnx => "onnx",
            Self::Gguf => "gguf",
            Self::PyTorch => "pytorch",
            Self::TensorFlow => "tensorflow",
            Self::Safetensors => "safetensors",
            Self::TfLite => "tflite",
            Self::TorchScript => "torchscript",
            Self::CyxModel => "cyxmodel",
        }
    }
}

/// A model to be kept, before its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewModel {
    /// Its id, where its owner has chosen one.
    pub id: Option<String>,
    /// What people call it.
    pub name: String,
    /// What it is for, in a few words.
    pub description: String,
    /// How it is written down.
    pub format: ModelFormat,
    /// How many bytes it has; nothing where that is said with them.
    pub size: Option<u64>,
    /// A SHA-256 or BLAKE3 of its bytes, in hex, where it is known.
    pub checksum: Option<String>,
    /// Whether everybody may read it.
    pub is_public: bool,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What else its owner says of it.
    pub metadata: BTreeMap<String, String>,
}

/// A model that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: Principal,
    /// As its owner has said it.
    pub said: NewModel,
    /// How many bytes of it are here.
    pub received: u64,
    /// What it is, once all of it is here.
    pub whole: Option<Whole>,
    /// How often it was read to its end.
    pub downloads: u64,
}

/// Of a model that is here as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its BLAKE3, which names it in the mesh.
    pub digest: Digest,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// Since when it is here.
    pub at: UnixMillis,
}

/// A piece of a model on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which model.
    pub model: String,
    /// Where in it, in bytes from its start.
    pub offset: u64,
    /// How many bytes the model has; 0 where that is not said.
    pub total: u64,
    /// The bytes.
    pub data: Bytes,
    /// A SHA-256 or BLAKE3 in hex, where one is given: of these bytes, and with the last
    /// piece of these or of all.
    pub checksum: Option<String>,
    /// Whether it is the last.
    pub is_last: bool,
}

/// Which models to list, and from where.
#[derive(Clone, Debug, Default)]
pub struct ModelFilter {
    /// Those whose name or description has this text, in any case.
    pub text: String,
    /// Those with all of these tags.
    pub tags: Vec<String>,
    /// Those of this format.
    pub format: Option<ModelFormat>,
    /// Only those that everybody may read.
    pub public_only: bool,
    /// Those that come after this place, as an earlier page gave it.
    pub after: Option<String>,
    /// At most so many; 0 is the usual number.
    pub most: usize,
}

/// Some models, the newest first.
#[derive(Clone, Debug, Default)]
pub struct ModelPage {
    /// The models.
    pub models: Vec<ModelEntry>,
    /// Where the next page begins; nothing when this is the last.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: u64,
}

/// A model on its way out.
pub struct Reading {
    /// Which.
    pub model: ModelEntry,
    /// Its bytes in order, each piece with the SHA-256 of its bytes in hex.
    pub pieces: BoxStream<'static, Result<Piece, Failure>>,
}

/// The verbs over the registry. A model that is not public is there for its owner alone:
/// for anybody else there is none of that id.
#[tonic::async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Takes a model in, without its bytes. It is durable when this returns.
    ///
    /// # Errors
    /// `Invalid` for what cannot be, `Exists` for an id that is taken, `Exhausted` where
    /// the owner has no room left.
    async fn add_model(&self, who: &Principal, model: NewModel) -> Result<ModelEntry, Failure>;

    /// Takes in the bytes of a model of the caller's, in order. It is whole and durable
    /// when this returns. What came before the pieces ended early stays: whoever goes on
    /// begins at [`ModelEntry::received`], or anew at 0.
    ///
    /// # Errors
    /// `Invalid` for bytes that are not what was said, which are then dropped;
    /// `Precondition` for a piece that does not follow, with the place where to go on;
    /// `Exhausted` where there is no room.
    async fn receive(
        &self,
        who: &Principal,
        pieces: BoxStream<'static, Result<Piece, Failure>>,
    ) -> Result<ModelEntry, Failure>;

    /// A model that the caller may read.
    async fn model(&self, who: &Principal, id: &str) -> Result<ModelEntry, Failure>;

    /// Some models that the caller may read. Pages hold while models are added.
    async fn registered(&self, who: &Principal, filter: ModelFilter) -> Result<ModelPage, Failure>;

    /// The bytes of a model that the caller may read.
    async fn read_model(&self, who: &Principal, id: &str) -> Result<Reading, Failure>;

    /// Forgets a model of the caller's, with its bytes. Deployments of it stay.
    ///
    /// # Errors
    /// `Denied` for a public model of somebody else.
    async fn discard_model(&self, who: &Principal, id: &str) -> Result<(), Failure>;
}
