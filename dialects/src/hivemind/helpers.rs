//! What a worker of the system does for the programs that it runs: files for them, calls
//! between them, names for them. Programs run in a sandbox here that has no network and
//! ends with the task, so each of these says why it is not there.

use embermesh_proto::hivemind::taskworker as wire;
use tonic::{Request, Response, Status};
use wire::{
    dns_service_server::{DnsService, DnsServiceServer},
    file_service_server::{FileService, FileServiceServer},
    rpc_service_server::{RpcService, RpcServiceServer},
};

use crate::Mount;

const NO_FILES: &str = "files are not kept here: a task brings its files in its archive, and gives those that it has made in its result";
const NO_CALLS: &str = "no function is called here: a task calls nothing outside of its sandbox, and nobody calls into it";
const NO_NAMES: &str =
    "no name is looked up here: a task has no network, and this is no resolver for others";

/// The services that are refused.
#[derive(Clone, Copy, Debug)]
struct Helpers;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl FileService for Helpers {
    async fn push(&self, _: Request<wire::PushRequest>) -> Answer<wire::PushResponse> {
        Err(Status::unimplemented(NO_FILES))
    }

    async fn get(&self, _: Request<wire::GetRequest>) -> Answer<wire::GetResponse> {
        Err(Status::unimplemented(NO_FILES))
    }

    async fn revise(&self, _: Request<wire::ReviseRequest>) -> Answer<wire::ReviseResponse> {
        Err(Status::unimplemented(NO_FILES))
    }

    async fn synchronous(
        &self,
        _: Request<wire::SynchronousRequest>,
    ) -> Answer<wire::SynchronousResponse> {
        Err(Status::unimplemented(NO_FILES))
    }
}

#[tonic::async_trait]
impl RpcService for Helpers {
    async fn call_function(
        &self,
        _: Request<wire::FunctionCallRequest>,
    ) -> Answer<wire::FunctionCallResponse> {
        Err(Status::unimplemented(NO_CALLS))
    }
}

#[tonic::async_trait]
impl DnsService for Helpers {
    async fn resolve_domain(&self, _: Request<wire::DnsRequest>) -> Answer<wire::DnsResponse> {
        Err(Status::unimplemented(NO_NAMES))
    }
}

/// The same with these services.
pub(super) fn mount(mount: Mount) -> Mount {
    mount
        .serve(FileServiceServer::new(Helpers))
        .serve(RpcServiceServer::new(Helpers))
        .serve(DnsServiceServer::new(Helpers))
}
