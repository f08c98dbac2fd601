//! Accounts at an index: what is in them, and the ways to move it. Each call that moves
//! money is sent again by itself while the index cannot be reached: its key makes
//! sure of one effect.

use std::collections::BTreeMap;

use bytes::Bytes;
use embermesh_crypto::ids::PeerId;
use embermesh_job::{
    ledger::{HoldId, Key, Subject, Transaction},
    units::{MicroUnits, Millis},
};
use embermesh_proto::v1::{self, ledger_client::LedgerClient};

use crate::{Client, ClientError, IdempotencyKey, bounds::PAGE, view::convert};

/// What is in an account, in millionths of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Funds {
    /// Whose.
    pub account: PeerId,
    /// What can be spent.
    pub available: MicroUnits,
    /// What open holds set aside.
    pub held: MicroUnits,
}

/// What is to become of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// So much is paid to somebody, and the rest is released.
    Capture {
        /// Who is paid.
        to: PeerId,
        /// How much, at most what is held.
        amount: MicroUnits,
    },
    /// All of it goes back.
    Release,
}

impl From<IdempotencyKey> for Key {
    fn from(key: IdempotencyKey) -> Self {
        key.bytes().into()
    }
}

/// The methods of the ledger. Where an account is `None` it is the client's own;
/// another's may be named by an administrator of the index.
impl Client {
    /// What is in an account.
    ///
    /// # Errors
    /// When it may not be seen, or the index cannot be reached for a while.
    pub async fn balance(&self, account: Option<PeerId>) -> Result<Funds, ClientError> {
        let request = v1::GetBalanceRequest {
            account: named(account),
        };
        let answer = self
            .index()
            .again_on(|channel| {
                let request = request.clone();
                async move { LedgerClient::new(channel).get_balance(request).await }
            })
            .await?;
        let account = embermesh_job::wire::peer("account", &answer.account);
        Ok(Funds {
            account: account.map_err(|error| crate::view::wire(self.index().name(), error))?,
            available: MicroUnits(answer.available_micros),
            held: MicroUnits(answer.held_micros),
        })
    }

    /// Pays from one account into another.
    ///
    /// # Errors
    /// When the rules of the ledger do not allow it, or the index cannot be reached
    /// for a while.
    pub async fn transfer(
        &self,
        key: impl Into<Key>,
        from: Option<PeerId>,
        to: PeerId,
        amount: MicroUnits,
        subject: &Subject,
    ) -> Result<Transaction, ClientError> {
        let request = v1::TransferRequest {
            idempotency_key: key_bytes(&key.into()),
            from: named(from),
            to: to.to_string(),
            amount_micros: amount.0,
            subject: subject.to_string(),
        };
        let answer = self
            .index()
            .again_on(|channel| {
                let request = request.clone();
                async move { LedgerClient::new(channel).transfer(request).await }
            })
            .await?;
        convert(self.index().name(), answer)
    }

    /// Sets an amount aside until it is settled or its time is over; the number of the
    /// transaction is the hold's.
    ///
    /// # Errors
    /// When the rules of the ledger do not allow it, or the index cannot be reached
    /// for a while.
    pub async fn hold(
        &self,
        key: impl Into<Key>,
        from: Option<PeerId>,
        amount: MicroUnits,
        subject: &Subject,
        lifetime: Millis,
    ) -> Result<Transaction, ClientError> {
        let request = v1::HoldRequest {
            idempotency_key: key_bytes(&key.into()),
            from: named(from),
            amount_micros: amount.0,
            subject: subject.to_string(),
            lifetime_ms: lifetime.0,
        };
        let answer = self
            .index()
            .again_on(|channel| {
                let request = request.clone();
                async move { LedgerClient::new(channel).hold(request).await }
            })
            .await?;
        convert(self.index().name(), answer)
    }

    /// Captures or releases a hold that this client placed.
    ///
    /// # Errors
    /// When the rules of the ledger do not allow it, or the index cannot be reached
    /// for a while.
    pub async fn settle(
        &self,
        key: impl Into<Key>,
        hold: HoldId,
        settlement: Settlement,
    ) -> Result<Transaction, ClientError> {
        let request = v1::SettleRequest {
            idempotency_key: key_bytes(&key.into()),
            hold: hold.0,
            capture: match settlement {
                Settlement::Release => None,
                Settlement::Capture { to, amount } => Some(v1::Capture {
                    to: to.to_string(),
                    amount_micros: amount.0,
                }),
            },
        };
        let answer = self
            .index()
            .again_on(|channel| {
                let request = request.clone();
                async move { LedgerClient::new(channel).settle(request).await }
            })
            .await?;
        convert(self.index().name(), answer)
    }

    /// Brings money into an account, as an administrator of the index.
    ///
    /// # Errors
    /// When the rules of the ledger do not allow it, or the index cannot be reached
    /// for a while.
    pub async fn deposit(
        &self,
        key: impl Into<Key>,
        to: PeerId,
        amount: MicroUnits,
        subject: &Subject,
    ) -> Result<Transaction, ClientError> {
        let request = v1::DepositRequest {
            idempotency_key: key_bytes(&key.into()),
            to: to.to_string(),
            amount_micros: amount.0,
            subject: subject.to_string(),
        };
        let answer = self
            .index()
            .again_on(|channel| {
                let request = request.clone();
                async move { LedgerClient::new(channel).deposit(request).await }
            })
            .await?;
        convert(self.index().name(), answer)
    }

    /// The newest transactions of an account, at most `most`, the newest first.
    ///
    /// # Errors
    /// When they may not be seen, or the index cannot be reached for a while.
    pub async fn history(
        &self,
        account: Option<PeerId>,
        most: usize,
    ) -> Result<Vec<Transaction>, ClientError> {
        let mut found = BTreeMap::new();
        let mut page_token = String::new();
        while found.len() < most {
            let left = u32::try_from(most - found.len()).unwrap_or(PAGE);
            let request = v1::HistoryRequest {
                account: named(account),
                page_size: left.min(PAGE),
                page_token: page_token.clone(),
            };
            let page = self
                .index()
                .again_on(|channel| {
                    let request = request.clone();
                    async move { LedgerClient::new(channel).history(request).await }
                })
                .await?;
            // A page that leads nowhere new would never end.
            let before = found.len();
            for transaction in page.transactions {
                let transaction: Transaction = convert(self.index().name(), transaction)?;
                found.insert(transaction.number, transaction);
            }
            if page.next_page_token.is_empty() || found.len() == before {
                break;
            }
            page_token = page.next_page_token;
        }
        Ok(found.into_values().rev().take(most).collect())
    }

    /// A transaction of the client's own account by its number; nothing where that is of
    /// others, or of nobody.
    ///
    /// # Errors
    /// When the index cannot be reached for a while.
    pub async fn transaction(&self, number: u64) -> Result<Option<Transaction>, ClientError> {
        let Some(before) = number.checked_add(1) else {
            return Ok(None);
        };
        let request = v1::HistoryRequest {
            account: String::new(),
            page_size: 1,
            page_token: before.to_string(),
        };
        let page = self
            .index()
            .again_on(|channel| {
                let request = request.clone();
                async move { LedgerClient::new(channel).history(request).await }
            })
            .await?;
        let found = page.transactions.into_iter().next();
        let found: Option<Transaction> = found
            .map(|found| convert(self.index().name(), found))
            .transpose()?;
        Ok(found.filter(|found| found.number == number))
    }
}

fn named(account: Option<PeerId>) -> String {
    account.map(|peer| peer.to_string()).unwrap_or_default()
}

fn key_bytes(key: &Key) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}
