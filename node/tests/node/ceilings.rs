//! What a job may take of the machine, watched by the daemon.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use crate::support::{Caller, all, caller, config, digits, long_spec, spec, start, until, workers};
use embermesh_crypto::statement::{Outcome, Receipt, Signed};
use embermesh_job::{
    event::EventKind,
    model::{Layer, Op},
    spec::{JobSpec, Work},
    units::{Bytes, Millis},
};

/// Bytes that a network of this size takes by its plan, and hardly any more than it
/// may.
const PLANNED: u64 = 3 << 20;

/// A job that may take hardly more than what its tensors are planned to: its threads,
/// its buffers and its code come to more than that.
fn tight() -> JobSpec {
    let mut spec = long_spec();
    spec.limits.memory = Bytes(PLANNED);
    if let Work::Train(train) = &mut spec.work {
        train.batch = 256;
        train.model.layers.insert(3, Layer::new(Op::dense(64)));
    }
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_more_memory_than_it_may_is_ended_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    client.put("", &digits(200)).await.unwrap();
    let (_, end) = all(&mut client.run(1, &tight()).await).await;
    let (code, message) = end.unwrap();
    println!("{code}: {message}");
    assert_eq!(code, "out_of_memory");
    assert!(message.contains("raise `limits.memory`"), "{message}");
    goes_on(&client, 2).await;
    node.stop().await.unwrap();
}

async fn goes_on(client: &Caller, number: u8) {
    let (events, end) = all(&mut client.run(number, &spec(200, 1)).await).await;
    assert!(end.is_none() && events.last().unwrap().kind.is_final());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_more_time_than_it_may_is_ended_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    client.put("", &digits(200)).await.unwrap();
    let second = Millis(1_000);
    let mut by_clock = long_spec();
    by_clock.limits.wall = second;
    let mut by_processor = long_spec();
    by_processor.limits.cpu = Some(second);
    for (number, spec, word) in [
        (10, by_clock, "limits.wall"),
        (12, by_processor, "limits.cpu"),
    ] {
        let mut stream = client.run(number, &spec).await;
        until(&mut stream, |kind| {
            matches!(kind, EventKind::Started { .. })
        })
        .await;
        let (events, end) = all(&mut stream).await;
        assert_eq!(end, None);
        let EventKind::Finished {
            outcome: Outcome::Failed,
            message,
            receipt,
        } = &events.last().unwrap().kind
        else {
            panic!("{events:?}");
        };
        assert!(message.contains(word), "{message}");
        // The receipt says what it took of what it might.
        let receipt = Signed::<Receipt>::from_bytes(receipt.clone()).unwrap();
        let receipt = receipt.open().unwrap();
        let account = receipt.account.as_ref().unwrap();
        assert_eq!(account.wall_ceiling_ms, spec.limits.wall.0);
        assert_eq!(account.cpu_ceiling_ms, spec.limits.cpu.map(|cpu| cpu.0));
        println!("{account:?}");
        let took = match word {
            "limits.wall" => account.wall_ms,
            _ => account.cpu_ms.unwrap(),
        };
        assert!((second.0..second.0 + 1_000).contains(&took), "{account:?}");
        goes_on(&client, number + 1).await;
    }
    node.stop().await.unwrap();
}

/// What `/proc` says of a process under a name.
fn status(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().to_owned()
}

/// The tests of the fences fence in processes of their own; this looks at a worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_at_work_is_fenced_in_and_holds_no_descriptor_of_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    let spec = long_spec();
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    let worker = *workers().first().unwrap();
    assert_eq!(status(worker, "NoNewPrivs:"), "1");
    assert_eq!(status(worker, "Seccomp:"), "2");
    assert_eq!(status(worker, "CapEff:"), "0000000000000000");
    assert_eq!(status(worker, "CapPrm:"), "0000000000000000");
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    for name in ["Max file size", "Max data size", "Max core file size"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(!line.contains("unlimited"), "{line}");
    }
    for entry in std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap() {
        let at = std::fs::read_link(entry.unwrap().path());
        // One that was closed meanwhile was its own.
        let Ok(at) = at else { continue };
        let own = at.starts_with(dir.path().join("node/work"));
        let pipe = at.to_str().is_some_and(|at| at.starts_with("pipe:["));
        let nothing = at == std::path::Path::new("/dev/null");
        assert!(own || pipe || nothing, "{}", at.display());
    }
    let control = client.control(&token, 1);
    client.stub.clone().cancel(control).await.unwrap();
    all(&mut stream).await;
    node.stop().await.unwrap();
}
