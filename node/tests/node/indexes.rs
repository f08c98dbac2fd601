//! One node and two indexes that know nothing of each other: its reservation decides, and
//! each hears of its own attempts alone.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use embermesh_crypto::{TaskIndex, ids::Epoch};
use embermesh_job::{assignment::TaskKey, event::EventKind, order::Report, spec::JobSpec};
use embermesh_node::{GuestsConfig, NodeConfig, RunningNode};
use embermesh_proto::v1::{self, permit_response::Answer};
use tonic::Status;

use crate::support::{
    Caller, all, caller, config, digits, index::FakeIndex, job, long_spec, next, spec, start,
    until, word,
};

/// The metadata key of why there is no room.
const NO_SLOT: &str = "embermesh-no-slot";

struct Shared {
    indexes: [FakeIndex; 2],
    node: RunningNode,
    _dir: tempfile::TempDir,
}

impl Shared {
    async fn start(change: impl FnOnce(NodeConfig) -> NodeConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let indexes = [
            FakeIndex::start_as(200, None).await,
            FakeIndex::start_as(210, None).await,
        ];
        let plain = NodeConfig {
            open: false,
            indexes: indexes.iter().map(FakeIndex::address).collect(),
            ..config(dir.path())
        };
        let node = start(change(plain), 1).await;
        for index in &indexes {
            index.registered().await;
        }
        Self {
            indexes,
            node,
            _dir: dir,
        }
    }
}

fn first(number: u8) -> TaskKey {
    TaskKey {
        job: job(number),
        task: TaskIndex(0),
        epoch: Epoch::FIRST,
    }
}

async fn failure_of(index: &FakeIndex, attempt: TaskKey) -> String {
    index
        .report("that an attempt failed", |key, report| match report {
            Report::AttemptFailed { code, .. } if *key == attempt => Some(code.clone()),
            _ => None,
        })
        .await
}

fn no_slot(status: &Status) -> &str {
    status.metadata().get(NO_SLOT).unwrap().to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_indexes_that_send_for_one_slot_one_has_it_and_the_other_is_told() {
    let shared = Shared::start(|config| config).await;
    let [left, right] = &shared.indexes;
    let client = caller(&shared.node, 2).await;
    let spec = long_spec();
    let tokens = [
        left.token(client.claims(1, &spec)),
        right.token(client.claims(2, &spec)),
    ];
    client.put(&tokens[0], &digits(1000)).await.unwrap();
    // At once, as two indexes do that see the same free slot.
    let (one, two) = tokio::join!(
        client.run_with(&tokens[0], &spec),
        client.run_with(&tokens[1], &spec)
    );
    let (winner, loser, mut stream, refused, spent) = match (one, two) {
        (Ok(stream), Err(refused)) => ((left, 1), (right, 2), stream, refused, &tokens[1]),
        (Err(refused), Ok(stream)) => ((right, 2), (left, 1), stream, refused, &tokens[0]),
        other => panic!("one has the slot and one has not: {other:?}"),
    };
    assert_eq!(no_slot(&refused), "busy");
    assert!(refused.message().contains("ask another"), "{refused}");
    assert_eq!(failure_of(loser.0, first(loser.1)).await, "busy");
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;

    // What was turned away does not run here later, when it may run elsewhere.
    let winning = if winner.1 == 1 {
        &tokens[0]
    } else {
        &tokens[1]
    };
    let control = client.control(winning, winner.1);
    client.stub.clone().cancel(control).await.unwrap();
    client.idle().await;
    let status = client.run_with(spent, &spec).await.unwrap_err();
    assert_eq!(word(&status), "replayed");
    let mut stream = client.attach(spent, loser.1, 0).await.unwrap();
    let (events, end) = all(&mut stream).await;
    assert!(events.is_empty());
    assert_eq!(end.unwrap().0, "busy");
    // Each index has heard of its own job alone.
    winner
        .0
        .report("the end", |key, _| (*key == first(winner.1)).then_some(()))
        .await;
    for (index, number) in [winner, loser] {
        assert!(
            index
                .reports()
                .iter()
                .all(|(key, _)| key.job == job(number))
        );
    }
    shared.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_index_is_away_an_attempt_without_room_is_not_used_up() {
    let shared = Shared::start(|config| config).await;
    let Shared {
        indexes: [left, right],
        node,
        _dir,
    } = shared;
    let client = caller(&node, 2).await;
    let long = long_spec();
    let running = left.token(client.claims(1, &long));
    client.put(&running, &digits(1000)).await.unwrap();
    let mut stream = client.run_with(&running, &long).await.unwrap();
    next(&mut stream).await;
    let short = spec(200, 1);
    let waiting = right.token(client.claims(2, &short));
    client.put(&waiting, &digits(200)).await.unwrap();
    right
        .restart(async {
            // The line has ended long before the node has waited for a slot in vain.
            let status = client.run_with(&waiting, &short).await.unwrap_err();
            assert_eq!(no_slot(&status), "busy");
            let control = client.control(&running, 1);
            client.stub.clone().cancel(control).await.unwrap();
            client.idle().await;
            let mut stream = client.run_with(&waiting, &short).await.unwrap();
            let (events, _) = all(&mut stream).await;
            assert!(events.last().unwrap().kind.is_final());
        })
        .await
        // It learns what ran meanwhile.
        .report(
            "the end of what ran meanwhile",
            |key, report| match report {
                Report::Event(event) if event.kind.is_final() && *key == first(2) => Some(()),
                _ => None,
            },
        )
        .await;
    node.stop().await.unwrap();
}

async fn ask(client: &Caller, number: u8, spec: &JobSpec) -> v1::PermitResponse {
    let request = v1::PermitRequest {
        spec: spec.canonical().into(),
        job_id: job(number).to_string(),
        epoch: 1,
        grants: Vec::new(),
    };
    client
        .stub
        .clone()
        .permit(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_has_its_quota_once_whoever_sends_its_jobs() {
    for indexed in [false, true] {
        let shared = Shared::start(|config| NodeConfig {
            open: true,
            slots: 4,
            guests: GuestsConfig {
                tasks: 2,
                indexed,
                ..GuestsConfig::default()
            },
            ..config
        })
        .await;
        let [left, right] = &shared.indexes;
        let client = caller(&shared.node, 2).await;
        let spec = long_spec();
        client.put("", &digits(1000)).await.unwrap();
        let mut streams = Vec::new();
        for (index, number) in [(left, 1), (right, 2)] {
            let token = index.token(client.claims(number, &spec));
            let mut stream = client.run_with(&token, &spec).await.unwrap();
            next(&mut stream).await;
            streams.push(stream);
        }
        // Without an index it has what is left, which is nothing.
        match ask(&client, 3, &spec).await.answer {
            Some(Answer::Queued(queued)) => assert_eq!(queued.code, "too_many_tasks"),
            other => panic!("it had its quota twice: {other:?}"),
        }
        // By an index it has more only where the owner leaves that to the index.
        let token = left.token(client.claims(4, &spec));
        let third = client.run_with(&token, &spec).await;
        if indexed {
            assert_eq!(no_slot(&third.unwrap_err()), "too_many_tasks");
            assert_eq!(failure_of(left, first(4)).await, "too_many_tasks");
            // Another client has a quota of its own.
            let other = caller(&shared.node, 3).await;
            let token = right.token(other.claims(5, &spec));
            next(&mut other.run_with(&token, &spec).await.unwrap()).await;
        } else {
            next(&mut third.unwrap()).await;
        }
        shared.node.stop().await.unwrap();
    }
}
