//! Commands that need no mesh, and what they say when the input is wrong.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use crate::support::{digits_job, refused, run, stderr, stdout};
use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, TaskIndex,
    ids::TokenId,
    statement::{ACCOUNT_VERSION, Account, DeviceKind, Outcome, Receipt, sign},
    time::{UnixMillis, UnixSeconds},
    token::{self, Ceilings, Claims, Methods},
};
use tokio::{io::AsyncWriteExt as _, time::timeout};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn keys_are_made_once_and_for_the_user_alone() {
    let folder = folder();
    let made = run(folder.path(), &["-o", "json", "keys", "new"]).await;
    assert!(made.status.success(), "{}", stderr(&made));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let path = Path::new(made["path"].as_str().unwrap());
    assert!(path.starts_with(folder.path()));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let shown = run(folder.path(), &["-o", "json", "keys", "show"]).await;
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["peer"], made["peer"]);
    let again = run(folder.path(), &["keys", "new"]).await;
    refused(&again, 2, &["not overwritten"]);
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_with_the_cure() {
    let folder = folder();
    assert!(
        run(folder.path(), &["keys", "new", "--out", "/dev/null/x"])
            .await
            .status
            .code()
            != Some(0)
    );
    let path = folder.path().join("open.pem");
    let text = path.to_str().unwrap();
    assert!(
        run(folder.path(), &["keys", "new", "--out", text])
            .await
            .status
            .success()
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    for words in [
        ["keys", "show"],
        ["nodes", "ls"],
        ["node", "run"],
        ["index", "run"],
    ] {
        let mut all = vec!["--key", text];
        all.extend(words);
        let output = run(folder.path(), &all).await;
        refused(&output, 2, &["chmod 600", text]);
    }
    let missing = run(folder.path(), &["nodes", "ls"]).await;
    refused(&missing, 2, &["embermesh keys new"]);
}

#[tokio::test]
async fn wrong_job_files_are_refused_before_anything_is_sent() {
    let folder = folder();
    let good = digits_job(folder.path(), "good", 1);
    let text = std::fs::read_to_string(&good).unwrap();
    let checked = run(
        folder.path(),
        &["submit", "--check", good.to_str().unwrap()],
    )
    .await;
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("parameters"));
    for (name, from, to, words) in [
        (
            "field",
            "passes = 1",
            "pases = 1",
            vec!["pases", "did you mean `passes`", "line"],
        ),
        ("shape", "kernel = 3", "kernel = 30", vec!["layer 1"]),
        ("classes", "units = 10", "units = 9", vec!["10 classes"]),
        (
            "data",
            "digits.csv",
            "nowhere.csv",
            vec!["nowhere.csv", "No such file"],
        ),
        ("unit", "1 GiB", "1 GoB", vec!["1 GoB"]),
    ] {
        assert!(text.contains(from));
        let path = folder.path().join(format!("{name}.toml"));
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let output = run(folder.path(), &["submit", path.to_str().unwrap()]).await;
        refused(&output, 2, &words);
        refused(&output, 2, &[path.file_name().unwrap().to_str().unwrap()]);
    }
    let output = run(folder.path(), &["submit", "nowhere.toml"]).await;
    refused(&output, 2, &["nowhere.toml"]);
    let output = run(folder.path(), &["submit", "job.yaml"]).await;
    refused(&output, 2, &[".toml or .json"]);
}

#[tokio::test]
async fn the_examples_are_right() {
    let folder = folder();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let mut checked = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        // What they read is too large for the repository.
        let text = std::fs::read_to_string(&path).unwrap();
        let absent = text.contains("models/") || text.contains("\"weights/");
        if absent || path.ends_with("fashion-mnist.toml") {
            continue;
        }
        let output = run(
            folder.path(),
            &["submit", "--check", path.to_str().unwrap()],
        )
        .await;
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            stderr(&output)
        );
        checked += 1;
    }
    assert!(checked >= 3);
}

#[tokio::test]
async fn settings_come_from_file_environment_and_flags() {
    let folder = folder();
    std::fs::write(
        folder.path().join("config.toml"),
        "index = \"a:1\"\n[node]\nslots = 3\n",
    )
    .unwrap();
    let show = |key: &str, value: &str, flags: &[&str]| {
        let mut command = crate::support::command(folder.path(), &["-o", "json", "config", "show"]);
        command.args(flags).env(key, value);
        command
    };
    let shown = show("EMBERMESH_NODE__SLOTS", "5", &[])
        .output()
        .await
        .unwrap();
    assert!(shown.status.success(), "{}", stderr(&shown));
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["node"]["slots"], 5);
    assert_eq!(shown["index"], "a:1");
    let wrong = show("EMBERMESH_OUTPTU", "json", &[])
        .output()
        .await
        .unwrap();
    refused(&wrong, 2, &["outptu", "did you mean `output`"]);
    std::fs::write(folder.path().join("config.toml"), "[node]\nslotz = 3\n").unwrap();
    let wrong = run(folder.path(), &["config", "show"]).await;
    refused(&wrong, 2, &["slotz", "did you mean `slots`", "config.toml"]);
    std::fs::remove_file(folder.path().join("config.toml")).unwrap();
    let wrong = run(
        folder.path(),
        &["--config", "/nowhere.toml", "config", "show"],
    )
    .await;
    refused(&wrong, 2, &["/nowhere.toml"]);
}

#[tokio::test]
async fn what_is_no_token_and_no_receipt_is_refused() {
    let folder = folder();
    let token = run(folder.path(), &["token", "inspect", "not.a.token"]).await;
    refused(&token, 2, &["malformed"]);
    let file = folder.path().join("receipt.bin");
    std::fs::write(&file, [7; 300]).unwrap();
    let receipt = run(
        folder.path(),
        &["receipt", "verify", file.to_str().unwrap()],
    )
    .await;
    refused(&receipt, 4, &["receipt"]);
    let receipt = run(folder.path(), &["receipt", "verify", "/nowhere.bin"]).await;
    refused(&receipt, 2, &["/nowhere.bin"]);
}

fn receipt(node: &Keypair) -> Receipt {
    let client = Keypair::from_seed(&[2; 32]).peer_id();
    Receipt {
        node: node.peer_id(),
        client,
        issuer: client,
        token_id: TokenId([1; 16]),
        job: JobId::v7(UnixMillis(5), [2; 10]),
        task: TaskIndex(0),
        epoch: Epoch::FIRST,
        spec: Digest::of(b"spec"),
        outcome: Outcome::Succeeded,
        device: "cpu".to_owned(),
        device_kind: DeviceKind::Cpu,
        inputs: vec![Digest::of(b"data")],
        outputs: Vec::new(),
        steps: 10,
        samples: 640,
        loss: Some(0.25),
        accuracy: None,
        started_at: UnixMillis(10),
        ended_at: UnixMillis(20),
        message: String::new(),
        account: Some(Account {
            version: ACCOUNT_VERSION,
            kind: "train".to_owned(),
            model: Some(Digest::of(b"model")),
            resumed_from: None,
            program: "embermesh 1".to_owned(),
            backend: "burn 1 flex".to_owned(),
            driver: "Linux 6".to_owned(),
            wall_ms: 9,
            cpu_ms: Some(18),
            peak_memory_bytes: Some(1 << 20),
            memory_ceiling_bytes: 1 << 30,
            wall_ceiling_ms: 1000,
            cpu_ceiling_ms: None,
            output_ceiling_bytes: 1 << 20,
            previous: None,
        }),
    }
}

/// A third party has the file and nothing else: no key, no configuration, no network.
#[tokio::test]
async fn a_receipt_is_checked_by_a_stranger_without_a_network() {
    let folder = folder();
    let node = Keypair::from_seed(&[9; 32]);
    let content = receipt(&node);
    let signed = sign(&content, &node).unwrap();
    let path = folder.path().join("receipt.bin");
    let file = path.to_str().unwrap();
    std::fs::write(&path, signed.bytes()).unwrap();
    let (model, data) = (
        Digest::of(b"model").to_string(),
        Digest::of(b"data").to_string(),
    );
    let peer = node.peer_id().to_string();
    let words = [
        "-o", "json", "receipt", "verify", file, "--model", &model, "--input", &data, "--node",
        &peer,
    ];
    let verified = run(folder.path(), &words).await;
    assert!(verified.status.success(), "{}", stderr(&verified));
    let shown: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(shown["verdict"], "valid");
    assert_eq!(shown["account"]["backend"], "burn 1 flex");
    assert_eq!(shown["account"]["peak_memory_bytes"], 1 << 20);

    // Cut off from every network, where the system lets a test do that.
    let mut alone = std::process::Command::new("unshare");
    alone
        .args(["--net", "--map-root-user", env!("CARGO_BIN_EXE_embermesh")])
        .args(["receipt", "verify", file])
        .env("HOME", folder.path());
    match alone.output() {
        Ok(output) if !stderr(&output).contains("unshare") => {
            assert!(output.status.success(), "{}", stderr(&output));
            let said = stdout(&output);
            for word in ["valid: signed by the node", "burn 1 flex", "train", &model] {
                assert!(said.contains(word), "{word} is not in {said}");
            }
        }
        other => println!("skipped: no namespace of networks here ({other:?})"),
    }

    let other = Digest::of(b"other").to_string();
    for (flag, value) in [("--model", &other), ("--input", &other), ("--spec", &other)] {
        let wrong = run(folder.path(), &["receipt", "verify", file, flag, value]).await;
        refused(&wrong, 4, &[&flag[2..], value]);
    }
    let mut bytes = signed.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let tampered = run(folder.path(), &["receipt", "verify", file]).await;
    refused(&tampered, 4, &["receipt"]);

    // What a node of an older version signed holds as it did.
    let old = Receipt {
        account: None,
        ..content
    };
    std::fs::write(&path, sign(&old, &node).unwrap().bytes()).unwrap();
    let verified = run(folder.path(), &["receipt", "verify", file]).await;
    assert!(verified.status.success(), "{}", stderr(&verified));
    let asked = run(
        folder.path(),
        &["receipt", "verify", file, "--model", &model],
    )
    .await;
    refused(&asked, 4, &["says nothing of the model"]);
}

#[tokio::test]
async fn a_token_is_shown_with_what_it_binds_and_whether_it_holds() {
    let folder = folder();
    let now = UnixMillis::now().as_secs();
    let claims = |from: UnixSeconds| Claims {
        issuer: key(1).peer_id(),
        client: key(2).peer_id(),
        node: key(3).peer_id(),
        job: JobId::v7(UnixMillis(1), [7; 10]),
        task: TaskIndex(0),
        epoch: Epoch(3),
        spec: Digest::of(b"spec"),
        methods: Methods::all(),
        ceilings: Ceilings {
            memory_bytes: 1 << 30,
            wall_ms: 60_000,
            output_bytes: 1 << 20,
        },
        token_id: TokenId([9; 16]),
        issued_at: from,
        not_before: from,
        expires_at: from.saturating_add(300),
        revocation_epoch: 0,
    };
    let valid = token::issue(&claims(now), &key(1)).unwrap();
    let shown = run(folder.path(), &["-o", "json", "token", "inspect", &valid]).await;
    assert!(shown.status.success(), "{}", stderr(&shown));
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["verdict"], "valid");
    assert_eq!(shown["issuer"], key(1).peer_id().to_string());
    assert_eq!(shown["client"], key(2).peer_id().to_string());
    assert_eq!(shown["node"], key(3).peer_id().to_string());
    assert_eq!(shown["epoch"], 3);
    assert_eq!(shown["spec"], Digest::of(b"spec").to_string());
    // For people, from stdin, as it comes out of a file.
    let piped = piped(folder.path(), &["token", "inspect"], &format!("{valid}\n")).await;
    assert!(piped.status.success(), "{}", stderr(&piped));
    assert!(stdout(&piped).contains("valid") && stdout(&piped).contains("1.0 GiB"));

    let old = token::issue(&claims(UnixSeconds(now.0 - 3_600)), &key(1)).unwrap();
    let shown = run(folder.path(), &["-o", "json", "token", "inspect", &old]).await;
    assert_eq!(shown.status.code(), Some(4), "{}", stderr(&shown));
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["verdict"], "expired");
}

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

/// Runs a command that is given something on its stdin.
async fn piped(folder: &Path, words: &[&str], text: &str) -> Output {
    let mut child = crate::support::command(folder, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    let ended = timeout(crate::support::PATIENCE, child.wait_with_output()).await;
    ended.expect("it ends").unwrap()
}

#[tokio::test]
async fn completions_and_help_name_every_command() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(folder.path(), &["completions", shell]).await;
        assert!(output.status.success());
        assert!(stdout(&output).contains("receipt"));
    }
    let help = run(folder.path(), &["--help"]).await;
    for word in [
        "keys",
        "index",
        "node",
        "submit",
        "jobs",
        "blob",
        "token",
        "demo",
        "Exit codes",
    ] {
        assert!(stdout(&help).contains(word), "{word}");
    }
    assert!(!stdout(&help).contains("worker"));
    let unknown = run(folder.path(), &["sumbit"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("submit"));
}
