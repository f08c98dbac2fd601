//! The services of a node, in the words that both forms of the wire share.
//!
//! - `session`: `JobExecutionService`. `stream`: its stream of commands and updates.
//! - `feed`: samples that stay with the client, asked for and given on that stream.
//! - `render`: what a task says, as updates.
//! - `p2p`: `P2PTrainingService`, the same verbs by other names.
//! - `inference`: `InferenceService`, over the models that are resident.
//! - `compute`: `ComputeService`, operations over tensors.
//! - `assign`: `NodeService`, of which a node has one call.

mod assign;
mod compute;
mod feed;
mod inference;
mod p2p;
mod render;
mod session;
mod stream;

use std::sync::Arc;

use tonic::Status;

use super::{super::wire, jobs};
use crate::{
    ErrorCode, Failure, Mount,
    cyxwiz::{
        MAX_MESSAGE,
        config::{InvalidConfig, UNNAMED},
    },
    port::node::{
        Call,
        asking::Asking,
        computing::Computing,
        execution::{Execution, Order},
    },
};

/// One node's port, spoken to in this form.
pub(super) struct Node<P>(pub(super) Arc<P>);

/// Every service of a node.
pub(in crate::cyxwiz) fn mount<P>(mount: Mount, port: &Arc<P>) -> Mount
where
    P: Execution + Asking + Computing,
{
    let node = || Node(Arc::clone(port));
    let execution = wire::job_execution_service_server::JobExecutionServiceServer::new(node())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let p2p = wire::p2p_training_service_server::P2pTrainingServiceServer::new(node());
    let assign = wire::node_service_server::NodeServiceServer::new(node());
    let inference = wire::inference_service_server::InferenceServiceServer::new(node());
    let compute = wire::compute_service_server::ComputeServiceServer::new(node());
    mount
        .serve(execution)
        .serve(inference)
        .serve(
            compute
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
        )
        .serve(p2p.max_decoding_message_size(MAX_MESSAGE))
        .serve(assign.max_decoding_message_size(MAX_MESSAGE))
}

/// Why a job cannot be, or was not taken.
enum Rejected {
    Config(InvalidConfig),
    Failure(Failure),
}

impl From<InvalidConfig> for Rejected {
    fn from(invalid: InvalidConfig) -> Self {
        Self::Config(invalid)
    }
}

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Rejected {
    /// What is wrong, where that is an answer and not a status.
    fn answer(self) -> Result<(wire::Error, String), Status> {
        use crate::cyxwiz::code;
        match self {
            Self::Config(invalid) => {
                let details =
                    serde_json::json!({ "field": invalid.field, "reason": invalid.reason });
                let text = invalid.to_string();
                let code = code::error(ErrorCode::Invalid);
                Ok((super::error(code, text.clone(), details.to_string()), text))
            }
            Self::Failure(failure) if code::is_answer(failure.code) => {
                let code = code::error(failure.code);
                let error = super::error(code, failure.message.clone(), String::new());
                Ok((error, failure.message))
            }
            Self::Failure(failure) => Err(failure.into()),
        }
    }
}

/// A config, with the data that came with it, as a job.
fn order(config: wire::JobConfig, data: bytes::Bytes) -> Result<Order, Rejected> {
    let config = jobs::parse(config, data);
    if config.weights_of().is_some() {
        let message = "config.hyperparameters.weights: a node knows no job by its name: give the weights as blake3:DIGEST?size=BYTES";
        return Err(Failure::invalid(message).into());
    }
    let submission = config.submission(None)?;
    Ok(Order {
        spec: submission.spec,
        inputs: submission.inputs,
    })
}

/// The same as the assignment's job. The name of a job is part of what was signed, and
/// a client may have heard another one since than it had chosen.
fn assigned<P: Execution>(port: &P, call: &Call, mut order: Order) -> Result<Order, Rejected> {
    let (job, spec) = port.allowed(call)?;
    let given = order.spec.name.clone();
    for name in [given, UNNAMED.to_owned(), call.job.clone(), job.to_string()] {
        order.spec.name = name;
        if order.spec.digest() == spec {
            return Ok(order);
        }
    }
    let message =
        "the assignment is for another job than this config and its data: send what was submitted";
    Err(Failure::invalid(message).into())
}
