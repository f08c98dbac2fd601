//! An index whose clock is off: it speaks the native service over the real road, and tells
//! the time and its keys, no more.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{
    Keypair, UnixMillis,
    statement::{IssuerKey, KeySet, sign},
};
use embermesh_mesh::road::{self, Identity, ListenConfig, Listener};
use embermesh_proto::v1::{self, index_server};
use futures::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

/// How long its keys are good.
const LIFE: Duration = Duration::from_secs(3600);

/// It ends when it is dropped.
pub(crate) struct LateIndex {
    pub(crate) address: String,
    pub(crate) key: Arc<Keypair>,
    _ends: tokio_util::sync::DropGuard,
}

impl LateIndex {
    /// Serves on a free port, with a clock that is ahead by so many milliseconds.
    pub(crate) async fn start(ahead_ms: i64) -> Self {
        let key = Arc::new(Keypair::from_seed(&[77; 32]));
        let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
        let address = listener.address().to_string();
        let identity = Identity::new(Arc::clone(&key)).unwrap();
        let service = Service {
            key: Arc::clone(&key),
            ahead_ms,
        };
        let routes = Routes::new(index_server::IndexServer::new(service));
        let cancel = CancellationToken::new();
        let serving = road::serve(listener, &identity, None, routes, None, cancel.clone());
        let serving = serving.unwrap();
        tokio::spawn(async move {
            let _serving = serving;
            std::future::pending::<()>().await;
        });
        Self {
            address,
            key,
            _ends: cancel.drop_guard(),
        }
    }
}

struct Service {
    key: Arc<Keypair>,
    ahead_ms: i64,
}

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("it tells the time and no more"))
}

#[tonic::async_trait]
impl index_server::Index for Service {
    type WatchJobStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchJobResponse, Status>> + Send + 'static>>;

    async fn get_key_set(
        &self,
        _: Request<v1::GetKeySetRequest>,
    ) -> Result<Response<v1::GetKeySetResponse>, Status> {
        let now = UnixMillis(UnixMillis::now().0.saturating_add_signed(self.ahead_ms));
        let end = now.saturating_add(LIFE);
        let key_set = KeySet {
            index: self.key.peer_id(),
            sequence: 1,
            issued_at: now,
            expires_at: end,
            keys: vec![IssuerKey {
                key: self.key.peer_id(),
                not_before: now,
                not_after: end,
            }],
        };
        let signed = sign(&key_set, &self.key).unwrap();
        Ok(Response::new(v1::GetKeySetResponse {
            key_set: Bytes::copy_from_slice(signed.bytes()),
            now_ms: now.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn submit(
        &self,
        _: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        nothing()
    }

    async fn get_job(&self, _: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        nothing()
    }

    async fn list_jobs(
        &self,
        _: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        nothing()
    }

    async fn watch_job(
        &self,
        _: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        nothing()
    }

    async fn cancel_job(
        &self,
        _: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        nothing()
    }

    async fn renew_assignment(
        &self,
        _: Request<v1::RenewAssignmentRequest>,
    ) -> Result<Response<v1::RenewAssignmentResponse>, Status> {
        nothing()
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        nothing()
    }

    async fn rotate_issuer_key(
        &self,
        _: Request<v1::RotateIssuerKeyRequest>,
    ) -> Result<Response<v1::RotateIssuerKeyResponse>, Status> {
        nothing()
    }

    async fn revoke_assignment(
        &self,
        _: Request<v1::RevokeAssignmentRequest>,
    ) -> Result<Response<v1::RevokeAssignmentResponse>, Status> {
        nothing()
    }

    async fn list_deployments(
        &self,
        _: Request<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        nothing()
    }

    async fn permit_ask(
        &self,
        _: Request<v1::PermitAskRequest>,
    ) -> Result<Response<v1::PermitAskResponse>, Status> {
        nothing()
    }

    async fn quote(
        &self,
        _: Request<v1::QuoteRequest>,
    ) -> Result<Response<v1::QuoteResponse>, Status> {
        nothing()
    }
}
