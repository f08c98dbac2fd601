//! The machine, its line to the indexes, and its end.

use std::time::Duration;

use futures::stream::BoxStream;

use super::super::{
    Call,
    status::{Load, NodeNow},
};
use crate::Failure;

/// How a node stands with its indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It has none, or its owner has cut it off.
    Off,
    /// None has it now; it is tried on.
    Trying,
    /// One at least has it.
    Up,
}

/// A node at one moment, with everything that runs there.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The machine.
    pub now: NodeNow,
    /// Tasks that run, without resident models.
    pub jobs: u32,
    /// Models that are resident or about to be.
    pub deployments: u32,
    /// Its indexes.
    pub link: Link,
}

/// The verbs over the machine.
#[tonic::async_trait]
pub trait Machine: Send + Sync + 'static {
    /// The node now.
    async fn overview(&self, call: &Call) -> Result<Overview, Failure>;

    /// What was taken of the machine lately, at even times, the oldest first.
    fn history(&self, call: &Call) -> Result<Vec<Load>, Failure>;

    /// The node now and again, until the node stops.
    fn watch(
        &self,
        call: &Call,
        every: Duration,
    ) -> Result<BoxStream<'static, Result<Overview, Failure>>, Failure>;

    /// Ends the node: where `gracefully`, once what runs has come to a point from which
    /// others can go on. Returns before it has ended.
    fn stop(&self, call: &Call, gracefully: bool) -> Result<(), Failure>;

    /// Dials the indexes (`wanted`), and waits a moment for one of them; or leaves them.
    async fn link(&self, call: &Call, wanted: bool) -> Result<Link, Failure>;
}
