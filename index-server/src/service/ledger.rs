//! The service for accounts. Each method parses, looks the caller's key up on disk,
//! makes one call and renders.

use embermesh_crypto::ids::PeerId;
use embermesh_job::{
    ledger::{Ask, Balance, HoldId},
    units::MicroUnits,
    wire::{account_or, ledger_key, ledger_subject, peer},
};
use embermesh_mesh::road::Caller;
use embermesh_proto::v1::{self, ledger_server};
use tonic::{Request, Response, Status};

use super::{
    index::mismatch,
    parse::{malformed, page_size},
    render,
    status::{invalid, read_failed, status},
};
use crate::{
    actor::{CallFailed, Handle},
    state::{Command, Entry, Refused, Reply},
    store::Reader,
};

/// How often a key is looked up anew because the ledger went on meanwhile.
const LOOKS: usize = 4;

/// Serves `embermesh.v1.Ledger`.
pub(super) struct LedgerService {
    pub(super) handle: Handle,
    pub(super) reader: Reader,
}

impl LedgerService {
    /// Moves money, once for each key.
    async fn enter(
        &self,
        caller: PeerId,
        key: &[u8],
        ask: Ask,
    ) -> Result<Response<v1::LedgerTransaction>, Status> {
        let key = ledger_key(key).map_err(malformed)?;
        for _ in 0..LOOKS {
            let seen = self.reader.ledger_key(caller, &key).await;
            let entry = Entry {
                caller,
                key: key.clone(),
                ask: ask.clone(),
                seen: seen.map_err(|error| read_failed(&error))?,
            };
            match self.handle.call(Command::Enter(Box::new(entry))).await {
                Ok(Reply::Entered(done)) => return Ok(Response::new((*done).into())),
                Ok(_) => return Err(mismatch()),
                Err(CallFailed::Refused(Refused::Ledger(
                    embermesh_job::ledger::Refused::LookAgain,
                ))) => {}
                Err(failed) => return Err(status(&failed)),
            }
        }
        Err(status(&CallFailed::Busy))
    }

    /// What is in an account, for whom it is to be seen by.
    async fn balance(&self, caller: PeerId, account: PeerId) -> Result<Balance, Status> {
        let balance = Command::Balance { caller, account };
        match self.handle.call(balance).await {
            Ok(Reply::Balance(balance)) => Ok(balance),
            Ok(_) => Err(mismatch()),
            Err(failed) => Err(status(&failed)),
        }
    }
}

#[tonic::async_trait]
impl ledger_server::Ledger for LedgerService {
    async fn get_balance(
        &self,
        request: Request<v1::GetBalanceRequest>,
    ) -> Result<Response<v1::GetBalanceResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let account =
            account_or("account", &request.get_ref().account, caller).map_err(malformed)?;
        let balance = self.balance(caller, account).await?;
        Ok(Response::new(v1::GetBalanceResponse {
            account: account.to_string(),
            available_micros: balance.available.unsigned_abs(),
            held_micros: balance.held.unsigned_abs(),
        }))
    }

    async fn transfer(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::LedgerTransaction>, Status> {
        let caller = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let ask = Ask::Transfer {
            from: account_or("from", &request.from, caller).map_err(malformed)?,
            to: peer("to", &request.to).map_err(malformed)?,
            amount: MicroUnits(request.amount_micros),
            subject: ledger_subject(&request.subject).map_err(malformed)?,
        };
        self.enter(caller, &request.idempotency_key, ask).await
    }

    async fn hold(
        &self,
        request: Request<v1::HoldRequest>,
    ) -> Result<Response<v1::LedgerTransaction>, Status> {
        let caller = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let ask = Ask::Hold {
            from: account_or("from", &request.from, caller).map_err(malformed)?,
            amount: MicroUnits(request.amount_micros),
            subject: ledger_subject(&request.subject).map_err(malformed)?,
            lifetime_ms: request.lifetime_ms,
        };
        self.enter(caller, &request.idempotency_key, ask).await
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::LedgerTransaction>, Status> {
        let caller = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let hold = HoldId(request.hold);
        let ask = match request.capture {
            Some(capture) => Ask::Capture {
                hold,
                to: peer("capture.to", &capture.to).map_err(malformed)?,
                amount: MicroUnits(capture.amount_micros),
            },
            None => Ask::Release { hold },
        };
        self.enter(caller, &request.idempotency_key, ask).await
    }

    async fn deposit(
        &self,
        request: Request<v1::DepositRequest>,
    ) -> Result<Response<v1::LedgerTransaction>, Status> {
        let caller = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let ask = Ask::Deposit {
            to: peer("to", &request.to).map_err(malformed)?,
            amount: MicroUnits(request.amount_micros),
            subject: ledger_subject(&request.subject).map_err(malformed)?,
        };
        self.enter(caller, &request.idempotency_key, ask).await
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let caller = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let account = account_or("account", &request.account, caller).map_err(malformed)?;
        let size = page_size(request.page_size)?;
        let before = match request.page_token.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| invalid("page_token", error))?),
        };
        // Whether the caller may see it; and what he was told before is on disk then.
        self.balance(caller, account).await?;
        let page = self.reader.ledger_page(account, before, size).await;
        let page = page.map_err(|error| read_failed(&error))?.into_iter();
        Ok(Response::new(render::history(page, size)))
    }
}
