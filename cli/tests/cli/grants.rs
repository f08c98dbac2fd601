//! Grants: an owner's word lets a client run jobs on the owner's nodes, with nothing
//! changed at the nodes.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{digits_job, run, start, stderr, user};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_an_owners_grant_is_let_in_and_nobody_else() {
    let top = TempDir::new().unwrap();
    let [home, friend, thief] = ["home", "friend", "thief"].map(|name| top.path().join(name));
    let owner = user(&home, "").await;
    let client = user(&friend, "").await;
    let other = user(&thief, "").await;
    fs::write(
        home.join("config.toml"),
        format!("[node]\ndevices = [\"cpu\"]\nowners = [\"{owner}\"]\ndeny = [\"{other}\"]\n"),
    )
    .unwrap();
    let node = start(&home, "node-1", &["node", "run"]).await;
    let (peer, at) = (node.peer(), node.ready["mesh"][0].as_str().unwrap());
    let job = digits_job(top.path(), "granted", 1);
    let submit = [
        "submit",
        job.to_str().unwrap(),
        "--follow",
        "--no-index",
        "--peer",
        at,
    ];
    let wait = ["--wait", "1s"];

    // Without one, the job waits and says whom to ask.
    let refused = run(&friend, &[&submit[..], &wait].concat()).await;
    assert!(!refused.status.success());
    let told = stderr(&refused);
    assert!(
        told.contains("not_allowed") && told.contains("grant"),
        "{told}"
    );

    let grant = top.path().join("friend.grant");
    let grant = grant.to_str().unwrap();
    let words = [
        "-o", "json", "grant", "new", "--to", &client, "--node", &peer, "--out", grant,
    ];
    let made = run(&home, &words).await;
    assert!(made.status.success(), "{}", stderr(&made));
    let shown = run(&friend, &["-o", "json", "grant", "show", grant]).await;
    let said: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&said["owner"], &said["client"]),
        (&owner.into(), &client.into())
    );
    assert_eq!(said["nodes"][0], peer.as_str());

    let granted = ["--grant", grant];
    let ended = run(&friend, &[&submit[..], &granted].concat()).await;
    assert!(ended.status.success(), "{}", stderr(&ended));

    // Another's is of no use, and neither is one that somebody else has signed, or a
    // denied key's own.
    let stolen = run(&thief, &[&submit[..], &granted].concat()).await;
    assert_eq!(stolen.status.code(), Some(2));
    assert!(stderr(&stolen).contains("your key is"));
    let forged = top.path().join("forged.grant");
    let forged = forged.to_str().unwrap();
    for (by, word) in [(&thief, "grant_not_of_the_owner"), (&home, "not_allowed")] {
        let words = ["grant", "new", "--to", &other, "--out", forged];
        assert!(run(by, &words).await.status.success());
        let refused = run(&thief, &[&submit[..], &wait, &["--grant", forged]].concat()).await;
        assert!(!refused.status.success());
        let told = stderr(&refused);
        assert!(told.contains(word), "{told}");
    }
    // Garbage is no grant.
    fs::write(forged, "hello").unwrap();
    let refused = run(&thief, &["grant", "show", forged]).await;
    assert_eq!(refused.status.code(), Some(2));
}
