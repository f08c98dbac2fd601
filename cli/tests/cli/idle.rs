//! Daemons that have nothing to do do next to nothing.

use std::time::Duration;

use crate::support::{Mesh, eventually, machine};

/// An idle daemon's resident memory, at most, in bytes.
const IDLE_MEMORY: u64 = 100 << 20;
/// For how long a daemon is looked at.
const LOOKED_AT: Duration = Duration::from_secs(2);
/// How long an idle daemon and its workers may keep a core busy in that time: a
/// tenth of it. Heartbeats and gossip take far less, a busy loop takes all of it.
const BUSY_AT_MOST: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_mesh_is_small_and_does_not_spin() {
    let mesh = Mesh::start(2).await;
    let daemons = || mesh.nodes.iter().chain([&mesh.index]);
    for daemon in daemons() {
        let resident = machine::resident(daemon.pid());
        assert!(resident < IDLE_MEMORY, "{resident} bytes when idle");
    }
    // A worker may still be coming up, which ends; a busy loop does not.
    eventually("index, nodes and workers are idle", async || {
        let busy = || daemons().map(|daemon| machine::busy_time(daemon.pid()));
        let before: Vec<Duration> = busy().collect();
        // A span of time is what is measured here.
        tokio::time::sleep(LOOKED_AT).await;
        let used: Vec<Duration> = busy()
            .zip(before)
            .map(|(after, before)| after.saturating_sub(before))
            .collect();
        println!("busy for {used:?} of {LOOKED_AT:?}");
        used.iter().all(|used| *used <= BUSY_AT_MOST)
    })
    .await;
}
