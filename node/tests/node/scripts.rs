//! Programs of clients on a node: off unless its owner allows them, streamed while
//! they run, and harmless to the node whatever they do.
#![cfg(target_os = "linux")]

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    statement::{Outcome, Receipt, Runtime, Signed},
};
use embermesh_job::{
    event::{Artifact, Event, EventKind, LogStream},
    file::{Format, JobFile},
    spec::{Input, JobSpec, Limits, Requirements, Script, Work},
    units::{Bytes as Amount, Millis},
};
use embermesh_node::{AllowedRuntimes, NodeConfig};
use embermesh_proto::v1;
use tonic::Code;

use crate::support::{Caller, all, caller, config, digits, start, until, word};

const ALL: AllowedRuntimes = AllowedRuntimes {
    wasm: true,
    python: true,
};

fn allowing(dir: &Path, runtimes: AllowedRuntimes) -> NodeConfig {
    NodeConfig {
        runtimes,
        ..config(dir)
    }
}

/// Whether Python programs can run here at all; says why not.
fn python_is_here() -> bool {
    let there = ["/usr/bin/bwrap", "/usr/bin/python3"].map(|path| Path::new(path).exists());
    if there != [true, true] {
        println!("skipped: bubblewrap or python3 is missing: install both");
    }
    there == [true, true]
}

async fn input(client: &Caller, bytes: &[u8]) -> Input {
    let data = Bytes::copy_from_slice(bytes);
    client.put("", &data).await.unwrap();
    Input {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

fn job(script: Script) -> JobSpec {
    JobSpec {
        name: "script".to_owned(),
        work: Work::Script(script),
        requires: Requirements::default(),
        limits: Limits {
            memory: Amount(256 << 20),
            wall: Millis(60_000),
            output: Amount(16 << 20),
            ..Limits::default()
        },
        attempts: 1,
    }
}

async fn python(client: &Caller, source: &str) -> JobSpec {
    job(Script {
        runtime: Runtime::Python,
        program: input(client, source.as_bytes()).await,
        entry: None,
        args: Vec::new(),
        env: BTreeMap::new(),
        stdin: None,
        inputs: BTreeMap::new(),
        outputs: Vec::new(),
        archive: true,
        cpu: None,
        fuel: None,
    })
}

/// An example of the repository, with its files brought to the node.
async fn example(client: &Caller, name: &str) -> JobSpec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let file = JobFile::parse(&text, Format::Toml).unwrap();
    let mut blobs = BTreeMap::new();
    for path in file.sources() {
        let bytes = std::fs::read(folder.join(path)).unwrap();
        blobs.insert(path.to_owned(), input(client, &bytes).await);
    }
    file.resolve(&blobs).unwrap()
}

fn said(events: &[Event], from: LogStream) -> String {
    let text = |event: &Event| match &event.kind {
        EventKind::Logged { stream, text } if *stream == from => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

fn made(events: &[Event]) -> Vec<Artifact> {
    let artifact = |event: &Event| match &event.kind {
        EventKind::Artifact(artifact) => Some(artifact.clone()),
        _ => None,
    };
    events.iter().filter_map(artifact).collect()
}

fn finished(events: &[Event]) -> (Outcome, &str) {
    match &events.last().expect("it says something").kind {
        EventKind::Finished {
            outcome,
            message,
            receipt,
        } => {
            let receipt = Signed::<Receipt>::from_bytes(receipt.clone()).unwrap();
            assert_eq!(receipt.open().unwrap().outcome, *outcome);
            (*outcome, message)
        }
        other => panic!("{other:?}"),
    }
}

async fn fetched(client: &Caller, artifact: &Artifact) -> Vec<u8> {
    let request = v1::FetchBlobRequest {
        digest: Bytes::copy_from_slice(artifact.digest.as_bytes()),
        offset: 0,
        length: 0,
    };
    let chunks = client.stub.clone().fetch_blob(request).await.unwrap();
    let bytes = futures::StreamExt::boxed(futures::StreamExt::map(chunks.into_inner(), |chunk| {
        chunk
            .map(|chunk| chunk.data)
            .map_err(|_| panic!("the stream breaks"))
    }));
    let mut checked = Box::pin(embermesh_mesh::blob::decode::<
        _,
        embermesh_mesh::blob::CodecError,
    >(&artifact.digest, artifact.size, 0, 0, bytes));
    let mut whole = Vec::new();
    while let Some(verified) = futures::StreamExt::next(&mut checked).await {
        whole.extend_from_slice(&verified.unwrap().data);
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_no_programs_unless_its_owner_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    for (number, name) in [(1, "script-python.toml"), (2, "script-wasm.toml")] {
        let spec = example(&client, name).await;
        let token = client.token(number, &spec);
        let refused = client.run_with(&token, &spec).await.unwrap_err();
        assert_eq!(
            (refused.code(), word(&refused)),
            (Code::FailedPrecondition, "no_runtime")
        );
        assert!(
            refused.message().contains("owner has not allowed"),
            "{refused}"
        );
    }
    node.stop().await.unwrap();

    // One is allowed, the other is not.
    let only_wasm = AllowedRuntimes {
        wasm: true,
        python: false,
    };
    let node = start(allowing(dir.path(), only_wasm), 1).await;
    let client = caller(&node, 2).await;
    let spec = example(&client, "script-python.toml").await;
    let refused = client.run_with(&client.token(3, &spec), &spec).await;
    assert_eq!(word(&refused.unwrap_err()), "no_runtime");
    let spec = example(&client, "script-wasm.toml").await;
    let (events, end) = all(&mut client.run(4, &spec).await).await;
    assert_eq!((end, finished(&events).0), (None, Outcome::Succeeded));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_runs_from_its_token_to_its_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(allowing(dir.path(), ALL), 1).await;
    let client = caller(&node, 2).await;
    let spec = example(&client, "script-wasm.toml").await;
    let (events, end) = all(&mut client.run(1, &spec).await).await;
    assert_eq!((end, finished(&events)), (None, (Outcome::Succeeded, "")));
    let bars = said(&events, LogStream::Stdout);
    assert_eq!(bars.lines().count(), 12);
    assert_eq!(bars.matches('#').count(), 150, "{bars}");
    let made = made(&events);
    assert_eq!(made.len(), 1, "{made:?}");
    let table = String::from_utf8(fetched(&client, &made[0]).await).unwrap();
    assert!(table.starts_with("from,count\n1.00,"), "{table}");
    assert_eq!(
        std::fs::read_dir(dir.path().join("node/work"))
            .unwrap()
            .count(),
        0
    );
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_runs_from_its_token_to_its_receipt() {
    if !python_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = start(allowing(dir.path(), ALL), 1).await;
    let client = caller(&node, 2).await;
    let spec = example(&client, "script-python.toml").await;
    let (events, end) = all(&mut client.run(1, &spec).await).await;
    assert_eq!((end, finished(&events)), (None, (Outcome::Succeeded, "")));
    let lines = said(&events, LogStream::Stdout);
    assert!(lines.contains("setosa sepal_length=5.006"), "{lines}");
    assert_eq!(said(&events, LogStream::Stderr), "3 classes\n");
    let made = made(&events);
    let names: Vec<&str> = made.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["means.json", "work.tar"]);
    let means: serde_json::Value =
        serde_json::from_slice(&fetched(&client, &made[0]).await).unwrap();
    assert_eq!(means["virginica"]["petal_width"], 2.026);
    let archive = fetched(&client, &made[1]).await;
    assert!(
        archive
            .windows(18)
            .any(|part| part == b"classes/setosa.csv")
    );
    // Whoever attaches later hears the same.
    let again = all(&mut client.attach(&client.token(1, &spec), 1, 0).await.unwrap()).await;
    assert_eq!(again.0, events);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_is_heard_while_it_runs_and_a_cancel_ends_it() {
    if !python_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = start(allowing(dir.path(), ALL), 1).await;
    let client = caller(&node, 2).await;
    let spec = python(&client, "print('here')\nwhile True: pass\n").await;
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    let heard = until(&mut stream, |kind| matches!(kind, EventKind::Logged { .. })).await;
    assert_eq!(said(&heard, LogStream::Stdout), "here\n");
    let since = std::time::Instant::now();
    let control = client.control(&token, 1);
    client.stub.clone().cancel(control).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(2));
    let (events, _) = all(&mut stream).await;
    assert_eq!(finished(&events).0, Outcome::Cancelled);
    assert!(client.status().await.running.is_empty());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_runs_too_long_is_ended_by_the_wall() {
    if !python_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = start(allowing(dir.path(), ALL), 1).await;
    let client = caller(&node, 2).await;
    let mut spec = python(&client, "import time\ntime.sleep(3600)\n").await;
    spec.limits.wall = Millis(500);
    let since = std::time::Instant::now();
    let (events, _) = all(&mut client.run(1, &spec).await).await;
    let (outcome, message) = finished(&events);
    assert_eq!(outcome, Outcome::Failed);
    assert!(message.contains("limits.wall"), "{message}");
    assert!(since.elapsed() < Duration::from_secs(5));
    node.stop().await.unwrap();
}

/// Whatever a program does, the node goes on, and the next job runs on it.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_fail_and_the_node_goes_on() {
    if !python_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = start(allowing(dir.path(), ALL), 1).await;
    let client = caller(&node, 2).await;
    let bombs = [
        (
            // It has an end of its own, should nothing else end it.
            "import os, time\nfor _ in range(11):\n    try:\n        os.fork()\n    except OSError:\n        pass\ntime.sleep(60)\n",
            "threads and processes",
        ),
        (
            "x = []\nwhile True: x.append(bytearray(1 << 20))\n",
            "MemoryError|limits.memory",
        ),
        ("while True: print('x' * 1000)\n", "limits.output"),
        (
            "import os\nfor _ in range(20000):\n    os.mkdir('d'); os.chdir('d')\n",
            "in each other",
        ),
        (
            "import os\nfor i in range(1 << 30): open(f'{i}', 'wb').write(bytes(1 << 20))\n",
            "limits.output",
        ),
        (
            "import os, shutil\nshutil.rmtree('/work', ignore_errors=True)\nraise SystemExit(4)\n",
            "exit code 4",
        ),
    ];
    for (number, (source, words)) in bombs.into_iter().enumerate() {
        let number = u8::try_from(number + 1).unwrap();
        let spec = python(&client, source).await;
        let (events, end) = all(&mut client.run(number, &spec).await).await;
        assert_eq!(end, None);
        let (outcome, message) = finished(&events);
        println!("{message}");
        assert_eq!(outcome, Outcome::Failed);
        assert!(
            words.split('|').any(|word| message.contains(word)),
            "{message}"
        );
        assert_eq!(
            std::fs::read_dir(dir.path().join("node/work"))
                .unwrap()
                .count(),
            0
        );
    }
    client.put("", &digits(200)).await.unwrap();
    let (events, end) = all(&mut client.run(100, &crate::support::spec(200, 1)).await).await;
    assert_eq!((end, finished(&events).0), (None, Outcome::Succeeded));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_does_not_work_is_told_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let fault = serde_json::json!({ "fault": "this machine makes no namespaces" }).to_string();
    let worker = crate::support::worker::FakeWorker::new(dir.path(), "exit 0");
    std::fs::write(worker.path("runtime"), fault).unwrap();
    let script = std::fs::read_to_string(worker.path("work.sh")).unwrap();
    let script = script.replace(
        "--probe)",
        "--probe-runtime) cat \"$dir/runtime\" ;;\n--probe)",
    );
    std::fs::write(worker.path("work.sh"), script).unwrap();
    let node = NodeConfig {
        worker_command: worker.command(),
        ..allowing(dir.path(), ALL)
    };
    let node = start(node, 1).await;
    let client = caller(&node, 2).await;
    let spec = python(&client, "print(1)\n").await;
    let refused = client.run_with(&client.token(1, &spec), &spec).await;
    let refused = refused.unwrap_err();
    assert_eq!(word(&refused), "no_runtime");
    assert!(
        refused.message().contains("makes no namespaces"),
        "{refused}"
    );
    node.stop().await.unwrap();
}
