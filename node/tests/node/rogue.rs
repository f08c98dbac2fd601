//! Workers that have been taken over: they break the protocol, take what they may not,
//! or do not end. The daemon ends them, and runs the next job.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::time::{Duration, Instant};

use embermesh_compute::pipe::{FromWorker, WorkSummary, WorkerEvent, WorkerEventKind};
use embermesh_crypto::statement::Outcome;
use embermesh_job::{
    event::EventKind,
    spec::JobSpec,
    units::{Bytes, Millis},
};
use embermesh_node::NodeConfig;

use crate::support::{Caller, all, caller, config, digits, spec, start, until, worker::FakeWorker};

/// How long a device may stay taken after a cancel.
const FREED_WITHIN: Duration = Duration::from_secs(2);

/// How long a worker may go on that has nothing more to say or has said nonsense.
const ENDED_WITHIN: Duration = Duration::from_secs(6);

/// It does what the test wrote last. `$work` is the folder that the order names.
const WORK: &str = r#"
    work=$(dd bs=65536 count=1 2>/dev/null | grep -ao '"workdir":"[^"]*"' | cut -d'"' -f4)
    . "$dir/case"
"#;

struct Case {
    name: &'static str,
    script: &'static str,
    /// The code of the attempt's end, or "failed" where the job is over.
    code: &'static str,
    /// In the message.
    text: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "it closes its pipe and stays",
        script: r#"cat "$dir/started"; exec 1>&-; exec sleep 600"#,
        code: "worker_crashed",
        text: "did not exit",
    },
    Case {
        name: "it exits without a word",
        script: "exit 3",
        code: "worker_crashed",
        text: "exit status: 3",
    },
    Case {
        name: "it dies of a fault",
        script: r#"echo last words >&2; kill -SEGV $$"#,
        code: "worker_crashed",
        text: "last words",
    },
    Case {
        name: "it says what is no message",
        script: r#"printf '\005\000\000\000hello'; exec sleep 600"#,
        code: "worker_crashed",
        text: "does not parse",
    },
    Case {
        name: "it says noise",
        script: r#"exec cat /dev/urandom"#,
        code: "worker_crashed",
        text: "pipe failed",
    },
    Case {
        name: "it announces a frame of four gigabytes",
        script: r#"printf '\377\377\377\377'; exec cat /dev/zero"#,
        code: "worker_crashed",
        text: "longer than",
    },
    Case {
        name: "it ends within a frame",
        script: r#"printf '\377\000\000\000{'; exit 0"#,
        code: "worker_crashed",
        text: "ended unexpectedly",
    },
    Case {
        name: "it repeats an event without end",
        script: r#"while :; do cat "$dir/started"; done"#,
        code: "worker_failed",
        text: "event 1 came after 1",
    },
    Case {
        name: "it skips an event",
        script: r#"cat "$dir/started" "$dir/third"; exec sleep 600"#,
        code: "worker_failed",
        text: "event 3 came after 1",
    },
    Case {
        name: "it says that it is ready, again",
        script: r#"cat "$dir/ready"; exec sleep 600"#,
        code: "worker_failed",
        text: "twice",
    },
    Case {
        name: "it makes an artifact of another's file",
        script: r#"cat "$dir/foreign"; exec sleep 600"#,
        code: "worker_failed",
        text: "not a file of its own",
    },
    Case {
        name: "it makes a receipt's last event itself",
        script: r#"cat "$dir/finished"; exec sleep 600"#,
        code: "worker_failed",
        text: "the daemon's to make",
    },
    Case {
        name: "it writes without end",
        script: r#"i=0; while :; do head -c 4194304 /dev/zero > "$work/$i"; i=$((i+1)); done"#,
        code: "failed",
        text: "limits.output",
    },
    Case {
        name: "it makes files without end",
        script: r#"i=0; while :; do : > "$work/$i"; i=$((i+1)); done"#,
        code: "failed",
        text: "limits.",
    },
    Case {
        name: "it computes without end",
        script: "while :; do :; done",
        code: "failed",
        text: "limits.cpu",
    },
    Case {
        name: "it complains without end",
        script: "while :; do echo no >&2; done",
        code: "failed",
        text: "limits.",
    },
    Case {
        name: "it waits without end",
        script: "exec sleep 600",
        code: "failed",
        text: "limits.wall",
    },
];

fn event(seq: u64, kind: EventKind) -> FromWorker {
    FromWorker::Event(WorkerEvent {
        seq,
        kind: WorkerEventKind::Plain(kind),
    })
}

fn started() -> EventKind {
    EventKind::Started {
        device: "shell".to_owned(),
        parameters: 1,
        total_steps: 1,
        samples: 1,
    }
}

fn rogue(dir: &std::path::Path) -> FakeWorker {
    let worker = FakeWorker::new(dir, WORK);
    worker.says("started", &[event(1, started())]);
    worker.says("third", &[event(3, started())]);
    let finished = EventKind::Finished {
        outcome: Outcome::Succeeded,
        receipt: Vec::new(),
        message: String::new(),
    };
    worker.says("finished", &[event(1, finished)]);
    let foreign = FromWorker::Event(WorkerEvent {
        seq: 1,
        kind: WorkerEventKind::Artifact {
            name: "model".to_owned(),
            path: "/etc/passwd".into(),
        },
    });
    worker.says("foreign", &[foreign]);
    let done = FromWorker::Done(WorkSummary {
        steps: 1,
        samples: 1,
        loss: None,
        accuracy: None,
        next_seq: 2,
    });
    worker.says("done", &[event(1, started()), done]);
    worker
}

fn bounded() -> JobSpec {
    let mut spec = spec(100, 1);
    spec.limits.memory = Bytes(16 << 20);
    spec.limits.output = Bytes(1 << 20);
    spec.limits.wall = Millis(3_000);
    spec.limits.cpu = Some(Millis(1_500));
    spec
}

async fn runs_a_job(client: &Caller, worker: &FakeWorker, number: u8) {
    std::fs::write(worker.path("case"), r#"cat "$dir/done""#).unwrap();
    let (events, end) = all(&mut client.run(number, &bounded()).await).await;
    assert_eq!(end, None);
    assert!(events.last().unwrap().kind.is_final(), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_breaks_its_word_is_ended_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let worker = rogue(dir.path());
    let config = NodeConfig {
        worker_command: worker.command(),
        ..config(dir.path())
    };
    let node = start(config, 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(100)).await.unwrap();
    let mut wrong = Vec::new();
    let mut number = 0;
    for case in CASES {
        std::fs::write(worker.path("case"), case.script).unwrap();
        number += 2;
        let mut spec = bounded();
        if case.text == "limits.output" {
            // On a slow disk its processor time would run out first.
            (spec.limits.cpu, spec.limits.wall) = (None, Millis(60_000));
        }
        let since = Instant::now();
        let (events, end) = all(&mut client.run(number, &spec).await).await;
        let took = since.elapsed();
        let (code, message) = match (end, events.last().map(|event| &event.kind)) {
            (Some(end), _) => end,
            (
                None,
                Some(EventKind::Finished {
                    outcome: Outcome::Failed,
                    message,
                    ..
                }),
            ) => ("failed".to_owned(), message.clone()),
            other => panic!("{}: {other:?}", case.name),
        };
        println!("{:<42} {code:<16} in {took:?}: {message}", case.name);
        if code != case.code || !message.contains(case.text) || took > ENDED_WITHIN {
            wrong.push(format!("{}: {code} after {took:?} ({message})", case.name));
        }
        client.idle().await;
        let left = std::fs::read_dir(dir.path().join("node/work"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{}: its folder is left", case.name);
        runs_a_job(&client, &worker, number + 1).await;
    }
    node.stop().await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_deaf_to_a_cancel_is_killed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let worker = rogue(dir.path());
    let config = NodeConfig {
        worker_command: worker.command(),
        ..config(dir.path())
    };
    let node = start(config, 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(100)).await.unwrap();
    // It hears nothing, takes no signal that can be refused, and has company.
    let script = r#"trap '' TERM INT HUP; cat "$dir/started"; sleep 600 & while :; do wait; done"#;
    std::fs::write(worker.path("case"), script).unwrap();
    let mut spec = bounded();
    spec.limits.wall = Millis(60_000);
    spec.limits.cpu = None;
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| {
        matches!(kind, EventKind::Started { .. })
    })
    .await;
    let asked = Instant::now();
    let control = client.control(&token, 1);
    client.stub.clone().cancel(control).await.unwrap();
    assert!(asked.elapsed() < FREED_WITHIN, "{:?}", asked.elapsed());
    let (events, _) = all(&mut stream).await;
    assert!(matches!(
        events.last().unwrap().kind,
        EventKind::Finished {
            outcome: Outcome::Cancelled,
            ..
        }
    ));
    runs_a_job(&client, &worker, 2).await;
    node.stop().await.unwrap();
}
