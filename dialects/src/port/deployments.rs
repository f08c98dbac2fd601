//! Models that are put into the memory of a node, and asked there.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use embermesh_crypto::{Digest, UnixMillis};
use embermesh_job::{
    address::PeerAddress,
    ask::{Ask, Part},
    spec::{Input, Requirements},
};

use super::{Principal, registry::ModelFormat};
use crate::Failure;

/// What is to be deployed.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// A model of the registry, by its id.
    Kept(String),
    /// A blob that a node of the mesh has.
    Blob(Input, ModelFormat),
}

/// A deployment to be made.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// Its id, where its owner has chosen one.
    pub id: Option<String>,
    /// What people call it.
    pub name: String,
    /// Of what.
    pub weights: Weights,
    /// What else is said of it, before what the registry has with the model:
    ///
    /// | key | |
    /// |---|---|
    /// | `definition` | the network of weights that have none: a model as JSON, ours or a foreign one |
    /// | `input` | the shape of a sample as a JSON list, where the definition has none |
    /// | `outputs` | `classes`, `labels` or `numbers` |
    /// | `labels` | what the outputs are called, between commas |
    /// | `normalise` | `standardise`: as the weights carry it |
    /// | `idle` | seconds until it goes when nobody asks |
    /// | `askers` | `anyone`, or `owner` |
    pub options: BTreeMap<String, String>,
    /// Which nodes will do.
    pub requires: Requirements,
    /// The memory of its worker in bytes; by the size of the model where it is not said.
    pub memory: Option<u64>,
    /// Tokens of a prompt and its answer.
    pub context: Option<u32>,
    /// Asks that are answered side by side.
    pub concurrency: Option<u32>,
}

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentState {
    /// It waits for a node.
    Waiting,
    /// A node has it, and has not begun.
    Placed,
    /// It is brought into memory.
    Loading,
    /// It can be asked.
    Ready,
    /// It was unloaded.
    Stopped,
    /// It could not be loaded, or was lost for good.
    Failed,
}

/// What a deployment is asked and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Texts.
    Text,
    /// Rows of numbers.
    Rows {
        /// The shape of one row; nothing where only the model knows it.
        input: Option<Vec<usize>>,
        /// What an answer to one row has.
        output: Option<Answers>,
    },
}

/// The answer to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The probability of each of so many classes, of which the likeliest is meant.
    Classes(usize),
    /// The probability of each of so many labels.
    Labels(usize),
    /// So many numbers.
    Numbers(usize),
}

/// A deployment at one moment.
#[derive(Clone, Debug)]
pub struct DeploymentView {
    /// What the caller calls it.
    pub id: String,
    /// Whose it is: a name of the caller's system, or a key.
    pub owner: String,
    /// Whether it is the caller's.
    pub is_own: bool,
    /// What people call it.
    pub name: String,
    /// The model of the registry, where it is one's.
    pub model: Option<String>,
    /// The blob of the model, or of its weights.
    pub digest: Digest,
    /// How that is written down, where that is known.
    pub format: ModelFormat,
    /// Where it stands.
    pub state: DeploymentState,
    /// Why it waits, or how it ended, for people.
    pub message: String,
    /// Where it is.
    pub node: Option<PeerAddress>,
    /// What it is asked; nothing before it is known.
    pub signature: Option<Signature>,
    /// When it was asked for.
    pub created_at: UnixMillis,
    /// Since when it runs.
    pub started_at: Option<UnixMillis>,
    /// When it ended.
    pub stopped_at: Option<UnixMillis>,
    /// For how long it has run.
    pub uptime: Duration,
    /// What was asked of it through this side.
    pub asked: Measure,
}

/// What was asked in a span of time, as it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// When the span begins.
    pub at: UnixMillis,
    /// How long it is.
    pub span: Duration,
    /// Asks that ended in it, well or not.
    pub asks: u64,
    /// Those of them that ended badly.
    pub failed: u64,
    /// How long they took together.
    pub time: Duration,
}

/// Which deployments to list, and from where.
#[derive(Clone, Debug, Default)]
pub struct DeploymentFilter {
    /// In any of these states; none means all.
    pub states: Vec<DeploymentState>,
    /// Only those of the caller.
    pub own_only: bool,
    /// Those that come after this place, as an earlier page gave it.
    pub after: Option<String>,
    /// At most so many; 0 is the usual number.
    pub most: usize,
}

/// Some deployments: the caller's, the newest first, then those that he may ask.
#[derive(Clone, Debug, Default)]
pub struct DeploymentPage {
    /// The deployments.
    pub deployments: Vec<DeploymentView>,
    /// Where the next page begins; nothing when this is the last.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: u64,
}

/// The verbs over deployments. An id is what [`DeploymentView::id`] says.
#[tonic::async_trait]
pub trait Deployments: Send + Sync + 'static {
    /// Asks for a deployment. It is durable when this returns, and loads after that.
    ///
    /// # Errors
    /// `Invalid` for a model that cannot be deployed, with the reason; `NotFound` for one
    /// that is not there; `Exists` for an id that is taken.
    async fn deploy(&self, who: &Principal, what: Deploy) -> Result<DeploymentView, Failure>;

    /// A deployment of the caller's, or one that he may ask.
    async fn deployment(&self, who: &Principal, id: &str) -> Result<DeploymentView, Failure>;

    /// Some deployments. Pages hold while deployments are added.
    async fn deployments(
        &self,
        who: &Principal,
        filter: DeploymentFilter,
    ) -> Result<DeploymentPage, Failure>;

    /// Unloads a deployment of the caller's. One that is unloaded stays so.
    async fn undeploy(&self, who: &Principal, id: &str) -> Result<DeploymentView, Failure>;

    /// Forgets a deployment of the caller's, which is unloaded for that.
    async fn forget_deployment(&self, who: &Principal, id: &str) -> Result<(), Failure>;
}

/// What came of an ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The parts of the answer, in order.
    pub parts: Vec<Part>,
    /// How long it took.
    pub took: Duration,
}

/// Asks of deployments that are answered as a whole, and what was measured of all asks.
#[tonic::async_trait]
pub trait Inference: Send + Sync + 'static {
    /// Asks a deployment of the caller's, or one that he may ask.
    ///
    /// # Errors
    /// `Precondition` for one that is not loaded, `Invalid` for what the model refuses.
    async fn infer(&self, who: &Principal, id: &str, ask: Ask) -> Result<Answered, Failure>;

    /// What was asked of a deployment of the caller's in a span of time, by the minute,
    /// the oldest first; minutes in which nobody asked are left out.
    async fn measures(
        &self,
        who: &Principal,
        id: &str,
        within: Range<UnixMillis>,
    ) -> Result<Vec<Measure>, Failure>;
}
