//! The one method of gRPC that is measured: it sends messages out of memory, as many and
//! as large as it is asked for.

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use http::{Request, Response, uri::PathAndQuery};
use tonic::{
    Status,
    body::Body,
    client::Grpc,
    server::{NamedService, ServerStreamingService},
    service::Routes,
    transport::Channel,
};
use tonic_prost::ProstCodec;

/// Where the method is.
const PATH: &str = "/bench.Sender/Send";

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Wish {
    /// How many messages.
    #[prost(uint64, tag = "1")]
    pub(crate) messages: u64,
    /// Bytes of each.
    #[prost(uint64, tag = "2")]
    pub(crate) bytes: u64,
}

/// A message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Part {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
}

/// Serves the method.
#[derive(Clone)]
pub(crate) struct Sender {
    message: Bytes,
}

impl Sender {
    /// Sends pieces of this.
    pub(crate) const fn of(message: Bytes) -> Self {
        Self { message }
    }

    pub(crate) fn routes(self) -> Routes {
        Routes::new(self)
    }
}

impl NamedService for Sender {
    const NAME: &'static str = "bench.Sender";
}

impl ServerStreamingService<Wish> for Sender {
    type Response = Part;
    type ResponseStream = BoxStream<'static, Result<Part, Status>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, wish: tonic::Request<Wish>) -> Self::Future {
        let Wish { messages, bytes } = wish.into_inner();
        let data = self.message.slice(..usize::try_from(bytes).unwrap());
        let parts =
            futures::stream::iter(0..messages).map(move |_| Ok(Part { data: data.clone() }));
        std::future::ready(Ok(tonic::Response::new(parts.boxed())))
    }
}

impl tower::Service<Request<Body>> for Sender {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response<Body>, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
            Ok(grpc.server_streaming(method, request).await)
        })
    }
}

/// Asks, and reads everything.
pub(crate) async fn receive(channel: Channel, wish: Wish) {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(PATH);
    let codec = ProstCodec::<Wish, Part>::default();
    let answer = grpc
        .server_streaming(tonic::Request::new(wish), path, codec)
        .await
        .unwrap();
    let mut parts = answer.into_inner();
    let mut left = wish.messages;
    while let Some(part) = parts.message().await.unwrap() {
        assert_eq!(part.data.len() as u64, wish.bytes);
        left -= 1;
    }
    assert_eq!(left, 0);
}
