//! Ctrl-C while an index or a node is away: the command ends at once, says how things
//! stand, and its exit code says that it was interrupted.

use std::process::Stdio;

use crate::support::{PATIENCE, command, digits_job, refused, run, send};
use rustix::process::Signal;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Whatever is asked of who listens here is never answered.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn caller(listener: &TcpListener) -> TcpStream {
    let accepted = timeout(PATIENCE, listener.accept()).await;
    accepted.expect("it calls").unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_for_an_answer_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["keys", "new"]).await.status.success());
    let job = digits_job(folder.path(), "job", 1);
    let job = job.to_str().unwrap();
    let id = "0197a3c2-0000-7000-8000-000000000001";
    let digest = "00".repeat(32);
    let (listener, address) = silent().await;
    for (words, says) in [
        (vec!["submit", job, "--index", &address], "jobs ls"),
        (
            vec!["submit", job, "--follow", "--index", &address],
            "jobs ls",
        ),
        (vec!["jobs", "watch", id, "--index", &address], id),
        (
            vec!["blob", "get", &digest, "--index", &address],
            "interrupted",
        ),
        (
            vec!["blob", "get", &digest, "--node", &address],
            "cancelled",
        ),
    ] {
        let mut command = command(folder.path(), &words);
        command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let _held = caller(&listener).await;
        send(&child, Signal::INT);
        let output = timeout(PATIENCE, child.wait_with_output()).await;
        refused(&output.expect("it ends").unwrap(), 130, &[says]);
    }
}
