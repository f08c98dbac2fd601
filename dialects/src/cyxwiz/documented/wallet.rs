//! `WalletService` as it is documented: with escrow, which is a hold on the caller's
//! account.

use std::time::Duration;

use embermesh_crypto::UnixMillis;
use tonic::{Request, Response, Status};

use super::{service::Adapter, wire};
use crate::{
    Dialect, Failure,
    cyxwiz::{
        caller::{caller, is_own},
        code,
    },
    port::{IndexPort, Principal},
};

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

    async fn create_escrow(
        &self,
        request: Request<wire::CreateEscrowRequest>,
    ) -> Result<Response<wire::CreateEscrowResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().payer_address).await?;
        let request = request.into_inner();
        is_own(&who, "payer_address", &request.payer_address)?;
        if request.job_id.is_empty() {
            return Err(Failure::invalid("job_id: say what the escrow is for").into());
        }
        let amount = code::micros(request.amount)
            .map_err(|reason| Failure::invalid(format!("amount: {reason}")))?;
        if amount == 0 {
            return Err(Failure::invalid("amount: nothing is no escrow").into());
        }
        let seconds = u64::try_from(request.expiration_time)
            .ok()
            .filter(|seconds| *seconds > 0)
            .ok_or_else(|| Failure::invalid("expiration_time: give seconds since 1970"))?;
        let expires = UnixMillis(0).saturating_add(Duration::from_secs(seconds));
        let key = format!("cyxwiz/escrow/{}/{amount}/{seconds}", request.job_id);
        let hold = self
            .0
            .hold(&who, amount, &request.job_id, expires, &key)
            .await?;
        Ok(Response::new(wire::CreateEscrowResponse {
            escrow_id: hold.id.clone(),
            // There is no chain: what proves the hold is its id in the ledger.
            tx_signature: hold.id,
            error: None,
        }))
    }

    async fn release_escrow(
        &self,
        request: Request<wire::ReleaseEscrowRequest>,
    ) -> Result<Response<wire::ReleaseEscrowResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let request = request.into_inner();
        let to = (!request.recipient_address.is_empty()).then_some(Principal {
            dialect: Dialect::CyxWiz,
            name: request.recipient_address,
        });
        let key = format!("cyxwiz/release/{}", request.escrow_id);
        let movement = self
            .0
            .settle(&who, &request.escrow_id, to.as_ref(), &key)
            .await?;
        Ok(Response::new(wire::ReleaseEscrowResponse {
            tx_signature: movement.id,
            error: None,
        }))
    }
}
