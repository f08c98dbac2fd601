//! The gRPC face: parse, one call, render. Nothing is decided here but who may
//! not speak at all.

mod health;
mod index;
mod ledger;
mod parse;
mod registry;
mod render;
mod reservation;
mod status;

use std::sync::Arc;

use embermesh_mesh::Mesh;
use embermesh_proto::v1::{
    self, index_server::IndexServer, ledger_server::LedgerServer, registry_server::RegistryServer,
    reservations_server::ReservationsServer,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, service::Routes};
use tonic_health::pb::health_server::HealthServer;

use self::{
    health::HealthService, index::IndexService, ledger::LedgerService, registry::RegistryService,
    reservation::ReservationService,
};
use crate::{actor::Handle, index::Beside, store::Reader};

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
    /// Whether the store can be written.
    pub(crate) writable: watch::Receiver<bool>,
    /// Ends every stream.
    pub(crate) cancel: CancellationToken,
}

/// The services that do the index's work.
const SERVICES: &[&str] = &[
    <IndexServer<IndexService> as NamedService>::NAME,
    <LedgerServer<LedgerService> as NamedService>::NAME,
    <RegistryServer<RegistryService> as NamedService>::NAME,
    <ReservationsServer<ReservationService> as NamedService>::NAME,
];

const HEALTH: &str = tonic_health::pb::health_server::SERVICE_NAME;
const REFLECTION_V1: &str = tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME;
const REFLECTION_V1_ALPHA: &str =
    tonic_reflection::pb::v1alpha::server_reflection_server::SERVICE_NAME;

/// Everything that the port serves.
pub(crate) fn routes(
    parts: Parts,
    beside: Beside,
) -> Result<Routes, tonic_reflection::server::Error> {
    let mut served = SERVICES.to_vec();
    served.extend(&beside.names);
    let index = IndexServer::new(IndexService {
        handle: parts.handle.clone(),
        reader: parts.reader.clone(),
        watches: Arc::new(Semaphore::new(parts.watches)),
        cancel: parts.cancel.clone(),
    })
    .max_decoding_message_size(MAX_REQUEST)
    .max_encoding_message_size(MAX_ANSWER);
    let ledger = LedgerServer::new(LedgerService {
        handle: parts.handle.clone(),
        reader: parts.reader.clone(),
    })
    .max_decoding_message_size(MAX_REQUEST)
    .max_encoding_message_size(MAX_ANSWER);
    let reservations = ReservationsServer::new(ReservationService {
        handle: parts.handle.clone(),
        reader: parts.reader,
    })
    .max_decoding_message_size(MAX_REQUEST)
    .max_encoding_message_size(MAX_ANSWER);
    let registry = RegistryServer::new(RegistryService {
        handle: parts.handle,
        mesh: parts.mesh,
        cancel: parts.cancel.clone(),
    })
    .max_decoding_message_size(MAX_REQUEST)
    .max_encoding_message_size(MAX_ANSWER);
    let health = HealthServer::new(HealthService {
        services: served.clone().into(),
        writable: parts.writable,
        cancel: parts.cancel,
    });
    // The descriptors have every service of the package, also those that others
    // serve: only what is mounted here is named.
    let reflection = |itself: &str| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let builder = beside.descriptors.iter().fold(builder, |builder, set| {
            builder.register_encoded_file_descriptor_set(set)
        });
        served
            .iter()
            .chain(&[HEALTH, itself])
            .fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let mount = beside.mount.unwrap_or_else(|| Box::new(|routes| routes));
    Ok(mount(Routes::new(index))
        .add_service(ledger)
        .add_service(registry)
        .add_service(reservations)
        .add_service(health)
        .add_service(reflection(REFLECTION_V1).build_v1()?)
        .add_service(reflection(REFLECTION_V1_ALPHA).build_v1alpha()?))
}
