//! `WalletService`: a wallet is the account of whoever calls, and its address his name.

use tonic::{Request, Response, Status};

use super::super::{PROFILE, balance, wire};
use super::Adapter;
use crate::{
    Failure,
    cyxwiz::{
        caller::{caller, is_own},
        code,
        config::estimate,
    },
    port::{IndexPort, accounts::Movement},
};

/// How many movements an answer has that does not say, and the most of one.
const USUAL_MOVEMENTS: usize = 50;
const MAX_MOVEMENTS: usize = 1000;

/// What both forms have of the service.
impl<P: IndexPort> Adapter<P> {
    pub(in crate::cyxwiz) async fn wallet(
        &self,
        request: Request<wire::ConnectWalletRequest>,
    ) -> Result<Response<wire::ConnectWalletResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().wallet_address).await?;
        let own = is_own(&who, "wallet_address", &request.get_ref().wallet_address);
        Ok(Response::new(wire::ConnectWalletResponse {
            status: if own.is_ok() {
                code::SUCCESS
            } else {
                code::failed(PROFILE)
            },
            is_valid: own.is_ok(),
            message: own.err().map(|failure| failure.message).unwrap_or_default(),
            wallet_address: who.name,
        }))
    }

    pub(in crate::cyxwiz) async fn has(
        &self,
        request: Request<wire::GetBalanceRequest>,
    ) -> Result<Response<wire::GetBalanceResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().wallet_address).await?;
        is_own(&who, "wallet_address", &request.get_ref().wallet_address)?;
        let has = self.0.balance(&who).await?;
        Ok(Response::new(balance(code::units(has.available))))
    }

    pub(in crate::cyxwiz) async fn history(
        &self,
        request: Request<wire::GetTransactionHistoryRequest>,
    ) -> Result<Response<wire::GetTransactionHistoryResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().wallet_address).await?;
        let request = request.into_inner();
        is_own(&who, "wallet_address", &request.wallet_address)?;
        let skip = count("offset", request.offset)?;
        let most = match count("limit", request.limit)? {
            0 => USUAL_MOVEMENTS,
            most => most.min(MAX_MOVEMENTS),
        };
        let (movements, total) = self.0.history(&who, skip, most).await?;
        Ok(Response::new(wire::GetTransactionHistoryResponse {
            status: code::SUCCESS,
            message: String::new(),
            transactions: movements.into_iter().map(transaction).collect(),
            total_count: code::int32(total),
        }))
    }

    pub(in crate::cyxwiz) async fn cost(
        &self,
        request: Request<wire::EstimateJobCostRequest>,
    ) -> Result<Response<wire::EstimateJobCostResponse>, Status> {
        caller(&*self.0, &request, "").await?;
        let request = request.into_inner();
        let spec = match estimate(&request.model_type, request.epochs, request.dataset_size) {
            Ok(spec) => spec,
            Err(invalid) => {
                return Ok(Response::new(wire::EstimateJobCostResponse {
                    status: code::failed(PROFILE),
                    message: invalid.to_string(),
                    ..Default::default()
                }));
            }
        };
        let most = self.0.quote(&spec).await?;
        let minutes = spec.limits.wall.0 / 60_000;
        Ok(Response::new(wire::EstimateJobCostResponse {
            status: code::SUCCESS,
            message: String::new(),
            estimated_cost: code::units(most),
            estimated_time_minutes: f64::from(code::int32(minutes)),
            breakdown: format!("at most, when it takes all of {minutes} minutes"),
        }))
    }
}

fn count(field: &str, value: i32) -> Result<usize, Failure> {
    usize::try_from(value)
        .map_err(|_| Failure::invalid(format!("{field}: {value} is less than nothing")))
}

/// A movement as the wire has it. An amount is what there is more to spend, so that those
/// of a whole history are the balance; ids of jobs are texts here, and are in the
/// description.
fn transaction(movement: Movement) -> wire::Transaction {
    /// What the wire calls a payment, what was earned, and what comes back.
    const JOB_PAYMENT: i32 = 1;
    const REWARD: i32 = 2;
    const REFUND: i32 = 5;
    /// The ledger has nothing that is pending.
    const CONFIRMED: i32 = 1;
    let amount = code::units(movement.amount.unsigned_abs());
    wire::Transaction {
        signature: movement.id,
        r#type: match movement.kind {
            "capture" | "transfer" if movement.amount > 0 => REWARD,
            "hold" | "capture" | "transfer" => JOB_PAYMENT,
            "release" => REFUND,
            _ => 0,
        },
        status: CONFIRMED,
        amount: if movement.amount < 0 { -amount } else { amount },
        timestamp: code::seconds(Some(movement.at)),
        description: format!("{} {}", movement.kind, movement.subject)
            .trim()
            .to_owned(),
        job_id: 0,
    }
}
