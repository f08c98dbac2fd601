//! An acknowledged submit survives SIGKILL of the index at any moment.
//!
//! Clients submit without pause while the index is killed fifty times, each
//! time at a moment of chance, and started again on the same folder and port.
//! Every submit that was acknowledged must be known afterwards, once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::support::{PATIENCE, own_loopback, start_index};
use embermesh_client::{Client, IdempotencyKey, Options};
use embermesh_crypto::{Digest, JobId, Keypair};
use embermesh_job::spec::JobSpec;
use tokio::{
    sync::{Mutex, RwLock, Semaphore, watch},
    time::timeout,
};

/// How often the index is killed.
const KILLS: u64 = 50;
/// Clients that submit at once.
const SUBMITTERS: usize = 4;
/// The most jobs of one key that an index holds open.
const MOST_JOBS: usize = 10_000;
/// Submits between two kills: however fast the disk, all of them together stay below
/// what the index takes of one key.
const PER_ROUND: usize = MOST_JOBS / (KILLS as usize + 1) - SUBMITTERS;
/// The kill comes at most this long after the first acknowledgement.
const LATEST_KILL_US: u64 = 60_000;
/// The variable that repeats the chances of another run. It has not the name of a
/// setting, which the command would want to know.
const SEED: &str = "KILL_SEED";

async fn connect(address: &str, key: &Arc<Keypair>) -> Client {
    let target = address.parse().unwrap();
    Client::connect(target, Arc::clone(key), Options::default())
        .await
        .unwrap()
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

/// What the submitters share.
struct Submitting {
    acknowledged: Mutex<Vec<JobId>>,
    acks: watch::Sender<usize>,
    number: AtomicU64,
    /// Submits that may still be made in this round; closed at the end.
    allowance: Semaphore,
    /// Nothing is submitted while the index is asked what it knows.
    asking: RwLock<()>,
}

impl Submitting {
    /// Submits until the end.
    async fn run(&self, client: Client) {
        while let Ok(allowed) = self.allowance.acquire().await {
            allowed.forget();
            let _submitting = self.asking.read().await;
            let n = self.number.fetch_add(1, Ordering::Relaxed);
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            // The client sends it again by itself, under the same key.
            let submitted = client
                .submit(&spec(n), IdempotencyKey::from_bytes(bytes))
                .await
                .expect("the index is back soon");
            self.acknowledged.lock().await.push(submitted.job.id);
            self.acks.send_modify(|count| *count += 1);
        }
    }

    /// Waits for the moment of a kill: by chance, but while there is something to
    /// submit.
    async fn until_kill(&self, latest: Duration) {
        let mut heard = self.acks.subscribe();
        let before = *heard.borrow_and_update();
        let used = PER_ROUND - self.allowance.available_permits();
        self.allowance.add_permits(used);
        timeout(PATIENCE, heard.changed())
            .await
            .expect("submits are acknowledged between two kills")
            .unwrap();
        let nearly_all = before + PER_ROUND - SUBMITTERS;
        // The moment of the kill is the chance that is being tested.
        let _ = timeout(latest, heard.wait_for(|acks| *acks >= nearly_all)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_submits_survive_fifty_kills_of_the_index() {
    let seed = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    println!("{SEED}={seed} cargo nextest run --release -p embermesh-cli index_sigkill");
    let mut random = seed;
    let folder = tempfile::tempdir().unwrap();
    let key = Arc::new(Keypair::from_seed(&[7; 32]));

    let mut index = start_index(folder.path(), &own_loopback()).await;
    let address = index.address();
    let submitting = Arc::new(Submitting {
        acknowledged: Mutex::default(),
        acks: watch::Sender::new(0),
        number: AtomicU64::new(0),
        allowance: Semaphore::new(0),
        asking: RwLock::default(),
    });
    let mut submitters = Vec::new();
    for _ in 0..SUBMITTERS {
        let (client, submitting) = (connect(&address, &key).await, Arc::clone(&submitting));
        submitters.push(tokio::spawn(async move { submitting.run(client).await }));
    }

    let mut checked = 0;
    for kill in 1..=KILLS {
        let latest = Duration::from_micros(next_random(&mut random) % LATEST_KILL_US);
        submitting.until_kill(latest).await;
        index.kill().await;
        index = start_index(folder.path(), &address).await;
        let _asking = submitting.asking.write().await;
        let known = submitting.acknowledged.lock().await[checked..].to_vec();
        let client = connect(&address, &key).await;
        for job in &known {
            let view = client.job(*job).await;
            assert!(
                view.is_ok(),
                "kill {kill} (seed {seed}) lost {job}: {view:?}"
            );
        }
        checked += known.len();
    }

    submitting.allowance.close();
    for submitter in submitters {
        timeout(PATIENCE, submitter).await.unwrap().unwrap();
    }
    let acknowledged = submitting.acknowledged.lock().await.clone();
    let distinct: BTreeSet<JobId> = acknowledged.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        acknowledged.len(),
        "each submit made a job of its own"
    );
    let client = connect(&address, &key).await;
    let listed = client.jobs(&[], MOST_JOBS).await.unwrap();
    assert_eq!(
        listed.len(),
        distinct.len(),
        "no submit made two jobs, and none was lost"
    );
    assert!(listed.iter().all(|job| distinct.contains(&job.id)));
    println!("{} submits acknowledged over {KILLS} kills", distinct.len());
}
