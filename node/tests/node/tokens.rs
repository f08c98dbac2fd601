//! Every refusal of a token, over the wire.

use crate::support::{Caller, all, caller, claims, config, digits, job, key, spec, start, word};
use embermesh_crypto::{
    ids::{Epoch, PeerId},
    time::UnixSeconds,
    token::{self, Claims, Method},
};
use tonic::Code;

/// Runs with claims of the client that were changed, and returns the refusal.
async fn refused(client: &Caller, change: impl FnOnce(&mut Claims)) -> String {
    let spec = spec(200, 1);
    let mut claims = client.claims(1, &spec);
    change(&mut claims);
    let token = token::issue(&claims, &client.keypair).unwrap();
    let status = client.run_with(&token, &spec).await.unwrap_err();
    assert!(!status.message().is_empty());
    word(&status).to_owned()
}

fn now() -> UnixSeconds {
    embermesh_crypto::UnixMillis::now().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_binding_of_a_token_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let thief = caller(&node, 3).await;
    let spec = spec(200, 1);
    client.put("", &digits(200)).await.unwrap();

    // Another key holds it out.
    let token = client.token(1, &spec);
    let status = thief.run_with(&token, &spec).await.unwrap_err();
    assert_eq!(
        (status.code(), word(&status)),
        (Code::PermissionDenied, "wrong_client")
    );
    // Another node.
    let other: PeerId = key(9).peer_id();
    assert_eq!(
        refused(&client, |claims| claims.node = other).await,
        "wrong_node"
    );
    // Another spec.
    let status = client
        .run_with(&token, &crate::support::spec(201, 1))
        .await
        .unwrap_err();
    assert_eq!(word(&status), "wrong_job");
    // Early and late, by more than clocks may differ.
    let early = refused(&client, |claims| {
        claims.issued_at = now().saturating_add(40);
        claims.not_before = now().saturating_add(40);
        claims.expires_at = now().saturating_add(100);
    });
    assert_eq!(early.await, "not_yet_valid");
    let late = refused(&client, |claims| {
        claims.issued_at = UnixSeconds(now().0 - 100);
        claims.not_before = claims.issued_at;
        claims.expires_at = UnixSeconds(now().0 - 40);
    });
    assert_eq!(late.await, "expired");
    // Not for this method.
    let attach_only = |claims: &mut Claims| claims.methods = [Method::Attach].into_iter().collect();
    assert_eq!(refused(&client, attach_only).await, "method_not_allowed");
    // More than it pays for.
    let poor = |claims: &mut Claims| claims.ceilings.memory_bytes = 1 << 20;
    assert_eq!(refused(&client, poor).await, "over_ceiling");
    // A flipped bit in the signature, and a text that is none.
    let mut flipped = token.clone();
    let last = flipped.pop().unwrap();
    let at = flipped.len() - 10;
    let swapped = if &flipped[at..=at] == "A" { "B" } else { "A" };
    flipped.replace_range(at..=at, swapped);
    flipped.push(last);
    let status = client.run_with(&flipped, &spec).await.unwrap_err();
    assert_eq!(word(&status), "bad_signature");
    let status = client.run_with("no token", &spec).await.unwrap_err();
    assert_eq!(
        (status.code(), word(&status)),
        (Code::InvalidArgument, "malformed")
    );

    // None of these used the token up. Once, then never again.
    let (events, end) = all(&mut client.run_with(&token, &spec).await.unwrap()).await;
    assert!(end.is_none() && events.last().unwrap().kind.is_final());
    let status = client.run_with(&token, &spec).await.unwrap_err();
    assert_eq!(
        (status.code(), word(&status)),
        (Code::AlreadyExists, "replayed")
    );
    // Nor after a restart of the node.
    node.stop().await.unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let status = client.run_with(&token, &spec).await.unwrap_err();
    assert_eq!(word(&status), "replayed");
    // A fresh token for the same attempt is the same attempt.
    let again = refused(&client, |claims| claims.token_id.0 = [77; 16]).await;
    assert_eq!(again, "replayed");

    // The second attempt runs, and then the first is stale for everything.
    let mut second = client.claims(1, &spec);
    second.epoch = Epoch(2);
    let second = token::issue(&second, &client.keypair).unwrap();
    let (events, _) = all(&mut client.run_with(&second, &spec).await.unwrap()).await;
    assert_eq!(events.last().unwrap().epoch, Epoch(2));
    let status = client.run_with(&token, &spec).await.unwrap_err();
    assert_eq!(word(&status), "stale_epoch");
    let status = client.attach(&token, 1, 0).await.unwrap_err();
    assert_eq!(word(&status), "stale_epoch");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_node_believes_only_whom_its_owner_allows_and_only_for_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let friend = key(2).peer_id();
    let closed = embermesh_node::NodeConfig {
        open: false,
        allow: vec![friend],
        ..config(dir.path())
    };
    let node = start(closed, 1).await;
    let friend = caller(&node, 2).await;
    let stranger = caller(&node, 3).await;
    let spec = spec(200, 1);

    let status = stranger
        .run_with(&stranger.token(1, &spec), &spec)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), word(&status)),
        (Code::PermissionDenied, "unknown_issuer")
    );
    assert!(status.message().contains("allow"), "{}", status.message());
    // What the friend may do for itself it may not hand on.
    let mut handed_on = claims(&friend.keypair, node.peer_id(), job(1), &spec);
    handed_on.client = stranger.keypair.peer_id();
    let handed_on = token::issue(&handed_on, &friend.keypair).unwrap();
    let status = stranger.run_with(&handed_on, &spec).await.unwrap_err();
    assert_eq!(word(&status), "unknown_issuer");
    // Blobs need the same permission, before a byte is kept.
    let status = stranger.put("", &digits(200)).await.unwrap_err();
    assert_eq!(word(&status), "malformed");
    let status = stranger
        .put(&stranger.token(1, &spec), &digits(200))
        .await
        .unwrap_err();
    assert_eq!(word(&status), "unknown_issuer");
    assert!(!friend.has(embermesh_crypto::Digest::of(&digits(200))).await);

    assert!(friend.put("", &digits(200)).await.unwrap());
    let (events, _) = all(&mut friend.run(1, &spec).await).await;
    assert!(events.last().unwrap().kind.is_final());
    // Nobody else reads along.
    let status = stranger
        .attach(&friend.token(1, &spec), 1, 0)
        .await
        .unwrap_err();
    assert_eq!(word(&status), "wrong_client");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_run_one_attempt_at_once_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(
        embermesh_node::NodeConfig {
            slots: 4,
            memory: embermesh_job::units::Bytes(1 << 30),
            ..config(dir.path())
        },
        1,
    )
    .await;
    let client = caller(&node, 2).await;
    let spec = spec(200, 1);
    client.put("", &digits(200)).await.unwrap();
    let token = client.token(1, &spec);
    let tries = (0..8).map(|_| client.run_with(&token, &spec));
    let outcomes = futures::future::join_all(tries).await;
    let mut started = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(stream) => started.push(stream),
            Err(status) => assert_eq!(word(&status), "replayed"),
        }
    }
    assert_eq!(started.len(), 1);
    let (events, _) = all(&mut started[0]).await;
    assert!(events.last().unwrap().kind.is_final());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_reaches_nothing_that_needs_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", node.address()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut stub = embermesh_proto::v1::node_client::NodeClient::new(channel);
    let status = stub
        .status(embermesh_proto::v1::StatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    node.stop().await.unwrap();
}
