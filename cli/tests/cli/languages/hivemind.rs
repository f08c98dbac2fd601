//! HiveMind: a user registers, logs in, and has a program in an archive run.
#![cfg(target_os = "linux")]

use std::path::Path;

use crate::support::{Mesh, foreign::Foreign};

#[tokio::test(flavor = "multi_thread")]
async fn hivemind_runs_an_archive_for_python_and_typescript() {
    let Some(foreign) = Foreign::installed() else {
        return;
    };
    if !Path::new("/usr/bin/bwrap").exists() {
        println!("skipped: bubblewrap is missing: install it");
        return;
    }
    let mut mesh = Mesh::start(0).await;
    let words = ["--runtime", "python"];
    let node = mesh.start_node_with("node-1", &words).await;
    mesh.nodes.push(node);
    mesh.until_nodes(1).await;
    let address = mesh.index.address();

    let archive = mesh.path().join("task.zip");
    let archive = archive.to_str().unwrap();
    let python = foreign
        .python("hivemind.py", &[&address, "--save", archive])
        .await;
    assert_eq!(python["twice_registered"], false);
    assert_eq!(python["wrong_password"], false);
    assert_eq!(python["twice_uploaded"], false);
    assert_eq!(python["files"]["answer.txt"], "42", "{python}");
    let words = ["--zip", archive, "--user", "another", "--task", "task-001"];
    let words = [&[&*address][..], &words[..]].concat();
    let typescript = foreign.typescript("hivemind.ts", &words).await;
    assert_eq!(typescript["magic"], "PK", "an archive");
    for seen in [&python, &typescript] {
        assert_eq!(seen["status"], "COMPLETED", "{seen}");
        let output = seen["output"].as_array().unwrap();
        assert!(
            output.iter().any(|line| line == "Hello, HiveMind!"),
            "{seen}"
        );
        let logs = seen["logs"].as_str().unwrap();
        assert!(logs.contains("Hello, HiveMind!"), "{seen}");
        // Each user has a task of this name, and sees that one alone.
        let tasks = seen["tasks"].as_object().unwrap();
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks["task-001"], "COMPLETED");
    }
}
