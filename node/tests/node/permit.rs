//! Permits that a node gives itself: to whom, for what, and in whose turn.

use embermesh_crypto::{
    ids::Epoch,
    token::{self, inspect},
};
use embermesh_job::{spec::JobSpec, units::Millis};
use embermesh_node::{GuestsConfig, NodeConfig};
use embermesh_proto::v1::{self, permit_response::Answer};
use tonic::{Code, Status};

use crate::support::{
    Caller, all, caller, claims, config, digits, job, key, long_spec, spec, start, word,
};

async fn permit(
    client: &Caller,
    number: u8,
    epoch: u64,
    spec: &JobSpec,
) -> Result<v1::PermitResponse, Status> {
    let request = v1::PermitRequest {
        spec: spec.canonical().into(),
        job_id: job(number).to_string(),
        epoch,
        grants: Vec::new(),
    };
    Ok(client.stub.clone().permit(request).await?.into_inner())
}

/// A permit that is given.
async fn token(client: &Caller, number: u8, epoch: u64, spec: &JobSpec) -> String {
    match permit(client, number, epoch, spec).await.unwrap().answer {
        Some(Answer::Assignment(assignment)) => assignment.auth_token,
        other => panic!("no permit: {other:?}"),
    }
}

/// A place in the queue: how many go first, and the word for why.
async fn queued(client: &Caller, number: u8, spec: &JobSpec) -> (u32, String) {
    match permit(client, number, 1, spec).await.unwrap().answer {
        Some(Answer::Queued(queued)) => {
            assert!(!queued.message.is_empty());
            (queued.ahead, queued.code)
        }
        other => panic!("it does not wait: {other:?}"),
    }
}

async fn refusal(client: &Caller, number: u8, epoch: u64, spec: &JobSpec) -> (Code, String) {
    let status = permit(client, number, epoch, spec).await.unwrap_err();
    assert!(!status.message().is_empty());
    (status.code(), word(&status).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_the_nodes_and_binds_all_that_a_token_binds() {
    let dir = tempfile::tempdir().unwrap();
    let other_dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let other = start(config(other_dir.path()), 9).await;
    let client = caller(&node, 2).await;
    let thief = caller(&node, 3).await;
    let spec = spec(200, 1);
    client.put("", &digits(200)).await.unwrap();

    let text = token(&client, 1, 1, &spec).await;
    let said = inspect(&text, embermesh_crypto::UnixMillis::now()).unwrap();
    let said = said.claims;
    assert_eq!((said.issuer, said.node), (node.peer_id(), node.peer_id()));
    assert_eq!(said.client, client.keypair.peer_id());
    assert_eq!((said.job, said.epoch), (job(1), Epoch::FIRST));
    assert_eq!(said.spec, spec.digest());
    assert_eq!(said.ceilings, spec.limits.ceilings());

    // Of another client, for another spec, at another node, past its time.
    let status = thief.run_with(&text, &spec).await.unwrap_err();
    assert_eq!(word(&status), "wrong_client");
    let another = crate::support::spec(201, 1);
    let status = client.run_with(&text, &another).await.unwrap_err();
    assert_eq!(word(&status), "wrong_job");
    let elsewhere = caller(&other, 2).await;
    let status = elsewhere.run_with(&text, &spec).await.unwrap_err();
    assert_eq!(word(&status), "wrong_node");
    let mut forged = claims(&key(9), node.peer_id(), job(1), &spec);
    forged.client = client.keypair.peer_id();
    let forged = token::issue(&forged, &key(9)).unwrap();
    let status = client.run_with(&forged, &spec).await.unwrap_err();
    assert_eq!(word(&status), "unknown_issuer");
    let mut old = said.clone();
    old.issued_at.0 -= 1000;
    (old.not_before, old.expires_at.0) = (old.issued_at, old.issued_at.0 + 60);
    let old = token::issue(&old, &key(1)).unwrap();
    let status = client.run_with(&old, &spec).await.unwrap_err();
    assert_eq!(word(&status), "expired");

    // Once, and a permit for what runs is no second run.
    let (events, _) = all(&mut client.run_with(&text, &spec).await.unwrap()).await;
    assert!(events.last().unwrap().kind.is_final());
    let status = client.run_with(&text, &spec).await.unwrap_err();
    assert_eq!(word(&status), "replayed");
    let again = token(&client, 1, 1, &spec).await;
    let status = client.run_with(&again, &spec).await.unwrap_err();
    assert_eq!(word(&status), "replayed");
    let (heard, _) = all(&mut client.attach(&again, 1, 0).await.unwrap()).await;
    assert_eq!(heard.len(), events.len());

    // The owner of the job counts its attempts, and nobody else has it.
    let wrong = refusal(&client, 1, 0, &spec).await;
    assert_eq!(wrong.0, Code::InvalidArgument);
    assert_eq!(refusal(&thief, 1, 2, &spec).await.1, "wrong_client");
    assert_eq!(refusal(&client, 1, 1, &another).await.1, "wrong_job");
    client.idle().await;
    let second = token(&client, 1, 2, &spec).await;
    all(&mut client.run_with(&second, &spec).await.unwrap()).await;
    assert_eq!(refusal(&client, 1, 1, &spec).await.1, "stale_epoch");
    node.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_place_of_anothers_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let thief = caller(&node, 3).await;
    let spec = long_spec();
    client.put("", &digits(1000)).await.unwrap();
    let mut stream = client.run(1, &spec).await;
    crate::support::next(&mut stream).await;
    // A token that the thief issues to itself, for a later attempt at the same job.
    let mut later = thief.claims(1, &spec);
    later.epoch = Epoch(7);
    let later = token::issue(&later, &thief.keypair).unwrap();
    let status = thief.run_with(&later, &spec).await.unwrap_err();
    assert_eq!(word(&status), "wrong_client");
    assert_eq!(client.status().await.running.len(), 1);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_open_says_who_may() {
    let dir = tempfile::tempdir().unwrap();
    let closed = NodeConfig {
        open: false,
        owners: vec![key(4).peer_id()],
        allow: vec![key(2).peer_id()],
        ..config(dir.path())
    };
    let node = start(closed, 1).await;
    let friend = caller(&node, 2).await;
    let stranger = caller(&node, 3).await;
    let spec = spec(200, 1);
    let status = permit(&stranger, 1, 1, &spec).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(word(&status), "not_allowed");
    assert!(status.message().contains("`allow`"), "{}", status.message());
    token(&friend, 2, 1, &spec).await;

    // The owner gives a stranger what a friend cannot.
    let mut given = claims(&key(4), node.peer_id(), job(5), &spec);
    given.client = stranger.keypair.peer_id();
    let given = token::issue(&given, &key(4)).unwrap();
    stranger.put(&given, &digits(200)).await.unwrap();
    // The friend does not come, and has not lost the slot yet.
    let status = stranger.run_with(&given, &spec).await.unwrap_err();
    assert_eq!(word(&status), "busy");
    friend.put("", &digits(200)).await.unwrap();
    let own = token(&friend, 2, 1, &spec).await;
    all(&mut friend.run_with(&own, &spec).await.unwrap()).await;
    friend.idle().await;
    let (events, _) = all(&mut stranger.run_with(&given, &spec).await.unwrap()).await;
    assert!(events.last().unwrap().kind.is_final());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_jobs_go_first_and_guests_have_quotas() {
    let dir = tempfile::tempdir().unwrap();
    let limited = NodeConfig {
        owners: vec![key(4).peer_id()],
        guests: GuestsConfig {
            tasks: 1,
            time: Millis(600_000),
            queue: 2,
            ..GuestsConfig::default()
        },
        ..config(dir.path())
    };
    let node = start(limited, 1).await;
    let (guest, other) = (caller(&node, 2).await, caller(&node, 3).await);
    let owner = caller(&node, 4).await;
    let spec = long_spec();
    guest.put("", &digits(1000)).await.unwrap();
    let running = token(&guest, 1, 1, &spec).await;
    let mut stream = guest.run_with(&running, &spec).await.unwrap();
    crate::support::next(&mut stream).await;

    assert_eq!(queued(&other, 2, &spec).await, (0, "busy".to_owned()));
    assert_eq!(queued(&owner, 3, &spec).await, (0, "busy".to_owned()));
    // Asked again, it has its place, behind the owner; and so many places, no more.
    assert_eq!(queued(&other, 2, &spec).await.0, 1);
    queued(&other, 5, &spec).await;
    assert_eq!(refusal(&other, 6, 1, &spec).await.1, "queue_full");
    // The guest has what it may.
    assert_eq!(queued(&guest, 7, &spec).await.1, "too_many_tasks");
    // A token that one issues to oneself goes past nobody.
    let own = other.token(2, &spec);
    let status = other.run_with(&own, &spec).await.unwrap_err();
    assert_eq!(word(&status), "busy");

    let control = guest.control(&running, 1);
    guest.stub.clone().cancel(control).await.unwrap();
    guest.idle().await;
    let (ahead, why) = queued(&other, 2, &spec).await;
    assert_eq!((ahead, why.as_str()), (1, "behind"));
    let status = other.run_with(&own, &spec).await.unwrap_err();
    assert_eq!(word(&status), "behind");
    token(&owner, 3, 1, &spec).await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_cannot_give_is_refused_with_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let small = NodeConfig {
        memory: embermesh_job::units::Bytes(512 << 20),
        guests: GuestsConfig {
            time: Millis(60_000),
            ..GuestsConfig::default()
        },
        ..config(dir.path())
    };
    let node = start(small, 1).await;
    let client = caller(&node, 2).await;
    let status = permit(&client, 1, 1, &spec(200, 1)).await.unwrap_err();
    assert_eq!(word(&status), "too_little_memory");
    let said = status.message();
    assert!(said.contains("512 MiB") && said.contains("1 GiB"), "{said}");
    let mut long = spec(200, 1);
    long.limits.memory = embermesh_job::units::Bytes(256 << 20);
    let status = permit(&client, 1, 1, &long).await.unwrap_err();
    assert_eq!(word(&status), "too_long");
    let said = status.message();
    assert!(said.contains("2m") && said.contains("1m"), "{said}");
    // A token that the client issues to itself is held to the same.
    let status = client
        .run_with(&client.token(1, &long), &long)
        .await
        .unwrap_err();
    assert_eq!(word(&status), "too_long");
    node.stop().await.unwrap();
}
