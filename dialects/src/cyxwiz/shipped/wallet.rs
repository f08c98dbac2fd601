//! `WalletService` as it shipped: without escrow, which is part of a job there.

use tonic::{Request, Response, Status};

use super::{service::Adapter, wire};
use crate::port::IndexPort;

#[tonic::async_trait]
impl<P: IndexPort> wire::wallet_service_server::WalletService for Adapter<P> {
    async fn connect_wallet(
        &self,
        request: Request<wire::ConnectWalletRequest>,
    ) -> Result<Response<wire::ConnectWalletResponse>, Status> {
        self.wallet(request).await
    }

    async fn get_balance(
        &self,
        request: Request<wire::GetBalanceRequest>,
    ) -> Result<Response<wire::GetBalanceResponse>, Status> {
        self.has(request).await
    }

    async fn get_transaction_history(
        &self,
        request: Request<wire::GetTransactionHistoryRequest>,
    ) -> Result<Response<wire::GetTransactionHistoryResponse>, Status> {
        self.history(request).await
    }

    async fn estimate_job_cost(
        &self,
        request: Request<wire::EstimateJobCostRequest>,
    ) -> Result<Response<wire::EstimateJobCostResponse>, Status> {
        self.cost(request).await
    }
}
