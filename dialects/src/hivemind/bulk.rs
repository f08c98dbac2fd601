//! Calls whose requests may be as large as a task: a few at a time, so that memory has a
//! bound whatever is sent, and each within a time.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tonic::{Request, Status, body::Body, metadata::MetadataMap, server::NamedService};
use tower_service::Service;

use super::{Pool, PoolPort, forms::Answering};
use crate::{Dialect, caller, port::users::Credentials};

/// How long a call may take, with the wait for its turn.
const MOST: Duration = Duration::from_secs(600);

/// A service, and how its calls with large requests are served.
pub(super) struct Bulk<P, B, S> {
    pub(super) pool: Arc<Pool<P>>,
    /// Of the calls with large requests.
    pub(super) paths: &'static [&'static str],
    pub(super) bulk: B,
    pub(super) rest: S,
}

impl<P, B: Clone, S: Clone> Clone for Bulk<P, B, S> {
    fn clone(&self) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            paths: self.paths,
            bulk: self.bulk.clone(),
            rest: self.rest.clone(),
        }
    }
}

impl<P, B, S: NamedService> NamedService for Bulk<P, B, S> {
    const NAME: &'static str = S::NAME;
}

impl<P, B, S> Service<http::Request<Body>> for Bulk<P, B, S>
where
    P: PoolPort,
    B: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    B: Clone + Send + 'static,
    B::Future: Send + 'static,
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The services behind are ready always: each of their calls is a future of its own.
        self.rest.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if !self.paths.contains(&request.uri().path()) {
            return Box::pin(self.rest.call(request));
        }
        let pool = Arc::clone(&self.pool);
        let mut bulk = self.bulk.clone();
        let credentials = head(&request);
        Box::pin(async move {
            let answered = tokio::time::timeout(MOST, async {
                let known = pool.port.authenticate(Dialect::HiveMind, credentials);
                let turns = if known.await.is_ok() {
                    &pool.taking
                } else {
                    &pool.taking_unknown
                };
                let Ok(_turn) = turns.acquire().await else {
                    return Ok(Status::unavailable("the pool stops").into_http());
                };
                bulk.call(request).await
            });
            answered.await.unwrap_or_else(|_| {
                let message = format!("it took more than {} seconds to arrive", MOST.as_secs());
                Ok(Status::deadline_exceeded(message).into_http())
            })
        })
    }
}

/// What the head of a call says of its caller.
fn head(request: &http::Request<Body>) -> Credentials {
    let head = Request::from_parts(
        MetadataMap::from_headers(request.headers().clone()),
        request.extensions().clone(),
        (),
    );
    caller::credentials(&head, "", "")
}
