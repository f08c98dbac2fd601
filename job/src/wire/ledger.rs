//! Transactions of the ledger.

use embermesh_crypto::{PeerId, time::UnixMillis};
use embermesh_proto::v1::{self, ledger_transaction as parts};

use super::{InvalidMessage, list, peer};
use crate::{
    ledger::{Account, Ask, HoldId, Key, Posting, Subject, Transaction, Why},
    units::MicroUnits,
};

impl From<Transaction> for v1::LedgerTransaction {
    fn from(transaction: Transaction) -> Self {
        let (caller, idempotency_key, why) = match transaction.why {
            Why::Asked { caller, key, ask } => {
                let key = prost::bytes::Bytes::copy_from_slice(key.as_bytes());
                (caller.to_string(), key, asked(&ask))
            }
            Why::Expired { hold } => {
                let over = parts::Why::Expiry(parts::Released { hold: hold.0 });
                (String::new(), prost::bytes::Bytes::new(), over)
            }
        };
        Self {
            number: transaction.number,
            at_ms: transaction.at.0,
            caller,
            idempotency_key,
            subject: transaction.subject.to_string(),
            why: Some(why),
            postings: transaction
                .postings
                .iter()
                .map(|posting| parts::Posting {
                    account: match posting.account {
                        Account::Issuance => String::new(),
                        Account::Peer(peer) => peer.to_string(),
                    },
                    available_micros: posting.available,
                    held_micros: posting.held,
                })
                .collect(),
        }
    }
}

fn asked(ask: &Ask) -> parts::Why {
    match ask {
        Ask::Deposit { to, amount, .. } => parts::Why::Deposit(parts::Deposited {
            to: to.to_string(),
            amount_micros: amount.0,
        }),
        Ask::Transfer {
            from, to, amount, ..
        } => parts::Why::Transfer(parts::Transferred {
            from: from.to_string(),
            to: to.to_string(),
            amount_micros: amount.0,
        }),
        Ask::Hold {
            from,
            amount,
            lifetime_ms,
            ..
        } => parts::Why::Hold(parts::Held {
            from: from.to_string(),
            amount_micros: amount.0,
            lifetime_ms: *lifetime_ms,
        }),
        Ask::Capture { hold, to, amount } => parts::Why::Capture(parts::Captured {
            hold: hold.0,
            to: to.to_string(),
            amount_micros: amount.0,
        }),
        Ask::Release { hold } => parts::Why::Release(parts::Released { hold: hold.0 }),
    }
}

impl TryFrom<v1::LedgerTransaction> for Transaction {
    type Error = InvalidMessage;

    fn try_from(wire: v1::LedgerTransaction) -> Result<Self, Self::Error> {
        let subject: Subject = ledger_subject(&wire.subject)?;
        let why = wire.why.ok_or_else(|| InvalidMessage::missing("why"))?;
        let ask = match why {
            parts::Why::Deposit(deposit) => Ask::Deposit {
                to: peer("to", &deposit.to)?,
                amount: MicroUnits(deposit.amount_micros),
                subject: subject.clone(),
            },
            parts::Why::Transfer(transfer) => Ask::Transfer {
                from: peer("from", &transfer.from)?,
                to: peer("to", &transfer.to)?,
                amount: MicroUnits(transfer.amount_micros),
                subject: subject.clone(),
            },
            parts::Why::Hold(hold) => Ask::Hold {
                from: peer("from", &hold.from)?,
                amount: MicroUnits(hold.amount_micros),
                subject: subject.clone(),
                lifetime_ms: hold.lifetime_ms,
            },
            parts::Why::Capture(capture) => Ask::Capture {
                hold: HoldId(capture.hold),
                to: peer("to", &capture.to)?,
                amount: MicroUnits(capture.amount_micros),
            },
            parts::Why::Release(release) => Ask::Release {
                hold: HoldId(release.hold),
            },
            parts::Why::Expiry(over) => {
                let why = Why::Expired {
                    hold: HoldId(over.hold),
                };
                return transaction(wire.number, wire.at_ms, why, subject, wire.postings);
            }
        };
        let why = Why::Asked {
            caller: peer("caller", &wire.caller)?,
            key: ledger_key(&wire.idempotency_key)?,
            ask,
        };
        transaction(wire.number, wire.at_ms, why, subject, wire.postings)
    }
}

fn transaction(
    number: u64,
    at_ms: u64,
    why: Why,
    subject: Subject,
    postings: Vec<parts::Posting>,
) -> Result<Transaction, InvalidMessage> {
    Ok(Transaction {
        number,
        at: UnixMillis(at_ms),
        why,
        subject,
        postings: list("postings", postings, |posting| {
            Ok(Posting {
                account: match posting.account.as_str() {
                    "" => Account::Issuance,
                    text => Account::Peer(peer("account", text)?),
                },
                available: posting.available_micros,
                held: posting.held_micros,
            })
        })?,
    })
}

/// The idempotency key of a request to the ledger.
///
/// # Errors
/// When it is empty or too long.
pub fn ledger_key(bytes: &[u8]) -> Result<Key, InvalidMessage> {
    Key::new(bytes).map_err(|error| InvalidMessage::new("idempotency_key", error))
}

/// The subject of a transaction.
///
/// # Errors
/// When it is too long or cannot be shown.
pub fn ledger_subject(text: &str) -> Result<Subject, InvalidMessage> {
    text.parse()
        .map_err(|error| InvalidMessage::new("subject", error))
}

/// An account that a request names, or the caller's own where it names none.
///
/// # Errors
/// When it is no peer id.
pub fn account_or(
    field: &'static str,
    text: &str,
    caller: PeerId,
) -> Result<PeerId, InvalidMessage> {
    match text {
        "" => Ok(caller),
        text => peer(field, text),
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::keys::Keypair;

    use super::*;

    fn peer(n: u8) -> PeerId {
        Keypair::from_seed(&[n; 32]).peer_id()
    }

    fn all_kinds() -> Vec<Why> {
        let (from, to, amount) = (peer(1), peer(2), MicroUnits(7));
        let subject: Subject = "job 7".parse().unwrap();
        let asks = [
            Ask::Deposit {
                to,
                amount,
                subject: subject.clone(),
            },
            Ask::Transfer {
                from,
                to,
                amount,
                subject: subject.clone(),
            },
            Ask::Hold {
                from,
                amount,
                subject,
                lifetime_ms: 9,
            },
            Ask::Capture {
                hold: HoldId(3),
                to,
                amount,
            },
            Ask::Release { hold: HoldId(3) },
        ];
        let asked = asks.into_iter().map(|ask| Why::Asked {
            caller: peer(3),
            key: Key::new(b"key").unwrap(),
            ask,
        });
        asked.chain([Why::Expired { hold: HoldId(3) }]).collect()
    }

    #[test]
    fn a_transaction_comes_back_as_it_went() {
        for why in all_kinds() {
            let sent = Transaction {
                number: 4,
                at: UnixMillis(5),
                why,
                subject: "job 7".parse().unwrap(),
                postings: vec![
                    Posting {
                        account: Account::Issuance,
                        available: -7,
                        held: 0,
                    },
                    Posting {
                        account: Account::Peer(peer(1)),
                        available: 3,
                        held: 4,
                    },
                ],
            };
            let wire = v1::LedgerTransaction::from(sent.clone());
            assert_eq!(Transaction::try_from(wire.clone()), Ok(sent));
            let bare = v1::LedgerTransaction { why: None, ..wire };
            assert!(Transaction::try_from(bare).is_err());
        }
    }
}
