//! What is to be done after a command, and only once what it changed is durable.

use std::collections::BTreeSet;

use embermesh_crypto::ids::{JobId, PeerId};
use embermesh_job::{event::Outcome, order::Order};

use super::{Refused, Reply};

/// The outputs of one command.
#[derive(Debug)]
pub struct Effects {
    /// The answer to whoever asked.
    pub reply: Result<Reply, Refused>,
    /// Everything else.
    pub outputs: Outputs,
}

/// What a command does beside answering.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Orders for nodes, in order.
    pub orders: Vec<(PeerId, Order)>,
    /// Orders for every node.
    pub broadcast: Vec<Order>,
    /// Jobs that look different now.
    pub changed: BTreeSet<JobId>,
    /// Jobs that ended, with how.
    pub ended: Vec<(JobId, Outcome)>,
}

impl Outputs {
    /// Adds what a later command does.
    pub fn append(&mut self, mut later: Self) {
        self.orders.append(&mut later.orders);
        self.broadcast.append(&mut later.broadcast);
        self.changed.append(&mut later.changed);
        self.ended.append(&mut later.ended);
    }
}
