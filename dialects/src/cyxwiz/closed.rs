//! Services for nodes of the system, which an index here does not take, and of nodes of
//! ours, which an index is not. Each call is answered
//! `UNIMPLEMENTED` with the reason, and with what to use instead.

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

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                ready(Ok(Status::unimplemented(why(&request, $why)).into_http()))
            }
        }
    };
}

closed!(
    NodeService,
    "cyxwiz.protocol.NodeService",
    "nodes of this system are not taken here: run an embermesh node, which registers itself"
);
closed!(
    JobStatusService,
    "cyxwiz.protocol.JobStatusService",
    "nodes of this system are not taken here: an embermesh node reports of its jobs itself"
);
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

/// The reason; a node serves one of the calls itself.
fn why(request: &http::Request<Body>, usual: &'static str) -> &'static str {
    if request.uri().path().ends_with("/AssignJob") {
        return "jobs are assigned at nodes: call the node";
    }
    usual
}

/// The same with these services.
pub(super) fn mount(mount: Mount) -> Mount {
    mount
        .serve(NodeService)
        .serve(JobStatusService)
        .serve(TerminalService)
        .serve(ComputeService)
        .serve(DaemonService)
}
