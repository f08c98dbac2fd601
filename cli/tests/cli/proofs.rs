//! A proven computation from its submit to a stranger who verifies it, and what each way
//! to cheat is told.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use embermesh_compute::proven::execute;
use embermesh_crypto::{
    Digest, Epoch, JobId, Keypair, TaskIndex,
    ids::TokenId,
    statement::{DeviceKind, Outcome, Output as Made, Receipt, sign},
    time::UnixMillis,
};
use embermesh_job::{
    file::{Format, JobFile},
    proof::{Attempt, Proof, Proven, Trace},
    spec::{JobSpec, Work},
};

use crate::support::{Mesh, refused, run, stderr, stdout};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs/proven.toml")
}

fn spec() -> JobSpec {
    let text = std::fs::read_to_string(example()).unwrap();
    let file = JobFile::parse(&text, Format::Toml).unwrap();
    file.resolve(&BTreeMap::new()).unwrap()
}

fn attempt(job: u8) -> Attempt {
    Attempt {
        job: JobId::v7(UnixMillis(5), [job; 10]),
        node: Keypair::from_seed(&[9; 32]).peer_id(),
        epoch: Epoch::FIRST,
    }
}

/// The proof of the example by one who changed a number of some step, or none.
fn proof(spec: &JobSpec, attempt: Attempt, changed: Option<usize>) -> Proof {
    let Work::Compute(compute) = &spec.work else {
        panic!("it is a computation")
    };
    let program = compute.plan().unwrap().program;
    let given = compute.tensors.iter().map(|tensor| {
        let values = tensor.values.iter().flatten();
        values.map(|value| *value as f32).collect()
    });
    let mut values = execute(&program, given.collect()).unwrap();
    if let Some(step) = changed {
        values[program.steps[step].gives[0].place()][0] += 0.5;
    }
    let trace = Trace::new(spec.digest(), &program, &values, attempt).unwrap();
    trace.prove(&[trace.commitment()], 0, 6).unwrap()
}

/// Writes a proof down and gives its path.
fn file(folder: &Path, name: &str, spec: &JobSpec, proof: Proof) -> String {
    let proven = Proven {
        spec: String::from_utf8(spec.canonical()).unwrap(),
        proofs: vec![proof],
    };
    let path = folder.join(name);
    std::fs::write(&path, proven.to_bytes().unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What the node of an attempt signs of a proof.
fn receipt(spec: &JobSpec, attempt: Attempt, proof: &[u8]) -> Vec<u8> {
    let node = Keypair::from_seed(&[9; 32]);
    let client = Keypair::from_seed(&[2; 32]).peer_id();
    let receipt = Receipt {
        node: attempt.node,
        client,
        issuer: client,
        token_id: TokenId([1; 16]),
        job: attempt.job,
        task: TaskIndex(0),
        epoch: attempt.epoch,
        spec: spec.digest(),
        outcome: Outcome::Succeeded,
        device: "cpu".to_owned(),
        device_kind: DeviceKind::Cpu,
        inputs: Vec::new(),
        outputs: vec![Made {
            name: "proof.bin".to_owned(),
            digest: Digest::of(proof),
            size: proof.len() as u64,
        }],
        steps: 6,
        samples: 0,
        loss: None,
        accuracy: None,
        started_at: UnixMillis(10),
        ended_at: UnixMillis(20),
        message: String::new(),
        account: None,
    };
    sign(&receipt, &node).unwrap().bytes().to_vec()
}

#[tokio::test]
async fn a_proof_is_verified_by_a_stranger_and_each_lie_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let spec = spec();
    let (mine, another) = (attempt(2), attempt(3));
    let honest = file(at, "proof.bin", &spec, proof(&spec, mine, None));
    let bytes = std::fs::read(&honest).unwrap();
    let job = mine.job.to_string();
    let job_file = example().to_str().unwrap().to_owned();
    let signed = at.join("receipt.bin");
    std::fs::write(&signed, receipt(&spec, mine, &bytes)).unwrap();
    let signed = signed.to_str().unwrap().to_owned();
    let words = [
        "-o",
        "json",
        "proof",
        "verify",
        &honest,
        "--job",
        &job,
        "--job-file",
        &job_file,
        "--receipt",
        &signed,
    ];
    let verified = run(at, &words).await;
    assert!(verified.status.success(), "{}", stderr(&verified));
    let shown: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(shown["verdict"], "valid");
    assert_eq!(shown["members"][0]["job"], job.as_str());
    assert_eq!((&shown["steps"], &shown["opened"]), (&6.into(), &6.into()));
    assert_eq!(shown["receipt_node"], mine.node.to_string());
    // People read the same, also of the text that a foreign system has.
    let text = at.join("proof.txt");
    std::fs::write(&text, Proven::text(&bytes) + "\n").unwrap();
    let read = run(at, &["proof", "verify", text.to_str().unwrap()]).await;
    assert!(stdout(&read).contains("valid"), "{}", stderr(&read));

    // Of something else than was expected.
    let (other, digest) = (another.job.to_string(), Digest::of(b"x").to_string());
    let peer = Keypair::from_seed(&[1; 32]).peer_id().to_string();
    let plain = Path::new(&job_file).with_file_name("compute.toml");
    let plain = plain.to_str().unwrap().to_owned();
    let theirs = at.join("theirs.bin");
    std::fs::write(&theirs, receipt(&spec, another, &bytes)).unwrap();
    let theirs = theirs.to_str().unwrap().to_owned();
    for (flag, value, word) in [
        ("--job", &other, "is of job"),
        ("--spec", &digest, "is of spec"),
        ("--node", &peer, "is of node"),
        ("--job-file", &plain, "is of spec"),
        ("--receipt", &theirs, "job"),
    ] {
        let wrong = run(at, &["proof", "verify", &honest, flag, value]).await;
        refused(&wrong, 4, &[word]);
    }

    // Of one who cheated, or what is no proof at all.
    let changed = file(at, "changed.bin", &spec, proof(&spec, mine, Some(2)));
    let mut root = proof(&spec, mine, None);
    root.gang[0].root = Digest::of(b"root");
    let root = file(at, "root.bin", &spec, root);
    let mut stolen = proof(&spec, another, None);
    stolen.gang[0].attempt = mine;
    let stolen = file(at, "stolen.bin", &spec, stolen);
    let cut = at.join("cut.bin");
    std::fs::write(&cut, &bytes[..bytes.len() - 9]).unwrap();
    let cut = cut.to_str().unwrap().to_owned();
    for (name, words) in [
        (&changed, "step 2 does not give what the proof says"),
        (&root, "not in the tree"),
        (&stolen, "not in the tree"),
        (&cut, "cut off"),
        (&signed, "not a proof"),
    ] {
        refused(&run(at, &["proof", "verify", name]).await, 4, &[words]);
    }
    let missing = run(at, &["proof", "verify", "/nowhere.bin"]).await;
    refused(&missing, 2, &["/nowhere.bin"]);
}

#[tokio::test]
async fn a_computation_runs_on_the_mesh_and_its_proof_holds_offline() {
    let mesh = Mesh::start(1).await;
    let out = mesh.path().join("out");
    let example = example();
    let words = [
        "submit",
        example.to_str().unwrap(),
        "--follow",
        "--out",
        out.to_str().unwrap(),
    ];
    let ran = mesh.run(&words).await;
    assert!(ran.status.success(), "{}", stderr(&ran));
    let path = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let (proof, results, receipt) = (
        path("proof.bin"),
        path("results.safetensors"),
        path("receipt.bin"),
    );
    let words = [
        "proof",
        "verify",
        &proof,
        "--results",
        &results,
        "--receipt",
        &receipt,
        "--job-file",
        example.to_str().unwrap(),
    ];
    let shown = mesh.local(&words).await;
    assert_eq!(shown["verdict"], "valid");
    assert_eq!((&shown["steps"], &shown["opened"]), (&6.into(), &4.into()));
    assert_eq!(shown["results_checked"], true);
    let node = shown["receipt_node"].as_str().unwrap();
    assert_eq!(shown["members"][0]["node"], node);
    assert_eq!(node, mesh.nodes[0].peer());

    // What cannot be proven is refused before anything is sent.
    let text = std::fs::read_to_string(example).unwrap();
    let gradient = text.replace(
        "    { op = \"softmax\"",
        "    { op = \"sum\", name = \"s\", from = [\"logits\"] },\n    { op = \"gradient\", name = \"d\", from = [\"s\", \"w1\"] },\n    { op = \"softmax\"",
    );
    let job = mesh.path().join("gradient.toml");
    std::fs::write(&job, gradient).unwrap();
    let no = mesh.run(&["submit", job.to_str().unwrap()]).await;
    refused(&no, 2, &["gradient \"d\"", "cannot be proven"]);
}

#[tokio::test]
async fn three_nodes_make_one_proof_and_the_same_command_finds_it_again() {
    let mesh = Mesh::start(3).await;
    let out = mesh.path().join("out");
    let example = example();
    let words = [
        "proof",
        "make",
        example.to_str().unwrap(),
        "--workers",
        "3",
        "--out",
        out.to_str().unwrap(),
    ];
    let made = mesh.json(&words).await;
    let proof = made["path"].as_str().unwrap().to_owned();
    let receipt = out.join("receipt.bin");
    let words_of = [
        "proof",
        "verify",
        &proof,
        "--receipt",
        receipt.to_str().unwrap(),
        "--job-file",
        example.to_str().unwrap(),
    ];
    let shown = mesh.local(&words_of).await;
    let members = shown["members"].as_array().unwrap();
    let mut nodes: Vec<_> = members
        .iter()
        .map(|member| member["node"].as_str().unwrap().to_owned())
        .collect();
    nodes.sort();
    let mut peers: Vec<_> = mesh.nodes.iter().map(|node| node.peer()).collect();
    peers.sort();
    assert_eq!(nodes, peers);
    // Three commit, three prove, one aggregates; and no other job is made for it again.
    let jobs = async || mesh.json(&["jobs", "ls"]).await.as_array().unwrap().len();
    assert_eq!(jobs().await, 7);
    std::fs::remove_file(&proof).unwrap();
    let again = mesh.json(&words).await;
    assert_eq!(again["digest"], made["digest"]);
    assert_eq!(jobs().await, 7);

    // More than there are, and a job that asks for no proof.
    let other = mesh.path().join("other");
    let mut many = words;
    many[4] = "4";
    many[6] = other.to_str().unwrap();
    refused(&mesh.run(&many).await, 1, &["4 nodes are asked for"]);
    let plain = example.with_file_name("compute.toml");
    many[2] = plain.to_str().unwrap();
    refused(&mesh.run(&many).await, 2, &["asks for no proof"]);
}
