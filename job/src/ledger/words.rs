//! What a ledger is asked, and by whom.

use std::{fmt, str::FromStr};

use embermesh_crypto::ids::PeerId;
use serde::{Deserialize, Serialize};

use super::{Refused, Transaction, refused::InvalidText};
use crate::units::MicroUnits;

/// The longest idempotency key, in bytes.
pub const MAX_KEY: usize = 64;

/// The longest subject, in bytes of UTF-8.
pub const MAX_SUBJECT: usize = 256;

/// Who asks, and whether he may act for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The proven key.
    pub peer: PeerId,
    /// Whether it is an administrator's.
    pub administrator: bool,
}

impl Caller {
    pub(super) fn must_administer(self) -> Result<(), Refused> {
        if self.administrator {
            Ok(())
        } else {
            Err(Refused::NotAdministrator)
        }
    }

    pub(super) fn must_act_for(self, account: PeerId) -> Result<(), Refused> {
        if self.administrator || self.peer == account {
            Ok(())
        } else {
            Err(Refused::NotOwner(account))
        }
    }
}

/// A caller's name for one request: what is sent again under the same key has one
/// effect. It is remembered as long as its transaction is, which is for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of the caller's choice.
    ///
    /// # Errors
    /// When it is empty or longer than [`MAX_KEY`].
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidText> {
        if bytes.is_empty() || bytes.len() > MAX_KEY {
            return Err(InvalidText::Key { most: MAX_KEY });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 16]> for Key {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes.to_vec())
    }
}

/// What a transaction is for, in the words of who asked; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(String);

impl Subject {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_SUBJECT || text.chars().any(char::is_control) {
            return Err(InvalidText::Subject { most: MAX_SUBJECT });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of the transaction that placed a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HoldId(pub u64);

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing that moves money. Amounts are millionths of a unit and never zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Brings money into an account. For administrators.
    Deposit {
        /// The account.
        to: PeerId,
        /// How much.
        amount: MicroUnits,
        /// What for.
        subject: Subject,
    },
    /// Pays from one account into another. For the payer and administrators.
    Transfer {
        /// Who pays.
        from: PeerId,
        /// Who is paid.
        to: PeerId,
        /// How much.
        amount: MicroUnits,
        /// What for.
        subject: Subject,
    },
    /// Sets an amount aside. For the payer and administrators.
    Hold {
        /// In whose account.
        from: PeerId,
        /// How much.
        amount: MicroUnits,
        /// What for.
        subject: Subject,
        /// For how long, in milliseconds; [`UNTIL_SETTLED`](super::UNTIL_SETTLED) for
        /// a hold that only a settlement ends, which administrators alone may place.
        lifetime_ms: u64,
    },
    /// Pays from a hold, all of it or a part; the rest is released. For who placed
    /// the hold, and administrators.
    Capture {
        /// Which.
        hold: HoldId,
        /// Who is paid.
        to: PeerId,
        /// How much.
        amount: MicroUnits,
    },
    /// Gives a hold back. For who placed it, and administrators.
    Release {
        /// Which.
        hold: HoldId,
    },
}

impl Ask {
    /// How much is to be moved, where that is said.
    #[must_use]
    pub fn amount(&self) -> Option<MicroUnits> {
        match self {
            Self::Deposit { amount, .. }
            | Self::Transfer { amount, .. }
            | Self::Hold { amount, .. }
            | Self::Capture { amount, .. } => Some(*amount),
            Self::Release { .. } => None,
        }
    }

    /// A stable word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Deposit { .. } => "deposit",
            Self::Transfer { .. } => "transfer",
            Self::Hold { .. } => "hold",
            Self::Capture { .. } => "capture",
            Self::Release { .. } => "release",
        }
    }
}

/// What is known of a key from the transactions on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The caller used it before, for this.
    Earlier(Box<Transaction>),
    /// The caller used it for none of the transactions up to this number.
    NotUpTo(u64),
}

/// A request with all that is needed to answer it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub caller: Caller,
    /// The caller's name for it.
    pub key: Key,
    /// What is asked.
    pub ask: Ask,
    /// What is known of the key.
    pub seen: Seen,
}
