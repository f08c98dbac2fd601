//! An index that does as it is told: it hears reports, gives orders, signs keys.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use embermesh_crypto::{
    ids::{PeerId, TokenId},
    keys::Keypair,
    statement::{self, IssuerKey, KeySet, Revocation},
    time::UnixMillis,
    token::{self, Claims},
};
use embermesh_job::{
    assignment::TaskKey,
    order::{Order, Report},
};
use embermesh_mesh::road::{self, Caller, Identity, ListenConfig, Listener, Serving};
use embermesh_proto::v1::{
    self,
    registry_server::{Registry, RegistryServer},
};
use futures::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

/// What was heard, and what is to be said.
#[derive(Default)]
struct Said {
    reports: Vec<(TaskKey, Report)>,
    heartbeats: Vec<v1::HeartbeatRequest>,
    stop: Vec<TaskKey>,
    revoked: Vec<TokenId>,
    orders: Option<mpsc::Sender<Order>>,
}

struct State {
    issuer: Keypair,
    identity: Arc<Keypair>,
    said: Mutex<Said>,
    heard: watch::Sender<u64>,
}

/// The index.
pub(crate) struct FakeIndex {
    state: Arc<State>,
    serving: Serving,
}

impl FakeIndex {
    pub(crate) async fn start(address: Option<SocketAddr>) -> Self {
        Self::start_as(200, address).await
    }

    /// One of several, whose keys are of this number and the next.
    pub(crate) async fn start_as(number: u8, address: Option<SocketAddr>) -> Self {
        let state = Arc::new(State {
            issuer: Keypair::from_seed(&[number + 1; 32]),
            identity: super::key(number),
            said: Mutex::default(),
            heard: watch::Sender::new(0),
        });
        Self::serve(state, address).await
    }

    /// Goes away and comes back at the same address, with what it had heard.
    pub(crate) async fn restart(self, away: impl Future<Output = ()>) -> Self {
        let address = self.serving.address();
        self.serving.stop().await;
        away.await;
        self.state.said.lock().unwrap().orders = None;
        Self::serve(self.state, Some(address)).await
    }

    /// Goes away for good. Dropping it would not: whoever serves goes on.
    pub(crate) async fn end(self) {
        self.serving.stop().await;
    }

    async fn serve(state: Arc<State>, address: Option<SocketAddr>) -> Self {
        let mut config = ListenConfig::default();
        if let Some(address) = address {
            config.address = address;
        }
        let listener = Listener::bind(&config).await.unwrap();
        let identity = Identity::new(Arc::clone(&state.identity)).unwrap();
        let cancel = CancellationToken::new();
        let service = Service {
            state: Arc::clone(&state),
            cancel: cancel.clone(),
        };
        let routes = Routes::new(RegistryServer::new(service));
        let serving = road::serve(listener, &identity, None, routes, None, cancel).unwrap();
        Self { state, serving }
    }

    pub(crate) fn address(&self) -> String {
        format!(
            "{}/p2p/{}",
            self.serving.address(),
            self.state.identity.peer_id()
        )
    }

    /// A token of this index.
    pub(crate) fn token(&self, mut claims: Claims) -> String {
        claims.issuer = self.state.issuer.peer_id();
        token::issue(&claims, &self.state.issuer).unwrap()
    }

    pub(crate) fn order(&self, order: Order) {
        let said = self.state.said.lock().unwrap();
        said.orders.as_ref().unwrap().try_send(order).unwrap();
    }

    pub(crate) fn stop(&self, key: TaskKey) {
        self.state.said.lock().unwrap().stop.push(key);
    }

    /// Takes a token back, and tells the node.
    pub(crate) fn revoke(&self, token: TokenId) {
        self.state.said.lock().unwrap().revoked.push(token);
        self.order(Order::Revocation(self.state.revocation()));
    }

    /// Waits until what was heard fits.
    async fn wait<T>(&self, what: &str, look: impl Fn(&Said) -> Option<T>) -> T {
        let mut heard = self.state.heard.subscribe();
        tokio::time::timeout(Duration::from_secs(40), async {
            loop {
                heard.mark_unchanged();
                if let Some(found) = look(&self.state.said.lock().unwrap()) {
                    return found;
                }
                heard.changed().await.unwrap();
            }
        })
        .await
        .unwrap_or_else(|_| {
            panic!(
                "the index never heard {what}; it heard {:?}",
                self.state.said.lock().unwrap().reports
            )
        })
    }

    pub(crate) async fn registered(&self) {
        self.wait("of the node", |said| said.orders.is_some().then_some(()))
            .await;
    }

    pub(crate) async fn report<T>(
        &self,
        what: &str,
        look: impl Fn(&TaskKey, &Report) -> Option<T>,
    ) -> T {
        self.wait(what, |said| {
            said.reports
                .iter()
                .find_map(|(key, report)| look(key, report))
        })
        .await
    }

    pub(crate) async fn heartbeat<T>(
        &self,
        what: &str,
        look: impl Fn(&v1::HeartbeatRequest) -> Option<T>,
    ) -> T {
        self.wait(what, |said| said.heartbeats.iter().rev().find_map(&look))
            .await
    }

    pub(crate) fn reports(&self) -> Vec<(TaskKey, Report)> {
        self.state.said.lock().unwrap().reports.clone()
    }
}

impl State {
    fn key_set(&self) -> Vec<u8> {
        let now = UnixMillis::now();
        let hour = Duration::from_secs(3600);
        let keys = KeySet {
            index: self.identity.peer_id(),
            sequence: 1,
            issued_at: now,
            expires_at: now.saturating_add(hour),
            keys: vec![IssuerKey {
                key: self.issuer.peer_id(),
                not_before: now.saturating_sub(hour),
                not_after: now.saturating_add(hour),
            }],
        };
        statement::sign(&keys, &self.identity)
            .unwrap()
            .bytes()
            .to_vec()
    }

    fn revocation(&self) -> Vec<u8> {
        let tokens = self.said.lock().unwrap().revoked.clone();
        let revocation = Revocation {
            index: self.identity.peer_id(),
            sequence: tokens.len() as u64,
            issued_at: UnixMillis::now(),
            min_epoch: 0,
            tokens,
        };
        statement::sign(&revocation, &self.identity)
            .unwrap()
            .bytes()
            .to_vec()
    }

    fn hear(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap());
        self.heard.send_modify(|count| *count += 1);
    }
}

struct Service {
    state: Arc<State>,
    cancel: CancellationToken,
}

fn peer<T>(request: &Request<T>) -> Result<PeerId, Status> {
    Caller::peer_of(request)
}

#[tonic::async_trait]
impl Registry for Service {
    async fn register_node(
        &self,
        request: Request<v1::RegisterNodeRequest>,
    ) -> Result<Response<v1::RegisterNodeResponse>, Status> {
        peer(&request)?;
        assert!(!request.get_ref().advert.is_empty());
        Ok(Response::new(v1::RegisterNodeResponse {
            key_set: self.state.key_set().into(),
            heartbeat_interval_ms: 200,
            lease_ms: 2_000,
            index_time_ms: UnixMillis::now().0,
            ..Default::default()
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let heartbeat = request.into_inner();
        let mut stop = Vec::new();
        self.state.hear(|said| {
            said.heartbeats.push(heartbeat);
            stop = said.stop.clone();
        });
        Ok(Response::new(v1::HeartbeatResponse {
            index_time_ms: UnixMillis::now().0,
            stop: stop.into_iter().map(Into::into).collect(),
            key_set_sequence: 1,
            ..Default::default()
        }))
    }

    type OrdersStream = Pin<Box<dyn Stream<Item = Result<v1::Order, Status>> + Send>>;

    async fn orders(
        &self,
        _: Request<v1::OrdersRequest>,
    ) -> Result<Response<Self::OrdersStream>, Status> {
        let (orders, waiting) = mpsc::channel(16);
        self.state.hear(|said| said.orders = Some(orders));
        let stream = ReceiverStream::new(waiting)
            .map(|order: Order| Ok(order.into()))
            .take_until(self.cancel.clone().cancelled_owned());
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let (key, report) = Report::from_wire(request.into_inner()).unwrap();
        self.state.hear(|said| said.reports.push((key, report)));
        Ok(Response::new(v1::ReportResponse { accepted: true }))
    }
}
