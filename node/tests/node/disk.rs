//! A full disk under the data folder of a node.
#![cfg(target_os = "linux")]

use std::{
    env,
    fmt::Write as _,
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use crate::support::{Caller, all, caller, config, digits, long_spec, spec, start, until};
use embermesh_job::{event::EventKind, spec::Work};
use tokio::sync::watch;
use tonic::{Code, Streaming};
use tracing::{Event, Metadata, Subscriber, field, span};

/// Where the small disk is mounted.
const DISK: &str = "EMBERMESH_TEST_DISK";

/// What the node logs when it tries again to write how an attempt ended.
const AGAIN: &str = "the end of an attempt is written again";

/// How often it tries again: it tries five times in all.
const TRIES_AGAIN: u64 = 4;

/// Counts lines of the log, so that a test can wait for one.
#[derive(Clone)]
struct Ear {
    heard: Arc<watch::Sender<u64>>,
}

impl Ear {
    fn listen() -> Self {
        let ear = Self {
            heard: Arc::new(watch::Sender::new(0)),
        };
        tracing::subscriber::set_global_default(ear.clone()).unwrap();
        ear
    }

    /// Waits until it was heard so often in all.
    async fn heard(&self, times: u64) {
        let mut heard = self.heard.subscribe();
        let waiting = heard.wait_for(|heard| *heard >= times);
        tokio::time::timeout(crate::support::LONG, waiting)
            .await
            .unwrap()
            .unwrap();
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("embermesh_node")
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl field::Visit for Text {
            fn record_debug(&mut self, field: &field::Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, "{field}={value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        println!("{} {}", event.metadata().level(), text.0);
        if text.0.contains(AGAIN) {
            self.heard.send_modify(|heard| *heard += 1);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A file that takes all the room there is, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(disk: &Path) -> Self {
        let path = disk.join("ballast");
        let mut file = File::create(&path).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

type Updates = Streaming<embermesh_proto::v1::RunUpdate>;

/// A job that has begun and says nothing while the disk is filled.
async fn paused(client: &Caller, number: u8) -> (Updates, String) {
    let mut spec = long_spec();
    if let Work::Train(train) = &mut spec.work {
        train.report_every = 1;
    }
    let token = client.token(number, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    let pause = client.control(&token, number);
    client.stub.clone().pause(pause).await.unwrap();
    (stream, token)
}

async fn go_on(client: &Caller, token: &str, number: u8) {
    let resume = client.control(token, number);
    client.stub.clone().resume(resume).await.unwrap();
}

/// Run by the test below, in a namespace of mounts of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the small disk that the test below mounts"]
async fn fills_the_disk() {
    let disk = PathBuf::from(env::var_os(DISK).unwrap());
    let ear = Ear::listen();
    let node = start(config(&disk), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    client.put("", &digits(200)).await.unwrap();

    // There is room again before the node has given up.
    let (mut stream, first) = paused(&client, 1).await;
    let full = Ballast::fill(&disk);
    go_on(&client, &first, 1).await;
    ear.heard(1).await;
    drop(full);
    let (_, end) = all(&mut stream).await;
    let (code, message) = end.unwrap();
    assert_eq!(code, "storage_full");
    assert!(message.contains("disk of data_dir"), "{message}");
    let before = *ear.heard.borrow();

    // There is not: what cannot be kept is not told as if it were.
    let (mut stream, second) = paused(&client, 2).await;
    let full = Ballast::fill(&disk);
    go_on(&client, &second, 2).await;
    let (_, end) = all(&mut stream).await;
    let (code, message) = end.unwrap();
    assert_eq!(code, "storage_failed");
    assert!(message.contains("disk is full"), "{message}");
    assert_eq!(*ear.heard.borrow() - before, TRIES_AGAIN);

    // Nothing new is taken on, nothing is used up by asking, and the node goes on.
    let spec = spec(200, 1);
    let token = client.token(3, &spec);
    let status = client.run_with(&token, &spec).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("disk is full"), "{status}");
    drop(full);
    let (events, end) = all(&mut client.run_with(&token, &spec).await.unwrap()).await;
    assert!(end.is_none() && events.last().unwrap().kind.is_final());
    node.stop().await.unwrap();

    // What was kept is known after a restart, and what was not is known to be open.
    let node = start(config(&disk), 1).await;
    let client = caller(&node, 2).await;
    for (number, token, code) in [(1, first, "storage_full"), (2, second, "node_restarted")] {
        let (_, end) = all(&mut client.attach(&token, number, 0).await.unwrap()).await;
        assert_eq!(end.unwrap().0, code);
    }
    node.stop().await.unwrap();
    println!("the full disk was seen");
}

#[test]
fn a_full_disk_ends_an_attempt_and_not_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=16m tmpfs \"${DISK}\" || exit 77\n\
         exec \"$0\" --exact disk::fills_the_disk --ignored --nocapture"
    );
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(env::current_exe().unwrap())
        .env(DISK, folder.path())
        .output();
    let Ok(ran) = ran else {
        eprintln!("skipped: no `unshare` to make a small disk with");
        return;
    };
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    if !ran.status.success() && !out.contains("running 1 test") {
        eprintln!("skipped: this system lets nobody mount a small disk: {err}");
        return;
    }
    assert!(
        ran.status.success() && out.contains("the full disk was seen"),
        "{out}{err}"
    );
}
