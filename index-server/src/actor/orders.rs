//! The open streams of orders, one a node at most.
//!
//! Nothing is lost with a stream: what was ordered and not taken up is sent
//! again when the node opens its stream anew, because the state machine knows it.

use std::collections::BTreeMap;

use embermesh_crypto::ids::PeerId;
use embermesh_job::order::Order;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::metrics::Metrics;

/// The most orders that wait for a node to read them. A node that is further
/// behind loses its stream, and hears all that still counts on the next one.
pub(crate) const ORDERS_QUEUED: usize = 256;

/// Every node's open stream.
pub(super) struct OrderStreams {
    streams: BTreeMap<PeerId, mpsc::Sender<Order>>,
    metrics: Metrics,
}

impl OrderStreams {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            streams: BTreeMap::new(),
            metrics,
        }
    }

    /// Opens a stream for a node; one it had before ends.
    pub(super) fn open(&mut self, node: PeerId) -> mpsc::Receiver<Order> {
        self.streams.retain(|_, stream| !stream.is_closed());
        let (sender, receiver) = mpsc::channel(ORDERS_QUEUED);
        self.streams.insert(node, sender);
        receiver
    }

    /// Sends an order if the node has a stream.
    pub(super) fn push(&mut self, node: &PeerId, order: Order) {
        let Some(stream) = self.streams.get(node) else {
            return;
        };
        match stream.try_send(order) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => {
                self.streams.remove(node);
            }
            Err(TrySendError::Full(_)) => {
                self.metrics.orders_dropped.increment(1);
                tracing::warn!(%node, "the node does not read its orders; its stream is ended");
                self.streams.remove(node);
            }
        }
    }

    /// Sends an order to every node that has a stream.
    pub(super) fn broadcast(&mut self, order: &Order) {
        let nodes: Vec<PeerId> = self.streams.keys().copied().collect();
        for node in nodes {
            self.push(&node, order.clone());
        }
    }
}
