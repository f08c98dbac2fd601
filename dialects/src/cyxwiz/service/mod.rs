//! The services of an index, in the words that both forms of the wire share. This file
//! and those beside it are compiled once for each form: what is generated for it is
//! `wire`, and what differs is beside that.

mod jobs;
mod nodes;
mod wallet;

use std::sync::Arc;

use super::wire;
use crate::{Mount, cyxwiz::MAX_MESSAGE, port::IndexPort};

/// One port, spoken to in this form.
pub(super) struct Adapter<P>(pub(super) Arc<P>);

/// Every service.
pub(in crate::cyxwiz) fn mount<P: IndexPort>(mount: Mount, port: &Arc<P>) -> Mount {
    let adapter = || Adapter(Arc::clone(port));
    let jobs = wire::job_service_server::JobServiceServer::new(adapter());
    mount
        .serve(jobs.max_decoding_message_size(MAX_MESSAGE))
        .serve(wire::node_discovery_service_server::NodeDiscoveryServiceServer::new(adapter()))
        .serve(wire::wallet_service_server::WalletServiceServer::new(
            adapter(),
        ))
}

/// What is wrong with a job, by the documented table.
fn error(code: i32, message: String, details: String) -> wire::Error {
    wire::Error {
        code,
        message,
        details,
    }
}
