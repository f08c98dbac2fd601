//! Tells whoever runs the node of an index that will never have it.
//!
//! The lines to the indexes are started in the midst of [`Node::start`]. What they
//! tell and to whom is nothing that a node which nobody watches needs to know, so it
//! is handed to them by the task that starts the node.

use std::sync::Arc;

use embermesh_client::ClientError;
use embermesh_crypto::keys::Keypair;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Node, NodeConfig, NodeError, RunningNode, config::MAX_INDEXES};

tokio::task_local! {
    /// Where the lines that this task starts tell of a refusal.
    static HEARS: mpsc::Sender<ClientError>;
}

impl Node {
    /// As [`Node::start`], and tells of each index that answers the node's first
    /// words with a final no: it is no index, has another key than the one that is
    /// pinned, or refuses the node, which may be of another network. An index that
    /// is away is not told of; every one is dialled again for as long as the node
    /// runs.
    ///
    /// # Errors
    /// Those of [`Node::start`].
    pub async fn start_with_refusals(
        config: NodeConfig,
        keypair: Arc<Keypair>,
        cancel: CancellationToken,
    ) -> Result<(RunningNode, mpsc::Receiver<ClientError>), NodeError> {
        // Each line tells once.
        let (tells, refusals) = mpsc::channel(MAX_INDEXES);
        let starting = Box::pin(Self::start(config, keypair, cancel));
        let running = HEARS.scope(tells, starting).await?;
        Ok((running, refusals))
    }
}

/// Whoever hears of refusals, if the task that runs now starts a node for somebody
/// who does.
pub(super) fn hears() -> Option<mpsc::Sender<ClientError>> {
    HEARS.try_with(mpsc::Sender::clone).ok()
}
