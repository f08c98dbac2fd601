//! A model is deployed, listed, asked and unloaded, and comes back when its node dies.

use std::{path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Mesh, command, eventually, refused, run, stderr, stdout, tiny};

/// A tiny language model as a file.
fn model(mesh: &Mesh) -> PathBuf {
    let path = mesh.path().join("tiny.gguf");
    std::fs::write(&path, tiny::endless(100_000).bytes()).unwrap();
    path
}

async fn deploy(mesh: &Mesh, more: &[&str]) -> Value {
    let path = model(mesh);
    let mut words = vec![
        "deploy",
        path.to_str().unwrap(),
        "--name",
        "chat",
        "--memory",
        "512 MiB",
        "--context",
        "100000",
    ];
    words.extend(more);
    mesh.json(&words).await
}

const ASK: [&str; 9] = [
    "ask",
    "chat",
    "her the",
    "--max-tokens",
    "12",
    "--temperature",
    "1",
    "--seed",
    "7",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_deployed_listed_asked_and_unloaded() {
    let mesh = Mesh::start(1).await;
    let nobody = mesh.run(&ASK).await;
    refused(&nobody, 2, &["no model \"chat\"", "models ls"]);
    let deployed = deploy(&mesh, &[]).await;
    assert_eq!(deployed["model"], "chat");
    assert!(deployed["memory_bytes"].as_u64().unwrap() > 0);
    let job = deployed["job"].as_str().unwrap();

    // The text streams to stdout; how it went is said beside it.
    let answer = mesh.run(&ASK).await;
    assert!(answer.status.success(), "{}", stderr(&answer));
    let text = stdout(&answer);
    assert!(text.trim_end().len() >= 12, "{text:?}");
    assert!(stderr(&answer).contains("12 tokens"), "{}", stderr(&answer));
    // The same seed by another way: by id, straight at the node, as JSON, from stdin.
    let node = mesh.nodes[0].address();
    let mut direct = command(
        mesh.path(),
        &[
            "-o",
            "json",
            "ask",
            job,
            "--node",
            &node,
            "--max-tokens",
            "12",
            "--temperature",
            "1",
            "--seed",
            "7",
        ],
    );
    let question = mesh.path().join("question.txt");
    std::fs::write(&question, "her the\n").unwrap();
    direct.stdin(std::fs::File::open(&question).unwrap());
    let direct = direct.output().await.unwrap();
    assert!(direct.status.success(), "{}", stderr(&direct));
    let direct: Value = serde_json::from_slice(&direct.stdout).unwrap();
    // The text may end with a line of its own; the command adds one.
    let said = direct["text"].as_str().unwrap();
    assert_eq!(said.trim_end_matches('\n'), text.trim_end_matches('\n'));
    assert_eq!(direct["finish"], "length");

    let listed = mesh.json(&["models", "ls"]).await;
    let listed = &listed.as_array().unwrap()[0];
    assert_eq!(
        (&listed["state"], &listed["answered"]),
        (&"ready".into(), &2.into())
    );
    assert_eq!(listed["node"], mesh.nodes[0].peer());
    let table = stdout(&mesh.run(&["models", "ls"]).await);
    assert!(table.contains("chat") && table.contains("ready"), "{table}");
    eventually("the node's advert names the model", async || {
        let nodes = mesh.json(&["nodes", "ls"]).await;
        nodes[0]["advert"]["models"][0]["name"] == "chat"
    })
    .await;

    // Another key neither sees nor asks nor ends it.
    let key = mesh.path().join("other.pem");
    let other = ["--key", key.to_str().unwrap()];
    let made = run(mesh.path(), &[other[0], other[1], "keys", "new"]).await;
    assert!(made.status.success(), "{}", stderr(&made));
    let as_other = async |words: &[&str]| {
        let mut all = other.to_vec();
        all.extend(words);
        mesh.run(&all).await
    };
    // Adverts name what is resident, so it is found; who may ask is the owner's word.
    refused(&as_other(&ASK).await, 4, &["may not ask", "askers"]);
    let mut at_node = ASK.to_vec();
    at_node.extend(["--node", &node]);
    refused(&as_other(&at_node).await, 4, &["may not ask", "askers"]);
    refused(&as_other(&["undeploy", job]).await, 2, &["no model"]);
    let none = as_other(&["-o", "json", "models", "ls"]).await;
    assert_eq!(stdout(&none).trim(), "[]");

    // What is wrong is told before anybody is asked, and by the model where only it
    // can know.
    let wrong = mesh.run(&["ask", "chat", "x", "--top-p", "7"]).await;
    refused(&wrong, 2, &["top_p"]);
    let wrong = mesh.run(&["ask", "chat", "--rows", "[[1, 2]]"]).await;
    refused(&wrong, 2, &["is asked text"]);

    let undeployed = mesh.json(&["undeploy", "chat"]).await;
    assert_eq!(undeployed["state"], "succeeded");
    assert_eq!(mesh.json(&["models", "ls"]).await, Value::Array(Vec::new()));
    refused(&mesh.run(&ASK).await, 2, &["no model"]);
    let shown = mesh.json(&["jobs", "get", job]).await;
    assert_eq!(shown["state"], "succeeded");
    let other_work = crate::support::digits_job(mesh.path(), "digits", 1);
    let no = mesh.run(&["deploy", other_work.to_str().unwrap()]).await;
    refused(&no, 2, &["work.serve", "embermesh submit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_comes_back_when_its_worker_and_when_its_node_are_killed() {
    let mut mesh = Mesh::start(2).await;
    let deployed = deploy(&mesh, &[]).await;
    let first = deployed["node"].as_str().unwrap().to_owned();
    let digest = deployed["digest"].as_str().unwrap().to_owned();
    let text = stdout(&mesh.run(&ASK).await);

    for worker in workers_of(mesh.node_of(&first).pid()) {
        kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    }
    until_answered(&mesh, &text, 2).await;

    // The other node has a copy of the model by now, or will have.
    let held = epoch_and_node(&mesh).await.1;
    let other = mesh.nodes.iter().find(|node| node.peer() != held).unwrap();
    let (address, copy) = (other.address(), mesh.path().join("copy"));
    eventually("the other node keeps a copy of the model", async || {
        let words = [
            "blob",
            "get",
            &digest,
            "--node",
            &address,
            "--out",
            copy.to_str().unwrap(),
        ];
        mesh.run(&words).await.status.success()
    })
    .await;
    mesh.node_of(&held).kill().await;
    until_answered(&mesh, &text, 3).await;
    assert_ne!(epoch_and_node(&mesh).await.1, held);
    assert!(mesh.run(&["undeploy", "chat"]).await.status.success());
}

/// Waits until an attempt of this number or a later one gives the same answer.
async fn until_answered(mesh: &Mesh, text: &str, epoch: u64) {
    eventually("the model answers again", async || {
        let answer = mesh.run(&ASK).await;
        if !answer.status.success() || epoch_and_node(mesh).await.0 < epoch {
            tokio::time::sleep(Duration::from_millis(200)).await;
            return false;
        }
        assert_eq!(stdout(&answer), text);
        true
    })
    .await;
}

/// The attempt of the one deployment, and its node.
async fn epoch_and_node(mesh: &Mesh) -> (u64, String) {
    let listed = mesh.json(&["models", "ls"]).await;
    let job = listed[0]["job"].as_str().unwrap().to_owned();
    let shown = mesh.json(&["jobs", "get", &job]).await;
    let node = shown["node"].as_str().unwrap_or_default().to_owned();
    (shown["epoch"].as_u64().unwrap(), node)
}

/// The workers of a node: the one that holds the model, and one that waits. Nothing
/// tells them apart from outside.
fn workers_of(node: u32) -> Vec<i32> {
    let parent = node.to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let workers = processes.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_string_lossy().parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        (fields.get(1) == Some(&parent.as_str())).then_some(pid)
    });
    workers.collect()
}
