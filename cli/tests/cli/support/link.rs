//! Connections of foreign clients to an index, as a user of a system or as nobody.

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::Mesh;

/// Sends a token with each call, where there is one.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    pub(crate) fn of(token: &str) -> Self {
        Self(Some(format!("Bearer {token}").parse().unwrap()))
    }

    /// The same token on a connection.
    pub(crate) fn on(self, channel: Channel) -> Link {
        InterceptedService::new(channel, self)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A connection, and the token that goes with each call.
pub(crate) type Link = InterceptedService<Channel, Bearer>;

/// A user's connection, by a pass that the index's operator has given him.
pub(crate) async fn link(mesh: &Mesh, system: &str, name: &str) -> Link {
    let pass = mesh.pass(system, name).await;
    let bearer = Bearer::of(pass["token"].as_str().unwrap());
    bearer.on(mesh.channel().await)
}

/// A connection of somebody who says nothing of himself.
pub(crate) async fn nobody(mesh: &Mesh) -> Link {
    Bearer(None).on(mesh.channel().await)
}
