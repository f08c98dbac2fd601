//! Samples that stay with a foreign client, through the same exchange as those of our
//! own.

use std::sync::Arc;

use bytes::Bytes;
use embermesh_compute::frame::MAX_PART;
use embermesh_dialects::{
    Failure,
    port::node::execution::{Feed, Want},
};

use super::failure;
use crate::task::{Exchange, Feeder, NotFed};

/// One client that feeds a task.
pub(super) struct NodeFeed {
    feeder: Feeder,
}

impl NodeFeed {
    pub(super) fn new(exchange: &Arc<Exchange>) -> Self {
        Self {
            feeder: exchange.feeder(),
        }
    }
}

#[tonic::async_trait]
impl Feed for NodeFeed {
    async fn want(&mut self) -> Result<Option<Want>, Failure> {
        match self.feeder.want().await {
            Ok(want) => Ok(Some(Want {
                ask: want.ask,
                samples: want.samples,
            })),
            Err(NotFed::Ended) => Ok(None),
            Err(not) => Err(failure::not_fed(&not)),
        }
    }

    async fn give(&mut self, ask: u64, records: Bytes) -> Result<(), Failure> {
        for part in records.chunks(MAX_PART) {
            match self.feeder.give(ask, part.to_vec()).await {
                Ok(()) => {}
                Err(NotFed::Ended) => return Ok(()),
                Err(not) => return Err(failure::not_fed(&not)),
            }
        }
        Ok(())
    }
}
