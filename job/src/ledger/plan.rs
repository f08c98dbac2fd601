//! What a request comes to: the rules, asked before anything is changed.

use embermesh_crypto::{ids::PeerId, time::UnixMillis};

use super::{
    Account, Ask, Caller, Hold, HoldId, Ledger, MAX_ISSUED, MAX_LIFETIME_MS, Posting, Refused,
    Subject, UNTIL_SETTLED,
};
use crate::units::MicroUnits;

/// When a hold is released by itself that only a settlement ends: no clock comes there,
/// and databases with signed numbers can keep it.
const NEVER: UnixMillis = UnixMillis(i64::MAX.unsigned_abs());

/// What a request comes to, before anything is changed.
pub(super) struct Plan {
    pub(super) postings: Vec<Posting>,
    pub(super) subject: Subject,
    pub(super) opens: Option<Hold>,
    pub(super) closes: Option<HoldId>,
}

impl Ledger {
    /// What a request comes to.
    pub(super) fn plan(&self, ask: &Ask, caller: Caller, now: UnixMillis) -> Result<Plan, Refused> {
        let amount = ask.amount();
        if amount == Some(MicroUnits(0)) {
            return Err(Refused::ZeroAmount);
        }
        let moved = signed(amount.unwrap_or_default())?;
        let plan = |postings, subject: &Subject| Plan {
            postings,
            subject: subject.clone(),
            opens: None,
            closes: None,
        };
        match ask {
            Ask::Deposit { to, subject, .. } => {
                caller.must_administer()?;
                let issued = self.balance_of(Account::Issuance).available.unsigned_abs();
                let room = MAX_ISSUED.saturating_sub(issued);
                if moved.unsigned_abs() > room {
                    return Err(Refused::IssuanceFull { room });
                }
                let issuance = Posting::available(Account::Issuance, -moved);
                let postings = vec![issuance, Posting::available(Account::Peer(*to), moved)];
                Ok(plan(postings, subject))
            }
            Ask::Transfer {
                from, to, subject, ..
            } => {
                caller.must_act_for(*from)?;
                other_than(from, to)?;
                self.must_have(*from, moved)?;
                let paid = Posting::available(Account::Peer(*from), -moved);
                let postings = vec![paid, Posting::available(Account::Peer(*to), moved)];
                Ok(plan(postings, subject))
            }
            Ask::Hold {
                from,
                amount,
                subject,
                lifetime_ms,
            } => {
                caller.must_act_for(*from)?;
                let expires_at = expiry(*lifetime_ms, caller, now)?;
                self.must_have(*from, moved)?;
                self.must_have_room_for_hold(*from)?;
                let aside = Posting {
                    account: Account::Peer(*from),
                    available: -moved,
                    held: moved,
                };
                let hold = Hold {
                    payer: *from,
                    placed_by: caller.peer,
                    amount: *amount,
                    subject: subject.clone(),
                    expires_at,
                };
                Ok(Plan {
                    opens: Some(hold),
                    ..plan(vec![aside], subject)
                })
            }
            Ask::Capture { hold: id, to, .. } => {
                let hold = self.settleable(*id, caller, now)?;
                other_than(&hold.payer, to)?;
                let whole = signed(hold.amount)?;
                if moved > whole {
                    return Err(Refused::CaptureTooLarge { held: hold.amount });
                }
                let spent = Posting {
                    account: Account::Peer(hold.payer),
                    available: whole - moved,
                    held: -whole,
                };
                let postings = vec![spent, Posting::available(Account::Peer(*to), moved)];
                Ok(Plan {
                    closes: Some(*id),
                    ..plan(postings, &hold.subject)
                })
            }
            Ask::Release { hold: id } => {
                let hold = self.settleable(*id, caller, now)?;
                Ok(Plan {
                    closes: Some(*id),
                    ..plan(vec![hold.back()], &hold.subject)
                })
            }
        }
    }

    fn must_have(&self, account: PeerId, wanted: i64) -> Result<(), Refused> {
        let available = self.balance_of(Account::Peer(account)).available;
        if available < wanted {
            return Err(Refused::InsufficientFunds {
                available: MicroUnits(available.unsigned_abs()),
                wanted: MicroUnits(wanted.unsigned_abs()),
            });
        }
        Ok(())
    }

    fn must_have_room_for_hold(&self, account: PeerId) -> Result<(), Refused> {
        let open = self.accounts.get(&Account::Peer(account));
        if open.is_some_and(|entry| entry.holds >= self.bounds.holds_per_account) {
            return Err(Refused::TooManyHolds {
                most: self.bounds.holds_per_account,
            });
        }
        if self.holds.len() >= self.bounds.holds {
            return Err(Refused::HoldsFull {
                most: self.bounds.holds,
            });
        }
        Ok(())
    }

    /// An open hold that the caller may settle.
    fn settleable(&self, id: HoldId, caller: Caller, now: UnixMillis) -> Result<&Hold, Refused> {
        let hold = self.holds.get(&id).ok_or(Refused::NoHold(id))?;
        if !caller.administrator && caller.peer != hold.placed_by {
            return Err(Refused::NotItsHolder(id));
        }
        if hold.expires_at <= now {
            return Err(Refused::HoldExpired(id));
        }
        Ok(hold)
    }
}

fn other_than(payer: &PeerId, payee: &PeerId) -> Result<(), Refused> {
    if payer == payee {
        return Err(Refused::SameAccount);
    }
    Ok(())
}

/// An amount as a posting has it.
fn signed(amount: MicroUnits) -> Result<i64, Refused> {
    i64::try_from(amount.0)
        .ok()
        .filter(|amount| amount.unsigned_abs() <= MAX_ISSUED)
        .ok_or(Refused::AmountTooLarge)
}

/// When a hold is released by itself.
fn expiry(lifetime_ms: u64, caller: Caller, now: UnixMillis) -> Result<UnixMillis, Refused> {
    match lifetime_ms {
        UNTIL_SETTLED if caller.administrator => Ok(NEVER),
        1..=MAX_LIFETIME_MS => Ok(UnixMillis(now.0.saturating_add(lifetime_ms))),
        _ => Err(Refused::Lifetime),
    }
}
