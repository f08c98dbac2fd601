//! Why a ledger would not do what it was asked: a closed list, each with a stable
//! word and a message that names the cure.

use embermesh_crypto::ids::PeerId;
use thiserror::Error;

use super::{Account, HoldId};
use crate::units::MicroUnits;

/// A refusal. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Nothing would be moved.
    #[error("the amount is zero; name one of at least 0.000001")]
    ZeroAmount,
    /// More than there can ever be.
    #[error("the amount is larger than all the money that there can be; name a smaller one")]
    AmountTooLarge,
    /// Payer and payee are the same.
    #[error("payer and payee are the same account; name another, or release the hold")]
    SameAccount,
    /// There is not enough to spend.
    #[error(
        "{available} are available, and {wanted} are needed; deposit some, or wait for holds to be released"
    )]
    InsufficientFunds {
        /// What can be spent.
        available: MicroUnits,
        /// What was asked for.
        wanted: MicroUnits,
    },
    /// The account is another's.
    #[error("the account {0} belongs to another key; use that key, or an administrator's")]
    NotOwner(PeerId),
    /// The caller may not bring money into being.
    #[error("only the index's own key and its administrators may deposit; ask its operator")]
    NotAdministrator,
    /// There is no such hold any more, or there never was.
    #[error("there is no open hold {0}: look at the history for what became of it")]
    NoHold(HoldId),
    /// The caller did not place the hold.
    #[error("hold {0} was placed by another key; use that key, or an administrator's")]
    NotItsHolder(HoldId),
    /// The time of the hold is over.
    #[error("hold {0} is over and goes back to its payer; place another")]
    HoldExpired(HoldId),
    /// More than was set aside.
    #[error("the hold has {held} and no more can be captured; capture less")]
    CaptureTooLarge {
        /// What was set aside.
        held: MicroUnits,
    },
    /// The life of a hold is out of range.
    #[error("a hold lives from a millisecond to a year; name a time between")]
    Lifetime,
    /// The key names another request of the same caller.
    #[error(
        "this idempotency key was used for another request, transaction {number}; make a new key for each"
    )]
    KeyReused {
        /// The transaction that the key names.
        number: u64,
    },
    /// The disk was looked at too long ago to be sure of the key.
    #[error("the ledger has gone on meanwhile; send the request again under the same key")]
    LookAgain,
    /// Too many holds of one account.
    #[error("the account has {most} open holds and takes no more; capture or release some")]
    TooManyHolds {
        /// The bound.
        most: usize,
    },
    /// Too many holds of all accounts.
    #[error("the ledger has {most} open holds and takes no more; try again when some are over")]
    HoldsFull {
        /// The bound.
        most: usize,
    },
    /// Too many accounts.
    #[error("the ledger has {most} accounts and takes no more; ask the operator of the index")]
    TooManyAccounts {
        /// The bound.
        most: usize,
    },
    /// There is as much money as there can be.
    #[error("only {} more can be deposited; deposit less", MicroUnits(*.room))]
    IssuanceFull {
        /// What can still be issued, in millionths of a unit.
        room: u64,
    },
    /// A sum that cannot be counted.
    #[error("the sum cannot be counted; name a smaller amount")]
    Overflow,
}

impl Refused {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ZeroAmount => "zero_amount",
            Self::AmountTooLarge => "amount_too_large",
            Self::SameAccount => "same_account",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::NotOwner(_) => "not_owner",
            Self::NotAdministrator => "not_administrator",
            Self::NoHold(_) => "no_hold",
            Self::NotItsHolder(_) => "not_its_holder",
            Self::HoldExpired(_) => "hold_expired",
            Self::CaptureTooLarge { .. } => "capture_too_large",
            Self::Lifetime => "lifetime",
            Self::KeyReused { .. } => "key_reused",
            Self::LookAgain => "look_again",
            Self::TooManyHolds { .. } => "too_many_holds",
            Self::HoldsFull { .. } => "holds_full",
            Self::TooManyAccounts { .. } => "too_many_accounts",
            Self::IssuanceFull { .. } => "issuance_full",
            Self::Overflow => "overflow",
        }
    }
}

/// A key or a subject that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidText {
    /// A key that is empty or too long.
    #[error("an idempotency key has from 1 to {most} bytes; 16 random ones are good")]
    Key {
        /// The bound, in bytes.
        most: usize,
    },
    /// A subject that is too long, or cannot be shown.
    #[error("a subject has at most {most} bytes and no control characters; shorten it")]
    Subject {
        /// The bound, in bytes.
        most: usize,
    },
}

/// Books that contradict themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidLedger {
    /// The sum of all balances is not zero.
    #[error(
        "all balances together are {0} millionths and not zero; restore a copy of the database"
    )]
    Sum(i128),
    /// Somebody has less than nothing.
    #[error("the account {0} is below zero; restore a copy of the database")]
    Negative(Account),
    /// An account's holds are not what it has set aside.
    #[error(
        "the account {0} has set aside what its holds do not say; restore a copy of the database"
    )]
    Held(Account),
}
