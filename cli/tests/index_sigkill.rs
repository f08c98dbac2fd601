//! An acknowledged submit survives SIGKILL of the index at any moment.
//!
//! Clients submit without pause while the index is killed fifty times, each
//! time at a moment of chance, and started again on the same folder and port.
//! Every submit that was acknowledged must be known afterwards, once.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use embermesh_client::{Client, IdempotencyKey, Options};
use embermesh_crypto::{Digest, JobId, Keypair};
use embermesh_job::spec::JobSpec;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::{Mutex, RwLock, watch},
    time::timeout,
};

/// How often the index is killed.
const KILLS: u64 = 50;
/// Clients that submit at once.
const SUBMITTERS: usize = 4;
/// The most jobs of one key that an index holds open.
const MOST_JOBS: usize = 10_000;
/// The longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// The kill comes at most this long after the first acknowledgement.
const LATEST_KILL_US: u64 = 60_000;

/// The index as a process.
struct Index {
    child: Child,
    address: String,
}

impl Index {
    async fn start(folder: &Path, listen: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_embermesh"))
            .args(["-o", "json", "-q", "index", "run", "--listen", listen])
            .args(["--mesh-listen", "/ip4/127.0.0.1/tcp/0"])
            .args(["--metrics-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("index"))
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(PATIENCE, lines.next_line())
            .await
            .expect("the index says in time that it serves")
            .unwrap()
            .expect("the index serves rather than ends");
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["address"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    async fn client(&self, key: &Arc<Keypair>) -> Client {
        let target = self.address.parse().unwrap();
        Client::connect(target, Arc::clone(key), Options::default())
            .await
            .unwrap()
    }
}

/// A job that no node will take: there is none.
fn spec(number: u64) -> JobSpec {
    let digest = Digest::of(b"data");
    let json = format!(
        r#"{{"name":"job-{number}","work":{{"train":{{"passes":1,"batch":8,
        "model":{{"input":[4],"layers":[{{"op":"dense","units":3}}]}},
        "data":{{"digits_csv":{{"file":{{"digest":"{digest}","size":4}},"classes":3}}}}}}}}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

/// A small generator of its own (splitmix64), so that a seed repeats a run as
/// far as the scheduler lets it.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_submits_survive_fifty_kills_of_the_index() {
    let seed = std::env::var("EMBERMESH_KILL_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("EMBERMESH_KILL_SEED={seed}");
    let mut random = seed;
    let folder = tempfile::tempdir().unwrap();
    let key = Arc::new(Keypair::from_seed(&[7; 32]));

    let mut index = Index::start(folder.path(), "127.0.0.1:0").await;
    let address = index.address.clone();
    let acknowledged = Arc::new(Mutex::new(Vec::<JobId>::new()));
    let (acks, mut heard) = watch::channel(0u64);
    let stop = Arc::new(AtomicBool::new(false));
    let number = Arc::new(AtomicU64::new(0));

    // Nothing is submitted while the index is asked what it knows.
    let submitting = Arc::new(RwLock::new(()));
    let mut submitters = Vec::new();
    for _ in 0..SUBMITTERS {
        let client = index.client(&key).await;
        let (acknowledged, acks) = (Arc::clone(&acknowledged), acks.clone());
        let (stop, number) = (Arc::clone(&stop), Arc::clone(&number));
        let submitting = Arc::clone(&submitting);
        submitters.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let _submitting = submitting.read().await;
                let n = number.fetch_add(1, Ordering::Relaxed);
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&n.to_le_bytes());
                // The client sends it again by itself, under the same key.
                let submitted = client
                    .submit(&spec(n), IdempotencyKey::from_bytes(bytes))
                    .await
                    .expect("the index is back soon");
                acknowledged.lock().await.push(submitted.job.id);
                acks.send_modify(|count| *count += 1);
            }
        }));
    }

    let mut checked = 0;
    for kill in 1..=KILLS {
        heard.mark_unchanged();
        timeout(PATIENCE, heard.changed())
            .await
            .expect("submits are acknowledged between two kills")
            .unwrap();
        // The moment of the kill is the chance that is being tested.
        tokio::time::sleep(Duration::from_micros(
            next_random(&mut random) % LATEST_KILL_US,
        ))
        .await;
        index.child.start_kill().unwrap();
        index.child.wait().await.unwrap();
        index = Index::start(folder.path(), &address).await;
        let _asking = submitting.write().await;
        let known: Vec<JobId> = acknowledged.lock().await[checked..].to_vec();
        let client = index.client(&key).await;
        for job in &known {
            let view = client.job(*job).await;
            assert!(
                view.is_ok(),
                "kill {kill} (seed {seed}) lost {job}: {view:?}"
            );
        }
        checked += known.len();
    }

    stop.store(true, Ordering::Relaxed);
    for submitter in submitters {
        timeout(PATIENCE, submitter).await.unwrap().unwrap();
    }
    let acknowledged = acknowledged.lock().await.clone();
    let distinct: BTreeSet<JobId> = acknowledged.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        acknowledged.len(),
        "each submit made a job of its own"
    );
    let client = index.client(&key).await;
    let listed = client.jobs(&[], MOST_JOBS).await.unwrap();
    assert_eq!(
        listed.len(),
        distinct.len(),
        "no submit made two jobs, and none was lost"
    );
    assert!(listed.iter().all(|job| distinct.contains(&job.id)));
    println!("{} submits acknowledged over {KILLS} kills", distinct.len());
}
