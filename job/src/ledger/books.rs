//! What a ledger keeps: balances, open holds, and transactions that only ever
//! grow in number.

use std::{collections::BTreeMap, fmt};

use embermesh_crypto::{ids::PeerId, time::UnixMillis};

use super::{Ask, HoldId, Key, Refused, Subject};
use crate::units::MicroUnits;

/// Where money can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Where deposits come from: below zero by what is in all others together.
    Issuance,
    /// Somebody's.
    Peer(PeerId),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuance => f.write_str("issuance"),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

/// What is in an account, in millionths of a unit. Only the issuance is ever
/// below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What can be spent.
    pub available: i64,
    /// What open holds set aside.
    pub held: i64,
}

impl Balance {
    /// This after a posting.
    pub(super) fn changed_by(self, posting: &Posting) -> Result<Self, Refused> {
        let available = self.available.checked_add(posting.available);
        let held = self.held.checked_add(posting.held);
        match (available, held) {
            (Some(available), Some(held))
                if held >= 0 && (available >= 0 || posting.account == Account::Issuance) =>
            {
                Ok(Self { available, held })
            }
            _ => Err(Refused::Overflow),
        }
    }
}

/// What one transaction does to one account. Those of a transaction sum to zero,
/// both columns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Whose.
    pub account: Account,
    /// What is more or less to spend, in millionths of a unit.
    pub available: i64,
    /// What is more or less set aside, in millionths of a unit.
    pub held: i64,
}

impl Posting {
    /// One that changes only what can be spent.
    pub(super) fn available(account: Account, available: i64) -> Self {
        Self {
            account,
            available,
            held: 0,
        }
    }
}

/// An amount that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// In whose account.
    pub payer: PeerId,
    /// Who placed it, and settles it beside administrators.
    pub placed_by: PeerId,
    /// How much, in millionths of a unit.
    pub amount: MicroUnits,
    /// What for.
    pub subject: Subject,
    /// When it is released by itself.
    pub expires_at: UnixMillis,
}

impl Hold {
    /// All of it back to who can spend it.
    pub(super) fn back(&self) -> Posting {
        // It was put there by a posting of this very size.
        let amount = i64::try_from(self.amount.0).unwrap_or(i64::MAX);
        Posting {
            account: Account::Peer(self.payer),
            available: amount,
            held: -amount,
        }
    }
}

/// Why there is a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody asked for it.
    Asked {
        /// The proven key of who asked.
        caller: PeerId,
        /// The caller's name for it.
        key: Key,
        /// What was asked.
        ask: Ask,
    },
    /// The time of a hold was over.
    Expired {
        /// Which.
        hold: HoldId,
    },
}

/// Something that happened, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Counted from 1, without gaps.
    pub number: u64,
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub why: Why,
    /// What it was for: of a hold's end, what the hold was for.
    pub subject: Subject,
    /// What it did, each account once.
    pub postings: Vec<Posting>,
}

/// What must be made durable together.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New transactions, in order.
    pub transactions: Vec<Transaction>,
    /// Accounts as they are now.
    pub accounts: BTreeMap<Account, Balance>,
    /// Holds as they are now, and none for those that are over.
    pub holds: BTreeMap<HoldId, Option<Hold>>,
}

/// All that a ledger goes on from.
#[derive(Clone, Debug, Default)]
pub struct LedgerSnapshot {
    /// Accounts with anything in them.
    pub accounts: BTreeMap<Account, Balance>,
    /// Open holds.
    pub holds: BTreeMap<HoldId, Hold>,
    /// The number of the newest transaction, 0 before the first.
    pub last: u64,
}
