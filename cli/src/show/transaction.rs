//! A transaction of the ledger, as a row and as JSON.

use embermesh_crypto::PeerId;
use embermesh_job::{
    ledger::{Account, Transaction, Why},
    units::MicroUnits,
};
use serde_json::{Value, json};

use super::amount;

/// The heads of the columns.
pub(crate) const HEADERS: [&str; 7] = [
    "number",
    "time",
    "kind",
    "available",
    "held",
    "other",
    "subject",
];

/// A stable word for what happened.
pub(crate) fn kind(transaction: &Transaction) -> &'static str {
    match &transaction.why {
        Why::Asked { ask, .. } => ask.kind(),
        Why::Expired { .. } => "expiry",
    }
}

/// A change in units, with its sign.
pub(crate) fn units(micros: i64) -> String {
    let sign = match micros {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", MicroUnits(micros.unsigned_abs()))
}

/// What a transaction did to the account of `whom`.
pub(crate) fn row(transaction: &Transaction, whom: PeerId) -> Vec<String> {
    let own = Account::Peer(whom);
    let mine = transaction.postings.iter().find(|one| one.account == own);
    let others = transaction.postings.iter().filter(|one| one.account != own);
    let others: Vec<String> = others.map(|one| one.account.to_string()).collect();
    vec![
        transaction.number.to_string(),
        amount::instant(transaction.at),
        kind(transaction).to_owned(),
        units(mine.map_or(0, |one| one.available)),
        units(mine.map_or(0, |one| one.held)),
        others.join(" "),
        transaction.subject.to_string(),
    ]
}

/// All of it. An account is a peer id, or null for the issuance.
pub(crate) fn value(transaction: &Transaction) -> Value {
    let postings: Vec<Value> = transaction
        .postings
        .iter()
        .map(|posting| {
            let account = match posting.account {
                Account::Issuance => None,
                Account::Peer(peer) => Some(peer),
            };
            json!({
                "account": account,
                "available_micros": posting.available,
                "held_micros": posting.held,
            })
        })
        .collect();
    let (caller, amount_micros) = match &transaction.why {
        Why::Asked { caller, ask, .. } => (Some(caller), ask.amount().map(|amount| amount.0)),
        Why::Expired { .. } => (None, None),
    };
    json!({
        "number": transaction.number,
        "at_ms": transaction.at,
        "kind": kind(transaction),
        "caller": caller,
        "amount_micros": amount_micros,
        "subject": transaction.subject.as_str(),
        "postings": postings,
    })
}
