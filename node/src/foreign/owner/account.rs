//! The account of the node's key, as each index that it registers with keeps it.

use std::{collections::BTreeMap, time::Duration};

use embermesh_client::{Client, ClientError, Options};
use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::owner::records::{Earned, Wallet},
};
use embermesh_job::ledger::{Account, Ask, Transaction, Why};
use tokio::{sync::Mutex, time::timeout};

use super::Foreign;
use crate::foreign::failure;

/// How long an index may take to tell of an account.
const ACCOUNT_WAIT: Duration = Duration::from_secs(5);
/// Transactions of an index that are looked back at.
const LOOK_BACK: usize = 5000;
/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// The node as a client of its indexes, by their addresses.
#[derive(Default)]
pub(super) struct Accounts(Mutex<BTreeMap<String, Client>>);

impl Foreign {
    /// What is in the account at every index that answers.
    pub(super) async fn purse(&self) -> Result<Wallet, Failure> {
        let mut wallet = Wallet {
            account: self.inner.parts.site.me().to_string(),
            available: 0,
            held: 0,
            reached: false,
        };
        for index in &self.inner.parts.indexes {
            let funds = timeout(ACCOUNT_WAIT, async {
                self.client(index).await?.balance(None).await
            });
            let Some(funds) = answered(index, funds.await) else {
                continue;
            };
            wallet.available = wallet.available.saturating_add(funds.available.0);
            wallet.held = wallet.held.saturating_add(funds.held.0);
            wallet.reached = true;
        }
        Ok(wallet)
    }

    /// What the account has been paid at every index that answers.
    pub(super) async fn paid(&self, since: UnixMillis) -> Result<Earned, Failure> {
        let parts = &self.inner.parts;
        let (me, now) = (parts.site.me(), UnixMillis::now());
        let mut earned = Earned::default();
        let mut reached = parts.indexes.is_empty();
        for index in &parts.indexes {
            let history = timeout(ACCOUNT_WAIT, async {
                self.client(index).await?.history(None, LOOK_BACK).await
            });
            let Some(history) = answered(index, history.await) else {
                continue;
            };
            reached = true;
            history
                .iter()
                .for_each(|one| add(&mut earned, one, me, since, now));
        }
        if !reached {
            let message = "no index answers, and what was paid is known nowhere else: try again";
            return Err(Failure::new(ErrorCode::Unavailable, message));
        }
        let completed = parts.site.store.succeeded().await;
        earned.completed = completed.map_err(|error| failure::store(&error))?;
        let models = parts.site.residents.owned();
        earned.made = models.iter().map(|owned| owned.model.tokens).sum();
        Ok(earned)
    }

    /// The node as a client of an index.
    async fn client(&self, index: &str) -> Result<Client, ClientError> {
        let mut clients = self.inner.parts.owner.accounts.0.lock().await;
        if let Some(client) = clients.get(index) {
            return Ok(client.clone());
        }
        let site = &self.inner.parts.site;
        let options = Options {
            membership: site.mesh.membership().clone(),
            ..Options::default()
        };
        let client = Client::connect(index.parse()?, site.keypair.clone(), options);
        let client = Box::pin(client).await?;
        clients.insert(index.to_owned(), client.clone());
        Ok(client)
    }
}

/// What an index has told, if it has.
fn answered<T>(
    index: &str,
    told: Result<Result<T, ClientError>, tokio::time::error::Elapsed>,
) -> Option<T> {
    match told {
        Ok(Ok(told)) => Some(told),
        Ok(Err(error)) => {
            tracing::debug!(index, %error, "the index does not tell of the account");
            None
        }
        Err(_) => {
            tracing::debug!(index, "the index takes too long to tell of the account");
            None
        }
    }
}

/// Counts what a transaction has paid to an account. What its owner has brought in, or
/// got back, is no pay.
fn add(earned: &mut Earned, one: &Transaction, me: PeerId, since: UnixMillis, now: UnixMillis) {
    let Why::Asked { ask, .. } = &one.why else {
        return;
    };
    let amount = match ask {
        Ask::Transfer {
            from, to, amount, ..
        } if *to == me && *from != me => amount.0,
        Ask::Capture { to, amount, .. } if *to == me && !is_own(one, me) => amount.0,
        _ => return,
    };
    let ago = now.0.saturating_sub(one.at.0);
    let midnight = now.0 - now.0 % DAY;
    let mut count = |counts: bool, sum: fn(&mut Earned) -> &mut u64| {
        if counts {
            let sum = sum(earned);
            *sum = sum.saturating_add(amount);
        }
    };
    count(one.at.0 >= midnight, |earned| &mut earned.today);
    count(ago < 7 * DAY, |earned| &mut earned.week);
    count(ago < 30 * DAY, |earned| &mut earned.month);
    count(one.at >= since, |earned| &mut earned.all);
}

/// Whether what was captured had been set aside in the same account.
fn is_own(one: &Transaction, me: PeerId) -> bool {
    let own = |posting: &embermesh_job::ledger::Posting| {
        posting.account == Account::Peer(me) && posting.held < 0
    };
    one.postings.iter().any(own)
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::keys::Keypair;
    use embermesh_job::{
        ledger::{HoldId, Key, Posting, Subject},
        units::MicroUnits,
    };

    use super::*;

    const NOW: UnixMillis = UnixMillis(1000 * DAY + 5);

    fn peer(seed: u8) -> PeerId {
        Keypair::from_seed(&[seed; 32]).peer_id()
    }

    fn transaction(at: u64, ask: Ask, payer: PeerId) -> Transaction {
        Transaction {
            number: 1,
            at: UnixMillis(at),
            why: Why::Asked {
                caller: payer,
                key: Key::from([0; 16]),
                ask,
            },
            subject: Subject::default(),
            postings: vec![Posting {
                account: Account::Peer(payer),
                available: 0,
                held: -7,
            }],
        }
    }

    fn earned(at: u64, ask: Ask, payer: PeerId) -> Earned {
        let mut earned = Earned::default();
        let since = UnixMillis(900 * DAY);
        add(
            &mut earned,
            &transaction(at, ask, payer),
            peer(1),
            since,
            NOW,
        );
        earned
    }

    fn capture(to: PeerId) -> Ask {
        Ask::Capture {
            hold: HoldId(1),
            to,
            amount: MicroUnits(7),
        }
    }

    #[test]
    fn what_is_paid_counts_in_the_spans_that_it_lies_in() {
        for (at, expected) in [
            (NOW.0, [7, 7, 7, 7]),
            (NOW.0 - 6, [0, 7, 7, 7]),
            (NOW.0 - 7 * DAY, [0, 0, 7, 7]),
            (NOW.0 - 30 * DAY, [0, 0, 0, 7]),
            (900 * DAY - 1, [0, 0, 0, 0]),
        ] {
            let earned = earned(at, capture(peer(1)), peer(2));
            let spans = [earned.today, earned.week, earned.month, earned.all];
            assert_eq!(spans, expected, "{at}");
        }
    }

    #[test]
    fn what_the_owner_moves_himself_is_no_pay() {
        let amount = MicroUnits(7);
        let subject = Subject::default;
        for (ask, payer, paid) in [
            (capture(peer(1)), peer(2), 7),
            // Of a hold of his own, to somebody else, brought in, given away.
            (capture(peer(1)), peer(1), 0),
            (capture(peer(3)), peer(2), 0),
            (
                Ask::Deposit {
                    to: peer(1),
                    amount,
                    subject: subject(),
                },
                peer(2),
                0,
            ),
            (
                Ask::Transfer {
                    from: peer(2),
                    to: peer(1),
                    amount,
                    subject: subject(),
                },
                peer(2),
                7,
            ),
            (
                Ask::Transfer {
                    from: peer(1),
                    to: peer(2),
                    amount,
                    subject: subject(),
                },
                peer(1),
                0,
            ),
            (Ask::Release { hold: HoldId(1) }, peer(1), 0),
        ] {
            assert_eq!(earned(NOW.0, ask.clone(), payer).all, paid, "{ask:?}");
        }
    }
}
