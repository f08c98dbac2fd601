//! Accounts through the public face: who may do what, once for each key, and all of
//! it there after a restart.

// What does not hold fails the test.
#![allow(clippy::unwrap_used)]

use embermesh_proto::v1::{self, ledger_client::LedgerClient};
use tonic::{Code, Status, transport::Channel};

use crate::support::{World, key, rand_key};

/// The peer that the index lists as an administrator.
pub(crate) const ADMINISTRATOR: u8 = 90;

pub(crate) async fn world() -> World {
    World::with(|config| {
        config.issuer.administrators = vec![key(ADMINISTRATOR).peer_id()];
    })
    .await
}

/// Somebody's calls to the ledger.
pub(crate) struct User {
    pub(crate) id: String,
    ledger: LedgerClient<Channel>,
}

pub(crate) type Answer = Result<v1::LedgerTransaction, Status>;

impl User {
    pub(crate) async fn new(world: &World, n: u8) -> Self {
        let peer = world.peer(n).await;
        Self {
            id: peer.id().to_string(),
            ledger: LedgerClient::new(peer.channel),
        }
    }

    pub(crate) async fn balance(&self, account: &str) -> Result<(u64, u64), Status> {
        let request = v1::GetBalanceRequest {
            account: account.to_owned(),
        };
        let balance = self.ledger.clone().get_balance(request).await?.into_inner();
        Ok((balance.available_micros, balance.held_micros))
    }

    async fn transfer(&self, key: [u8; 16], from: &str, to: &str, amount: u64) -> Answer {
        let request = v1::TransferRequest {
            idempotency_key: key.to_vec().into(),
            from: from.to_owned(),
            to: to.to_owned(),
            amount_micros: amount,
            subject: "a test".to_owned(),
        };
        let answer = self.ledger.clone().transfer(request).await?;
        Ok(answer.into_inner())
    }

    pub(crate) async fn deposit(&self, key: [u8; 16], to: &str, amount: u64) -> Answer {
        let request = v1::DepositRequest {
            idempotency_key: key.to_vec().into(),
            to: to.to_owned(),
            amount_micros: amount,
            subject: String::new(),
        };
        Ok(self.ledger.clone().deposit(request).await?.into_inner())
    }

    async fn hold(&self, from: &str, amount: u64) -> Answer {
        let request = v1::HoldRequest {
            idempotency_key: rand_key().to_vec().into(),
            from: from.to_owned(),
            amount_micros: amount,
            subject: "job 7".to_owned(),
            lifetime_ms: 3_600_000,
        };
        Ok(self.ledger.clone().hold(request).await?.into_inner())
    }

    async fn settle(&self, hold: u64, capture: Option<(&str, u64)>) -> Answer {
        let request = v1::SettleRequest {
            idempotency_key: rand_key().to_vec().into(),
            hold,
            capture: capture.map(|(to, amount_micros)| v1::Capture {
                to: to.to_owned(),
                amount_micros,
            }),
        };
        Ok(self.ledger.clone().settle(request).await?.into_inner())
    }

    async fn page(&self, page_size: u32, page_token: &str) -> v1::HistoryResponse {
        let request = v1::HistoryRequest {
            account: String::new(),
            page_size,
            page_token: page_token.to_owned(),
        };
        self.ledger
            .clone()
            .history(request)
            .await
            .unwrap()
            .into_inner()
    }
}

/// The code and the stable word of a refusal.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    let word = status.metadata().get("embermesh-refusal");
    let word = word.map(|word| word.to_str().unwrap().to_owned());
    (status.code(), word.unwrap_or_default())
}

#[tokio::test]
async fn money_moves_once_for_each_key_also_across_a_restart() {
    let world = world().await;
    let operator = User::new(&world, ADMINISTRATOR).await;
    let payer = User::new(&world, 1).await;
    let payee = User::new(&world, 2).await;
    let (top_up, paying) = (rand_key(), rand_key());
    operator.deposit(top_up, &payer.id, 100).await.unwrap();
    let paid = payer.transfer(paying, "", &payee.id, 30).await.unwrap();
    let held = payer.hold("", 50).await.unwrap();
    let kept = payer.transfer(paying, "", &payee.id, 30).await.unwrap();
    assert_eq!(kept, paid);
    assert_eq!(payer.balance("").await.unwrap(), (20, 50));

    let world = world.restart().await;
    let operator = User::new(&world, ADMINISTRATOR).await;
    let payer = User::new(&world, 1).await;
    assert_eq!(payer.balance("").await.unwrap(), (20, 50));
    assert_eq!(operator.balance(&payee.id).await.unwrap(), (30, 0));
    let again = payer.transfer(paying, "", &payee.id, 30).await.unwrap();
    assert_eq!(again, paid);
    let other = payer.transfer(paying, "", &payee.id, 31).await;
    assert_eq!(
        refused(other),
        (Code::AlreadyExists, "key_reused".to_owned())
    );
    operator.deposit(top_up, &payer.id, 100).await.unwrap();
    payer
        .settle(held.number, Some((&payee.id, 20)))
        .await
        .unwrap();
    assert_eq!(payer.balance("").await.unwrap(), (50, 0));
    assert_eq!(operator.balance(&payee.id).await.unwrap(), (50, 0));
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn everybody_acts_for_himself_and_an_administrator_for_all() {
    let world = world().await;
    let operator = User::new(&world, ADMINISTRATOR).await;
    let owner = User::new(&world, 1).await;
    let stranger = User::new(&world, 2).await;
    operator.deposit(rand_key(), &owner.id, 100).await.unwrap();
    let denied = |word: &str| (Code::PermissionDenied, word.to_owned());
    let deposit = owner.deposit(rand_key(), &owner.id, 1).await;
    assert_eq!(refused(deposit), denied("not_administrator"));
    let theft = stranger
        .transfer(rand_key(), &owner.id, &stranger.id, 1)
        .await;
    assert_eq!(refused(theft), denied("not_owner"));
    assert_eq!(
        refused(stranger.balance(&owner.id).await),
        denied("not_owner")
    );
    assert_eq!(
        refused(stranger.hold(&owner.id, 1).await),
        denied("not_owner")
    );
    let guarantee = operator.hold(&owner.id, 40).await.unwrap();
    let back = owner.settle(guarantee.number, None).await;
    assert_eq!(refused(back), denied("not_its_holder"));
    let grab = stranger
        .settle(guarantee.number, Some((&stranger.id, 40)))
        .await;
    assert_eq!(refused(grab), denied("not_its_holder"));
    operator.settle(guarantee.number, None).await.unwrap();
    let paid = operator.transfer(rand_key(), &owner.id, &stranger.id, 10);
    paid.await.unwrap();
    assert_eq!(stranger.balance("").await.unwrap(), (10, 0));
    let poor = stranger.transfer(rand_key(), "", &owner.id, 11).await;
    let short = (Code::FailedPrecondition, "insufficient_funds".to_owned());
    assert_eq!(refused(poor), short);
    // Without a key of one's own there is no account.
    let mut nobody = LedgerClient::new(world.plain().await);
    let anonymous = nobody.get_balance(v1::GetBalanceRequest::default()).await;
    assert_eq!(refused(anonymous).0, Code::Unauthenticated);
    let mut hasty = stranger.ledger.clone();
    let no_key = hasty.transfer(v1::TransferRequest {
        to: owner.id.clone(),
        amount_micros: 1,
        ..v1::TransferRequest::default()
    });
    assert_eq!(refused(no_key.await).0, Code::InvalidArgument);
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn pages_of_a_history_hold_while_it_grows() {
    let world = world().await;
    let operator = User::new(&world, ADMINISTRATOR).await;
    let owner = User::new(&world, 1).await;
    operator.deposit(rand_key(), &owner.id, 100).await.unwrap();
    for amount in 1..=4 {
        owner
            .transfer(rand_key(), "", &operator.id, amount)
            .await
            .unwrap();
    }
    let first = owner.page(2, "").await;
    owner
        .transfer(rand_key(), "", &operator.id, 9)
        .await
        .unwrap();
    let second = owner.page(2, &first.next_page_token).await;
    let third = owner.page(2, &second.next_page_token).await;
    assert_eq!(third.next_page_token, "");
    let numbers: Vec<u64> = [first, second, third]
        .iter()
        .flat_map(|page| page.transactions.iter().map(|one| one.number))
        .collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    let all = owner.page(0, "").await.transactions;
    assert_eq!(all.len(), 6);
    for one in &all {
        let sum: i64 = one
            .postings
            .iter()
            .map(|posting| posting.available_micros + posting.held_micros)
            .sum();
        assert_eq!(sum, 0, "{one:?}");
    }
    world.index.stop().await.unwrap();
}
