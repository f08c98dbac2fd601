//! A node's first words with its index. Who is no index, not the one that is meant,
//! or of another network ends the node, which says so; who is away is waited for.

use std::path::Path;

use crate::support::{Mesh, daemon, ended, eventually, own_loopback, run, start, start_index};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

/// Runs a node that must end by itself: its exit code, and what it said.
async fn ends(folder: &Path, name: &str, words: &[&str]) -> (Option<i32>, String) {
    let log = folder.join(format!("{name}.log"));
    let mut all = vec!["node", "run"];
    all.extend(words);
    let mut child = daemon(folder, name, &all, &log).spawn().unwrap();
    let status = ended(&mut child).await;
    (status.code(), std::fs::read_to_string(&log).unwrap())
}

async fn nodes_of(mesh: &Mesh) -> Vec<String> {
    let nodes = mesh.json(&["nodes", "ls"]).await;
    let peer = |node: &serde_json::Value| node["node"].as_str().unwrap().to_owned();
    nodes.as_array().unwrap().iter().map(peer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_network_is_not_taken() {
    let mesh = Mesh::start(1).await;
    let bootstrap = mesh.index.ready["mesh"][0].as_str().unwrap();
    let index = mesh.index.address();
    for (name, way) in [
        ("by-index", ["--index", &index]),
        ("by-bootstrap", ["--bootstrap", bootstrap]),
    ] {
        let mut words = vec!["--network", "elsewhere"];
        words.extend(way);
        let (code, said) = ends(mesh.path(), name, &words).await;
        assert_eq!(code, Some(4), "{name}: {said}");
        let error = said.lines().last().unwrap();
        assert!(error.starts_with("error: "), "{said}");
        assert!(
            error.contains("elsewhere") && error.contains("embermesh"),
            "both networks are named: {said}"
        );
    }
    assert_eq!(
        nodes_of(&mesh).await,
        [mesh.nodes[0].peer()],
        "only the node of this network"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ends_when_its_index_is_none_or_another() {
    let mesh = Mesh::start(1).await;
    let node = mesh.nodes[0].address();
    let (code, said) = ends(mesh.path(), "of-a-node", &["--index", &node]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("is not an Embermesh index") && said.contains(&node),
        "{said}"
    );

    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let speaks = tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let (code, said) = ends(mesh.path(), "of-a-site", &["--index", &address]).await;
    speaks.abort();
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("is not an Embermesh index") && said.contains(&address),
        "{said}"
    );

    let pinned = format!("{}/p2p/{}", mesh.index.address(), mesh.nodes[0].peer());
    let (code, said) = ends(mesh.path(), "of-another", &["--index", &pinned]).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("is not the index") && said.contains(&mesh.index.peer()),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_away_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["keys", "new"]).await.status.success());
    // An address that nobody else listens on, and nobody at all for now.
    let address = TcpListener::bind(own_loopback())
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let words = ["node", "run", "--device", "cpu", "--index", &address];
    let node = start(folder.path(), "node", &words).await;
    let log = || std::fs::read_to_string(&node.log).unwrap();
    eventually("the node says that its index is away", async || {
        log().contains("trying on")
    })
    .await;
    let index = start_index(folder.path(), &address).await;
    let words = ["-o", "json", "nodes", "ls", "--live", "--index", &address];
    eventually("the node has registered", async || {
        let nodes = run(folder.path(), &words).await;
        assert!(nodes.status.success());
        String::from_utf8_lossy(&nodes.stdout).contains(&node.peer())
    })
    .await;
    drop(index);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_with_the_indexes_that_take_it() {
    let mesh = Mesh::start(1).await;
    let (index, node) = (mesh.index.address(), mesh.nodes[0].address());
    let words = [
        "node", "run", "--device", "cpu", "--index", &node, "--index", &index,
    ];
    let second = start(mesh.path(), "second", &words).await;
    eventually("the node tells of the one that is no index", async || {
        let log = std::fs::read_to_string(&second.log).unwrap();
        log.contains("is not an Embermesh index") && log.contains("goes on with the others")
    })
    .await;
    eventually("the other has taken it", async || {
        nodes_of(&mesh).await.contains(&second.peer())
    })
    .await;
}
