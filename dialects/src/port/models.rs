//! Models that answer.

use embermesh_job::{
    address::PeerAddress,
    ask::{Ask, Part},
};
use futures::stream::BoxStream;

use super::Principal;
use crate::Failure;

/// A model that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// The job that keeps it.
    pub job: String,
    /// Where it is.
    pub node: PeerAddress,
}

/// How much the models of a node are asked, as far as this side has to do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Answers that are under way.
    pub answering: u32,
    /// Answers that have ended, well or not.
    pub answered: u64,
}

/// The verbs over models.
#[tonic::async_trait]
pub trait Models: Send + Sync + 'static {
    /// The models that the caller may ask, those with free room first.
    async fn models(&self, who: &Principal) -> Result<Vec<ModelView>, Failure>;

    /// How much the models of a node are asked, by the node's id.
    fn load(&self, node: &str) -> Load;

    /// Asks a model, by name or by its job's id.
    async fn ask(
        &self,
        who: &Principal,
        what: &str,
        ask: Ask,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure>;
}
