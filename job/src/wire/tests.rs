//! What is written is read back; what is out of bounds is refused.

use embermesh_crypto::{Keypair, TaskIndex, UnixMillis};
use embermesh_proto::v1;

use super::*;
use crate::{
    address::{BlobRef, Checkpoint, PeerAddress},
    assignment::{NodeAssignment, TaskKey},
    event::{
        Artifact, Event, EventKind, FinishReason, Generated, LogStream, MAX_PIECE, Notice, Outcome,
        Progress, RunUpdate,
    },
    lifecycle::Job,
    order::{Order, Report, RunOrder},
};

fn who() -> PeerId {
    Keypair::from_seed(&[1; 32]).peer_id()
}

fn id() -> JobId {
    JobId::v7(UnixMillis(1), [1; 10])
}

fn blob() -> BlobRef {
    BlobRef {
        digest: Digest::of(b"x"),
        size: 1,
        holders: vec![PeerAddress {
            peer: who(),
            tls: vec!["127.0.0.1:1".into()],
            mesh: vec!["/ip4/127.0.0.1/tcp/2".into()],
        }],
    }
}

fn assignment() -> NodeAssignment {
    NodeAssignment {
        job: id(),
        task: TaskIndex(0),
        epoch: Epoch(1),
        node: blob().holders[0].clone(),
        token: "a.b.c".into(),
        expires_at: UnixMillis(9),
    }
}

fn kinds() -> Vec<EventKind> {
    vec![
        EventKind::Started {
            device: "cpu".into(),
            parameters: 1,
            total_steps: 2,
            samples: 3,
        },
        EventKind::Progress(Progress {
            step: 1,
            total_steps: 2,
            pass: 1,
            total_passes: 1,
            loss: 0.5,
            accuracy: Some(0.5),
            samples_per_second: 10.0,
            remaining_ms: 5,
        }),
        EventKind::EpochEnded {
            pass: 1,
            train_loss: 0.1,
            train_accuracy: None,
            holdout_loss: Some(0.2),
            holdout_accuracy: Some(0.9),
        },
        EventKind::Checkpoint {
            step: 1,
            digest: Digest::of(b"c"),
            size: 3,
        },
        EventKind::Artifact(Artifact {
            name: "model".into(),
            digest: Digest::of(b"m"),
            size: 4,
        }),
        EventKind::Evaluated {
            samples: 1,
            loss: 0.1,
            accuracy: None,
        },
        EventKind::Metrics {
            values: [("auc".to_owned(), 0.5), ("loss".to_owned(), 1.5)].into(),
        },
        EventKind::Generated(Generated {
            request: 1,
            text: "Paris é".into(),
            tokens: 3,
            prompt_tokens: 12,
            tokens_per_second: 80.5,
            finish: None,
        }),
        EventKind::Generated(Generated {
            request: 0,
            text: String::new(),
            tokens: 4,
            prompt_tokens: 12,
            tokens_per_second: 80.0,
            finish: Some(FinishReason::Stop),
        }),
        EventKind::Prepared {
            rows: [("test".to_owned(), 30), ("train".to_owned(), 120)].into(),
            columns: 5,
        },
        EventKind::Adjusted {
            step: 3,
            learning_rate: 0.1,
            weight_decay: 0.0,
        },
        EventKind::Logged {
            stream: LogStream::Stdout,
            text: "é\n".into(),
        },
        EventKind::Logged {
            stream: LogStream::Stderr,
            text: String::new(),
        },
        EventKind::Stopped {
            step: 4,
            reason: "as asked".into(),
        },
        EventKind::Loaded(crate::event::Loaded {
            model: Digest::of(b"m"),
            memory_bytes: 5,
            context: 6,
            concurrency: 7,
        }),
        EventKind::Finished {
            outcome: Outcome::Failed,
            receipt: vec![1, 2],
            message: "no".into(),
        },
    ]
}

fn events() -> Vec<Event> {
    let event = |(at, kind)| Event {
        seq: at as u64 + 1,
        epoch: Epoch(1),
        at: UnixMillis(7),
        kind,
    };
    kinds().into_iter().enumerate().map(event).collect()
}

#[test]
fn every_item_of_a_stream_reads_back() {
    let notices = [
        Notice::FetchingInput {
            digest: Digest::of(b"i"),
            size: 2,
            received: 1,
        },
        Notice::Paused(true),
        Notice::AttemptEnded {
            code: "crashed".into(),
            message: String::new(),
        },
        Notice::Draining,
        Notice::Idle,
    ];
    let updates = events()
        .into_iter()
        .map(RunUpdate::Event)
        .chain(notices.map(RunUpdate::Notice));
    for update in updates {
        let wire = v1::RunUpdate::from(update.clone());
        assert_eq!(RunUpdate::try_from(wire), Ok(update));
    }
    // The same events as JSON, as the store and `-o json` have them.
    for event in events() {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

#[test]
fn orders_and_reports_read_back() {
    let key = TaskKey {
        job: id(),
        task: TaskIndex(0),
        epoch: Epoch(2),
    };
    let checkpoint = Checkpoint {
        blob: blob(),
        step: 3,
        seq: 4,
    };
    for order in [
        Order::Run(Box::new(RunOrder {
            assignment: assignment(),
            spec: b"{}".to_vec(),
            resume: Some(checkpoint.clone()),
            inputs: vec![blob()],
        })),
        Order::Cancel(key),
        Order::KeySet(vec![1]),
        Order::Revocation(vec![2]),
    ] {
        assert_eq!(Order::try_from(v1::Order::from(order.clone())), Ok(order));
    }
    for report in [
        Report::Event(Box::new(events()[0].clone())),
        Report::AttemptFailed {
            code: "x".into(),
            message: "y".into(),
        },
        Report::Checkpoint(checkpoint),
        Report::Inputs(vec![blob()]),
    ] {
        let wire = report.clone().into_wire(key);
        assert_eq!(Report::from_wire(wire), Ok((key, report)));
    }
}

#[test]
fn a_job_reads_back() {
    let job = Job::new(
        id(),
        "job".into(),
        who(),
        Digest::of(b"s"),
        3,
        UnixMillis(5),
    );
    let view = JobView {
        id: job.id,
        name: job.name,
        owner: job.owner,
        state: job.state,
        spec_digest: job.spec_digest,
        epoch: job.epoch,
        node: Some(who()),
        submitted_at: UnixMillis(5),
        updated_at: UnixMillis(6),
        ended_at: None,
        latest: events().pop(),
        finished: None,
        artifacts: Vec::new(),
        checkpoint: None,
        reason: "waits".into(),
        passed_over: vec![(who(), "busy".into(), "has no slot".into())],
        journal: job.journal,
        spec: b"{}".to_vec(),
        charge: Some(Charge::default()),
    };
    assert_eq!(JobView::try_from(v1::Job::from(view.clone())), Ok(view));
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let refused = |change: fn(&mut v1::NodeAssignment)| {
        let mut wire = v1::NodeAssignment::from(assignment());
        change(&mut wire);
        NodeAssignment::try_from(wire).unwrap_err().field
    };
    assert_eq!(refused(|w| w.job_id = "x".into()), "job_id");
    assert_eq!(refused(|w| w.epoch = 0), "epoch");
    assert_eq!(refused(|w| w.node = None), "assignment.node");
    assert_eq!(refused(|w| w.auth_token = "x".repeat(5000)), "auth_token");
    assert_eq!(
        refused(|w| w.node.as_mut().unwrap().tls = vec![String::new(); 600]),
        "tls"
    );
    assert_eq!(
        refused(|w| w.node.as_mut().unwrap().peer_id = "12D3".into()),
        "peer_id"
    );
    let long = v1::event::Generated {
        text: "x".repeat(MAX_PIECE + 1),
        ..Default::default()
    };
    assert_eq!(
        Generated::try_from(long).unwrap_err().field,
        "generated.text"
    );
    let mut event = v1::Event::from(events()[0].clone());
    event.seq = 0;
    assert!(Event::try_from(event).is_err());
    assert!(Event::try_from(v1::Event::default()).is_err());
    let mut blob = v1::BlobRef::from(blob());
    blob.digest = vec![0; 31].into();
    assert_eq!(BlobRef::try_from(blob).unwrap_err().field, "digest");
}
