//! Several independent indexes, killed and started again: submits go on, streams do not
//! drop, what ran meanwhile is known afterwards, and no job runs twice.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{
    Numbers, Process, Stream, command, digits_job, endless_job, eventually, is_event, own_loopback,
    run, start, stderr,
};

/// Settings of every process.
const SETTINGS: &str = r#"
[index_server.leases]
lease_ms = 5000
heartbeat_interval_ms = 500
assign_grace_ms = 10000
reregistration_grace_ms = 15000

[node]
drain_timeout = "10s"
devices = ["cpu"]
checkpoint_replicas = 0
"#;

/// How often every index is killed in mid-run.
const ROUNDS: u64 = 20;
/// Passes of a job that is under way when the indexes die.
const PASSES: u32 = 6;
/// The kill comes after at most so many events of that job, of some sixty.
const LATEST_KILL: u64 = 24;
/// The variable that repeats the chances of another run. It has not the name of a
/// setting, which the command would want to know.
const SEED: &str = "ROUNDS_SEED";

/// Indexes that know nothing of each other, nodes that are registered with all of them,
/// and a user whom the nodes let in.
struct Several {
    folder: TempDir,
    indexes: Vec<Process>,
    nodes: Vec<Process>,
}

impl Several {
    async fn start(indexes: usize, nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), SETTINGS).unwrap();
        let made = run(folder.path(), &["-o", "json", "keys", "new"]).await;
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let user = made["peer"].as_str().unwrap();
        let mut several = Self {
            folder,
            indexes: Vec::new(),
            nodes: Vec::new(),
        };
        for number in 0..indexes {
            let index = several.start_index(number, &own_loopback()).await;
            several.indexes.push(index);
        }
        for number in 0..nodes {
            let addresses: Vec<_> = several.indexes.iter().map(Process::address).collect();
            let mut words = vec!["node", "run", "--allow", user];
            words.extend(addresses.iter().flat_map(|index| ["--index", index]));
            let first = several.nodes.first().map(mesh_of);
            if let Some(first) = &first {
                words.extend(["--bootstrap", first]);
            }
            let name = format!("node-{number}");
            let node = start(several.path(), &name, &words).await;
            several.nodes.push(node);
        }
        for number in 0..indexes {
            several.until_nodes(number).await;
        }
        several
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn start_index(&self, number: usize, listen: &str) -> Process {
        let words = [
            "index",
            "run",
            "--metrics-listen",
            "127.0.0.1:0",
            "--listen",
        ];
        let words = [&words[..], &[listen]].concat();
        start(self.path(), &format!("index-{number}"), &words).await
    }

    /// SIGKILLs some indexes.
    async fn kill(&mut self, which: &[usize]) {
        for number in which {
            self.indexes[*number].child.start_kill().unwrap();
        }
        for number in which {
            self.indexes[*number].child.wait().await.unwrap();
        }
    }

    /// Starts them again on their folders and ports.
    async fn revive(&mut self, which: &[usize]) {
        for number in which {
            let address = self.indexes[*number].address();
            self.indexes[*number] = self.start_index(*number, &address).await;
        }
    }

    /// Waits until an index has every node.
    async fn until_nodes(&self, index: usize) {
        let address = self.indexes[index].address();
        eventually("the index knows the nodes", async || {
            let nodes = self
                .json(&["nodes", "ls", "--live", "--index", &address])
                .await;
            let registered = |node: &&Value| node["source"] == "registered";
            nodes.as_array().unwrap().iter().filter(registered).count() >= self.nodes.len()
        })
        .await;
    }

    /// Words, and every index, beginning with one.
    fn with_indexes(&self, words: &[&str], first: usize) -> Vec<String> {
        let many = self.indexes.len();
        let ordered = (0..many).map(|at| self.indexes[(first + at) % many].address());
        let words = words.iter().map(|word| (*word).to_owned());
        words
            .chain(ordered.flat_map(|index| ["--index".to_owned(), index]))
            .collect()
    }

    async fn run(&self, words: &[&str]) -> Output {
        run(self.path(), words).await
    }

    async fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[&["-o", "json"], words].concat()).await;
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A job as its index shows it, whichever that is.
    async fn job(&self, id: &str) -> Value {
        let words = self.with_indexes(&["-o", "json", "jobs", "get", id], 0);
        let output = run(self.path(), &words).await;
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the index of a job has its end.
    async fn until_known(&self, id: &str, state: &str) -> Value {
        eventually("the index knows how the job has ended", async || {
            self.job(id).await["state"] == state
        })
        .await;
        self.job(id).await
    }

    fn stream(&self, words: &[String]) -> Stream {
        let mut all = vec!["-o".to_owned(), "jsonl".to_owned()];
        all.extend_from_slice(words);
        let mut child = command(self.path(), &all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Stream::new(child, lines)
    }

    /// Submits a job and follows it, asking the indexes in turn from one on.
    async fn follow(&self, job: &Path, first: usize, more: &[&str]) -> (String, Stream) {
        let words = [&["submit", job.to_str().unwrap(), "--follow"], more].concat();
        let mut stream = self.stream(&self.with_indexes(&words, first));
        let id = stream.next().await["job"].as_str().unwrap().to_owned();
        (id, stream)
    }
}

fn mesh_of(node: &Process) -> String {
    node.ready["mesh"][0].as_str().unwrap().to_owned()
}

/// Fails unless the job was done once, with a receipt and what it made.
fn done_once(job: &Value) {
    assert_eq!(job["state"], "succeeded", "{job}");
    let receipt = job["finished"]["kind"]["finished"]["receipt"].as_str();
    assert!(receipt.unwrap().len() > 128, "{job}");
    assert_eq!(job["artifacts"].as_array().unwrap().len(), 1, "{job}");
    let journal = job["journal"].as_array().unwrap();
    let begun = journal.iter().filter(|entry| entry["state"] == "running");
    assert_eq!(begun.count(), 1, "one attempt has begun: {job}");
}

/// A small generator of its own (splitmix64), so that a seed repeats a run as far as the
/// scheduler lets it.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_index_is_killed_in_mid_run_in_twenty_rounds_and_nobody_notices() {
    let seed = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    println!("{SEED}={seed} cargo nextest run --release -p embermesh-cli twenty_rounds");
    let mut random = seed;
    let mut several = Several::start(2, 2).await;
    let both = [0, 1];
    let long = digits_job(several.path(), "mid-run", PASSES);
    let short = digits_job(several.path(), "meanwhile", 1);
    let mut ran = Vec::new();
    for round in 0..ROUNDS {
        let first = usize::from(next_random(&mut random) % 2 == 0);
        let kill_after = 1 + next_random(&mut random) % LATEST_KILL;
        println!("round {round}: the indexes die after event {kill_after}");
        let mut numbers = Numbers::default();
        let (id, mut stream) = several.follow(&long, first, &["--index-or-none"]).await;
        stream
            .until(&mut numbers, |line| {
                line["event"]["seq"].as_u64() >= Some(kill_after)
            })
            .await;
        several.kill(&both).await;
        // Nobody gives out work, and work is done.
        let (own, other) = several.follow(&short, 0, &["--index-or-none"]).await;
        let mut of_other = Numbers::default();
        let (rest, code) = other.finish(&mut of_other).await;
        assert_eq!(code, 0, "round {round} (seed {seed}): {rest:?}");
        let own = several.json(&["jobs", "get", &own, "--no-index"]).await;
        assert_eq!(own["state"], "succeeded", "{own}");
        let (rest, code) = stream.finish(&mut numbers).await;
        assert_eq!(code, 0, "round {round} (seed {seed}): {rest:?}");
        assert!(
            !rest
                .iter()
                .any(|line| line["to"] == "node" || line["update"] == "assigned"),
            "the node's stream was not touched: {rest:?}"
        );
        several.revive(&both).await;
        let job = several.until_known(&id, "succeeded").await;
        assert_eq!(job["epoch"], 1, "{job}");
        done_once(&job);
        ran.push(id);
    }
    // What they have learnt they still have.
    let words = several.with_indexes(&["-o", "json", "jobs", "ls"], 0);
    let listed = run(several.path(), &words).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let listed: Vec<_> = listed.as_array().unwrap().iter().collect();
    assert_eq!(
        listed.len(),
        ran.len(),
        "no job is lost, and none is there twice"
    );
    for job in listed {
        assert!(ran.iter().any(|id| job["id"] == id.as_str()), "{job}");
        assert_eq!(job["state"], "succeeded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_any_two_of_three_indexes_killed_submits_go_on() {
    let mut several = Several::start(3, 2).await;
    let job = digits_job(several.path(), "any-two", 1);
    for (survivor, pair) in [(2, [0, 1]), (1, [0, 2]), (0, [1, 2])] {
        several.kill(&pair).await;
        // The dead are asked first.
        let (id, stream) = several.follow(&job, pair[0], &[]).await;
        let (rest, code) = stream.finish(&mut Numbers::default()).await;
        assert_eq!(code, 0, "{rest:?}");
        let address = several.indexes[survivor].address();
        let words = ["jobs", "get", &id, "--index", &address];
        eventually("the survivor knows the end", async || {
            several.json(&words).await["state"] == "succeeded"
        })
        .await;
        done_once(&several.json(&words).await);
        several.revive(&pair).await;
        for number in pair {
            several.until_nodes(number).await;
        }
    }
    // With all of them dead it is said who was asked, and what can be done.
    several.kill(&[0, 1, 2]).await;
    let addresses: Vec<_> = several.indexes.iter().map(Process::address).collect();
    let words = several.with_indexes(&["quote", job.to_str().unwrap()], 0);
    let output = run(several.path(), &words).await;
    let mut said = vec!["none of the 3 indexes answers", "--index"];
    said.extend(
        addresses
            .iter()
            .map(|address| address.split('/').next().unwrap()),
    );
    crate::support::refused(&output, 3, &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_indexes_that_want_one_slot_at_once_both_have_their_jobs_done_once() {
    let several = Several::start(2, 2).await;
    let job = digits_job(several.path(), "at-once", 2);
    for _ in 0..3 {
        let (left, right) =
            tokio::join!(several.follow(&job, 0, &[]), several.follow(&job, 1, &[]));
        let ids = [left.0, right.0];
        for stream in [left.1, right.1] {
            let (rest, code) = stream.finish(&mut Numbers::default()).await;
            assert_eq!(code, 0, "{rest:?}");
        }
        for id in &ids {
            done_once(&several.until_known(id, "succeeded").await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_index_is_away_is_watched_and_cancelled_at_its_node() {
    let mut several = Several::start(2, 1).await;
    let job = endless_job(several.path(), "index-away");
    let words = several.with_indexes(&["submit", job.to_str().unwrap()], 1);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let id = several.json(&words).await["job"]
        .as_str()
        .unwrap()
        .to_owned();
    several.kill(&[0, 1]).await;
    let watch = several.with_indexes(&["jobs", "watch", &id], 0);
    let mut stream = several.stream(&watch);
    let mut numbers = Numbers::default();
    stream
        .until(&mut numbers, |line| is_event(line, "progress"))
        .await;
    let cancel = several.with_indexes(&["-o", "json", "jobs", "cancel", &id], 0);
    let output = run(several.path(), &cancel).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 1, "{rest:?}");
    assert_eq!(rest.last().unwrap()["outcome"], "cancelled");
    several.revive(&[0, 1]).await;
    let job = several.until_known(&id, "cancelled").await;
    assert!(job["finished"].is_object(), "its receipt has come: {job}");
}
