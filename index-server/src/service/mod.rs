//! The gRPC face: parse, one call, render. Nothing is decided here but who may
//! not speak at all.

mod index;
mod parse;
mod registry;
mod render;
mod status;

use std::sync::Arc;

use embermesh_mesh::Mesh;
use embermesh_proto::v1::{self, index_server::IndexServer, registry_server::RegistryServer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use self::{index::IndexService, registry::RegistryService};
use crate::{actor::Handle, store::Reader};

/// The largest request, in bytes: a spec at its bound and room around it.
const MAX_REQUEST: usize = 512 << 10;

/// The largest answer, in bytes. Lists end a page before it.
const MAX_ANSWER: usize = 4 << 20;

/// What the services speak to.
pub(crate) struct Parts {
    pub(crate) handle: Handle,
    pub(crate) reader: Reader,
    /// What a node can join the mesh through.
    pub(crate) mesh: Mesh,
    /// The most streams of jobs' changes at once.
    pub(crate) watches: usize,
    /// Ends every stream.
    pub(crate) cancel: CancellationToken,
}

/// Everything that the port serves.
pub(crate) async fn routes(parts: Parts) -> Result<Routes, tonic_reflection::server::Error> {
    let index = IndexServer::new(IndexService {
        handle: parts.handle.clone(),
        reader: parts.reader,
        watches: Arc::new(Semaphore::new(parts.watches)),
        cancel: parts.cancel.clone(),
    })
    .max_decoding_message_size(MAX_REQUEST)
    .max_encoding_message_size(MAX_ANSWER);
    let registry = RegistryServer::new(RegistryService {
        handle: parts.handle,
        mesh: parts.mesh,
        cancel: parts.cancel,
    })
    .max_decoding_message_size(MAX_REQUEST)
    .max_encoding_message_size(MAX_ANSWER);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<IndexServer<IndexService>>().await;
    health
        .set_serving::<RegistryServer<RegistryService>>()
        .await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(index)
        .add_service(registry)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}
