//! Jobs from submit to receipt, across the death of nodes and of the index.

use embermesh_crypto::{
    ids::{PeerId, TokenId},
    statement::{KeySet, Signed, Verified},
    time::UnixMillis,
    token::{self, Authority, Bearer, Expectation, IssuerTrust, Method},
};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    order::Report,
};
use embermesh_proto::v1::{self, JobState};
use tonic::Code;

use crate::support::{self, World, next, rand_key, run_order, spec, task};

/// A node's trust in one index.
struct Trust(Verified<KeySet>);

impl IssuerTrust for Trust {
    fn authority(&self, issuer: &PeerId, now: UnixMillis) -> Option<Authority> {
        self.0.valid_key(issuer, now)?;
        Some(Authority {
            identity: self.0.index,
            min_revocation_epoch: 0,
        })
    }

    fn is_revoked(&self, _: &PeerId, _: &TokenId) -> bool {
        false
    }
}

#[tokio::test]
async fn a_job_from_submit_to_receipt() {
    let world = World::start().await;
    let (client, node) = (world.peer(1).await, world.peer(2).await);
    let welcome = node.register(1).await;
    assert_eq!(welcome.lease_ms, world.config.leases.lease_ms);
    let alive = node.keep_alive(Vec::new());
    let submitted = client.submit("digits").await;
    let assignment = submitted.assignment.expect("a node is free");
    let job = submitted.job.unwrap();
    assert_eq!(job.state(), JobState::Assigned);
    assert_eq!(
        assignment.node.as_ref().unwrap().peer_id,
        node.id().to_string()
    );

    // The node checks the token offline with what it was welcomed with.
    let set = Signed::<KeySet>::from_bytes(welcome.key_set)
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(set.index, world.index.peer_id());
    let trust = Trust(set);
    for bearer in [
        Bearer::Peer(client.id()),
        Bearer::Issuer(world.index.peer_id()),
    ] {
        let expect = Expectation {
            node: node.id(),
            bearer,
            method: Method::Run,
            task: None,
            spec: Some(spec("digits").digest()),
            now: UnixMillis::now(),
            trust: &trust,
        };
        token::verify(&assignment.auth_token, &expect).unwrap();
    }

    let mut watch = client.watch(&job.id).await;
    let first = next(&mut watch).await;
    assert_eq!(first.assignment.unwrap().epoch, 1);
    let key = task(&assignment);
    node.started(key).await;
    drop(alive);
    let _alive = node.keep_alive(vec![key]);
    let mut update = next(&mut watch).await;
    while update.job.as_ref().unwrap().state() != JobState::Running {
        update = next(&mut watch).await;
    }
    assert!(update.assignment.is_none(), "the attempt is not new");
    let report = node.finished(key, client.id(), &spec("digits"));
    assert!(node.report(key, report.clone()).await.unwrap());
    assert!(
        node.report(key, report).await.unwrap(),
        "a report may come twice"
    );
    let last = loop {
        let update = next(&mut watch).await.job.unwrap();
        if update.state() == JobState::Succeeded {
            break update;
        }
    };
    assert!(
        watch.message().await.unwrap().is_none(),
        "a watch ends with its job"
    );
    let Some(v1::event::Kind::Finished(finished)) = last.finished.unwrap().kind else {
        panic!("the final event is a Finished");
    };
    assert!(!finished.receipt.is_empty());
    let states: Vec<_> = last.journal.iter().map(v1::JournalEntry::state).collect();
    assert_eq!(
        states,
        [
            JobState::Queued,
            JobState::Assigned,
            JobState::Running,
            JobState::Succeeded
        ]
    );
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn a_waiting_job_is_placed_when_a_node_comes() {
    let world = World::start().await;
    let (client, node) = (world.peer(1).await, world.peer(2).await);
    let submitted = client.submit("early").await;
    assert!(submitted.assignment.is_none());
    let job = submitted.job.unwrap();
    assert_eq!(job.state(), JobState::Queued);
    assert!(!job.reason.is_empty());
    let mut watch = client.watch(&job.id).await;
    let mut strangers = world.peer(3).await.watch(&job.id).await;
    assert!(next(&mut watch).await.assignment.is_none());
    next(&mut strangers).await;
    node.register(1).await;
    let _alive = node.keep_alive(Vec::new());
    let placed = next(&mut watch).await;
    assert_eq!(placed.assignment.unwrap().epoch, 1);
    assert!(
        next(&mut strangers).await.assignment.is_none(),
        "a token is only for the owner"
    );
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn a_dead_nodes_task_is_ordered_elsewhere_with_its_checkpoint() {
    // Nobody waits long for a node that is dead.
    let world = World::with(|config| {
        config.leases.lease_ms = 600;
        config.leases.assign_grace_ms = 5_000;
    })
    .await;
    let (client, dies, lives) = (
        world.peer(1).await,
        world.peer(2).await,
        world.peer(3).await,
    );
    dies.register(1).await;
    let assignment = client.submit("moves").await.assignment.unwrap();
    let first = task(&assignment);
    dies.started(first).await;
    let checkpoint = Checkpoint {
        blob: BlobRef {
            digest: embermesh_crypto::digest::Digest::of(b"weights"),
            size: 7,
            holders: Vec::new(),
        },
        step: 40,
        seq: 4,
    };
    assert!(
        dies.report(first, Report::Checkpoint(checkpoint.clone()))
            .await
            .unwrap()
    );
    lives.register(1).await;
    let _alive = lives.keep_alive(Vec::new());
    let mut orders = lives.orders().await;
    let run = run_order(&mut orders).await;
    let moved = run.assignment.clone().unwrap();
    assert_eq!(moved.epoch, 2);
    assert_eq!(
        Checkpoint::try_from(run.resume.unwrap()).unwrap(),
        checkpoint
    );
    assert_eq!(run.spec, spec("moves").canonical());

    // The stream breaks before the node has taken the order up.
    drop(orders);
    let mut orders = lives.orders().await;
    assert_eq!(run_order(&mut orders).await.assignment.unwrap().epoch, 2);

    // The dead node comes back and is fenced off.
    dies.register(1).await;
    let pulse = dies.heartbeat(&[first]).await;
    assert_eq!(pulse.stop, [v1::TaskKey::from(first)]);
    let late = dies.finished(first, client.id(), &spec("moves"));
    assert!(!dies.report(first, late).await.unwrap());

    let second = task(&moved);
    let report = lives.finished(second, client.id(), &spec("moves"));
    assert!(lives.report(second, report).await.unwrap());
    let job = client.job(&moved.job_id).await;
    assert_eq!(job.state(), JobState::Succeeded);
    assert_eq!(job.epoch, 2);
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn a_running_job_outlives_a_restart_of_the_index() {
    let world = World::start().await;
    let (client, node) = (world.peer(1).await, world.peer(2).await);
    node.register(1).await;
    let key_a = rand_key();
    let submitted = client.try_submit(&spec("long"), key_a).await.unwrap();
    let assignment = submitted.assignment.unwrap();
    let key = task(&assignment);
    node.started(key).await;
    let alive = node.keep_alive(vec![key]);
    // A loss that is no number must not keep the index from starting again.
    assert!(node.report(key, support::diverged(key)).await.unwrap());
    let waiting = client.submit("waits").await;
    assert!(waiting.assignment.is_none());
    alive.end().await;

    let world = world.restart().await;
    let (client, node) = (world.peer(1).await, world.peer(2).await);
    let pulse = node.heartbeat(&[key]).await;
    assert!(pulse.register && pulse.stop.is_empty());
    let job = client.job(&assignment.job_id).await;
    assert_eq!((job.state(), job.epoch), (JobState::Running, 1));
    assert_eq!(job.spec, spec("long").canonical());
    let Some(v1::event::Kind::Progress(progress)) = job.latest.unwrap().kind else {
        panic!("the latest event is the progress");
    };
    assert!(progress.loss.is_nan());
    let again = client.try_submit(&spec("long"), key_a).await.unwrap();
    assert_eq!(
        again.job.unwrap().id,
        assignment.job_id,
        "a submit sent again is the same job"
    );
    assert_eq!(again.assignment.unwrap().epoch, 1);

    node.register(1).await;
    let alive = node.keep_alive(vec![key]);
    let report = node.finished(key, client.id(), &spec("long"));
    assert!(node.report(key, report).await.unwrap());
    let mut watch = client.watch(&waiting.job.unwrap().id).await;
    let placed = loop {
        if let Some(assignment) = next(&mut watch).await.assignment {
            break assignment;
        }
    };
    assert_eq!(
        placed.epoch, 1,
        "the freed slot went to the job that waited"
    );
    alive.end().await;

    let world = world.restart().await;
    let client = world.peer(1).await;
    let job = client.job(&assignment.job_id).await;
    assert_eq!(job.state(), JobState::Succeeded);
    assert!(job.finished.is_some(), "the receipt is known");
    assert_eq!(job.journal.len(), 4);
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn a_running_job_is_cancelled_by_an_order() {
    let world = World::start().await;
    let (client, node) = (world.peer(1).await, world.peer(2).await);
    node.register(1).await;
    let mut orders = node.orders().await;
    let assignment = client.submit("cancelled").await.assignment.unwrap();
    let key = task(&assignment);
    node.started(key).await;
    let _alive = node.keep_alive(vec![key]);
    let request = v1::CancelJobRequest {
        job_id: assignment.job_id.clone(),
    };
    let job = client
        .index
        .clone()
        .cancel_job(request)
        .await
        .unwrap()
        .into_inner()
        .job;
    assert_eq!(job.unwrap().state(), JobState::Cancelled);
    loop {
        if let Some(v1::order::Kind::Cancel(stop)) = next(&mut orders).await.kind {
            assert_eq!(stop, v1::TaskKey::from(key));
            break;
        }
    }
    let pulse = node.heartbeat(&[key]).await;
    assert_eq!(
        pulse.stop,
        [v1::TaskKey::from(key)],
        "said again with each heartbeat"
    );
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_the_owners_is_only_the_owners() {
    let world = World::start().await;
    let (client, stranger, node) = (
        world.peer(1).await,
        world.peer(9).await,
        world.peer(2).await,
    );
    node.register(1).await;
    let assignment = client.submit("mine").await.assignment.unwrap();
    let _alive = node.keep_alive(vec![task(&assignment)]);
    let job_id = assignment.job_id.clone();
    let mut theirs = stranger.index.clone();
    let refused = theirs
        .cancel_job(v1::CancelJobRequest {
            job_id: job_id.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let renew = v1::RenewAssignmentRequest {
        job_id: job_id.clone(),
        epoch: 1,
    };
    let refused = theirs.renew_assignment(renew.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let revoke = v1::RevokeAssignmentRequest { job_id };
    let refused = theirs.revoke_assignment(revoke.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = theirs
        .rotate_issuer_key(v1::RotateIssuerKeyRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let mut orders = node.orders().await;
    let mut ours = client.index.clone();
    let fresh = ours
        .renew_assignment(renew)
        .await
        .unwrap()
        .into_inner()
        .assignment
        .unwrap();
    assert_eq!(fresh.epoch, 1);
    ours.revoke_assignment(revoke).await.unwrap();
    loop {
        if let Some(v1::order::Kind::Revocation(_)) = next(&mut orders).await.kind {
            break;
        }
    }
    let admin = support::Peer::connect(&world.index, world.key.clone()).await;
    admin
        .index
        .clone()
        .rotate_issuer_key(v1::RotateIssuerKeyRequest {})
        .await
        .unwrap();
    let stale = v1::RenewAssignmentRequest {
        job_id: assignment.job_id,
        epoch: 7,
    };
    let refused = ours.renew_assignment(stale).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    world.index.stop().await.unwrap();
}
