//! Accounts by the command: exact amounts, one effect for each name, and refusals.

use crate::support::{Mesh, digits_job, refused, run, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn money_is_deposited_paid_and_listed() {
    let mesh = Mesh::start(0).await;
    let own = mesh.json(&["account", "show"]).await;
    assert_eq!(own["available_micros"], 0);
    let me = own["account"].as_str().unwrap();
    let index = mesh.index.peer();
    // The index's own key is the first administrator.
    let index_key = mesh.path().join("index").join("key.pem");
    let index_key = index_key.to_str().unwrap();
    let deposit = ["account", "deposit", me, "2.5", "--once", "order-1"];
    let words = [&deposit[..], &["--key", index_key]].concat();
    let made = mesh.json(&words).await;
    assert_eq!(made["postings"][1]["available_micros"], 2_500_000);
    assert_eq!(mesh.json(&words).await, made);
    let paid = mesh
        .json(&["account", "transfer", &index, "1.25", "--subject", "thanks"])
        .await;
    assert_eq!(paid["kind"], "transfer");
    let own = mesh.json(&["account", "show"]).await;
    assert_eq!(own["available_micros"], 1_250_000);
    let history = mesh.json(&["account", "history"]).await;
    let kinds: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["transfer", "deposit"]);
    assert_eq!(history[0]["subject"], "thanks");

    let poor = mesh.run(&["account", "transfer", &index, "1.250001"]).await;
    refused(&poor, 4, &["1.250000 are available"]);
    let mine = mesh.run(&deposit).await;
    refused(&mine, 4, &["administrators may deposit"]);
    let theirs = mesh.run(&["account", "show", "--account", &index]).await;
    refused(&theirs, 4, &["belongs to another key"]);
    let words = ["account", "transfer", &index, "0.0000001"];
    let output = run(mesh.path(), &words).await;
    refused(&output, 2, &["is not an amount"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_a_budget_pays_its_node_for_the_time_it_took() {
    // The settings of a mesh end with those of its nodes: a hundredth for a second.
    let mesh = Mesh::start_with(1, "price = \"36.0\"\n").await;
    let job = digits_job(mesh.path(), "paid", 1);
    let job = job.to_str().unwrap();
    let quote = mesh.json(&["quote", job]).await;
    assert_eq!(quote["nodes"], 1);
    assert_eq!(quote["most_micros"], 3_000_000);
    let paid = ["submit", job, "--follow", "--budget", "3"];
    refused(&mesh.run(&paid).await, 4, &["0.000000 are available"]);
    let own = mesh.json(&["account", "show"]).await;
    let me = own["account"].as_str().unwrap();
    let index_key = mesh.path().join("index").join("key.pem");
    let key = index_key.to_str().unwrap();
    mesh.json(&["account", "deposit", me, "5", "--key", key])
        .await;
    let output = mesh.run(&paid).await;
    assert!(output.status.success(), "{}", stderr(&output));

    let jobs = mesh.json(&["jobs", "ls"]).await;
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    let id = jobs[0]["id"].as_str().unwrap();
    let charge = &mesh.json(&["jobs", "get", id]).await["charge"];
    assert_eq!(charge["budget"], 3_000_000);
    assert_eq!(charge["price"], 36_000_000);
    assert_eq!(charge["at_most"], 3_000_000);
    let charged = charge["charged"].as_u64().unwrap();
    assert!((1..3_000_000).contains(&charged), "{charged}");
    let own = mesh.json(&["account", "show"]).await;
    assert_eq!(own["available_micros"], 5_000_000 - charged);
    assert_eq!(own["held_micros"], 0);
    let node = mesh.nodes[0].peer();
    let words = ["account", "show", "--account", &node, "--key", key];
    assert_eq!(mesh.json(&words).await["available_micros"], charged);
    let history = mesh.json(&["account", "history"]).await;
    assert_eq!(history[0]["kind"], "capture");
    assert_eq!(history[0]["subject"], format!("job {id}"));
}
