//! Reservations through the public face: who gets a node, what it costs, and all of it
//! there after a restart.

// What does not hold fails the test.
#![allow(clippy::unwrap_used)]

use embermesh_proto::v1::{self, ReservationState, reservations_client::ReservationsClient};
use tonic::{Code, Status, transport::Channel};

use crate::{
    ledger::{ADMINISTRATOR, User, refused, world},
    support::{World, rand_key, spec},
};

const MINUTE: u64 = 60_000;
/// A node that asks 60 millionths for an hour.
const PRICE: u64 = 60;
const CLIENT: u8 = 1;
const NODE: u8 = 2;
const OTHER: u8 = 3;

/// Somebody's calls about reservations.
struct Guest {
    stub: ReservationsClient<Channel>,
    node: String,
}

type Answer = Result<v1::Reservation, Status>;

impl Guest {
    async fn new(world: &World, n: u8) -> Self {
        Self {
            stub: ReservationsClient::new(world.peer(n).await.channel),
            node: world.peer(NODE).await.id().to_string(),
        }
    }

    async fn reserve(&self, key: [u8; 16], minutes: u64) -> Answer {
        let request = v1::ReserveRequest {
            idempotency_key: key.to_vec().into(),
            node_id: self.node.clone(),
            length_ms: minutes * MINUTE,
            max_price_micros_per_hour: None,
        };
        Ok(self.stub.clone().reserve(request).await?.into_inner())
    }

    async fn extend(&self, id: u64, minutes: u64) -> Answer {
        let request = v1::ExtendRequest {
            id,
            length_ms: minutes * MINUTE,
        };
        Ok(self.stub.clone().extend(request).await?.into_inner())
    }

    async fn release(&self, id: u64) -> Answer {
        let request = v1::ReleaseRequest { id };
        Ok(self.stub.clone().release(request).await?.into_inner())
    }

    async fn get(&self, id: u64) -> Answer {
        let request = v1::GetReservationRequest { id };
        let answer = self.stub.clone().get_reservation(request).await?;
        Ok(answer.into_inner())
    }

    async fn list(
        &self,
        active_only: bool,
        size: u32,
        token: &str,
    ) -> v1::ListReservationsResponse {
        let request = v1::ListReservationsRequest {
            page_size: size,
            page_token: token.to_owned(),
            active_only,
        };
        let answer = self.stub.clone().list_reservations(request).await;
        answer.unwrap().into_inner()
    }
}

async fn with_money() -> World {
    let world = world().await;
    let operator = User::new(&world, ADMINISTRATOR).await;
    for guest in [CLIENT, OTHER] {
        let id = world.peer(guest).await.id().to_string();
        operator.deposit(rand_key(), &id, 1_000).await.unwrap();
    }
    world.peer(NODE).await.register_at(1, PRICE).await;
    world
}

#[tokio::test]
async fn a_node_is_reserved_extended_and_given_back() {
    let world = with_money().await;
    let guest = Guest::new(&world, CLIENT).await;
    let payer = User::new(&world, CLIENT).await;
    let name = rand_key();
    let made = guest.reserve(name, 60).await.unwrap();
    assert_eq!(made.state(), ReservationState::Active);
    assert_eq!((made.held_micros, made.price_micros_per_hour), (60, PRICE));
    assert_eq!(made.address.as_ref().unwrap().peer_id, guest.node);
    assert_eq!(guest.reserve(name, 60).await.unwrap(), made);
    let other = guest.reserve(name, 61).await;
    assert_eq!(
        refused(other),
        (Code::AlreadyExists, "key_reused".to_owned())
    );
    let stranger = Guest::new(&world, OTHER).await;
    let taken = (Code::AlreadyExists, "already_reserved".to_owned());
    assert_eq!(refused(stranger.reserve(rand_key(), 60).await), taken);
    let longer = guest.extend(made.id, 120).await.unwrap();
    assert_eq!(
        (longer.held_micros, longer.ends_at_ms),
        (120, made.starts_at_ms + 120 * MINUTE)
    );
    assert_eq!(guest.extend(made.id, 120).await.unwrap(), longer);
    assert_eq!(payer.balance("").await.unwrap(), (880, 120));

    // Others see nothing of it, and their jobs wait.
    let hidden = (Code::PermissionDenied, "not_owner".to_owned());
    assert_eq!(refused(stranger.get(made.id).await), hidden);
    assert_eq!(refused(stranger.release(made.id).await), hidden);
    assert!(stranger.list(false, 0, "").await.reservations.is_empty());
    let client = world.peer(OTHER).await;
    let job = client.submit_for(&spec("other"), rand_key(), 500).await;
    let job = job.unwrap().job.unwrap();
    assert_eq!(job.passed_over[0].code, "reserved");
    let own = world.peer(CLIENT).await.submit("own").await;
    let charge = own.job.unwrap().charge.unwrap();
    assert_eq!(
        (charge.price_micros_per_hour, charge.reservation),
        (Some(0), made.id)
    );
    // The node itself may look, and so may an administrator.
    let node = Guest::new(&world, NODE).await;
    assert_eq!(node.get(made.id).await.unwrap().id, made.id);
    let operator = Guest::new(&world, ADMINISTRATOR).await;
    assert_eq!(operator.get(made.id).await.unwrap().id, made.id);

    let world = world.restart().await;
    let guest = Guest::new(&world, CLIENT).await;
    assert_eq!(
        guest.get(made.id).await.unwrap().state(),
        ReservationState::Active
    );
    let released = guest.release(made.id).await.unwrap();
    assert_eq!(released.state(), ReservationState::Released);
    // Some seconds have passed: the first millionth of sixty for an hour.
    assert_eq!(released.paid_micros, 1);
    assert_eq!(guest.release(made.id).await.unwrap().paid_micros, 1);
    assert_eq!(
        guest.reserve(name, 60).await.unwrap().state(),
        ReservationState::Released
    );
    let payer = User::new(&world, CLIENT).await;
    assert_eq!(payer.balance("").await.unwrap(), (999, 0));
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn refusals_have_a_word_and_take_no_money() {
    let world = with_money().await;
    let guest = Guest::new(&world, CLIENT).await;
    let word = |answer: Answer| refused(answer).1;
    assert_eq!(word(guest.reserve(rand_key(), 9).await), "length");
    assert_eq!(word(guest.reserve(rand_key(), 1_441).await), "length");
    assert_eq!(word(guest.get(7).await), "no_reservation");
    assert_eq!(word(guest.release(7).await), "no_reservation");
    assert_eq!(word(guest.extend(7, 60).await), "no_reservation");
    let poor = Guest::new(&world, 4).await;
    assert_eq!(
        word(poor.reserve(rand_key(), 60).await),
        "insufficient_funds"
    );
    let nowhere = Guest {
        node: world.peer(9).await.id().to_string(),
        ..Guest::new(&world, CLIENT).await
    };
    assert_eq!(word(nowhere.reserve(rand_key(), 60).await), "not_live");
    let dear = v1::ReserveRequest {
        idempotency_key: rand_key().to_vec().into(),
        node_id: guest.node.clone(),
        length_ms: 60 * MINUTE,
        max_price_micros_per_hour: Some(PRICE - 1),
    };
    let dear = guest.stub.clone().reserve(dear).await;
    assert_eq!(refused(dear).1, "too_dear");
    let mut anonymous = ReservationsClient::new(world.plain().await);
    let nobody = anonymous.get_reservation(v1::GetReservationRequest { id: 1 });
    assert_eq!(refused(nobody.await).0, Code::Unauthenticated);
    let payer = User::new(&world, CLIENT).await;
    assert_eq!(payer.balance("").await.unwrap(), (1_000, 0));
    // Two at once for one node: one of them has it.
    let other = Guest::new(&world, OTHER).await;
    let (one, two) = tokio::join!(guest.reserve(rand_key(), 60), other.reserve(rand_key(), 60));
    assert!(one.is_ok() != two.is_ok());
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn reservations_are_listed_the_newest_first() {
    let world = with_money().await;
    let guest = Guest::new(&world, CLIENT).await;
    for _ in 0..3 {
        let made = guest.reserve(rand_key(), 10).await.unwrap();
        guest.release(made.id).await.unwrap();
    }
    guest.reserve(rand_key(), 10).await.unwrap();
    let ids = |page: &v1::ListReservationsResponse| -> Vec<u64> {
        page.reservations.iter().map(|one| one.id).collect()
    };
    let first = guest.list(false, 3, "").await;
    assert_eq!(ids(&first), [4, 3, 2]);
    let second = guest.list(false, 3, &first.next_page_token).await;
    assert_eq!(
        (ids(&second), second.next_page_token.as_str()),
        (vec![1], "")
    );
    assert_eq!(ids(&guest.list(true, 0, "").await), [4]);
    let node = Guest::new(&world, NODE).await;
    assert_eq!(ids(&node.list(true, 0, "").await), [4]);
    world.index.stop().await.unwrap();
}
