//! What the tests of the command share.
//!
//! - [`mesh`]: an index and nodes as processes; [`stream`]: a job that is followed.
//! - [`process`]: daemons and commands; [`jobs`]: what they are given to do.
//! - [`late`]: an index whose clock is off.
//! - [`machine`]: what the kernel says of them. [`demo`]: the demo as a process.
//! - [`foreign`]: clients of foreign systems in other languages. [`link`]: their
//!   connections.

// What does not hold fails the test.
#![allow(clippy::unwrap_used)]

pub(crate) mod demo;
pub(crate) mod foreign;
pub(crate) mod jobs;
pub(crate) mod late;
pub(crate) mod link;
pub(crate) mod machine;
pub(crate) mod mesh;
pub(crate) mod process;
pub(crate) mod stream;
#[path = "../../../../compute/tests/support/tiny.rs"]
pub(crate) mod tiny;

use std::time::Duration;

pub(crate) use jobs::{digits_job, endless_job};
pub(crate) use link::{Bearer, Link, link, nobody};
pub(crate) use mesh::{Followed, Mesh, own_loopback};
pub(crate) use process::{
    Process, command, daemon, ended, refused, run, send, start, start_index, stderr, stdout, user,
};
pub(crate) use stream::{Numbers, Stream, is_event};

/// The longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until it is so.
pub(crate) async fn eventually(what: &str, is: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never happened: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
