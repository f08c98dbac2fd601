//! The follower against an index and nodes that misbehave in every way there is.

mod support;

use embermesh_client::{ClientError, Side, Sources, Update};
use embermesh_job::event::Outcome;
use embermesh_proto::v1::JobState;
use support::{
    Asked::{Attach, Cancel, Has, Put, Run},
    PATIENCE,
    Say::{AwaitPut, Break, Event, Finished, Hang, Refuse, Spent},
    Script, Server, Shown, all, client, follow, follow_with, next, numbers,
};
use tonic::service::Routes;

#[tokio::test]
async fn a_broken_stream_is_joined_again_and_nothing_is_said_twice() {
    let shown = Shown::new(20);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([
        vec![Event(1, 1), Event(2, 1), Break],
        // A node that begins at the beginning whatever it was asked.
        vec![Event(1, 1), Event(2, 1), Event(3, 1)],
        vec![Event(3, 1), Finished(4, 1)],
    ]);
    let node = Server::node(21, &script).await;
    shown.assign(&node, 1);
    let said = all(follow(&index, shown.job).await).await;
    assert_eq!(numbers(&said), [1, 2, 3, 4]);
    assert_eq!(script.asked(), [Run, Attach(2), Attach(3)]);
    assert!(
        matches!(said.last(), Some(Update::Ended(ended)) if ended.outcome == Outcome::Succeeded)
    );
    let lost = |update: &&Update| matches!(update, Update::Reconnecting { to: Side::Node, .. });
    assert_eq!(said.iter().filter(lost).count(), 2);
}

#[tokio::test]
async fn a_hole_is_asked_for_again_and_not_shown() {
    let shown = Shown::new(22);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([
        vec![Event(1, 1), Event(4, 1), Hang],
        vec![Event(2, 1), Event(3, 1), Event(4, 1), Finished(5, 1)],
    ]);
    let node = Server::node(23, &script).await;
    shown.assign(&node, 1);
    let said = all(follow(&index, shown.job).await).await;
    assert_eq!(numbers(&said), [1, 2, 3, 4, 5]);
    assert_eq!(script.asked(), [Run, Attach(1)]);
    assert!(
        !said
            .iter()
            .any(|update| matches!(update, Update::Missed { .. }))
    );
}

#[tokio::test]
async fn a_hole_that_nobody_can_fill_is_told() {
    let shown = Shown::new(24);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([
        vec![Event(1, 1), Event(4, 1), Hang],
        vec![Event(4, 1), Finished(5, 1)],
    ]);
    let node = Server::node(25, &script).await;
    shown.assign(&node, 1);
    let said = all(follow(&index, shown.job).await).await;
    assert_eq!(numbers(&said), [1, 4, 5]);
    let missed = said
        .iter()
        .filter(|update| matches!(update, Update::Missed { .. }))
        .count();
    assert_eq!(missed, 1);
    assert!(said.contains(&Update::Missed { from: 2, to: 3 }));
}

#[tokio::test]
async fn a_new_attempt_elsewhere_is_followed_by_number() {
    let shown = Shown::new(26);
    let index = shown.serve("127.0.0.1:0").await;
    let first = Script::new([vec![Event(1, 1), Event(2, 1), Event(3, 1), Hang]]);
    let second = Script::new([vec![Event(4, 2), Finished(5, 2)]]);
    let dies = Server::node(27, &first).await;
    let lives = Server::node(28, &second).await;
    shown.assign(&dies, 1);
    let mut follow = follow(&index, shown.job).await;
    let mut said = Vec::new();
    while numbers(&said).last() != Some(&3) {
        said.push(next(&mut follow).await.unwrap());
    }
    dies.stop().await;
    shown.assign(&lives, 2);
    said.extend(all(follow).await);
    assert_eq!(numbers(&said), [1, 2, 3, 4, 5]);
    assert_eq!(second.asked(), [Attach(3)]);
    let nodes: Vec<_> = said
        .iter()
        .filter_map(|update| match update {
            Update::Assigned { node, epoch, .. } => Some((*node, epoch.0)),
            _ => None,
        })
        .collect();
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes[1].1, 2);
}

#[tokio::test]
async fn a_spent_attempt_is_not_asked_again() {
    let shown = Shown::new(29);
    let index = shown.serve("127.0.0.1:0").await;
    let first = Script::new([vec![Event(1, 1), Spent]]);
    let second = Script::new([vec![Event(2, 2), Finished(3, 2)]]);
    let fails = Server::node(30, &first).await;
    let works = Server::node(31, &second).await;
    shown.assign(&fails, 1);
    let mut follow = follow(&index, shown.job).await;
    while !matches!(next(&mut follow).await.unwrap(), Update::Notice(_)) {}
    shown.assign(&works, 2);
    assert_eq!(numbers(&all(follow).await), [2, 3]);
    assert_eq!(first.asked(), [Run]);
}

#[tokio::test]
async fn a_start_that_was_answered_to_nobody_is_joined() {
    let shown = Shown::new(32);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([vec![Refuse("replayed")], vec![Event(1, 1), Finished(2, 1)]]);
    let node = Server::node(33, &script).await;
    shown.assign(&node, 1);
    assert_eq!(numbers(&all(follow(&index, shown.job).await).await), [1, 2]);
    assert_eq!(script.asked(), [Run, Attach(0)]);
}

#[tokio::test]
async fn an_issuer_that_is_not_known_yet_is_tried_again_and_a_wrong_client_is_not() {
    let shown = Shown::new(34);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([
        vec![Refuse("unknown_issuer")],
        vec![Event(1, 1), Break],
        vec![Refuse("wrong_client")],
    ]);
    let node = Server::node(35, &script).await;
    shown.assign(&node, 1);
    let mut follow = follow(&index, shown.job).await;
    let error = loop {
        match tokio::time::timeout(PATIENCE, follow.next()).await.unwrap() {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ended without an error"),
        }
    };
    assert_eq!(error.refusal(), Some("wrong_client"));
    assert!(follow.next().await.is_none(), "an error is the last word");
    assert_eq!(script.asked(), [Run, Run, Attach(1)]);
}

#[tokio::test]
async fn inputs_come_beside_the_stream_of_a_task_that_has_begun() {
    let shown = Shown::new(43);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([vec![Event(1, 1), AwaitPut, Finished(2, 1)]]);
    let node = Server::node(44, &script).await;
    shown.assign(&node, 1);
    let mut sources = Sources::default();
    sources.add_bytes(&b"pixels"[..]);
    let said = all(follow_with(&index, shown.job, sources).await).await;
    assert_eq!(numbers(&said), [1, 2]);
    assert_eq!(script.asked(), [Run, Has(1), Put(6)]);
    let told = |update: &Update| matches!(update, Update::Uploading { size: 6, .. });
    assert!(said.iter().any(told));
}

#[tokio::test]
async fn a_job_whose_input_is_gone_is_cancelled() {
    let shown = Shown::new(45);
    let index = shown.serve("127.0.0.1:0").await;
    let script = Script::new([vec![Event(1, 1), Hang]]);
    let node = Server::node(46, &script).await;
    shown.assign(&node, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pixels");
    std::fs::write(&path, b"pixels").unwrap();
    let mut sources = Sources::default();
    sources.add_file(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut follow = follow_with(&index, shown.job, sources).await;
    let error = loop {
        match tokio::time::timeout(PATIENCE, follow.next()).await.unwrap() {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ended without an error"),
        }
    };
    assert!(matches!(error, ClientError::Io { .. }), "{error}");
    assert!(script.asked().contains(&Cancel));
}

#[tokio::test]
async fn the_node_stream_does_not_notice_the_loss_of_the_index() {
    let shown = Shown::new(36);
    let index = shown.serve("127.0.0.1:0").await;
    let address = index.address.clone();
    let script = Script::new([vec![Event(1, 1), Hang]]);
    let node = Server::node(37, &script).await;
    shown.assign(&node, 1);
    let mut follow = follow(&index, shown.job).await;
    while !matches!(next(&mut follow).await.unwrap(), Update::Event(_)) {}
    index.stop().await;
    assert!(matches!(
        next(&mut follow).await.unwrap(),
        Update::Reconnecting {
            to: Side::Index,
            ..
        }
    ));
    let again = shown.serve(&address).await;
    assert_eq!(next(&mut follow).await.unwrap(), Update::Back(Side::Index));
    assert_eq!(script.asked(), [Run], "the node was asked once");
    // The end may come from the index alone.
    shown.end(JobState::Succeeded, Some(2));
    let said = all(follow).await;
    assert_eq!(numbers(&said), [2]);
    again.stop().await;
}

#[tokio::test]
async fn a_job_that_ends_while_it_waits_has_no_node() {
    let shown = Shown::new(38);
    let index = shown.serve("127.0.0.1:0").await;
    let mut follow = follow(&index, shown.job).await;
    assert!(matches!(
        next(&mut follow).await.unwrap(),
        Update::Queued { .. }
    ));
    shown.end(JobState::Cancelled, None);
    let said = all(follow).await;
    let Some(Update::Ended(ended)) = said.last() else {
        panic!("{said:?}")
    };
    assert_eq!(ended.outcome, Outcome::Cancelled);
    assert!(ended.node.is_none() && ended.receipt.is_empty());
}

#[tokio::test]
async fn what_is_no_index_is_told_from_what_is_not_there() {
    let script = Script::default();
    let node = Server::node(40, &script).await;
    let key = std::sync::Arc::new(embermesh_crypto::Keypair::from_seed(&[1; 32]));
    let connect = async |address: &str| {
        let target = address.parse().unwrap();
        let client = embermesh_client::Client::connect(target, key.clone(), Default::default());
        Box::pin(client).await.unwrap_err()
    };
    assert!(matches!(
        connect(&node.address).await,
        ClientError::NotAnIndex { .. }
    ));
    let empty = Server::start(41, "127.0.0.1:0", Routes::default()).await;
    assert!(matches!(
        connect(&empty.address).await,
        ClientError::NotAnIndex { .. }
    ));
    let gone = node.address.clone();
    node.stop().await;
    assert!(matches!(
        connect(&gone).await,
        ClientError::Unreachable { .. }
    ));
    let shown = Shown::new(42);
    let index = shown.serve("127.0.0.1:0").await;
    let pinned = format!("{}/p2p/{}", index.address, empty.peer);
    assert!(matches!(
        connect(&pinned).await,
        ClientError::AnotherIndex { .. }
    ));
    assert_eq!(client(&index).await.index_peer(), index.peer);
}
