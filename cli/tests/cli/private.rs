//! A mesh that is not for everybody, with real processes: its members work, with an index
//! and without; others are told why they get nowhere.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Process, digits_job, eventually, own_loopback, run, start, start_index, stderr, user,
};

/// Settings of the members.
fn member_settings(key: &Path) -> String {
    format!(
        "[private]\nkey_file = {key:?}\n\n[node]\ndrain_timeout = \"10s\"\ndevices = [\"cpu\"]\n"
    )
}

fn mesh_address(process: &Process) -> String {
    let listed = process.ready["mesh"].as_array().unwrap();
    assert!(
        listed
            .iter()
            .all(|text| !text.as_str().unwrap().contains("quic")),
        "{listed:?}"
    );
    listed[0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_work_and_others_are_told_what_they_lack() {
    let top = TempDir::new().unwrap();
    let inside = top.path().join("inside");
    let outside = top.path().join("outside");
    let key = top.path().join("network.key");
    let made = run(
        top.path(),
        &["keys", "network", "--out", key.to_str().unwrap()],
    )
    .await;
    assert!(made.status.success(), "{}", stderr(&made));
    let member = user(&inside, &member_settings(&key)).await;
    user(&outside, "").await;

    let index = start_index(&inside, &own_loopback()).await;
    let (at_index, bootstrap) = (index.address(), mesh_address(&index));
    let words = [
        "node",
        "run",
        "--index",
        &at_index,
        "--bootstrap",
        &bootstrap,
        "--allow",
        &member,
    ];
    let node = start(&inside, "node-1", &words).await;
    eventually("the index knows the node", async || {
        let words = ["-o", "json", "nodes", "ls", "--live", "--index", &at_index];
        let listed = run(&inside, &words).await;
        serde_json::from_slice::<Value>(&listed.stdout)
            .is_ok_and(|nodes| nodes.as_array().unwrap().len() == 1)
    })
    .await;

    // By the index, over either road, and by the node alone.
    let job = digits_job(&inside, "private", 1);
    let job = job.to_str().unwrap();
    let peer = mesh_address(&node);
    for way in [
        &["--index", &at_index, "--road", "tls"][..],
        &["--index", &at_index, "--road", "mesh"],
        &["--no-index", "--peer", &peer],
    ] {
        let words = [&["submit", job, "--follow"], way].concat();
        let ended = run(&inside, &words).await;
        assert!(ended.status.success(), "{way:?}: {}", stderr(&ended));
    }

    // Who has no key: not even its existence is told on the mesh, and the index says why.
    let refused = run(&outside, &["nodes", "ls", "--index", &at_index]).await;
    assert!(!refused.status.success());
    let refused = run(&outside, &["nodes", "ls", "--no-index", "--peer", &peer]).await;
    assert!(!refused.status.success());
    // With another key.
    let other = top.path().join("other.key");
    let made = run(
        top.path(),
        &["keys", "network", "--out", other.to_str().unwrap()],
    )
    .await;
    assert!(made.status.success());
    fs::write(outside.join("config.toml"), member_settings(&other)).unwrap();
    let refused = run(&outside, &["nodes", "ls", "--index", &at_index]).await;
    assert!(!refused.status.success());
    let told = stderr(&refused);
    assert!(told.contains("private.key_file"), "{told}");
    // With a key that everybody can read.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = run(&outside, &["nodes", "ls", "--index", &at_index]).await;
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains("chmod 600"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_list_answers_whom_it_names() {
    let top = TempDir::new().unwrap();
    let (friend, stranger) = (top.path().join("friend"), top.path().join("stranger"));
    let at_home = top.path().join("home");
    let listed = user(&friend, "").await;
    user(&stranger, "").await;
    fs::create_dir_all(&at_home).unwrap();
    let settings = format!(
        "[private]\nmembers = [\"{listed}\"]\n\n[node]\ndevices = [\"cpu\"]\nopen = true\n"
    );
    fs::write(at_home.join("config.toml"), settings).unwrap();
    let node = start(&at_home, "node-1", &["node", "run"]).await;
    let peer = node.ready["mesh"][0].as_str().unwrap();
    let job = digits_job(top.path(), "listed", 1);
    let words = [
        "submit",
        job.to_str().unwrap(),
        "--follow",
        "--no-index",
        "--peer",
        peer,
    ];
    let ended = run(&friend, &words).await;
    assert!(ended.status.success(), "{}", stderr(&ended));
    let refused = run(&stranger, &words).await;
    assert!(!refused.status.success());
    let models = ["models", "ls", "--node", &node.address()];
    let refused = run(&stranger, &models).await;
    assert!(!refused.status.success());
    let told = stderr(&refused);
    assert!(told.contains("members"), "{told}");
    assert!(run(&friend, &models).await.status.success());
}
