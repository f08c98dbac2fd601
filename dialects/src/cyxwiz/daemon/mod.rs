//! `cyxwiz.daemon.DaemonService`: a node, for its owner, on the node's own machine.
//!
//! - `machine`: the machine, its line to the indexes, and its end.
//! - `jobs`: whatever runs there. `models`: what is resident, and model files.
//! - `keys`: keys for programs that may look. `records`: configuration, log, account.
//!
//! Shares are from 0 to 1; times are seconds since 1970, and milliseconds where lines of
//! a log and measures are stamped. A refusal of what is asked is an answer with
//! `success` at false and the reason; who may not ask, and what is not there, is a gRPC
//! status.

mod jobs;
mod keys;
mod machine;
mod models;
mod records;

use std::sync::Arc;

use embermesh_proto::cyxwiz::daemon as wire;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::code;
use crate::{
    Failure, Mount, caller,
    port::node::{Call, owner::Owner},
};

/// The largest request: names, paths and numbers.
const MAX_REQUEST: usize = 64 << 10;

const NO_WALLET: &str = "the wallet is the account of the node's key, and has no other address";
const NO_MINING: &str =
    "nothing is mined here, and there are no pools: a node is paid for the jobs that it runs";
const NO_MARKET: &str = "there is no marketplace: models are kept by an index (ModelService) and lie in the folders that the owner shares";
const NO_RESTART: &str =
    "a node does not start itself: Shutdown ends it, and whoever started it starts it again";
const NO_ALLOCATIONS: &str = "what a node offers is settled when it starts: by `devices`, `slots`, `memory` and `threads` of its configuration";

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// A node's port, spoken to by its owner.
struct Daemon<P>(Arc<P>);

/// The service.
pub(super) fn mount<P: Owner>(mount: Mount, port: &Arc<P>) -> Mount {
    let daemon = Daemon(Arc::clone(port));
    let daemon = wire::daemon_service_server::DaemonServiceServer::new(daemon);
    mount.serve(daemon.max_decoding_message_size(MAX_REQUEST))
}

/// What a call says of its caller, and which job it is about.
fn call<T>(request: &Request<T>, job: &str) -> Call {
    caller::call(request, "", job)
}

/// Whether something was done, and why not where that is an answer.
fn obeyed(done: Result<(), Failure>) -> Result<(bool, String), Status> {
    match done {
        Ok(()) => Ok((true, String::new())),
        Err(failure) if code::is_answer(failure.code) => Ok((false, failure.message)),
        Err(failure) => Err(failure.into()),
    }
}

#[tonic::async_trait]
impl<P: Owner> wire::daemon_service_server::DaemonService for Daemon<P> {
    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Answer<wire::GetStatusResponse> {
        machine::status(&*self.0, &request).await
    }

    async fn get_metrics(
        &self,
        request: Request<wire::GetMetricsRequest>,
    ) -> Answer<wire::GetMetricsResponse> {
        machine::measured(&*self.0, &request).await
    }

    type StreamMetricsStream = Stream<wire::MetricsUpdate>;

    async fn stream_metrics(
        &self,
        request: Request<wire::StreamMetricsRequest>,
    ) -> Answer<Self::StreamMetricsStream> {
        machine::watch(&*self.0, &request)
    }

    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Answer<wire::ListJobsResponse> {
        jobs::list(&*self.0, &request).await
    }

    async fn get_job(&self, request: Request<wire::GetJobRequest>) -> Answer<wire::GetJobResponse> {
        jobs::get(&*self.0, &request).await
    }

    async fn cancel_job(
        &self,
        request: Request<wire::CancelJobRequest>,
    ) -> Answer<wire::CancelJobResponse> {
        jobs::cancel(&*self.0, &request).await
    }

    type StreamJobUpdatesStream = Stream<wire::JobUpdate>;

    async fn stream_job_updates(
        &self,
        request: Request<wire::StreamJobUpdatesRequest>,
    ) -> Answer<Self::StreamJobUpdatesStream> {
        jobs::follow(&*self.0, &request)
    }

    async fn list_deployments(
        &self,
        request: Request<wire::ListDeploymentsRequest>,
    ) -> Answer<wire::ListDeploymentsResponse> {
        models::deployments(&*self.0, &request)
    }

    async fn deploy_model(
        &self,
        request: Request<wire::DeployModelRequest>,
    ) -> Answer<wire::DeployModelResponse> {
        models::deploy(&*self.0, &request).await
    }

    async fn undeploy_model(
        &self,
        request: Request<wire::UndeployModelRequest>,
    ) -> Answer<wire::UndeployModelResponse> {
        models::undeploy(&*self.0, &request).await
    }

    async fn get_deployment_status(
        &self,
        request: Request<wire::GetDeploymentStatusRequest>,
    ) -> Answer<wire::GetDeploymentStatusResponse> {
        models::deployment_status(&*self.0, &request)
    }

    async fn list_local_models(
        &self,
        request: Request<wire::ListLocalModelsRequest>,
    ) -> Answer<wire::ListLocalModelsResponse> {
        models::list(&*self.0, &request).await
    }

    async fn scan_models(
        &self,
        request: Request<wire::ScanModelsRequest>,
    ) -> Answer<wire::ScanModelsResponse> {
        models::scan(&*self.0, &request).await
    }

    async fn delete_model(
        &self,
        request: Request<wire::DeleteModelRequest>,
    ) -> Answer<wire::DeleteModelResponse> {
        models::delete(&*self.0, &request).await
    }

    async fn list_api_keys(
        &self,
        request: Request<wire::ListApiKeysRequest>,
    ) -> Answer<wire::ListApiKeysResponse> {
        keys::list(&*self.0, &request).await
    }

    async fn create_api_key(
        &self,
        request: Request<wire::CreateApiKeyRequest>,
    ) -> Answer<wire::CreateApiKeyResponse> {
        keys::create(&*self.0, &request).await
    }

    async fn revoke_api_key(
        &self,
        request: Request<wire::RevokeApiKeyRequest>,
    ) -> Answer<wire::RevokeApiKeyResponse> {
        keys::revoke(&*self.0, &request).await
    }

    async fn get_config(
        &self,
        request: Request<wire::GetConfigRequest>,
    ) -> Answer<wire::GetConfigResponse> {
        records::settings(&*self.0, &request)
    }

    async fn set_config(
        &self,
        request: Request<wire::SetConfigRequest>,
    ) -> Answer<wire::SetConfigResponse> {
        records::change(&*self.0, &request)
    }

    async fn get_earnings(
        &self,
        request: Request<wire::GetEarningsRequest>,
    ) -> Answer<wire::GetEarningsResponse> {
        records::earnings(&*self.0, &request).await
    }

    async fn get_wallet_info(
        &self,
        request: Request<wire::GetWalletInfoRequest>,
    ) -> Answer<wire::GetWalletInfoResponse> {
        records::wallet(&*self.0, &request).await
    }

    async fn set_wallet_address(
        &self,
        _: Request<wire::SetWalletAddressRequest>,
    ) -> Answer<wire::SetWalletAddressResponse> {
        Err(Status::unimplemented(NO_WALLET))
    }

    async fn get_logs(
        &self,
        request: Request<wire::GetLogsRequest>,
    ) -> Answer<wire::GetLogsResponse> {
        records::log(&*self.0, &request)
    }

    type StreamLogsStream = Stream<wire::LogEntry>;

    async fn stream_logs(
        &self,
        request: Request<wire::StreamLogsRequest>,
    ) -> Answer<Self::StreamLogsStream> {
        records::follow_log(&*self.0, &request)
    }

    async fn get_pool_status(
        &self,
        _: Request<wire::GetPoolStatusRequest>,
    ) -> Answer<wire::GetPoolStatusResponse> {
        Err(Status::unimplemented(NO_MINING))
    }

    async fn join_pool(&self, _: Request<wire::JoinPoolRequest>) -> Answer<wire::JoinPoolResponse> {
        Err(Status::unimplemented(NO_MINING))
    }

    async fn leave_pool(
        &self,
        _: Request<wire::LeavePoolRequest>,
    ) -> Answer<wire::LeavePoolResponse> {
        Err(Status::unimplemented(NO_MINING))
    }

    async fn set_mining_intensity(
        &self,
        _: Request<wire::SetMiningIntensityRequest>,
    ) -> Answer<wire::SetMiningIntensityResponse> {
        Err(Status::unimplemented(NO_MINING))
    }

    async fn start_mining(
        &self,
        _: Request<wire::StartMiningRequest>,
    ) -> Answer<wire::StartMiningResponse> {
        Err(Status::unimplemented(NO_MINING))
    }

    async fn stop_mining(
        &self,
        _: Request<wire::StopMiningRequest>,
    ) -> Answer<wire::StopMiningResponse> {
        Err(Status::unimplemented(NO_MINING))
    }

    async fn list_marketplace_models(
        &self,
        _: Request<wire::ListMarketplaceModelsRequest>,
    ) -> Answer<wire::ListMarketplaceModelsResponse> {
        Err(Status::unimplemented(NO_MARKET))
    }

    async fn get_marketplace_model(
        &self,
        _: Request<wire::GetMarketplaceModelRequest>,
    ) -> Answer<wire::GetMarketplaceModelResponse> {
        Err(Status::unimplemented(NO_MARKET))
    }

    type DownloadMarketplaceModelStream = Stream<wire::DownloadProgress>;

    async fn download_marketplace_model(
        &self,
        _: Request<wire::DownloadMarketplaceModelRequest>,
    ) -> Answer<Self::DownloadMarketplaceModelStream> {
        Err(Status::unimplemented(NO_MARKET))
    }

    async fn cancel_marketplace_download(
        &self,
        _: Request<wire::CancelMarketplaceDownloadRequest>,
    ) -> Answer<wire::CancelMarketplaceDownloadResponse> {
        Err(Status::unimplemented(NO_MARKET))
    }

    async fn shutdown(
        &self,
        request: Request<wire::ShutdownRequest>,
    ) -> Answer<wire::ShutdownResponse> {
        machine::shutdown(&*self.0, &request)
    }

    async fn restart(&self, _: Request<wire::RestartRequest>) -> Answer<wire::RestartResponse> {
        Err(Status::unimplemented(NO_RESTART))
    }

    async fn set_allocations(
        &self,
        _: Request<wire::SetAllocationsRequest>,
    ) -> Answer<wire::SetAllocationsResponse> {
        Err(Status::unimplemented(NO_ALLOCATIONS))
    }

    async fn retry_connection(
        &self,
        request: Request<wire::RetryConnectionRequest>,
    ) -> Answer<wire::RetryConnectionResponse> {
        machine::retry(&*self.0, &request).await
    }

    async fn disconnect_from_central(
        &self,
        request: Request<wire::DisconnectFromCentralRequest>,
    ) -> Answer<wire::DisconnectFromCentralResponse> {
        machine::disconnect(&*self.0, &request).await
    }
}
