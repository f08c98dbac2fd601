//! Serves the two calls whose request has two forms, before the others: each by its path,
//! with the codec that reads both.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tower_service::Service;

use super::{
    MAX_MESSAGE, Pool,
    codec::{Form, FormCodec},
};

/// What a call of gRPC comes to.
pub(super) type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One call that reads both forms, and the service that has the rest.
pub(super) struct Forms<S, H> {
    pub(super) rest: S,
    pub(super) path: &'static str,
    pub(super) call: H,
}

impl<S: Clone, H: Clone> Clone for Forms<S, H> {
    fn clone(&self) -> Self {
        Self {
            rest: self.rest.clone(),
            path: self.path,
            call: self.call.clone(),
        }
    }
}

impl<S: NamedService, H> NamedService for Forms<S, H> {
    const NAME: &'static str = S::NAME;
}

/// What a call does.
type Function<P, F, A> = fn(Arc<Pool<P>>, Request<F>) -> Answering<Answer<A>>;
/// What it comes to.
type Answer<A> = Result<Response<A>, Status>;

/// A call over a pool, as a function.
pub(super) struct Call<P, F, A> {
    pub(super) pool: Arc<Pool<P>>,
    pub(super) function: Function<P, F, A>,
}

impl<P, F, A> Clone for Call<P, F, A> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            function: self.function,
        }
    }
}

impl<P, F: Form, A: Message + 'static> UnaryService<F> for Call<P, F, A> {
    type Response = A;
    type Future = Answering<Answer<A>>;

    fn call(&mut self, request: Request<F>) -> Self::Future {
        (self.function)(self.pool.clone(), request)
    }
}

impl<S, P, F, A> Service<http::Request<Body>> for Forms<S, Call<P, F, A>>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    P: Send + Sync + 'static,
    F: Form,
    A: Message + Default + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.rest.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != self.path {
            return Box::pin(self.rest.call(request));
        }
        let call = self.call.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(FormCodec::<F, A>::default())
                .apply_max_message_size_config(Some(MAX_MESSAGE), None);
            Ok(grpc.unary(call, request).await)
        })
    }
}
