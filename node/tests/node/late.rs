//! Words that come when the work is done.
#![cfg(unix)]

use crate::support::{all, caller, config, digits, spec, start, until, worker::FakeWorker};
use embermesh_compute::pipe::{FromWorker, WorkSummary, WorkerEvent, WorkerEventKind};
use embermesh_crypto::statement::Outcome;
use embermesh_job::event::EventKind;
use embermesh_node::NodeConfig;
use rustix::fs::{CWD, Mode, mkfifoat};

/// It begins, hears nothing more, and says the rest when the test lets it.
const WORK: &str = r#"
    exec 0<&-
    cat "$dir/first"
    read -r _ < "$dir/gate"
    cat "$dir/last"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_comes_too_late_does_not_undo_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let worker = FakeWorker::new(dir.path(), WORK);
    let gate = worker.path("gate");
    mkfifoat(CWD, &gate, Mode::RUSR | Mode::WUSR).unwrap();
    let started = EventKind::Started {
        device: "shell".to_owned(),
        parameters: 1,
        total_steps: 1,
        samples: 1,
    };
    let ended = EventKind::EpochEnded {
        pass: 1,
        train_loss: 1.0,
        train_accuracy: None,
        holdout_loss: None,
        holdout_accuracy: None,
    };
    let event = |seq, kind| {
        FromWorker::Event(WorkerEvent {
            seq,
            kind: WorkerEventKind::Plain(kind),
        })
    };
    let done = FromWorker::Done(WorkSummary {
        steps: 1,
        samples: 1,
        loss: None,
        accuracy: None,
        next_seq: 3,
    });
    worker.says("first", &[event(1, started)]);
    worker.says("last", &[event(2, ended), done]);
    let config = NodeConfig {
        worker_command: worker.command(),
        ..config(dir.path())
    };
    let node = start(config, 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(100)).await.unwrap();
    let spec = spec(100, 1);
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| {
        matches!(kind, EventKind::Started { .. })
    })
    .await;

    // Heard by the daemon before any of the rest, because that is said only later.
    let finish = client.control(&token, 1);
    client.stub.clone().finish(finish).await.unwrap();
    tokio::task::spawn_blocking(move || std::fs::write(gate, "\n").unwrap())
        .await
        .unwrap();
    let (events, end) = all(&mut stream).await;
    assert_eq!(end, None);
    let EventKind::Finished { outcome, .. } = &events.last().unwrap().kind else {
        panic!("{events:?}");
    };
    assert_eq!(*outcome, Outcome::Succeeded);
    node.stop().await.unwrap();
}
