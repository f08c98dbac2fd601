//! What is resident on a node, and the model files in the folders of its owner.

use embermesh_crypto::{Digest, JobId, UnixMillis};

use super::super::{Call, asking::ResidentView};
use crate::Failure;

/// A resident model, as the owner of its node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// What it is.
    pub model: ResidentView,
    /// The file that it is known by.
    pub digest: Digest,
    /// The form of its files: "gguf", "safetensors".
    pub format: &'static str,
    /// Tokens of a prompt and its answer together; 0 for a network, which has none.
    pub context: u32,
    /// The file that the owner has deployed.
    pub path: Option<String>,
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name without what stands behind the last dot.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// What stands behind the last dot, in small letters.
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub modified: UnixMillis,
    /// Whether it has been deployed from here and is resident.
    pub deployed: bool,
    /// Whether no earlier look has seen it.
    pub new: bool,
}

/// The verbs over models.
#[tonic::async_trait]
pub trait OwnedModels: Send + Sync + 'static {
    /// Every model that is resident.
    fn deployments(&self, call: &Call) -> Result<Vec<Deployed>, Failure>;

    /// Makes a model file resident, for whoever the owner lets use the node.
    async fn deploy(&self, call: &Call, path: &str, context: u32) -> Result<JobId, Failure>;

    /// Unloads the deployment of a call.
    async fn undeploy(&self, call: &Call) -> Result<(), Failure>;

    /// The model files beneath folders that the owner shares; of all of these where
    /// none is named.
    async fn files(&self, call: &Call, folders: &[String]) -> Result<Vec<ModelFile>, Failure>;

    /// Removes a model file.
    async fn remove_file(&self, call: &Call, path: &str) -> Result<(), Failure>;
}
