//! Accounts of clients without a key: each is that of the client's derived key in the
//! index's ledger, which keeps the books and the rules.

use embermesh_client::{Client, ClientError, ledger::Settlement};
use embermesh_crypto::{UnixMillis, ids::PeerId};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        accounts::{Accounts, Balance, Hold, Micros, Movement},
    },
};
use embermesh_job::{
    ledger::{Account, Ask, HoldId, Key, Subject, Transaction, Why},
    spec::JobSpec,
    units::{MicroUnits, Millis},
};

use crate::{Gateway, failure, nodes::itself};

/// The most transactions of an account that a history goes back.
const LONGEST_HISTORY: usize = 10_000;
/// How far back a hold is looked for that was placed before under the same key.
const PLACED_BEFORE: usize = 1_000;

#[tonic::async_trait]
impl Accounts for Gateway {
    async fn balance(&self, who: &Principal) -> Result<Balance, Failure> {
        let client = self.inner.clients.of(who).await?;
        let has = client
            .balance(None)
            .await
            .map_err(|error| refused(&error))?;
        Ok(Balance {
            available: has.available.0,
            held: has.held.0,
        })
    }

    async fn hold(
        &self,
        who: &Principal,
        amount: Micros,
        subject: &str,
        expires: UnixMillis,
        key: &str,
    ) -> Result<Hold, Failure> {
        let client = self.inner.clients.of(who).await?;
        let key = once(key)?;
        let lifetime = expires.0.saturating_sub(UnixMillis::now().0);
        if lifetime == 0 {
            return Err(Failure::invalid(
                "the time of the hold is over: give a later one",
            ));
        }
        let amount = MicroUnits(amount);
        let subject = of(subject)?;
        let placed = client.hold(key.clone(), None, amount, &subject, Millis(lifetime));
        let number = match placed.await {
            Ok(placed) => placed.number,
            // A lifetime that began at another time is another request, though the hold
            // is the same.
            Err(ClientError::Refused { code, .. }) if code == "key_reused" => {
                placed_before(&client, &key, amount).await?
            }
            Err(error) => return Err(refused(&error)),
        };
        Ok(Hold {
            id: number.to_string(),
            amount: amount.0,
            expires,
        })
    }

    async fn settle(
        &self,
        who: &Principal,
        hold: &str,
        to: Option<&Principal>,
        key: &str,
    ) -> Result<Movement, Failure> {
        let client = self.inner.clients.of(who).await?;
        let (number, amount) = placed(&client, hold).await?;
        let settlement = match to {
            None => Settlement::Release,
            Some(to) => Settlement::Capture {
                to: self.inner.clients.account(to),
                amount,
            },
        };
        let settled = client.settle(once(key)?, HoldId(number), settlement).await;
        let settled = settled.map_err(|error| refused(&error))?;
        Ok(movement(&settled, client.peer_id()))
    }

    async fn transfer(
        &self,
        who: &Principal,
        to: &Principal,
        amount: Micros,
        key: &str,
    ) -> Result<Movement, Failure> {
        let client = self.inner.clients.of(who).await?;
        let account = self.inner.clients.account(to);
        let amount = MicroUnits(amount);
        let subject = of(&to.name)?;
        let paid = client.transfer(once(key)?, None, account, amount, &subject);
        let paid = paid.await.map_err(|error| refused(&error))?;
        Ok(movement(&paid, client.peer_id()))
    }

    async fn history(
        &self,
        who: &Principal,
        skip: usize,
        most: usize,
    ) -> Result<(Vec<Movement>, u64), Failure> {
        let client = self.inner.clients.of(who).await?;
        let all = client.history(None, LONGEST_HISTORY).await;
        let all = all.map_err(|error| refused(&error))?;
        let total = all.len() as u64;
        let page = all.iter().skip(skip).take(most);
        let page = page.map(|one| movement(one, client.peer_id())).collect();
        Ok((page, total))
    }

    async fn quote(&self, spec: &JobSpec) -> Result<Micros, Failure> {
        let client = self.inner.clients.of(&itself()).await?;
        let quoted = client.quote(spec).await.map_err(|error| refused(&error))?;
        if quoted.quote.nodes == 0 {
            let message = "no node that is here now could run it, so nothing is known of its price";
            return Err(Failure::new(ErrorCode::Precondition, message));
        }
        Ok(quoted.quote.most.0)
    }
}

/// The name of a request in the ledger, of a fixed length whatever the name here.
fn once(key: &str) -> Result<Key, Failure> {
    Key::new(blake3::hash(key.as_bytes()).as_bytes())
        .map_err(|error| Failure::invalid(error.to_string()))
}

/// What something is for.
fn of(subject: &str) -> Result<Subject, Failure> {
    subject
        .parse()
        .map_err(|error: embermesh_job::ledger::refused::InvalidText| {
            Failure::invalid(error.to_string())
        })
}

impl Gateway {
    /// Settles a hold with so much for somebody, and gives the rest back; all of it where
    /// nobody is paid.
    pub(crate) async fn settle_part(
        &self,
        who: &Principal,
        hold: &str,
        to: Option<&Principal>,
        amount: MicroUnits,
        key: &str,
    ) -> Result<Movement, Failure> {
        let client = self.inner.clients.of(who).await?;
        let number = hold
            .parse()
            .map_err(|_| Failure::not_found(format!("you have placed no hold {hold:?}")))?;
        let settlement = to.map_or(Settlement::Release, |to| Settlement::Capture {
            to: self.inner.clients.account(to),
            amount,
        });
        let settled = client.settle(once(key)?, HoldId(number), settlement).await;
        let settled = settled.map_err(|error| refused(&error))?;
        Ok(movement(&settled, client.peer_id()))
    }

    /// What a hold of somebody's has set aside.
    pub(crate) async fn held(&self, who: &Principal, hold: &str) -> Result<Micros, Failure> {
        let client = self.inner.clients.of(who).await?;
        placed(&client, hold).await.map(|(_, amount)| amount.0)
    }
}

/// A hold of a client's by its id: the number of its transaction, and its amount.
async fn placed(client: &Client, hold: &str) -> Result<(u64, MicroUnits), Failure> {
    let unknown = || Failure::not_found(format!("you have placed no hold {hold:?}"));
    let number = hold.parse().map_err(|_| unknown())?;
    let placed = client.transaction(number).await;
    let placed = placed.map_err(|error| refused(&error))?;
    let amount = placed.as_ref().and_then(held_by).ok_or_else(unknown)?;
    Ok((number, amount))
}

/// The amount of the hold that a transaction has placed.
fn held_by(placed: &Transaction) -> Option<MicroUnits> {
    match &placed.why {
        Why::Asked {
            ask: Ask::Hold { amount, .. },
            ..
        } => Some(*amount),
        _ => None,
    }
}

/// The hold of this amount that was placed before under a key.
async fn placed_before(client: &Client, key: &Key, amount: MicroUnits) -> Result<u64, Failure> {
    let recent = client.history(None, PLACED_BEFORE).await;
    let recent = recent.map_err(|error| refused(&error))?;
    let before = recent.iter().find(|one| match &one.why {
        Why::Asked { key: used, .. } => used == key && held_by(one) == Some(amount),
        Why::Expired { .. } => false,
    });
    before.map(|before| before.number).ok_or_else(|| {
        let message = "this was asked before, of another amount or long ago: ask anew";
        Failure::new(ErrorCode::Exists, message)
    })
}

/// A transaction as one side of it sees it: by what can be spent.
pub(crate) fn movement(done: &Transaction, account: PeerId) -> Movement {
    let own = |posting: &&embermesh_job::ledger::Posting| posting.account == Account::Peer(account);
    Movement {
        id: done.number.to_string(),
        at: done.at,
        amount: done
            .postings
            .iter()
            .find(own)
            .map_or(0, |own| own.available),
        kind: match &done.why {
            Why::Asked { ask, .. } => ask.kind(),
            Why::Expired { .. } => "release",
        },
        subject: done.subject.to_string(),
    }
}

/// What a refusal of the ledger means to a foreign client, by its stable word.
pub(crate) fn refused(error: &ClientError) -> Failure {
    let ClientError::Refused { code, message, .. } = error else {
        return failure::failure(error);
    };
    let code = match code.as_str() {
        "zero_amount" | "amount_too_large" | "same_account" | "capture_too_large" | "lifetime" => {
            ErrorCode::Invalid
        }
        "insufficient_funds" | "hold_expired" => ErrorCode::Precondition,
        "no_hold" => ErrorCode::NotFound,
        "key_reused" => ErrorCode::Exists,
        "too_many_holds" | "holds_full" | "too_many_accounts" | "issuance_full" => {
            ErrorCode::Exhausted
        }
        _ => ErrorCode::Denied,
    };
    Failure::new(code, message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_their_word() {
        for (word, code) in [
            ("insufficient_funds", ErrorCode::Precondition),
            ("no_hold", ErrorCode::NotFound),
            ("not_its_holder", ErrorCode::Denied),
            ("zero_amount", ErrorCode::Invalid),
            ("too_many_holds", ErrorCode::Exhausted),
        ] {
            let error = ClientError::Refused {
                who: "index".to_owned(),
                code: word.to_owned(),
                message: "why".to_owned(),
            };
            assert_eq!(refused(&error).code, code, "{word}");
        }
    }
}
