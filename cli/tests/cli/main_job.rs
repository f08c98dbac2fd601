//! The main job by hand, with real processes: discovery, submit, the stream from
//! the node, the artifact, the receipt, and the evaluation on another node.

use std::path::Path;

use crate::support::{Mesh, Numbers, digits_job, is_event, refused, run, stderr};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_trained_fetched_proven_and_judged_elsewhere() {
    let mesh = Mesh::start(2).await;
    // By TOML, streamed, with everything fetched.
    let job = digits_job(mesh.path(), "train", 3);
    let out = mesh.path().join("out");
    let mut numbers = Numbers::default();
    let words = [
        "submit",
        job.to_str().unwrap(),
        "--follow",
        "--out",
        out.to_str().unwrap(),
    ];
    let mut stream = mesh.stream(&words);
    let submitted = stream.next().await;
    let id = submitted["job"].as_str().unwrap().to_owned();
    let assigned = stream
        .until(&mut numbers, |line| line["update"] == "assigned")
        .await;
    assert_eq!(assigned["road"], "tls");
    let trainer = assigned["node"].as_str().unwrap().to_owned();
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    for kind in [
        "progress",
        "epoch_ended",
        "checkpoint",
        "artifact",
        "finished",
    ] {
        assert!(rest.iter().any(|line| is_event(line, kind)), "no {kind}");
    }
    let fetched = rest
        .iter()
        .find(|line| line["update"] == "fetched")
        .unwrap();
    let weights = Path::new(fetched["path"].as_str().unwrap()).to_owned();
    let digest = fetched["digest"].as_str().unwrap().to_owned();

    // What the receipt says, checked with no network.
    let receipt = out.join("receipt.bin");
    let receipt = receipt.to_str().unwrap();
    let verify = [
        "receipt",
        "verify",
        receipt,
        "--job",
        &id,
        "--node",
        &trainer,
        "--artifact",
    ];
    let mut all: Vec<&str> = verify.to_vec();
    all.push(weights.to_str().unwrap());
    let verified = run(mesh.path(), &all).await;
    assert!(verified.status.success(), "{}", stderr(&verified));
    let other = mesh.index.peer();
    let wrong = run(
        mesh.path(),
        &["receipt", "verify", receipt, "--node", &other],
    )
    .await;
    refused(&wrong, 4, &["node", &other]);

    // The index knows it all.
    crate::support::eventually("the index knows the end", async || {
        mesh.json(&["jobs", "get", &id]).await["state"] == "succeeded"
    })
    .await;
    let shown = mesh.json(&["jobs", "get", &id]).await;
    assert_eq!(shown["artifacts"][0]["digest"], digest.as_str());
    let listed = mesh.json(&["jobs", "ls", "--state", "succeeded"]).await;
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|job| job["id"] == id.as_str())
    );

    // By hash, from whoever has it.
    let copy = mesh.path().join("copy");
    let got = mesh
        .json(&["blob", "get", &digest, "--out", copy.to_str().unwrap()])
        .await;
    assert_eq!(got["size"], fetched["size"]);
    assert_eq!(
        std::fs::read(&copy).unwrap(),
        std::fs::read(&weights).unwrap()
    );

    // Elsewhere, with the weights from the first node: nobody else has them yet.
    let elsewhere = mesh.nodes.iter().find(|node| node.peer() != trainer);
    let elsewhere = elsewhere.unwrap().address();
    let again = mesh.path().join("again");
    let ask = ["blob", "get", &digest, "--node", &elsewhere, "--out"];
    let mut ask: Vec<&str> = ask.to_vec();
    ask.push(again.to_str().unwrap());
    refused(&mesh.run(&ask).await, 3, &["does not have the blob"]);
    let judge = evaluation(
        &mesh,
        &job,
        &digest,
        fetched["size"].as_u64().unwrap(),
        &trainer,
    );
    let mut numbers = Numbers::default();
    let mut stream = mesh.stream(&["submit", judge.to_str().unwrap(), "--follow"]);
    let assigned = stream
        .until(&mut numbers, |line| line["update"] == "assigned")
        .await;
    assert_ne!(assigned["node"], trainer.as_str());
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    let judged = rest
        .iter()
        .find(|line| is_event(line, "evaluated"))
        .unwrap();
    let accuracy = judged["event"]["kind"]["evaluated"]["accuracy"]
        .as_f64()
        .unwrap();
    assert!(accuracy > 0.8, "{accuracy} after three passes");
    // It has brought them to itself, and the command that submitted sent none.
    mesh.json(&ask).await;
    let sent = |line: &&Value| line["update"] == "uploading";
    assert!(
        !rest
            .iter()
            .filter(sent)
            .any(|line| line["digest"] == digest.as_str())
    );

    // Somebody else's key sees the job and may not touch it.
    let stranger = mesh.path().join("stranger.pem");
    let stranger = stranger.to_str().unwrap();
    assert!(
        run(mesh.path(), &["keys", "new", "--out", stranger])
            .await
            .status
            .success()
    );
    let cancel = mesh.run(&["--key", stranger, "jobs", "cancel", &id]).await;
    refused(&cancel, 4, &["another key"]);
}

/// The job file as an evaluation of weights that only the mesh has.
fn evaluation(
    mesh: &Mesh,
    train: &Path,
    digest: &str,
    size: u64,
    avoid: &str,
) -> std::path::PathBuf {
    let text = std::fs::read_to_string(train).unwrap();
    let mut spec: toml::Table = text.parse().unwrap();
    let mut train: toml::Table = spec["work"]["train"].as_table().unwrap().clone();
    train.retain(|key, _| matches!(key, "model" | "data"));
    train.insert("batch".into(), 64.into());
    train.insert(
        "split".into(),
        toml::toml! { holdout = { share = 0.2, seed = 7 } }.into(),
    );
    let mut weights = toml::Table::new();
    weights.insert("digest".into(), digest.into());
    weights.insert("size".into(), i64::try_from(size).unwrap().into());
    train.insert("weights".into(), weights.into());
    let mut work = toml::Table::new();
    work.insert("evaluate".into(), train.into());
    spec.insert("work".into(), work.into());
    let mut requires = toml::Table::new();
    requires.insert("avoid".into(), vec![avoid].into());
    spec.insert("requires".into(), requires.into());
    spec.insert("name".into(), "judge".into());
    // The same in JSON, so that both forms are tried.
    let json: Value = serde_json::to_value(spec).unwrap();
    let path = mesh.path().join("judge.json");
    std::fs::write(&path, json.to_string()).unwrap();
    path
}
