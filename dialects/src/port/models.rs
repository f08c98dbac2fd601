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

/// The verbs over models.
#[tonic::async_trait]
pub trait Models: Send + Sync + 'static {
    /// The models that the caller may ask, those with free room first.
    async fn models(&self, who: &Principal) -> Result<Vec<ModelView>, Failure>;

    /// Asks a model, by name or by its job's id.
    async fn ask(
        &self,
        who: &Principal,
        what: &str,
        ask: Ask,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure>;
}
