//! What is not what it should be: each with an exit code of its own, a message that
//! names the cure, and nothing left running.

use crate::support::{Mesh, daemon, digits_job, ended, refused, run, start, start_index};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

async fn folder_with_key() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["keys", "new"]).await.status.success());
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_index_is_the_message_says_so() {
    let folder = folder_with_key().await;
    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let output = run(
        folder.path(),
        &["nodes", "ls", "--index", &free.to_string()],
    )
    .await;
    refused(&output, 3, &["cannot reach", &free.to_string()]);
    // Somebody who speaks something else.
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let speaks = tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let output = run(folder.path(), &["nodes", "ls", "--index", &address]).await;
    refused(&output, 3, &["is not an Embermesh index", &address]);
    speaks.abort();
    // An address that is none.
    let output = run(
        folder.path(),
        &["nodes", "ls", "--index", "https://example.org"],
    )
    .await;
    refused(&output, 2, &["host:port"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_no_index_and_another_index_is_not_the_pinned_one() {
    let mesh = Mesh::start(1).await;
    let node = mesh.nodes[0].address();
    let output = run(mesh.path(), &["nodes", "ls", "--index", &node]).await;
    refused(&output, 3, &["is not an Embermesh index", &node]);
    let pinned = format!("{}/p2p/{}", mesh.index.address(), mesh.nodes[0].peer());
    let output = run(mesh.path(), &["nodes", "ls", "--index", &pinned]).await;
    refused(&output, 4, &["is not the index", &mesh.index.peer()]);
    let pinned = format!("{}/p2p/{}", mesh.index.address(), mesh.index.peer());
    assert!(
        run(mesh.path(), &["nodes", "ls", "--index", &pinned])
            .await
            .status
            .success()
    );
    // Jobs and blobs that are not there.
    let output = mesh
        .run(&["jobs", "get", "0197a3c2-0000-7000-8000-000000000001"])
        .await;
    refused(&output, 2, &["no job"]);
    let digest = "00".repeat(32);
    let output = mesh.run(&["blob", "get", &digest]).await;
    refused(&output, 3, &["0000"]);
    // A spec that no node can meet waits, with the reason for each node.
    let job = digits_job(mesh.path(), "nowhere", 1);
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, format!("{text}\n[requires]\nregion = \"moon\"\n")).unwrap();
    let mut stream = mesh.stream(&["submit", job.to_str().unwrap(), "--follow"]);
    let id = stream.next().await["job"].as_str().unwrap().to_owned();
    let mut numbers = crate::support::Numbers::default();
    let queued = stream
        .until(&mut numbers, |line| line["update"] == "queued")
        .await;
    assert_eq!(queued["passed_over"][0]["node"], mesh.nodes[0].peer());
    assert!(mesh.run(&["jobs", "cancel", &id]).await.status.success());
    assert_eq!(stream.finish(&mut numbers).await.1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_ends_the_daemon_with_the_cure() {
    let folder = folder_with_key().await;
    let index = start_index(folder.path(), "127.0.0.1:0").await;
    let taken = index.address();
    for (name, words) in [
        (
            "second",
            vec![
                "index",
                "run",
                "--metrics-listen",
                "127.0.0.1:0",
                "--listen",
                &taken,
            ],
        ),
        (
            "node",
            vec!["node", "run", "--device", "cpu", "--tls-listen", &taken],
        ),
    ] {
        let log = folder.path().join(format!("{name}.log"));
        let mut child = daemon(folder.path(), name, &words, &log).spawn().unwrap();
        let status = ended(&mut child).await;
        assert_eq!(status.code(), Some(1), "{name}");
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(
            said.contains("cannot listen on") && said.contains(&taken),
            "{said}"
        );
    }
    // The same folder twice.
    let log = folder.path().join("third.log");
    let words = [
        "index",
        "run",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let mut child = daemon(folder.path(), "index", &words, &log)
        .spawn()
        .unwrap();
    let status = ended(&mut child).await;
    assert_eq!(status.code(), Some(1));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("another index"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_dies_with_its_parent() {
    let folder = folder_with_key().await;
    let words = [
        "index",
        "run",
        "--listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    let mut index = start(folder.path(), "index", &words).await;
    let status = index.orphan().await;
    assert!(status.success(), "{status}");
}
