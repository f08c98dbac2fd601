//! How a ledger goes on from what was kept: only where it does not contradict itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Account, Bounds, Changes, Entry, InvalidLedger, Ledger, LedgerSnapshot, recent::Recent,
};

impl Ledger {
    /// Goes on from what was kept, or begins with nothing.
    ///
    /// # Errors
    /// When what was kept contradicts itself: a ledger that does not sum to zero
    /// must be looked at by people.
    pub fn restore(snapshot: LedgerSnapshot, bounds: Bounds) -> Result<Self, InvalidLedger> {
        let mut ledger = Self {
            bounds,
            accounts: BTreeMap::new(),
            holds: BTreeMap::new(),
            due: BTreeSet::new(),
            recent: Recent::new(snapshot.last, bounds.recent),
            last: snapshot.last,
            changes: Changes::default(),
        };
        let mut sum = 0i128;
        let mut held: BTreeMap<Account, i128> = BTreeMap::new();
        for (account, balance) in snapshot.accounts {
            sum += i128::from(balance.available) + i128::from(balance.held);
            held.insert(account, i128::from(balance.held));
            if account != Account::Issuance && balance.available < 0 {
                return Err(InvalidLedger::Negative(account));
            }
            let entry = Entry { balance, holds: 0 };
            ledger.accounts.insert(account, entry);
        }
        if sum != 0 {
            return Err(InvalidLedger::Sum(sum));
        }
        for (id, hold) in snapshot.holds {
            let account = Account::Peer(hold.payer);
            *held.entry(account).or_default() -= i128::from(hold.amount.0);
            if let Some(entry) = ledger.accounts.get_mut(&account) {
                entry.holds += 1;
            }
            ledger.due.insert((hold.expires_at, id));
            ledger.holds.insert(id, hold);
        }
        if let Some((account, _)) = held.into_iter().find(|(_, left)| *left != 0) {
            return Err(InvalidLedger::Held(account));
        }
        Ok(ledger)
    }
}
