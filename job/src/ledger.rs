//! A ledger of accounts in whole millionths of a unit, by double entry.
//!
//! - [`words`]: who asks for what, under which key.
//! - [`books`]: accounts, postings, holds and transactions as they are kept.
//! - `plan`: what a request comes to, and whether the rules allow it.
//! - `restore`: how a ledger goes on from what was kept.
//! - `recent`: the newest idempotency keys; [`refused`]: why something was not done.
//!
//! An account is a key: users, nodes and the users of foreign systems all have
//! one. What is in it is *available* or *held*: set aside for a subject until it is
//! captured or released, or until its time is over. Money comes into being by a
//! deposit alone, which leaves the issuance account below zero by as much, so the
//! sum of everything is zero after each transaction.
//!
//! Who may do what:
//!
//! - Anybody transfers from his own account, holds in it, and looks at it.
//! - An administrator may do so for any account, and is the only one who deposits.
//! - A hold is captured or released by who placed it, and by administrators. Whoever
//!   holds in his own account may change his mind; what an administrator has set
//!   aside for work that others do is not the payer's to take back.
//! - Nobody is asked whether he wants to be paid.
//!
//! The rules do no IO and read no clock. What is on disk alone, the transactions of
//! before, comes in by [`Seen`]: whoever calls looks the key up first and says how far
//! it has looked.

pub mod books;
mod plan;
mod recent;
pub mod refused;
mod restore;
pub mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use embermesh_crypto::{ids::PeerId, time::UnixMillis};

pub use self::{
    books::{Account, Balance, Changes, Hold, LedgerSnapshot, Posting, Transaction, Why},
    refused::{InvalidLedger, Refused},
    words::{Ask, Caller, HoldId, Key, Request, Seen, Subject},
};
use self::{plan::Plan, recent::Recent};
use crate::units::MAX_EXACT;

/// The most that can be in all accounts together, in millionths of a unit: every
/// balance is a number that any JSON keeps exact.
pub const MAX_ISSUED: u64 = MAX_EXACT;

/// The longest life of a hold, in milliseconds.
pub const MAX_LIFETIME_MS: u64 = 366 * 24 * 3_600 * 1_000;

/// The life of a hold that only a settlement ends: for administrators, who set money
/// aside for something that has an end of its own.
pub const UNTIL_SETTLED: u64 = 0;

/// How much a ledger keeps in memory. What is full refuses; nothing is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most accounts with anything in them.
    pub accounts: usize,
    /// The most open holds.
    pub holds: usize,
    /// The most open holds of one account.
    pub holds_per_account: usize,
    /// The newest transactions whose keys are known without a look at the disk.
    pub recent: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            accounts: 1 << 20,
            holds: 1 << 18,
            holds_per_account: 1 << 10,
            recent: 1 << 13,
        }
    }
}

/// What is in an account, and how many holds that is.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    balance: Balance,
    holds: usize,
}

/// Every balance and every open hold.
#[derive(Debug)]
pub struct Ledger {
    bounds: Bounds,
    /// Accounts with anything in them.
    accounts: BTreeMap<Account, Entry>,
    holds: BTreeMap<HoldId, Hold>,
    /// When each hold is released by itself.
    due: BTreeSet<(UnixMillis, HoldId)>,
    recent: Recent,
    /// The number of the newest transaction.
    last: u64,
    changes: Changes,
}

impl Ledger {
    /// Does what is asked, once. The same request again, under the same key, gives
    /// the same transaction; what was refused has left nothing behind and may
    /// be asked again.
    ///
    /// # Errors
    /// When the rules do not allow it; nothing has changed then.
    pub fn apply(&mut self, request: Request, now: UnixMillis) -> Result<Transaction, Refused> {
        let Request {
            caller,
            key,
            ask,
            seen,
        } = request;
        if let Some(earlier) = self.recent.find(caller.peer, &key) {
            return repeated(earlier, &ask);
        }
        match seen {
            Seen::Earlier(earlier) => return repeated(&earlier, &ask),
            Seen::NotUpTo(number) if number < self.recent.complete_after() => {
                return Err(Refused::LookAgain);
            }
            Seen::NotUpTo(_) => {}
        }
        let plan = self.plan(&ask, caller, now)?;
        let why = Why::Asked {
            caller: caller.peer,
            key,
            ask,
        };
        let done = self.carry_out(plan, why, now)?;
        self.recent.remember(done.clone());
        Ok(done)
    }

    /// Releases holds whose time is over, the oldest first, at most `most`; says
    /// how many.
    pub fn expire(&mut self, now: UnixMillis, most: usize) -> usize {
        let due: Vec<HoldId> = self
            .due
            .range(..=(now, HoldId(u64::MAX)))
            .take(most)
            .map(|(_, id)| *id)
            .collect();
        let mut released = 0;
        for id in due {
            let Some(hold) = self.holds.get(&id) else {
                continue;
            };
            let plan = Plan {
                postings: vec![hold.back()],
                subject: hold.subject.clone(),
                opens: None,
                closes: Some(id),
            };
            // What is held is there, so this cannot be refused.
            if self.carry_out(plan, Why::Expired { hold: id }, now).is_ok() {
                released += 1;
            }
        }
        released
    }

    /// When the next hold is over.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is in an account.
    ///
    /// # Errors
    /// When it is another's and the caller is no administrator.
    pub fn balance(&self, caller: Caller, account: PeerId) -> Result<Balance, Refused> {
        caller.must_act_for(account)?;
        Ok(self.balance_of(Account::Peer(account)))
    }

    /// What is in any account, for whoever keeps the books.
    #[must_use]
    pub fn balance_of(&self, account: Account) -> Balance {
        self.accounts
            .get(&account)
            .map(|entry| entry.balance)
            .unwrap_or_default()
    }

    /// The open holds, by number.
    #[must_use]
    pub fn holds(&self) -> &BTreeMap<HoldId, Hold> {
        &self.holds
    }

    /// The number of the newest transaction.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What must be made durable since this was last asked.
    pub fn take_changes(&mut self) -> Option<Changes> {
        let changes = std::mem::take(&mut self.changes);
        (!changes.transactions.is_empty()).then_some(changes)
    }

    /// Makes a plan true: all of it or nothing.
    fn carry_out(&mut self, plan: Plan, why: Why, now: UnixMillis) -> Result<Transaction, Refused> {
        let number = self.last.checked_add(1).ok_or(Refused::Overflow)?;
        let mut after = Vec::with_capacity(plan.postings.len());
        let mut new = 0;
        for posting in &plan.postings {
            let balance = self.balance_of(posting.account).changed_by(posting)?;
            new += usize::from(!self.accounts.contains_key(&posting.account));
            after.push((posting.account, balance));
        }
        if new > 0 && self.accounts.len() + new > self.bounds.accounts {
            return Err(Refused::TooManyAccounts {
                most: self.bounds.accounts,
            });
        }
        for (account, balance) in after {
            self.accounts.entry(account).or_default().balance = balance;
            self.changes.accounts.insert(account, balance);
        }
        if let Some(hold) = plan.closes.and_then(|id| self.close(id)) {
            self.count_holds(hold.payer, |holds| holds.saturating_sub(1));
        }
        if let Some(hold) = plan.opens {
            self.count_holds(hold.payer, |holds| holds + 1);
            self.open(HoldId(number), hold);
        }
        for posting in &plan.postings {
            if self.balance_of(posting.account) == Balance::default() {
                self.accounts.remove(&posting.account);
            }
        }
        self.last = number;
        let done = Transaction {
            number,
            at: now,
            why,
            subject: plan.subject,
            postings: plan.postings,
        };
        self.changes.transactions.push(done.clone());
        Ok(done)
    }

    fn open(&mut self, id: HoldId, hold: Hold) {
        self.due.insert((hold.expires_at, id));
        self.changes.holds.insert(id, Some(hold.clone()));
        self.holds.insert(id, hold);
    }

    fn close(&mut self, id: HoldId) -> Option<Hold> {
        let hold = self.holds.remove(&id)?;
        self.due.remove(&(hold.expires_at, id));
        self.changes.holds.insert(id, None);
        Some(hold)
    }

    fn count_holds(&mut self, payer: PeerId, change: impl FnOnce(usize) -> usize) {
        if let Some(entry) = self.accounts.get_mut(&Account::Peer(payer)) {
            entry.holds = change(entry.holds);
        }
    }
}

/// The answer to a key that is known: the same as before, to the same request.
fn repeated(earlier: &Transaction, ask: &Ask) -> Result<Transaction, Refused> {
    match &earlier.why {
        Why::Asked { ask: before, .. } if before == ask => Ok(earlier.clone()),
        _ => Err(Refused::KeyReused {
            number: earlier.number,
        }),
    }
}
