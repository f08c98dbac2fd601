//! The services of dialects, ready to be served beside an index's own, or on a port of
//! theirs: one port has one form of each wire.

use std::{net::SocketAddr, sync::Arc};

use axum::extract::Request;
use embermesh_dialects::{Dialect, Mount, Profile, caller::Remote, titancompute};
use embermesh_mesh::road::{self, Caller, Identity, Listener, RoadError, Serving};
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use crate::Gateway;

const HEALTH: &str = tonic_health::pb::health_server::SERVICE_NAME;
const REFLECTION_V1: &str = tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME;
const REFLECTION_V1_ALPHA: &str =
    tonic_reflection::pb::v1alpha::server_reflection_server::SERVICE_NAME;

/// Services, with their names and what reflection says of them.
pub struct Services {
    /// Their names.
    pub names: Vec<&'static str>,
    /// Encoded `FileDescriptorSet`s that have them.
    pub descriptors: Vec<&'static [u8]>,
    /// Puts them beside others.
    pub mount: Box<dyn FnOnce(Routes) -> Routes + Send>,
}

/// Why dialects are not served on a port of their own.
#[derive(Debug, Error)]
pub enum NotServed {
    /// The port cannot be served.
    #[error(transparent)]
    Road(#[from] RoadError),
    /// The services could not describe themselves.
    #[error("the services cannot be described for reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl Services {
    /// Them with what every port has: health and reflection.
    async fn alone(self) -> Result<Routes, tonic_reflection::server::Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        for name in &self.names {
            let serving = ServingStatus::Serving;
            health.set_service_status(*name, serving).await;
        }
        // The descriptors have every service of a package: only what is mounted is named.
        let reflection = |itself: &str| {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            let builder = self.descriptors.iter().fold(builder, |builder, set| {
                builder.register_encoded_file_descriptor_set(set)
            });
            self.names
                .iter()
                .chain(&[HEALTH, itself])
                .fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let v1 = reflection(REFLECTION_V1).build_v1()?;
        let v1_alpha = reflection(REFLECTION_V1_ALPHA).build_v1alpha()?;
        Ok((self.mount)(Routes::new(health_service))
            .add_service(v1)
            .add_service(v1_alpha))
    }
}

impl Gateway {
    /// Serves some dialects on a port of their own, in one form of their wires, until
    /// the gateway stops.
    ///
    /// # Errors
    /// When the services cannot be put together.
    pub async fn serve_on(
        &self,
        listener: Listener,
        identity: &Identity,
        dialects: &[Dialect],
        profile: Profile,
    ) -> Result<Serving, NotServed> {
        let routes = self.services(dialects, profile).alone().await?;
        let cancel = self.inner.cancel.clone();
        Ok(road::serve(listener, identity, None, routes, None, cancel)?)
    }

    /// The services of some dialects, in one form of their wires.
    #[must_use]
    pub fn services(&self, dialects: &[Dialect], profile: Profile) -> Services {
        let port = Arc::new(self.clone());
        let mount = Mount::default();
        let mount = dialects.iter().fold(mount, |mount, dialect| match dialect {
            Dialect::TitanCompute => mount.titancompute(&port),
            Dialect::Dim => mount.dim(&port),
            Dialect::CyxWiz => mount
                .cyxwiz(&port, profile)
                .cyxwiz_models(&port, profile)
                .cyxwiz_reservations(&port, profile),
            Dialect::HiveMind => mount.hivemind(&port, profile),
            Dialect::Zisk => mount.zisk(&port),
        });
        Services {
            names: mount.names().to_vec(),
            descriptors: mount.descriptors().to_vec(),
            mount: Box::new(|routes| {
                let router = mount.onto(routes).into_axum_router();
                router
                    .layer(axum::middleware::map_request(say_remote))
                    .into()
            }),
        }
    }

    /// Serves TitanCompute's three paths over HTTP until the gateway stops.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve_rest(&self, address: SocketAddr) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let router = titancompute::rest::router(Arc::new(self.clone()))
            .into_make_service_with_connect_info::<SocketAddr>();
        let stop = self.inner.cancel.clone().cancelled_owned();
        self.inner.tasks.spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stop);
            if let Err(error) = serving.await {
                tracing::error!(%error, "the REST port stopped");
            }
        });
        Ok(bound)
    }
}

/// Tells the services where a call comes from, as the transport has seen it.
async fn say_remote(mut request: Request) -> Request {
    let remote = request
        .extensions()
        .get::<Caller>()
        .and_then(|caller| caller.remote);
    if let Some(remote) = remote {
        request.extensions_mut().insert(Remote(remote.ip()));
    }
    request
}
