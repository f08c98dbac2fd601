//! The services of dialects, ready to be served beside an index's own.

use std::{net::SocketAddr, sync::Arc};

use axum::extract::Request;
use embermesh_dialects::{Dialect, Mount, Profile, caller::Remote, titancompute};
use embermesh_mesh::road::Caller;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::Gateway;

/// Services, with their names and what reflection says of them.
pub struct Services {
    /// Their names.
    pub names: Vec<&'static str>,
    /// Encoded `FileDescriptorSet`s that have them.
    pub descriptors: Vec<&'static [u8]>,
    /// Puts them beside others.
    pub mount: Box<dyn FnOnce(Routes) -> Routes + Send>,
}

impl Gateway {
    /// The services of some dialects, in one form of their wires.
    #[must_use]
    pub fn services(&self, dialects: &[Dialect], profile: Profile) -> Services {
        let port = Arc::new(self.clone());
        let mount = Mount::default();
        let mount = dialects.iter().fold(mount, |mount, dialect| match dialect {
            Dialect::TitanCompute => mount.titancompute(&port),
            Dialect::Dim => mount.dim(&port),
            Dialect::CyxWiz => mount.cyxwiz(&port, profile),
            Dialect::HiveMind => mount.hivemind(&port, profile),
            Dialect::Zisk => mount,
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
