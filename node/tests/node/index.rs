//! A node and its index: reports, orders, trust, and the absence of the index.

use crate::support::{
    Caller, all, caller, config, digits, index::FakeIndex, job, long_spec, spec, start, until, word,
};
use embermesh_crypto::{
    ids::Epoch,
    statement::{Outcome, Receipt, Signed},
};
use embermesh_job::{
    address::PeerAddress,
    assignment::{NodeAssignment, TaskKey},
    event::EventKind,
    order::{Order, Report, RunOrder},
};
use embermesh_node::{Node, NodeConfig, RunningNode};
use tokio_util::sync::CancellationToken;

/// A node that believes nobody but the index.
async fn node_of(index: &FakeIndex, dir: &std::path::Path) -> RunningNode {
    let config = NodeConfig {
        open: false,
        indexes: vec![index.address()],
        ..config(dir)
    };
    let node = start(config, 1).await;
    index.registered().await;
    node
}

fn key_of(number: u8, epoch: u64) -> TaskKey {
    TaskKey {
        job: job(number),
        task: embermesh_crypto::TaskIndex(0),
        epoch: Epoch(epoch),
    }
}

fn end_of(report: &Report) -> Option<(Outcome, Vec<u8>)> {
    match report {
        Report::Event(event) => match &event.kind {
            EventKind::Finished {
                outcome, receipt, ..
            } => Some((*outcome, receipt.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// Why an attempt failed, once the index has heard it.
async fn failure_of(index: &FakeIndex, attempt: TaskKey) -> String {
    index
        .report("that an attempt failed", |key, report| match report {
            Report::AttemptFailed { code, .. } if *key == attempt => Some(code.clone()),
            _ => None,
        })
        .await
}

fn run_order(
    client: &Caller,
    index: &FakeIndex,
    number: u8,
    epoch: u64,
    spec: &embermesh_job::spec::JobSpec,
) -> Order {
    let mut claims = client.claims(number, spec);
    claims.epoch = Epoch(epoch);
    Order::Run(Box::new(RunOrder {
        assignment: NodeAssignment {
            job: job(number),
            task: claims.task,
            epoch: claims.epoch,
            node: PeerAddress {
                peer: client.node,
                tls: Vec::new(),
                mesh: Vec::new(),
            },
            expires_at: claims.expires_at.as_millis(),
            token: index.token(claims),
        },
        spec: spec.canonical(),
        resume: None,
        inputs: Vec::new(),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_hears_of_a_task_from_its_start_to_its_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let index = FakeIndex::start(None).await;
    let node = node_of(&index, dir.path()).await;
    let client = caller(&node, 2).await;
    let spec = spec(200, 2);
    // The client's own word is worth nothing here; the index's is.
    let status = client
        .run_with(&client.token(1, &spec), &spec)
        .await
        .unwrap_err();
    assert_eq!(word(&status), "unknown_issuer");
    let token = index.token(client.claims(1, &spec));
    client.put(&token, &digits(200)).await.unwrap();
    let (events, _) = all(&mut client.run_with(&token, &spec).await.unwrap()).await;
    let last = events.last().unwrap().clone();

    let (outcome, receipt) = index.report("the end", |_, report| end_of(report)).await;
    assert_eq!(outcome, Outcome::Succeeded);
    let receipt = Signed::<Receipt>::from_bytes(receipt)
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(receipt.client, client.keypair.peer_id());
    let reports = index.reports();
    assert!(reports.iter().all(|(key, _)| *key == key_of(1, 1)));
    let kinds: Vec<_> = reports
        .iter()
        .filter_map(|(_, report)| match report {
            Report::Event(event) => Some((**event).clone()),
            _ => None,
        })
        .collect();
    // The very events of the stream, in their order.
    assert!(kinds.iter().all(|event| {
        events
            .iter()
            .any(|have| have.seq == event.seq && have.kind == event.kind)
    }));
    assert!(matches!(kinds[0].kind, EventKind::Started { .. }));
    assert_eq!(kinds.last().unwrap().seq, last.seq);
    assert!(reports.iter().any(|(_, report)| matches!(report, Report::Checkpoint(checkpoint) if !checkpoint.blob.holders.is_empty())));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_the_loss_of_its_index_and_reports_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let index = FakeIndex::start(None).await;
    let node = node_of(&index, dir.path()).await;
    let client = caller(&node, 2).await;
    let spec = spec(400, 4);
    let token = index.token(client.claims(1, &spec));
    client.put(&token, &digits(400)).await.unwrap();
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| {
        matches!(kind, EventKind::Started { .. })
    })
    .await;
    let index = index
        .restart(async {
            let (events, end) = all(&mut stream).await;
            assert!(end.is_none() && events.last().unwrap().kind.is_final());
        })
        .await;
    let (outcome, _) = index.report("the end", |_, report| end_of(report)).await;
    assert_eq!(outcome, Outcome::Succeeded);

    // And when the node was restarted meanwhile too, what had not been told is.
    let second = crate::support::spec(400, 1);
    let token = index.token(client.claims(2, &second));
    let mut stream = client.run_with(&token, &second).await.unwrap();
    let index = index
        .restart(async {
            let (events, _) = all(&mut stream).await;
            assert!(events.last().unwrap().kind.is_final());
            node.stop().await.unwrap();
        })
        .await;
    let node = node_of(&index, dir.path()).await;
    index
        .report("the second end", |key, report| {
            (*key == key_of(2, 1)).then(|| end_of(report)).flatten()
        })
        .await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_runs_once_and_a_stop_ends_it_without_ending_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let index = FakeIndex::start(None).await;
    let node = node_of(&index, dir.path()).await;
    let client = caller(&node, 2).await;
    let spec = long_spec();
    let mut claims = client.claims(1, &spec);
    claims.epoch = Epoch(2);
    let token = index.token(claims);
    client.put(&token, &digits(1000)).await.unwrap();
    index.order(run_order(&client, &index, 1, 2, &spec));
    index.order(run_order(&client, &index, 1, 2, &spec));
    // The client attaches to what the index has ordered, even a moment too early.
    let mut stream = client.attach(&token, 1, 0).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    index
        .heartbeat("of the task", |heartbeat| {
            let task = heartbeat.running.first()?;
            task.latest.is_some().then_some(())
        })
        .await;
    index.stop(key_of(1, 2));
    let (events, end) = all(&mut stream).await;
    assert!(events.iter().all(|event| !event.kind.is_final()));
    assert_eq!(end.unwrap().0, "stopped");
    // Whether the task was cancelled is the index's to know: it gets a receipt.
    let (outcome, receipt) = index.report("a receipt", |_, report| end_of(report)).await;
    assert_eq!(outcome, Outcome::Cancelled);
    Signed::<Receipt>::from_bytes(receipt)
        .unwrap()
        .open()
        .unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_run_is_declined_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let index = FakeIndex::start(None).await;
    let node = node_of(&index, dir.path()).await;
    let client = caller(&node, 2).await;
    let spec = long_spec();
    let token = index.token(client.claims(1, &spec));
    client.put(&token, &digits(1000)).await.unwrap();
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    index.order(run_order(
        &client,
        &index,
        2,
        1,
        &crate::support::spec(200, 1),
    ));
    assert_eq!(failure_of(&index, key_of(2, 1)).await, "busy");

    // A later attempt at the task that runs replaces it.
    let again = long_spec();
    index.order(run_order(&client, &index, 1, 2, &again));
    let (_, end) = all(&mut stream).await;
    assert_eq!(end.unwrap().0, "superseded");
    let mut claims = client.claims(1, &again);
    claims.epoch = Epoch(2);
    let mut second = client.attach(&index.token(claims), 1, 0).await.unwrap();
    let events = until(&mut second, |kind| matches!(kind, EventKind::Progress(_))).await;
    assert!(events.iter().all(|event| event.epoch == Epoch(2)));
    node.stop().await.unwrap();
    // A stop is told too.
    assert_eq!(failure_of(&index, key_of(1, 2)).await, "drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_with_an_abrupt_stop_is_told_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let index = FakeIndex::start(None).await;
    let config = NodeConfig {
        open: false,
        indexes: vec![index.address()],
        ..config(dir.path())
    };
    let cancel = CancellationToken::new();
    let node = Node::start(config, crate::support::key(1), cancel.clone()).await;
    let node = node.unwrap();
    index.registered().await;
    let client = caller(&node, 2).await;
    let spec = long_spec();
    let token = index.token(client.claims(1, &spec));
    client.put(&token, &digits(1000)).await.unwrap();
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    // From outside: port, streams and lines go first.
    cancel.cancel();
    node.stop().await.unwrap();
    let node = node_of(&index, dir.path()).await;
    assert_eq!(failure_of(&index, key_of(1, 1)).await, "drained");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_taken_back_is_refused_even_after_a_restart_without_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let index = FakeIndex::start(None).await;
    let node = node_of(&index, dir.path()).await;
    let client = caller(&node, 2).await;
    let spec = spec(200, 1);
    let claims = client.claims(1, &spec);
    let token = index.token(claims.clone());
    client.put(&token, &digits(200)).await.unwrap();
    let other = index.token(client.claims(2, &spec));
    index.revoke(claims.token_id);
    // The order is on its way; once it is there, blobs are refused as well.
    let refused = async {
        loop {
            match client.put(&token, &digits(100)).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => return status,
            }
        }
    };
    let status = tokio::time::timeout(crate::support::LONG, refused)
        .await
        .unwrap();
    assert_eq!(word(&status), "revoked");
    let status = client.run_with(&token, &spec).await.unwrap_err();
    assert_eq!(word(&status), "revoked");

    let address = index.address();
    node.stop().await.unwrap();
    index.end().await;
    let node = start(
        NodeConfig {
            open: false,
            indexes: vec![address],
            ..config(dir.path())
        },
        1,
    )
    .await;
    let client = caller(&node, 2).await;
    let status = client.run_with(&token, &spec).await.unwrap_err();
    assert_eq!(word(&status), "revoked");
    // What was not taken back is still good.
    let (events, _) = all(&mut client.run_with(&other, &spec).await.unwrap()).await;
    assert!(events.last().unwrap().kind.is_final());
    node.stop().await.unwrap();
}
