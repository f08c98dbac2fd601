//! A gRPC channel to a peer.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use embermesh_crypto::ids::PeerId;
use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{
    Identity, Opened, Protocol, RoadChoice, RoadError, RoadKind, RoadStream, Target,
    bounds::{
        CONNECTION_WINDOW, HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, MAX_FRAME_BYTES,
        MAX_HEADER_BYTES, STREAM_WINDOW,
    },
    dial,
};
use crate::net::Mesh;

/// gRPC with a peer whose key has been proven.
///
/// The channel survives a lost connection: its next call dials again, by the same
/// road, and takes nobody but the same peer.
#[derive(Clone)]
pub struct Connection {
    /// What a generated client is made of.
    pub channel: Channel,
    /// Who is at the other end.
    pub peer: PeerId,
    /// The road taken.
    pub road: RoadKind,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("road", &self.road)
            .finish_non_exhaustive()
    }
}

/// Connects for gRPC, by the roads that `choice` allows, and returns when a road
/// stands and the peer is proven to be the expected one.
///
/// # Errors
/// What came of each road tried; see [`RoadError`].
pub async fn connect(
    identity: &Identity,
    target: &Target,
    mesh: Option<&Mesh>,
    choice: RoadChoice,
) -> Result<Connection, RoadError> {
    let opening = dial::open(identity, target, mesh, choice, Protocol::Grpc);
    // Boxed: it holds a TLS handshake for each address.
    let Opened { stream, peer, road } = Box::pin(opening).await?;
    let channel = channel(
        stream,
        Redial {
            identity: identity.clone(),
            // Whoever answered first is who must answer from now on.
            target: Target {
                peer: Some(peer),
                ..target.clone()
            },
            mesh: mesh.cloned(),
            choice: match road {
                RoadKind::Mesh => RoadChoice::Mesh,
                _ => RoadChoice::Tls,
            },
        },
    )
    .await
    .map_err(|error| RoadError::Channel {
        address: target.to_string(),
        reason: error.to_string(),
    })?;
    Ok(Connection {
        channel,
        peer,
        road,
    })
}

/// How to come back to a peer.
struct Redial {
    identity: Identity,
    target: Target,
    mesh: Option<Mesh>,
    choice: RoadChoice,
}

async fn channel(first: RoadStream, again: Redial) -> Result<Channel, tonic::transport::Error> {
    let first = Mutex::new(Some(first));
    let again = Arc::new(again);
    let connector = service_fn(move |_: Uri| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let again = Arc::clone(&again);
        // Boxed: the future of a dial is large, and few are ever made.
        Box::pin(async move {
            if let Some(stream) = first {
                return Ok::<_, RoadError>(TokioIo::new(stream));
            }
            let mesh = again.mesh.as_ref();
            let Redial {
                identity,
                target,
                choice,
                ..
            } = &*again;
            let opened = dial::open(identity, target, mesh, *choice, Protocol::Grpc).await?;
            Ok(TokioIo::new(opened.stream))
        })
    });
    endpoint().connect_with_connector(connector).await
}

fn endpoint() -> Endpoint {
    // The URI only fills HTTP/2's `:authority`; where to go is the connector's.
    Endpoint::from_static("http://embermesh")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        // A quiet watch stream must learn that the other end is gone.
        .keep_alive_while_idle(true)
}
