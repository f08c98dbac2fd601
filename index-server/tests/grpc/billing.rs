//! What jobs cost, through the public face: a budget is held with the submit, charged
//! with the end, and each of it once, whoever sends what again and whenever the index
//! is started anew.

// What does not hold fails the test.
#![allow(clippy::unwrap_used)]

use embermesh_crypto::ids::JobId;
use embermesh_job::spec::{JobSpec, Limits};
use embermesh_proto::v1::{self, JobState};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tonic::Code;

use crate::{
    ledger::{ADMINISTRATOR, User, refused, world},
    support::{Peer, World, rand_key, spec, task},
};

/// A node that asks a millionth for each millisecond.
const PRICE: u64 = 3_600_000;
const CLIENT: u8 = 1;
const NODE: u8 = 2;

/// A job that may take a minute, and so costs 60 000 at most.
fn minute(name: &str) -> JobSpec {
    JobSpec {
        limits: Limits {
            wall: "1m".parse().unwrap(),
            ..Limits::default()
        },
        ..spec(name)
    }
}

async fn deposit(world: &World, to: &str, amount: u64) {
    let operator = User::new(world, ADMINISTRATOR).await;
    operator.deposit(rand_key(), to, amount).await.unwrap();
}

async fn cancel(client: &Peer, job_id: &str) -> v1::Job {
    let request = v1::CancelJobRequest {
        job_id: job_id.to_owned(),
    };
    let answer = client.index.clone().cancel_job(request).await.unwrap();
    answer.into_inner().job.unwrap()
}

#[tokio::test]
async fn a_job_is_paid_once_also_across_a_restart() {
    let world = world().await;
    let (client, node) = (world.peer(CLIENT).await, world.peer(NODE).await);
    let payer = User::new(&world, CLIENT).await;
    node.register_at(1, PRICE).await;
    let poor = client.submit_for(&minute("poor"), rand_key(), 60_000).await;
    let short = (Code::FailedPrecondition, "insufficient_funds".to_owned());
    assert_eq!(refused(poor), short);
    let mut stub = client.index.clone();
    let all = stub.list_jobs(v1::ListJobsRequest::default()).await;
    assert!(all.unwrap().into_inner().jobs.is_empty());

    deposit(&world, &payer.id, 100_000).await;
    let name = rand_key();
    let spec = minute("paid");
    let first = client.submit_for(&spec, name, 60_000).await.unwrap();
    let job = first.job.unwrap();
    let charge = job.charge.unwrap();
    assert_eq!(charge.price_micros_per_hour, Some(PRICE));
    assert_eq!(
        (charge.at_most_micros, charge.charged_micros),
        (60_000, None)
    );
    let key = task(&first.assignment.unwrap());
    node.started(key).await;
    assert_eq!(payer.balance("").await.unwrap(), (40_000, 60_000));

    let world = world.restart().await;
    let (client, node) = (world.peer(CLIENT).await, world.peer(NODE).await);
    let payer = User::new(&world, CLIENT).await;
    let again = client.submit_for(&spec, name, 60_000).await.unwrap();
    assert_eq!(again.job.unwrap().id, job.id);
    let other = client.submit_for(&spec, name, 59_000).await;
    assert_eq!(refused(other).0, Code::AlreadyExists);
    assert_eq!(payer.balance("").await.unwrap(), (40_000, 60_000));
    node.register_at(1, PRICE).await;
    let end = node.finished_after(key, client.id(), &spec, 1_500);
    for _ in 0..2 {
        assert!(node.report(key, end.clone()).await.unwrap());
    }
    let ended = client.job(&job.id).await;
    assert_eq!(ended.state(), JobState::Succeeded);
    let charged = ended.charge.unwrap().charged_micros.unwrap();
    // No more than the node has signed, or than went by.
    assert!((1..=1_500).contains(&charged), "{charged}");
    assert_eq!(payer.balance("").await.unwrap(), (100_000 - charged, 0));
    let paid = User::new(&world, NODE).await;
    assert_eq!(paid.balance("").await.unwrap(), (charged, 0));

    let world = world.restart().await;
    let (client, node) = (world.peer(CLIENT).await, world.peer(NODE).await);
    assert!(node.report(key, end).await.unwrap());
    let ended = client.job(&job.id).await.charge.unwrap();
    assert_eq!(ended.charged_micros, Some(charged));
    let paid = User::new(&world, NODE).await;
    assert_eq!(paid.balance("").await.unwrap(), (charged, 0));
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn a_priced_node_waits_for_a_budget_and_a_quote_says_how_large() {
    let world = world().await;
    let (client, node) = (world.peer(CLIENT).await, world.peer(NODE).await);
    node.register_at(1, PRICE).await;
    let request = v1::QuoteRequest {
        spec: minute("quoted").canonical().into(),
    };
    let quote = client.index.clone().quote(request).await.unwrap();
    let quote = quote.into_inner();
    assert_eq!(
        (quote.nodes, quote.least_micros, quote.most_micros),
        (1, 60_000, 60_000)
    );
    let free = client
        .try_submit(&minute("free"), rand_key())
        .await
        .unwrap();
    let free = free.job.unwrap();
    assert_eq!(free.state(), JobState::Queued);
    assert_eq!(free.passed_over[0].code, "no_budget");
    assert!(free.charge.is_none());
    let bad = v1::QuoteRequest {
        spec: b"{}".to_vec().into(),
    };
    let bad = client.index.clone().quote(bad).await;
    assert_eq!(refused(bad).0, Code::InvalidArgument);
    world.index.stop().await.unwrap();
}

/// One client's submits, ends and cancels, some of them sent twice at once.
async fn play(client: Peer, node: Peer, mut rng: StdRng) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for number in 0..8 {
        let spec = minute(&format!("{}-{number}", client.id()));
        let name = rng.random();
        let budget = 60_000 + rng.random_range(0..1_000);
        // Both of the same submit name one job, and one hold.
        let (one, two) = tokio::join!(
            client.submit_for(&spec, name, budget),
            client.submit_for(&spec, name, budget)
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        let job = one.job.unwrap();
        assert_eq!(two.job.unwrap().id, job.id);
        jobs.push(job.id.parse().unwrap());
        let Some(assignment) = one.assignment.or(two.assignment) else {
            continue;
        };
        let key = task(&assignment);
        if rng.random_range(0..4) != 0 {
            let _ = node.try_started(key).await;
        }
        match rng.random_range(0..4) {
            0 => {
                let (_, other) = tokio::join!(cancel(&client, &job.id), cancel(&client, &job.id));
                assert_eq!(other.state(), JobState::Cancelled);
            }
            1 => {}
            _ => {
                let end = node.finished_after(key, client.id(), &spec, rng.random_range(0..50));
                // One of them may come after a cancel; each may come twice.
                let (one, two) =
                    tokio::join!(node.report(key, end.clone()), node.report(key, end.clone()));
                assert!(one.unwrap() && two.unwrap());
            }
        }
    }
    jobs
}

#[tokio::test]
async fn money_is_conserved_under_concurrent_calls_and_restarts() {
    const CLIENTS: [u8; 3] = [11, 12, 13];
    const EACH: u64 = 10_000_000;
    let seed = 7;
    let mut world = world().await;
    let operator = User::new(&world, ADMINISTRATOR).await;
    for client in CLIENTS {
        let id = world.peer(client).await.id().to_string();
        operator.deposit(rand_key(), &id, EACH).await.unwrap();
    }
    let mut jobs = Vec::new();
    for round in 0..3u64 {
        let node = world.peer(NODE).await;
        node.register_at(64, PRICE).await;
        let mut plays = Vec::new();
        for client in CLIENTS {
            let rng = StdRng::seed_from_u64(seed ^ (round << 8) ^ u64::from(client));
            plays.push(tokio::spawn(play(
                world.peer(client).await,
                node.clone(),
                rng,
            )));
        }
        for play in plays {
            jobs.append(&mut play.await.unwrap());
        }
        world = world.restart().await;
    }
    let operator = User::new(&world, ADMINISTRATOR).await;
    let seer = world.peer(CLIENTS[0]).await;
    let (mut held, mut charged) = (0, 0);
    for job in &jobs {
        let charge = seer.job(&job.to_string()).await.charge.unwrap();
        match charge.charged_micros {
            Some(micros) => charged += micros,
            None => held += charge.budget_micros,
        }
    }
    let node = User::new(&world, NODE).await;
    let (paid, _) = node.balance("").await.unwrap();
    assert_eq!(paid, charged, "seed {seed}");
    let (mut sum, mut holds) = (paid, 0);
    for client in CLIENTS {
        let id = world.peer(client).await.id().to_string();
        let (available, held) = operator.balance(&id).await.unwrap();
        sum += available + held;
        holds += held;
    }
    assert_eq!((sum, holds), (EACH * 3, held), "seed {seed}");
    assert!(charged > 0, "seed {seed}: the play is about nothing");
    world.index.stop().await.unwrap();
}
