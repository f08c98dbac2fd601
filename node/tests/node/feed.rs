//! Data that stays with the client, through a real node and worker: as good as a blob,
//! waited for, and given by whoever means harm.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use embermesh_compute::away::LocalData;
use embermesh_crypto::{
    digest::Digest,
    statement::{Outcome, Receipt, Signed},
};
use embermesh_job::{
    event::{Event, EventKind, Notice, RunUpdate},
    spec::{Dataset, JobSpec, Work},
    units::Millis,
};
use embermesh_proto::v1::{self, feed_request::Part};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::{Caller, all, caller, config, digits, next, spec, start, until, word};

/// Digits as a client keeps them, and the spec of a job over them.
fn staying(rows: usize, passes: u32) -> (Arc<LocalData>, JobSpec) {
    let folder = tempfile::tempdir().unwrap();
    let bytes = digits(rows);
    let path = folder.path().join("digits.csv");
    std::fs::write(&path, &bytes).unwrap();
    let spec = spec(rows, passes);
    let files = BTreeMap::from([(Digest::of(&bytes), path)]);
    let (data, model) = (spec.data().unwrap(), spec.model().unwrap());
    let local = LocalData::load(data, model, files, 1 << 30).unwrap();
    let spec = spec.with_data(Dataset::Client(local.description().clone()));
    (Arc::new(local), spec)
}

/// A feeder whose every message a test writes.
struct Feeder {
    to: mpsc::Sender<v1::FeedRequest>,
    questions: Streaming<v1::FeedWant>,
}

async fn feeder(client: &Caller, token: &str, number: u8) -> Result<Feeder, Status> {
    let (to, queue) = mpsc::channel(4);
    let task = Part::Task(client.control(token, number));
    to.send(v1::FeedRequest { part: Some(task) }).await.unwrap();
    let stream = client.stub.clone().feed(ReceiverStream::new(queue)).await?;
    Ok(Feeder {
        to,
        questions: stream.into_inner(),
    })
}

impl Feeder {
    async fn want(&mut self) -> Result<Option<v1::FeedWant>, Status> {
        tokio::time::timeout(crate::support::LONG, self.questions.message())
            .await
            .expect("a question, or the end")
    }

    async fn give(&self, ask: u64, data: Vec<u8>) {
        let data = data.into();
        let samples = Part::Samples(v1::feed_request::Samples { ask, data });
        // The node may have ended the call; what it says of that is what counts.
        let _ = self
            .to
            .send(v1::FeedRequest {
                part: Some(samples),
            })
            .await;
    }

    /// Answers honestly, at most so many questions.
    async fn answer(&mut self, data: &LocalData, most: usize) -> Result<(), Status> {
        for _ in 0..most {
            let Some(want) = self.want().await? else {
                return Ok(());
            };
            let mut records = data.records(&want.samples).unwrap();
            // In two parts, as a large answer comes.
            let rest = records.split_off(records.len() / 2);
            for part in [records, rest] {
                if !part.is_empty() {
                    self.give(want.ask, part).await;
                }
            }
        }
        Ok(())
    }

    /// How the node ends it.
    async fn refusal(mut self) -> Status {
        loop {
            match self.want().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the feeder was not sent away"),
                Err(status) => return status,
            }
        }
    }
}

/// The end of a task: how, and in which words.
fn end(events: &[Event]) -> (Outcome, &str, Receipt) {
    let Some(EventKind::Finished {
        outcome,
        receipt,
        message,
    }) = events.last().map(|event| &event.kind)
    else {
        panic!("{events:?}");
    };
    let receipt = Signed::<Receipt>::from_bytes(receipt.clone())
        .unwrap()
        .open()
        .unwrap();
    (*outcome, message, (*receipt).clone())
}

/// The losses of every pass, to the last bit.
fn losses(events: &[Event]) -> Vec<(u64, u64)> {
    events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::EpochEnded {
                train_loss,
                holdout_loss,
                ..
            } => Some((
                train_loss.to_bits(),
                holdout_loss.unwrap_or_default().to_bits(),
            )),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_over_data_that_stays_is_the_same_as_over_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(200)).await.unwrap();
    let (blob, _) = all(&mut client.run(1, &spec(200, 3)).await).await;

    let (data, spec) = staying(200, 3);
    let token = client.token(2, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    let mut fed = feeder(&client, &token, 2).await.unwrap();
    let (answered, (events, gone)) = tokio::join!(fed.answer(&data, usize::MAX), all(&mut stream));
    answered.unwrap();
    assert_eq!(gone, None);
    assert_eq!(losses(&events), losses(&blob));
    assert_eq!(events.len(), blob.len());
    let (outcome, _, receipt) = end(&events);
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(receipt.inputs, [data.description().digest]);
    // The node keeps nothing of it: the file is no blob, and nothing is left.
    assert!(!client.has(data.description().digest).await);
    let left = std::fs::read_dir(dir.path().join("node/work")).unwrap();
    assert_eq!(left.count(), 0);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_a_client_that_is_away_and_goes_on_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let (data, spec) = staying(100, 2);
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    // One that goes in the middle of an answer.
    let mut first = feeder(&client, &token, 1).await.unwrap();
    first.answer(&data, 3).await.unwrap();
    let want = first.want().await.unwrap().unwrap();
    first.give(want.ask, vec![7]).await;
    drop(first);
    loop {
        match next(&mut stream).await.unwrap() {
            RunUpdate::Notice(Notice::DataAwaited(true)) => break,
            RunUpdate::Event(event) => assert!(!event.kind.is_final(), "{event:?}"),
            RunUpdate::Notice(_) => {}
        }
    }
    let mut second = feeder(&client, &token, 1).await.unwrap();
    let (answered, (events, _)) = tokio::join!(second.answer(&data, usize::MAX), all(&mut stream));
    answered.unwrap();
    assert_eq!(end(&events).0, Outcome::Succeeded);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_data_stays_away_is_cancelled_or_fails_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.data_wait = Millis(2_500);
    let node = start(config, 1).await;
    let client = caller(&node, 2).await;
    let (_, spec) = staying(100, 2);
    let mut stream = client.run(1, &spec).await;
    let (events, _) = all(&mut stream).await;
    let (outcome, message, _) = end(&events);
    assert_eq!(outcome, Outcome::Failed);
    assert!(message.contains("stays with its client"), "{message}");

    // Cancelled while it waits.
    let token = client.token(2, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| {
        matches!(kind, EventKind::Started { .. })
    })
    .await;
    let cancel = client.control(&token, 2);
    client.stub.clone().cancel(cancel).await.unwrap();
    let (events, _) = all(&mut stream).await;
    assert_eq!(end(&events).0, Outcome::Cancelled);
    assert!(client.status().await.running.is_empty());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_means_harm_is_sent_away_and_the_node_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let (data, spec) = staying(100, 1);
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    let record = usize::try_from(data.description().record_bytes()).unwrap();

    // Too much, nothing, a part that is too long, out of turn, and the wrong word.
    type Harm = fn(u64, usize) -> (u64, Vec<u8>);
    let harms: [Harm; 4] = [
        |ask, whole| (ask, vec![0; whole + 1]),
        |ask, _| (ask, Vec::new()),
        |ask, _| (ask, vec![0; 600 * 1024]),
        |ask, whole| (ask + 1, vec![0; whole]),
    ];
    for harm in harms {
        let mut bad = feeder(&client, &token, 1).await.unwrap();
        let want = bad.want().await.unwrap().unwrap();
        let (ask, bytes) = harm(want.ask, want.samples.len() * record);
        bad.give(ask, bytes).await;
        let status = bad.refusal().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(word(&status), "bad_samples");
    }
    let twice = feeder(&client, &token, 1).await.unwrap();
    let task = Part::Task(client.control(&token, 1));
    twice
        .to
        .send(v1::FeedRequest { part: Some(task) })
        .await
        .unwrap();
    assert_eq!(twice.refusal().await.code(), Code::InvalidArgument);

    // A newer one takes the place of an older one, and the task is none the worse.
    let old = feeder(&client, &token, 1).await.unwrap();
    let mut new = feeder(&client, &token, 1).await.unwrap();
    assert_eq!(word(&old.refusal().await), "feeder_replaced");
    let (answered, (events, _)) = tokio::join!(new.answer(&data, usize::MAX), all(&mut stream));
    answered.unwrap();
    assert_eq!(end(&events).0, Outcome::Succeeded);
    // The task is over.
    let late = feeder(&client, &token, 1).await.err().unwrap();
    assert_eq!(late.code(), Code::FailedPrecondition);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_class_or_no_number_is_named_by_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let (data, spec) = staying(100, 1);
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    let mut bad = feeder(&client, &token, 1).await.unwrap();
    let want = bad.want().await.unwrap().unwrap();
    let mut records = data.records(&want.samples).unwrap();
    let last = records.len() - 4;
    records[last..].copy_from_slice(&77_u32.to_le_bytes());
    bad.give(want.ask, records).await;
    let (events, _) = all(&mut stream).await;
    let (outcome, message, _) = end(&events);
    assert_eq!(outcome, Outcome::Failed);
    let row = want.samples.last().unwrap() + 1;
    for part in ["data.client", "found 77", &format!("row {row},")] {
        assert!(message.contains(part), "{message}");
    }
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_client_of_a_task_feeds_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let (_, spec) = staying(100, 1);
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| {
        matches!(kind, EventKind::Started { .. })
    })
    .await;
    let stranger = caller(&node, 3).await;
    let stolen = feeder(&stranger, &token, 1).await.err().unwrap();
    assert_eq!(stolen.code(), Code::PermissionDenied);
    let own = stranger.token(1, &spec);
    let other = feeder(&stranger, &own, 1).await.err().unwrap();
    assert_eq!(word(&other), "wrong_client");
    // One that names no task is not waited for for ever, and one whose task has its
    // data as a blob has nothing to give.
    let blob = crate::support::long_spec();
    client
        .stub
        .clone()
        .cancel(client.control(&token, 1))
        .await
        .unwrap();
    client.put("", &digits(1000)).await.unwrap();
    let token = client.token(2, &blob);
    let mut stream = client.run_with(&token, &blob).await.unwrap();
    until(&mut stream, |kind| {
        matches!(kind, EventKind::Started { .. })
    })
    .await;
    let nothing = feeder(&client, &token, 2).await.err().unwrap();
    assert_eq!(nothing.code(), Code::FailedPrecondition);
    tokio::time::timeout(Duration::from_secs(30), node.stop())
        .await
        .expect("it stops")
        .unwrap();
    assert!(matches!(blob.work, Work::Train(_)));
}
