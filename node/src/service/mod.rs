//! The gRPC face of the node: parse, judge, one call, render.
//!
//! - `node`: the methods.
//! - `refusal`: each refusal as a status, with its stable word in the metadata.
//! - `blobs`: blobs in, blobs out, blobs kept for others.
//! - `feed`: samples that stay with a client, taken from its stream.
//! - `infer`: resident models, asked.
//! - `permit`: leave for clients without an index.
//! - `status`: what the node shows of itself.
//! - `tasks`: tasks as calls find them, of this system and of others.

mod blobs;
mod feed;
mod infer;
mod keep;
mod node;
mod permit;
pub(crate) mod refusal;
mod status;
pub(crate) mod tasks;

use std::{sync::Arc, time::Instant};

use embermesh_dialects::Mount;
use embermesh_mesh::{blob::BlobService, road::bounds::MAX_MESSAGE_BYTES};
use embermesh_proto::v1::{self, node_server::NodeServer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, service::Routes};

use self::node::NodeService;
use crate::{foreign, gate::Gate, site::Site, task::Tasks};

/// Uploads that are taken at one time.
const MAX_UPLOADS: usize = 16;

/// Requests of other nodes to keep blobs that are served at one time.
const MAX_KEEPING: usize = 4;

/// Streams of tasks at one time.
const MAX_FOLLOWERS: usize = 4096;

/// Clients that feed tasks at one time.
const MAX_FEEDERS: usize = 256;

const HEALTH: &str = tonic_health::pb::health_server::SERVICE_NAME;
const REFLECTION_V1: &str = tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME;
const REFLECTION_V1_ALPHA: &str =
    tonic_reflection::pb::v1alpha::server_reflection_server::SERVICE_NAME;

/// What the service speaks to.
pub(crate) struct Parts {
    pub(crate) site: Arc<Site>,
    pub(crate) tasks: Tasks,
    pub(crate) gate: Gate,
    pub(crate) blobs: BlobService,
    /// Services of other systems.
    pub(crate) beside: Mount,
    /// Ends every stream.
    pub(crate) cancel: CancellationToken,
}

/// Everything that the port serves.
pub(crate) async fn routes(parts: Parts) -> Result<Routes, tonic_reflection::server::Error> {
    let node = NodeServer::new(NodeService {
        site: parts.site,
        tasks: parts.tasks,
        gate: parts.gate,
        blobs: parts.blobs,
        uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
        keeping: Arc::new(Semaphore::new(MAX_KEEPING)),
        followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
        feeders: Arc::new(Semaphore::new(MAX_FEEDERS)),
        since: Instant::now(),
        cancel: parts.cancel,
    })
    .max_decoding_message_size(MAX_MESSAGE_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<NodeServer<NodeService>>().await;
    for name in parts.beside.names() {
        health
            .set_service_status(*name, tonic_health::ServingStatus::Serving)
            .await;
    }
    // The descriptors have every service of a package: only what is mounted is named.
    let reflection = |itself: &str| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let sets = parts.beside.descriptors().iter();
        let builder = sets.fold(builder, |builder, set| {
            builder.register_encoded_file_descriptor_set(set)
        });
        let own = <NodeServer<NodeService> as NamedService>::NAME;
        parts
            .beside
            .names()
            .iter()
            .chain(&[own, HEALTH, itself])
            .fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let routes = Routes::new(node)
        .add_service(health_service)
        .add_service(reflection(REFLECTION_V1).build_v1()?)
        .add_service(reflection(REFLECTION_V1_ALPHA).build_v1alpha()?);
    Ok(foreign::beside(routes, parts.beside))
}
