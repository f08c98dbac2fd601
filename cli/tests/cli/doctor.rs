//! What the doctor says of a set-up that works and of those that do not: each trouble by its
//! word, with the cure, within the time that it has.

use std::{
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use embermesh_crypto::Keypair;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{
    Mesh, PATIENCE, command, late::LateIndex, own_loopback, run, start, stderr, stdout,
};

/// How long the doctor may take, whatever is broken.
const WITHIN: Duration = Duration::from_secs(15);

/// What it has found.
struct Diagnosis {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Diagnosis {
    /// The findings that are troubles: their words.
    fn codes(&self) -> Vec<&str> {
        let troubles = self.findings.iter().filter(|it| it["state"] == "trouble");
        troubles.map(|it| it["code"].as_str().unwrap()).collect()
    }

    /// One trouble, whose text and cure say all of these.
    #[track_caller]
    fn trouble(&self, code: &str, text: &[&str], cure: &[&str]) {
        assert_eq!(self.code, Some(5), "{:#?}", self.findings);
        let mut all = self.findings.iter();
        let found = all
            .find(|it| it["code"] == code)
            .unwrap_or_else(|| panic!("{code} is not among {:#?}", self.findings));
        for word in text {
            assert!(found["text"].as_str().unwrap().contains(word), "{found}");
        }
        for word in cure {
            assert!(found["cure"].as_str().unwrap().contains(word), "{found}");
        }
    }

    /// Whether something of a part is as it should be and says this.
    fn says(&self, part: &str, state: &str, word: &str) -> bool {
        self.findings.iter().any(|it| {
            it["part"] == part
                && it["state"] == state
                && it["text"].as_str().unwrap().contains(word)
        })
    }
}

/// Asks the doctor, who has a bound.
async fn doctor_of(mut command: tokio::process::Command) -> Diagnosis {
    let begun = Instant::now();
    command.stdin(Stdio::null());
    let output: Output = timeout(PATIENCE, command.output())
        .await
        .expect("it ends")
        .unwrap();
    let took = begun.elapsed();
    assert!(took < WITHIN, "it took {took:?}: {}", stdout(&output));
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", stdout(&output), stderr(&output)));
    let findings = value["findings"].as_array().unwrap().clone();
    for found in &findings {
        if found["state"] == "trouble" {
            let cure = found["cure"].as_str().unwrap_or_default();
            assert!(!cure.is_empty(), "a trouble without a cure: {found}");
        }
    }
    Diagnosis {
        code: output.status.code(),
        findings,
    }
}

async fn doctor(folder: &Path, words: &[&str]) -> Diagnosis {
    let all = [&["-o", "json", "doctor"], words].concat();
    doctor_of(command(folder, &all)).await
}

/// A folder with a key and these settings, and nothing that runs.
async fn alone(settings: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[node]\ndevices = [\"cpu\"]\n{settings}");
    std::fs::write(folder.path().join("config.toml"), text).unwrap();
    assert!(run(folder.path(), &["keys", "new"]).await.status.success());
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_works_has_no_trouble() {
    let mesh = Mesh::start(2).await;
    let index = format!("{}/p2p/{}", mesh.index.address(), mesh.index.peer());
    let peer = mesh.nodes[0].ready["mesh"][0].as_str().unwrap();
    let folder = mesh.path().join("node-1");
    let words = [
        "--index",
        &index,
        "--peer",
        peer,
        "--data-dir",
        folder.to_str().unwrap(),
    ];
    let healthy = doctor(mesh.path(), &words).await;
    assert_eq!(healthy.code, Some(0), "{:#?}", healthy.findings);
    assert!(healthy.codes().is_empty());
    for (part, state, word) in [
        ("identity", "ok", mesh.nodes[0].peer().as_str()),
        ("identity", "ok", "a node runs on the data folder"),
        ("ports", "ok", "port 0"),
        ("addresses", "ok", "127.0.0.1"),
        ("nat", "unknown", "on this machine"),
        ("relays", "ok", "none is needed"),
        ("clock", "ok", "clocks that were asked"),
        ("devices", "ok", "cpu works"),
        ("index", "ok", mesh.index.peer().as_str()),
        ("index", "ok", "the one that the settings trust"),
        ("index", "ok", env!("CARGO_PKG_VERSION")),
        ("index", "ok", "2 nodes, 2 of them live"),
        ("peers", "ok", "adverts"),
        ("peers", "ok", mesh.nodes[0].peer().as_str()),
    ] {
        assert!(
            healthy.says(part, state, word),
            "{part} {state} {word}: {:#?}",
            healthy.findings
        );
    }
    // People read the same, without colours where nobody looks.
    let words = [&["doctor"][..], &words].concat();
    let output = run(mesh.path(), &words).await;
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(
        text.starts_with("identity\n  ok       ") && text.contains("\nno trouble, found in "),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    // An index alone tells of the nodes to look at.
    let alone = doctor(mesh.path(), &["--index", &index]).await;
    assert_eq!(alone.code, Some(0), "{:#?}", alone.findings);
    assert!(alone.says("peers", "ok", &mesh.nodes[1].peer()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_is_named_with_what_to_start() {
    let folder = alone("").await;
    // Addresses that nobody else listens on, and nobody at all.
    let free = || {
        let listener = TcpListener::bind(own_loopback()).unwrap();
        listener.local_addr().unwrap()
    };
    let (index, peer) = (free(), free());
    let id = Keypair::from_seed(&[5; 32]).peer_id();
    let multiaddr = format!("/ip4/{}/tcp/{}/p2p/{id}", peer.ip(), peer.port());
    let words = ["--index", &index.to_string(), "--peer", &multiaddr];
    let found = doctor(folder.path(), &words).await;
    let index_at = index.to_string();
    found.trouble(
        "index_unreachable",
        &[&index_at, "nothing listens there"],
        &["embermesh index run", "--index", "--no-index"],
    );
    found.trouble("peer_unreachable", &[&multiaddr], &["start that peer"]);
    assert!(found.says("clock", "unknown", "nobody was reached"));
    assert!(found.says("nat", "unknown", "cannot be told"));
    // An address without a key is told by itself.
    let nameless = format!("/ip4/{}/tcp/{}", peer.ip(), peer.port());
    let words = ["--no-index", "--peer", &nameless];
    let found = doctor(folder.path(), &words).await;
    found.trouble("peer_address", &[&nameless], &["/p2p/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_which_way_and_by_how_much() {
    let folder = alone("").await;
    for (ahead_ms, said) in [(600_000, "slow"), (-600_000, "fast")] {
        let index = LateIndex::start(ahead_ms).await;
        let at = format!("{}/p2p/{}", index.address, index.key.peer_id());
        let found = doctor(folder.path(), &["--index", &at]).await;
        assert_eq!(found.codes(), ["clock_off"], "{:#?}", found.findings);
        let text = found.findings.iter().find(|it| it["code"] == "clock_off");
        let text = text.unwrap()["text"].as_str().unwrap();
        let near = ["10m ", "9m 59s "].iter().any(|span| text.contains(span));
        assert!(near && text.contains(said), "{text}");
        found.trouble("clock_off", &["30 s"], &["set it", "sudo"]);
    }
    // What is tolerated is no trouble.
    let index = LateIndex::start(20_000).await;
    let found = doctor(folder.path(), &["--index", &index.address]).await;
    assert_eq!(found.code, Some(0), "{:#?}", found.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_a_stranger_has_is_told_from_the_node_s_own() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap();
    let quic = UdpSocket::bind("127.0.0.1:0").unwrap();
    let over_udp = quic.local_addr().unwrap();
    let listen = format!("/ip4/127.0.0.1/udp/{}/quic-v1", over_udp.port());
    let folder = alone(&format!(
        "tls_listen = \"{taken}\"\nlisten = [\"{listen}\"]\n"
    ))
    .await;
    let found = doctor(folder.path(), &["--no-index"]).await;
    let (tcp, udp) = (taken.port().to_string(), over_udp.port().to_string());
    found.trouble(
        "port_taken",
        &[&tcp, "another program"],
        &["ss -lnp", "tls_listen"],
    );
    assert!(
        found.says("ports", "trouble", &udp),
        "{:#?}",
        found.findings
    );
    drop((stranger, quic));

    let free = TcpListener::bind(own_loopback()).unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let folder = alone(&format!("tls_listen = \"{at}\"\n")).await;
    let node = start(folder.path(), "node", &["node", "run"]).await;
    let data_dir = folder.path().join("node");
    let words = ["--no-index", "--data-dir", data_dir.to_str().unwrap()];
    let found = doctor(folder.path(), &words).await;
    assert!(
        found.says("ports", "ok", "held by this node"),
        "{:#?}",
        found.findings
    );
    // The same port for another node.
    let other = folder.path().join("other");
    let words = ["--no-index", "--data-dir", other.to_str().unwrap()];
    let found = doctor(folder.path(), &words).await;
    found.trouble("port_of_another", &[&node.peer()], &["tls_listen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_network_and_another_key_are_told_with_what_to_write() {
    let mesh = Mesh::start(1).await;
    let peer = mesh.nodes[0].ready["mesh"][0].as_str().unwrap();
    let pinned = format!("{}/p2p/{}", mesh.index.address(), mesh.nodes[0].peer());
    let words = ["--network", "elsewhere", "--peer", peer, "--index", &pinned];
    let found = doctor(mesh.path(), &words).await;
    found.trouble(
        "other_network",
        &[peer, "`embermesh`", "`elsewhere`"],
        &["network = \"embermesh\""],
    );
    let right = format!("{}/p2p/{}", mesh.index.address(), mesh.index.peer());
    found.trouble("index_key", &[&mesh.nodes[0].peer()], &[&right]);
    // A node is no index.
    let node = mesh.nodes[0].address();
    let found = doctor(mesh.path(), &["--index", &node, "--peer", peer]).await;
    found.trouble("not_an_index", &[&node], &["embermesh index run"]);
    // A peer whose key is another.
    let at = peer.split("/p2p/").next().unwrap();
    let wrong = format!("{at}/p2p/{}", Keypair::from_seed(&[6; 32]).peer_id());
    let found = doctor(mesh.path(), &["--no-index", "--peer", &wrong]).await;
    found.trouble("peer_key", &[&mesh.nodes[0].peer()], &["/p2p/ID"]);
}

/// A worker whose driver for wgpu crashes, and which is else the real one.
const CRASHES: &str =
    r#"case "$*" in *wgpu*) kill -SEGV $$ ;; *) exec EMBERMESH worker "$@" ;; esac"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_broken_costs_its_device_and_is_named() {
    let script = CRASHES.replace("EMBERMESH", env!("CARGO_BIN_EXE_embermesh"));
    let worker = serde_json::to_string(&["/bin/sh", "-c", &script, "sh"]).unwrap();
    let folder = alone(&format!("worker_command = {worker}\n")).await;
    let devices = ["--no-index", "--device", "cpu", "--device", "wgpu:0"];
    let found = doctor(folder.path(), &devices).await;
    found.trouble(
        "device_driver",
        &["wgpu:0", "took the probe down"],
        &["reinstall its driver", "devices = [\"cpu\"]"],
    );
    assert!(found.says("devices", "ok", "cpu works"));

    // Vulkan is told of a driver that is not there.
    let folder = alone("").await;
    let gone = folder.path().join("gone.json");
    let all = [&["-o", "json", "doctor"], &devices[..]].concat();
    let mut asked = command(folder.path(), &all);
    asked
        .env("VK_ICD_FILENAMES", &gone)
        .env_remove("VK_DRIVER_FILES");
    let found = doctor_of(asked).await;
    found.trouble(
        "device_driver",
        &["VK_ICD_FILENAMES", "gone.json"],
        &["unset VK_ICD_FILENAMES"],
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_read_and_a_folder_that_cannot_be_are_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = alone("").await;
    let key = folder.path().join("settings/embermesh/key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let data_dir = file.join("node");
    let words = ["--no-index", "--data-dir", data_dir.to_str().unwrap()];
    let found = doctor(folder.path(), &words).await;
    found.trouble("key_open", &["0644"], &["chmod 600"]);
    found.trouble(
        "data_folder",
        &[data_dir.to_str().unwrap()],
        &["--data-dir"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_read_are_told_and_the_devices_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[node]\nslotz = 2\n").unwrap();
    let found = doctor(folder.path(), &[]).await;
    found.trouble("settings", &["slotz", "`slots`"], &["config example"]);
    assert!(found.says("devices", "ok", "cpu works"));
    assert!(found.says("index", "unknown", "not looked at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_not_waited_for() {
    // It lets in whoever connects, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let id = Keypair::from_seed(&[5; 32]).peer_id();
    let peer = format!("/ip4/127.0.0.1/tcp/{}/p2p/{id}", at.port());
    let folder = alone(&format!(
        "worker_command = [\"/bin/sh\", \"-c\", \"exec sleep 600\", \"sh\"]\ntls_listen = \"{at}\"\n"
    ))
    .await;
    let words = ["--index", &at.to_string(), "--peer", &peer];
    let found = doctor(folder.path(), &words).await;
    assert_eq!(found.code, Some(5), "{:#?}", found.findings);
    let codes = found.codes();
    assert!(codes.contains(&"port_taken"), "{codes:?}");
    assert!(
        codes.iter().any(|code| code.starts_with("index_")),
        "{codes:?}"
    );
    assert!(codes.contains(&"peer_unreachable"), "{codes:?}");
    assert!(found.says("devices", "unknown", "did not come up within"));
    drop(silent);
}
