//! Bytes by hand: put to a node, fetched by hash.

use std::path::Path;

use crate::support::{Mesh, endless_job, is_event, refused, run};

/// The peer id of the user.
async fn user(mesh: &Mesh) -> String {
    let shown = run(mesh.path(), &["-o", "json", "keys", "show"]).await;
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    shown["peer"].as_str().unwrap().to_owned()
}

fn write(mesh: &Mesh, name: &str, bytes: &[u8]) -> String {
    let path = mesh.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn at(mesh: &Mesh, name: &str) -> String {
    mesh.path().join(name).to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_to_a_node_and_fetched_by_its_hash() {
    let mut mesh = Mesh::start(0).await;
    let allowed = user(&mesh).await;
    let node = mesh.start_node_with("node-1", &["--allow", &allowed]).await;
    let address = node.address();
    mesh.nodes.push(node);
    mesh.until_nodes(1).await;
    // More than one group of the hash tree, and not a whole number of them.
    let bytes: Vec<u8> = (0..100_001_u32).map(|at| (at % 251) as u8).collect();
    let file = write(&mesh, "bytes.bin", &bytes);
    let hashed = run(mesh.path(), &["-o", "json", "blob", "hash", &file]).await;
    let hashed: serde_json::Value = serde_json::from_slice(&hashed.stdout).unwrap();
    let digest = hashed["digest"].as_str().unwrap();

    let missing = mesh.run(&["blob", "get", digest, "--node", &address]).await;
    refused(&missing, 3, &["does not have the blob"]);
    // Twice is once.
    for _ in 0..2 {
        let put = mesh.json(&["blob", "put", &file, "--node", &address]).await;
        assert_eq!(put["digest"], digest);
        assert_eq!(put["size"], bytes.len());
    }
    // From the node that is named, and from whom the index knows.
    let (named, found) = (at(&mesh, "named.bin"), at(&mesh, "found.bin"));
    mesh.json(&["blob", "get", digest, "--node", &address, "--out", &named])
        .await;
    mesh.json(&["blob", "get", digest, "--out", &found]).await;
    for copy in [&named, &found] {
        assert!(std::fs::read(copy).unwrap() == bytes, "{copy}");
    }

    // Who is not allowed may not bring anything, and what cannot be kept here is no
    // fault of the node.
    let stranger = at(&mesh, "stranger.pem");
    let made = run(mesh.path(), &["keys", "new", "--out", &stranger]).await;
    assert!(made.status.success());
    let file = write(&mesh, "other.bin", b"other");
    let put = ["--key", &stranger, "blob", "put", &file, "--node", &address];
    refused(&mesh.run(&put).await, 4, &["refused"]);
    let nowhere = "/nowhere/bytes.bin";
    let get = ["blob", "get", digest, "--node", &address, "--out", nowhere];
    refused(&mesh.run(&get).await, 1, &[nowhere]);
    assert!(!Path::new(nowhere).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_to_the_node_of_a_job() {
    let mesh = Mesh::start(1).await;
    let job = endless_job(mesh.path(), "job");
    let mut job = mesh.follow(&job).await;
    job.stream
        .until(&mut job.numbers, |line| is_event(line, "progress"))
        .await;
    let file = write(&mesh, "more.bin", b"an input that came later");
    let put = mesh.json(&["blob", "put", &file, "--job", &job.id]).await;
    let digest = put["digest"].as_str().unwrap();
    let copy = at(&mesh, "copy.bin");
    mesh.json(&["blob", "get", digest, "--out", &copy]).await;
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(&file).unwrap());
    // Nobody else's job is a way in.
    let stranger = at(&mesh, "stranger.pem");
    let made = run(mesh.path(), &["keys", "new", "--out", &stranger]).await;
    assert!(made.status.success());
    let put = ["--key", &stranger, "blob", "put", &file, "--job", &job.id];
    refused(&mesh.run(&put).await, 4, &["another key"]);
    assert!(
        mesh.run(&["jobs", "cancel", &job.id])
            .await
            .status
            .success()
    );
    assert_eq!(job.stream.finish(&mut job.numbers).await.1, 1);
}
