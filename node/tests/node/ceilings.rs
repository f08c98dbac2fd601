//! What a job may take of the machine, watched by the daemon.
#![cfg(target_os = "linux")]

use crate::support::{all, caller, config, digits, long_spec, spec, start};
use embermesh_job::{
    model::{Layer, Op},
    spec::{JobSpec, Work},
    units::Bytes,
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
    let (events, end) = all(&mut client.run(2, &spec(200, 1)).await).await;
    assert!(end.is_none() && events.last().unwrap().kind.is_final());
    node.stop().await.unwrap();
}
