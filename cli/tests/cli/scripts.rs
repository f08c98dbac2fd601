//! Programs of clients by hand: submitted to an index, placed on the one node whose
//! owner allows them, followed, and fetched.
#![cfg(target_os = "linux")]

use std::path::Path;

use crate::support::{Mesh, Numbers, is_event};
use serde_json::Value;

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    path.join(name).to_str().unwrap().to_owned()
}

/// What a script wrote to a stream.
fn said(numbers: &Numbers, stream: &str) -> String {
    let text = |event: &Value| {
        let logged = event["kind"].get("logged")?;
        (logged["stream"] == stream).then(|| logged["text"].as_str().unwrap().to_owned())
    };
    numbers.events.iter().filter_map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_waits_for_a_node_that_allows_it_and_runs_there() {
    let mut mesh = Mesh::start(1).await;
    let out = mesh.path().join("out");
    let job = example("script-wasm.toml");
    let words = ["submit", &job, "--follow", "--out", out.to_str().unwrap()];
    let mut numbers = Numbers::default();
    let mut stream = mesh.stream(&words);
    let queued = stream
        .until(&mut numbers, |line| {
            line["update"] == "queued"
                && line["passed_over"]
                    .as_array()
                    .is_some_and(|it| !it.is_empty())
        })
        .await;
    assert_eq!(queued["passed_over"][0]["code"], "no_runtime", "{queued}");

    let allows = mesh
        .start_node_with("allows", &["--runtime", "wasm", "--runtime", "python"])
        .await;
    let peer = allows.peer();
    mesh.nodes.push(allows);
    let assigned = stream
        .until(&mut numbers, |line| line["update"] == "assigned")
        .await;
    assert_eq!(assigned["node"], peer.as_str());
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    assert!(rest.iter().any(|line| is_event(line, "finished")));
    assert_eq!(said(&numbers, "stdout").matches('#').count(), 150);
    let table = std::fs::read_to_string(out.join("histogram.csv")).unwrap();
    assert!(table.starts_with("from,count\n"), "{table}");

    let nodes = mesh.json(&["nodes", "ls"]).await;
    let offers = |node: &Value| node["advert"]["runtimes"].as_array().map_or(0, Vec::len);
    let shown = nodes.as_array().unwrap();
    assert!(
        shown
            .iter()
            .any(|node| node["node"] == peer.as_str() && offers(node) > 0)
    );
    assert!(shown.iter().any(|node| offers(node) == 0));

    if !Path::new("/usr/bin/bwrap").exists() {
        println!("skipped what needs Python: bubblewrap is missing: install it");
        return;
    }
    let job = example("script-python.toml");
    let words = ["submit", &job, "--follow", "--out", out.to_str().unwrap()];
    let mut numbers = Numbers::default();
    let (rest, code) = mesh.stream(&words).finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    assert!(said(&numbers, "stdout").contains("setosa sepal_length=5.006"));
    assert!(out.join("means.json").exists() && out.join("work.tar").exists());
}
