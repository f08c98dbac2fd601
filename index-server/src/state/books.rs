//! The ledger of accounts among the rest of the index: who counts as an
//! administrator, and holds whose time is over.

use embermesh_crypto::{ids::PeerId, statement::StatementError, time::UnixMillis};
use embermesh_job::ledger::{Caller, InvalidLedger, Request};
use thiserror::Error;

use super::{Refused, Reply, State, command::Entry, settings::HOLDS_PER_PASS};

/// Why the state cannot be taken up from what the store kept.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A signed statement does not verify.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The books contradict themselves.
    #[error(transparent)]
    Ledger(#[from] InvalidLedger),
}

impl RestoreError {
    /// The table whose rows it is about.
    pub(crate) fn table(&self) -> &'static str {
        match self {
            Self::Statement(_) => "statements",
            Self::Ledger(_) => "ledger_accounts",
        }
    }
}

impl State {
    /// Moves money, once for each key.
    pub(super) fn enter(&mut self, entry: Entry, now: UnixMillis) -> Result<Reply, Refused> {
        // What is over can be spent at once, not only after the next tick.
        self.ledger.expire(now, HOLDS_PER_PASS);
        let request = Request {
            caller: self.caller(entry.caller),
            key: entry.key,
            ask: entry.ask,
            seen: entry.seen,
        };
        let done = self.ledger.apply(request, now)?;
        Ok(Reply::Entered(Box::new(done)))
    }

    /// What is in an account.
    pub(super) fn balance(
        &mut self,
        caller: PeerId,
        account: PeerId,
        now: UnixMillis,
    ) -> Result<Reply, Refused> {
        self.ledger.expire(now, HOLDS_PER_PASS);
        let balance = self.ledger.balance(self.caller(caller), account)?;
        Ok(Reply::Balance(balance))
    }

    pub(super) fn caller(&self, peer: PeerId) -> Caller {
        Caller {
            peer,
            administrator: self.administers(peer),
        }
    }
}
