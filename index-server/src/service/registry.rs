//! The service for nodes.

use std::pin::Pin;

use embermesh_crypto::time::UnixMillis;
use embermesh_mesh::{Mesh, road::Caller};
use embermesh_proto::v1::{self, registry_server};
use futures::{Stream, StreamExt as _};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{parse, render, status::status};
use crate::{
    actor::Handle,
    state::{Command, Reply},
};

/// Serves `embermesh.v1.Registry`.
pub(super) struct RegistryService {
    pub(super) handle: Handle,
    pub(super) mesh: Mesh,
    pub(super) cancel: CancellationToken,
}

impl RegistryService {
    async fn call(&self, command: Command) -> Result<Reply, Status> {
        self.handle
            .call(command)
            .await
            .map_err(|failed| status(&failed))
    }
}

#[tonic::async_trait]
impl registry_server::Registry for RegistryService {
    async fn register_node(
        &self,
        request: Request<v1::RegisterNodeRequest>,
    ) -> Result<Response<v1::RegisterNodeResponse>, Status> {
        let node = Caller::peer_of(&request)?;
        let advert = parse::advert(request.into_inner().advert)?;
        match self.call(Command::Register { node, advert }).await? {
            Reply::Welcome(welcome) => Ok(Response::new(render::welcome(
                *welcome,
                self.mesh.addresses(),
                UnixMillis::now(),
            ))),
            _ => Err(super::index::mismatch()),
        }
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let node = Caller::peer_of(&request)?;
        let heartbeat = parse::heartbeat(node, request.into_inner())?;
        match self.call(heartbeat).await? {
            Reply::Pulse(pulse) => Ok(Response::new(render::pulse(*pulse, UnixMillis::now()))),
            _ => Err(super::index::mismatch()),
        }
    }

    type OrdersStream = Pin<Box<dyn Stream<Item = Result<v1::Order, Status>> + Send>>;

    async fn orders(
        &self,
        request: Request<v1::OrdersRequest>,
    ) -> Result<Response<Self::OrdersStream>, Status> {
        let node = Caller::peer_of(&request)?;
        let orders = self
            .handle
            .orders(node)
            .await
            .map_err(|failed| status(&failed))?;
        let stream = ReceiverStream::new(orders)
            .map(|order| Ok(order.into()))
            .take_until(self.cancel.clone().cancelled_owned());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let node = Caller::peer_of(&request)?;
        let report = parse::report(node, request.into_inner())?;
        match self.call(report).await? {
            Reply::Reported { accepted } => Ok(Response::new(v1::ReportResponse { accepted })),
            _ => Err(super::index::mismatch()),
        }
    }
}
