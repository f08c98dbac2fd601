//! Answering peers on both roads: one tonic server, one blob service.

use std::{io, net::SocketAddr, sync::Arc};

use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    service::Routes,
    transport::{Server, server::Router},
};

use super::{
    Identity, Listener, Protocol, RoadError, RoadStream,
    bounds::{
        ACCEPTED_BACKLOG, ANSWER_TIMEOUT, DRAIN_GRACE, HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT,
        MAX_BULK_CONNECTIONS, MAX_CONCURRENT_STREAMS, MAX_FRAME_BYTES, MAX_HEADER_BYTES,
        MAX_LOCAL_ERROR_RESETS, MAX_MESH_CONNECTIONS, MAX_PENDING_RESETS, PREFACE_TIMEOUT,
        REQUEST_CONNECTION_WINDOW, REQUEST_STREAM_WINDOW, UPLOAD_CONNECTION_WINDOW,
        UPLOAD_STREAM_WINDOW,
    },
    listen::Acceptor,
};
use crate::{
    blob::BlobService,
    net::{Incoming, Mesh},
};

/// A server on both roads, until its token is cancelled.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Serving {
    /// Where the TCP port is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has been told to stop and has stopped: no new request is
    /// taken, those under way have [`DRAIN_GRACE`] to end, and are cut then.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }

    /// Tells the server to stop, and waits until it has.
    pub async fn stop(&self) {
        self.cancel.cancel();
        self.ended().await;
    }
}

/// Serves `routes` on the TCP port and, where there is a mesh, over its streams; and
/// blobs beside them on both. Returns at once.
///
/// # Errors
/// When this process serves the same over the mesh already.
pub fn serve(
    listener: Listener,
    identity: &Identity,
    mesh: Option<&Mesh>,
    routes: Routes,
    blobs: Option<BlobService>,
    cancel: CancellationToken,
) -> Result<Serving, RoadError> {
    let protocols = [Protocol::Grpc, Protocol::Blob];
    let served = if blobs.is_some() {
        &protocols[..]
    } else {
        &protocols[..1]
    };
    let tls = TlsAcceptor::from(identity.server(served)?);
    let grpc_streams = mesh
        .map(|mesh| mesh.accept(Protocol::Grpc.mesh_name()))
        .transpose()?;
    let blob_streams = match (&blobs, mesh) {
        (Some(_), Some(mesh)) => Some(mesh.accept(Protocol::Blob.mesh_name())?),
        _ => None,
    };
    let cancel = cancel.child_token();
    let cut = CancellationToken::new();
    let tracker = TaskTracker::new();
    let address = listener.address();
    let (grpc, grpc_accepted) = mpsc::channel(ACCEPTED_BACKLOG);
    let (bulk, bulk_accepted) = mpsc::channel(ACCEPTED_BACKLOG);
    let from_mesh = |streams: Option<Incoming>, queue: &mpsc::Sender<RoadStream>, protocol| {
        if let Some(streams) = streams {
            let (queue, cut) = (queue.clone(), cut.clone());
            tracker.spawn(
                cancel
                    .clone()
                    .run_until_cancelled_owned(forward(streams, queue, protocol, cut)),
            );
        }
    };
    from_mesh(grpc_streams, &grpc, Protocol::Grpc);
    from_mesh(blob_streams, &bulk, Protocol::Blob);
    let acceptor = Acceptor {
        tls,
        membership: identity.membership().clone(),
        listener,
        grpc,
        bulk: blobs.is_some().then_some(bulk),
        cancel: cancel.clone(),
        cut: cut.clone(),
        tracker: tracker.clone(),
    };
    tracker.spawn(acceptor.run());
    let windows = if blobs.is_some() {
        (UPLOAD_STREAM_WINDOW, UPLOAD_CONNECTION_WINDOW)
    } else {
        (REQUEST_STREAM_WINDOW, REQUEST_CONNECTION_WINDOW)
    };
    if let Some(blobs) = blobs {
        let (cancel, tracker_of_bulk) = (cancel.clone(), tracker.clone());
        tracker.spawn(serve_bulk(blobs, bulk_accepted, tracker_of_bulk, cancel));
    }
    let server = server(windows).add_routes(routes);
    tracker.spawn(serve_grpc(server, grpc_accepted, cancel.clone(), cut));
    tracker.close();
    Ok(Serving {
        address,
        cancel,
        tracker,
    })
}

/// Moves streams of the mesh to where connections are served.
async fn forward(
    mut streams: Incoming,
    queue: mpsc::Sender<RoadStream>,
    protocol: Protocol,
    cut: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(match protocol {
        Protocol::Grpc => MAX_MESH_CONNECTIONS,
        Protocol::Blob => MAX_BULK_CONNECTIONS,
    }));
    while let Some(stream) = streams.next().await {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!(peer = %stream.peer(), "refused a stream: every place is taken");
            continue;
        };
        let mut stream = RoadStream::mesh(stream).bound_to(place, cut.clone());
        if protocol == Protocol::Grpc {
            stream = stream.awaiting_preface(PREFACE_TIMEOUT);
        }
        if queue.send(stream).await.is_err() {
            return;
        }
    }
}

async fn serve_bulk(
    blobs: BlobService,
    mut accepted: mpsc::Receiver<RoadStream>,
    tracker: TaskTracker,
    cancel: CancellationToken,
) {
    while let Some(Some(stream)) = cancel.run_until_cancelled(accepted.recv()).await {
        let (blobs, cancel) = (blobs.clone(), cancel.clone());
        tracker.spawn(async move {
            let Some(peer) = stream.caller().peer else {
                return;
            };
            let serving = Box::pin(blobs.serve(peer, stream, &cancel));
            tokio::select! {
                end = serving => if let Err(error) = end {
                    tracing::debug!(%peer, %error, "a bulk connection ended");
                },
                () = drained_too_long(&cancel) => {
                    tracing::warn!(%peer, grace = ?DRAIN_GRACE, "a bulk connection overran its grace and is cut");
                }
            }
        });
    }
}

async fn serve_grpc(
    server: Router,
    accepted: mpsc::Receiver<RoadStream>,
    cancel: CancellationToken,
    cut: CancellationToken,
) {
    let incoming = ReceiverStream::new(accepted).map(Ok::<_, io::Error>);
    let serving = server.serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned());
    let mut serving = Box::pin(serving);
    let end = tokio::select! {
        end = &mut serving => end,
        () = drained_too_long(&cancel) => {
            tracing::warn!(grace = ?DRAIN_GRACE, "connections overran their grace and are cut");
            cut.cancel();
            serving.await
        }
    };
    if let Err(error) = end {
        tracing::error!(%error, "the gRPC server ended");
    }
}

async fn drained_too_long(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(DRAIN_GRACE).await;
}

/// tonic, with what it leaves open decided. The windows are of a stream and of a
/// connection.
fn server((stream_window, connection_window): (u32, u32)) -> Server {
    Server::builder()
        .timeout(ANSWER_TIMEOUT)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_max_local_error_reset_streams(Some(MAX_LOCAL_ERROR_RESETS))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(HTTP2_PING_INTERVAL))
        .http2_keepalive_timeout(Some(HTTP2_PING_TIMEOUT))
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .max_frame_size(MAX_FRAME_BYTES)
}
