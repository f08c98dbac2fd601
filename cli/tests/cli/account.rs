//! Accounts by the command: exact amounts, one effect for each name, and refusals.

use crate::support::{Mesh, refused, run};

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
