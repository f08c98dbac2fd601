//! The services of an index, in the words that both forms of the wire share. This file
//! and those beside it are compiled once for each form: what is generated for it is
//! `wire`, and what differs is beside that.

pub(super) mod call;
mod deployments;
mod inference;
mod jobs;
mod models;
pub(super) mod node;
mod nodes;
mod reservations;
mod server;
mod status;
mod wallet;

use std::sync::Arc;

use super::wire;
use crate::{
    Mount,
    cyxwiz::MAX_MESSAGE,
    port::{IndexPort, ModelPort, reservations::Reservations, servers::ServerPort},
};

/// One port, spoken to in this form.
pub(super) struct Adapter<P>(pub(super) Arc<P>);

/// Every service.
pub(in crate::cyxwiz) fn mount<P>(mount: Mount, port: &Arc<P>) -> Mount
where
    P: IndexPort + ServerPort,
{
    let adapter = || Adapter(Arc::clone(port));
    let jobs = wire::job_service_server::JobServiceServer::new(adapter());
    mount
        .serve(jobs.max_decoding_message_size(MAX_MESSAGE))
        .serve(wire::node_service_server::NodeServiceServer::new(adapter()))
        .serve(wire::job_status_service_server::JobStatusServiceServer::new(adapter()))
        .serve(wire::node_discovery_service_server::NodeDiscoveryServiceServer::new(adapter()))
        .serve(wire::wallet_service_server::WalletServiceServer::new(
            adapter(),
        ))
}

/// Every service over models.
pub(in crate::cyxwiz) fn mount_models<P: ModelPort>(mount: Mount, port: &Arc<P>) -> Mount {
    let adapter = || Adapter(Arc::clone(port));
    let models = wire::model_service_server::ModelServiceServer::new(adapter());
    let inference = wire::inference_service_server::InferenceServiceServer::new(adapter());
    mount
        .serve(models.max_decoding_message_size(MAX_MESSAGE))
        .serve(inference.max_decoding_message_size(MAX_MESSAGE))
        .serve(wire::deployment_service_server::DeploymentServiceServer::new(adapter()))
}

/// The service over reservations.
pub(in crate::cyxwiz) fn mount_reservations<P>(mount: Mount, port: &Arc<P>) -> Mount
where
    P: IndexPort + Reservations + ServerPort,
{
    let adapter = Adapter(Arc::clone(port));
    mount.serve(wire::job_reservation_service_server::JobReservationServiceServer::new(adapter))
}

/// What is wrong with a job, by the documented table.
fn error(code: i32, message: String, details: String) -> wire::Error {
    wire::Error {
        code,
        message,
        details,
    }
}
