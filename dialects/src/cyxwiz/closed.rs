//! Services that are not there, and of nodes, which an index is not. Each call is answered
//! `UNIMPLEMENTED` with the reason.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::Mount;

/// A service by this name that says why it is not there.
macro_rules! closed {
    ($name:ident, $service:literal, $why:literal) => {
        #[doc = concat!("`", $service, "`, which is not served.")]
        #[derive(Clone)]
        struct $name;

        impl NamedService for $name {
            const NAME: &'static str = $service;
        }

        impl Service<http::Request<Body>> for $name {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Ready<Result<Self::Response, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: http::Request<Body>) -> Self::Future {
                ready(Ok(Status::unimplemented($why).into_http()))
            }
        }
    };
}

closed!(
    TerminalService,
    "cyxwiz.protocol.TerminalService",
    "no node opens a terminal to anybody"
);

closed!(
    ComputeService,
    "cyxwiz.protocol.ComputeService",
    "nothing is computed at an index: call a node"
);
closed!(
    DaemonService,
    "cyxwiz.daemon.DaemonService",
    "this is an index: a node's daemon is served on its own machine"
);

/// The same with these services.
pub(super) fn mount(mount: Mount) -> Mount {
    mount
        .serve(TerminalService)
        .serve(ComputeService)
        .serve(DaemonService)
}
