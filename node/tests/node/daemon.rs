//! The daemon of CyxWiz at a real node: who is heard, and what he sees and does.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{collections::BTreeMap, path::Path, time::Duration};

use embermesh_dialects::Dialect;
use embermesh_mesh::road::{self, Identity, RoadChoice, Target};
use embermesh_node::{Logs, Node, NodeConfig, RunningNode, Shutdown};
use embermesh_proto::cyxwiz::daemon::{self as wire, daemon_service_client::DaemonServiceClient};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::support::{
    LONG, caller, config, digits, index::FakeIndex, job, key, long_spec, start, tiny,
};

const NODE: u8 = 1;

/// Holds a token out with each call.
#[derive(Clone)]
struct Bearing(Option<MetadataValue<tonic::metadata::Ascii>>);

impl Interceptor for Bearing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

type Daemon = DaemonServiceClient<InterceptedService<Channel, Bearing>>;

fn ours(dir: &Path) -> NodeConfig {
    NodeConfig {
        dialects: vec![Dialect::CyxWiz],
        ..config(dir)
    }
}

/// The owner's word of a node that runs in a folder.
fn word(dir: &Path) -> String {
    let word = std::fs::read_to_string(dir.join("node/owner.token")).unwrap();
    word.trim().to_owned()
}

async fn daemon(node: &RunningNode, token: &str) -> Daemon {
    let at = format!("http://{}", node.address());
    let channel = Channel::from_shared(at).unwrap().connect().await.unwrap();
    let token = (!token.is_empty()).then(|| format!("Bearer {token}").parse().unwrap());
    DaemonServiceClient::with_interceptor(channel, Bearing(token))
}

/// The same over a proven key.
async fn keyed(node: &RunningNode, seed: u8) -> DaemonServiceClient<Channel> {
    let identity = Identity::new(key(seed)).unwrap();
    let target = Target {
        peer: Some(node.peer_id()),
        tls: vec![node.address().to_string()],
        mesh: Vec::new(),
    };
    let connection = road::connect(&identity, &target, None, RoadChoice::Tls);
    DaemonServiceClient::new(connection.await.unwrap().channel)
}

async fn made(owner: &mut Daemon, name: &str, rate_limit_rpm: i32) -> wire::CreateApiKeyResponse {
    let name = name.to_owned();
    let asked = wire::CreateApiKeyRequest {
        name,
        rate_limit_rpm,
    };
    owner.create_api_key(asked).await.unwrap().into_inner()
}

async fn code<T>(answer: impl Future<Output = Result<T, Status>>) -> Code {
    answer.await.err().map_or(Code::Ok, |status| status.code())
}

/// What each of the verbs that change something answers to somebody.
async fn commanded(daemon: &mut Daemon) -> Vec<Code> {
    let job_id = job(1).to_string();
    vec![
        code(daemon.shutdown(wire::ShutdownRequest { graceful: false })).await,
        code(daemon.cancel_job(wire::CancelJobRequest { job_id })).await,
        code(daemon.set_config(wire::SetConfigRequest::default())).await,
        code(daemon.list_api_keys(wire::ListApiKeysRequest {})).await,
        code(daemon.create_api_key(wire::CreateApiKeyRequest {
            name: "more".to_owned(),
            rate_limit_rpm: 0,
        }))
        .await,
        code(daemon.revoke_api_key(wire::RevokeApiKeyRequest::default())).await,
        code(daemon.deploy_model(wire::DeployModelRequest {
            model_path: "/models/a.gguf".to_owned(),
            ..Default::default()
        }))
        .await,
        code(daemon.undeploy_model(wire::UndeployModelRequest::default())).await,
        code(daemon.delete_model(wire::DeleteModelRequest::default())).await,
        code(daemon.retry_connection(wire::RetryConnectionRequest::default())).await,
        code(daemon.disconnect_from_central(wire::DisconnectFromCentralRequest {})).await,
    ]
}

/// What each of the verbs that show something answers to somebody.
async fn looked(daemon: &mut Daemon) -> Vec<Code> {
    vec![
        code(daemon.get_status(wire::GetStatusRequest {})).await,
        code(daemon.get_metrics(wire::GetMetricsRequest {})).await,
        code(daemon.stream_metrics(wire::StreamMetricsRequest::default())).await,
        code(daemon.list_jobs(wire::ListJobsRequest::default())).await,
        code(daemon.stream_job_updates(wire::StreamJobUpdatesRequest {})).await,
        code(daemon.list_deployments(wire::ListDeploymentsRequest {})).await,
        code(daemon.list_local_models(wire::ListLocalModelsRequest::default())).await,
        code(daemon.scan_models(wire::ScanModelsRequest::default())).await,
        code(daemon.get_config(wire::GetConfigRequest {})).await,
        code(daemon.get_earnings(wire::GetEarningsRequest::default())).await,
        code(daemon.get_wallet_info(wire::GetWalletInfoRequest {})).await,
    ]
}

fn all(codes: &[Code], expected: Code) -> bool {
    codes.iter().all(|code| *code == expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_heard_and_a_key_looks_and_does_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path()), NODE).await;
    let mut shutdowns = node.shutdowns();
    for token in ["", "guess", &"x".repeat(64)] {
        let mut stranger = daemon(&node, token).await;
        let (looked, commanded) = (looked(&mut stranger).await, commanded(&mut stranger).await);
        assert!(all(&looked, Code::Unauthenticated), "{token:?}: {looked:?}");
        assert!(
            all(&commanded, Code::Unauthenticated),
            "{token:?}: {commanded:?}"
        );
    }
    // A client whom the node lets run what he likes is not its owner.
    let mut client = keyed(&node, 2).await;
    let refused = client.get_status(wire::GetStatusRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let mut itself = keyed(&node, NODE).await;
    itself.get_status(wire::GetStatusRequest {}).await.unwrap();

    let mut owner = daemon(&node, &word(dir.path())).await;
    let key = made(&mut owner, "panel", 0).await;
    assert!(key.success && key.key.starts_with("emk_"), "{key:?}");
    let info = key.key_info.unwrap();
    assert!(key.key.starts_with(&info.key_prefix) && info.key_prefix.len() < 16);
    let mut panel = daemon(&node, &key.key).await;
    let (seen, refused) = (looked(&mut panel).await, commanded(&mut panel).await);
    assert!(all(&seen, Code::Ok), "{seen:?}");
    assert!(all(&refused, Code::PermissionDenied), "{refused:?}");

    // Nothing shows a secret again, and a key that is revoked ends what it has opened.
    let keys = owner.list_api_keys(wire::ListApiKeysRequest {}).await;
    let keys = keys.unwrap().into_inner().keys;
    assert_eq!((keys.len(), keys[0].name.as_str()), (1, "panel"));
    assert!(keys[0].request_count >= 11 && keys[0].is_active && keys[0].last_used_at > 0);
    assert!(!format!("{keys:?}").contains(&key.key[12..]));
    let opened = panel.stream_metrics(wire::StreamMetricsRequest { interval_ms: 200 });
    let mut opened = opened.await.unwrap().into_inner();
    assert!(opened.message().await.unwrap().is_some());
    let key_id = info.id.clone();
    let revoked = owner
        .revoke_api_key(wire::RevokeApiKeyRequest { key_id })
        .await;
    assert!(revoked.unwrap().into_inner().success);
    let ending = async { while opened.message().await.unwrap().is_some() {} };
    tokio::time::timeout(LONG, ending).await.expect("an end");
    let again = looked(&mut panel).await;
    assert!(all(&again, Code::Unauthenticated), "{again:?}");
    let key_id = info.id;
    let twice = owner
        .revoke_api_key(wire::RevokeApiKeyRequest { key_id })
        .await;
    assert_eq!(twice.unwrap_err().code(), Code::NotFound);

    // What cannot be a key is none, and a key has its measure.
    for (name, rpm) in [("", 0), ("x\n", 0), ("x", -1), ("x", i32::MAX)] {
        let made = made(&mut owner, name, rpm).await;
        assert!(!made.success && made.key.is_empty() && !made.error_message.is_empty());
    }
    let slow = made(&mut owner, "slow", 1).await;
    let mut slow = daemon(&node, &slow.key).await;
    slow.get_status(wire::GetStatusRequest {}).await.unwrap();
    let refused = slow.get_status(wire::GetStatusRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);

    // Nobody of all these has ended the node.
    let quiet = tokio::time::timeout(Duration::ZERO, shutdowns.asked()).await;
    assert!(quiet.is_err());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_a_restart_and_the_owners_word_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path()), NODE).await;
    let before = word(dir.path());
    let mut owner = daemon(&node, &before).await;
    let key = made(&mut owner, "panel", 7).await.key;
    node.stop().await.unwrap();
    // What is on the disk gives no secret away.
    for file in std::fs::read_dir(dir.path().join("node"))
        .unwrap()
        .flatten()
    {
        if file.file_type().unwrap().is_file() {
            let bytes = std::fs::read(file.path()).unwrap();
            let shown = bytes.windows(key.len()).any(|part| part == key.as_bytes());
            assert!(!shown, "{}", file.path().display());
        }
    }
    let node = start(ours(dir.path()), NODE).await;
    assert_ne!(word(dir.path()), before);
    let mut late = daemon(&node, &before).await;
    assert!(all(&looked(&mut late).await, Code::Unauthenticated));
    let mut panel = daemon(&node, &key).await;
    panel.get_status(wire::GetStatusRequest {}).await.unwrap();
    let mut owner = daemon(&node, &word(dir.path())).await;
    let keys = owner.list_api_keys(wire::ListApiKeysRequest {}).await;
    assert_eq!(keys.unwrap().into_inner().keys[0].rate_limit_rpm, 7);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_sees_every_job_as_it_is_and_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path()), NODE).await;
    let mut owner = daemon(&node, &word(dir.path())).await;
    let news = owner.stream_job_updates(wire::StreamJobUpdatesRequest {});
    let mut news = news.await.unwrap().into_inner();
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    let _running = client.run(1, &long_spec()).await;
    let id = job(1).to_string();
    let until = async |news: &mut tonic::Streaming<wire::JobUpdate>, word: &str| {
        let seen = async {
            loop {
                let update = news.message().await.unwrap().expect("it goes on");
                assert_eq!(update.job_id, id);
                if update.update_type == word {
                    return update.job.unwrap();
                }
            }
        };
        tokio::time::timeout(LONG, seen).await.expect("news")
    };
    until(&mut news, "started").await;
    let seen = loop {
        let seen = until(&mut news, "progress").await;
        if seen.progress > 0.0 && seen.estimated_completion > 0 {
            break seen;
        }
    };
    assert_eq!(
        (seen.r#type.as_str(), seen.model_name.as_str()),
        ("train", "digits")
    );
    assert_eq!(seen.submitter_id, client.keypair.peer_id().to_string());
    assert!(seen.progress < 1.0 && seen.loss > 0.0 && seen.started_at > 1_600_000_000);
    assert!(seen.estimated_completion >= seen.started_at);

    let status = owner.get_status(wire::GetStatusRequest {}).await.unwrap();
    let status = status.into_inner();
    assert_eq!(status.node_id, node.peer_id().to_string());
    assert_eq!((status.active_jobs, status.active_deployments), (1, 0));
    let disconnected = wire::ConnectionStatus::Disconnected;
    assert_eq!(status.central_server_status(), disconnected);
    let metrics = status.metrics.unwrap();
    assert!(metrics.ram_total_bytes > 0 && metrics.ram_usage > 0.0 && metrics.ram_usage <= 1.0);
    assert!(metrics.gpus.is_empty() && metrics.gpu_count == 0);

    let listed = async |owner: &mut Daemon, include_completed: bool| {
        let asked = wire::ListJobsRequest {
            include_completed,
            limit: 0,
        };
        owner.list_jobs(asked).await.unwrap().into_inner().jobs
    };
    let running = listed(&mut owner, false).await;
    assert_eq!((running.len(), running[0].id.as_str()), (1, id.as_str()));
    assert_eq!(running[0].status(), wire::JobStatus::Running);
    let job_id = id.clone();
    let cancelled = owner.cancel_job(wire::CancelJobRequest { job_id }).await;
    assert!(cancelled.unwrap().into_inner().success);
    let ended = until(&mut news, "cancelled").await;
    assert_eq!(ended.status(), wire::JobStatus::Cancelled);
    assert!(listed(&mut owner, false).await.is_empty());
    let with_ended = listed(&mut owner, true).await;
    assert_eq!((with_ended.len(), &with_ended[0]), (1, &ended));
    let job_id = id.clone();
    let one = owner.get_job(wire::GetJobRequest { job_id }).await.unwrap();
    assert_eq!(one.into_inner().job, Some(ended));

    let job_id = id;
    let again = owner.cancel_job(wire::CancelJobRequest { job_id }).await;
    let again = again.unwrap().into_inner();
    assert!(
        !again.success && again.error_message.contains("ended"),
        "{again:?}"
    );
    for unknown in [job(9).to_string(), "nonsense".to_owned(), String::new()] {
        let job_id = unknown.clone();
        let none = owner.get_job(wire::GetJobRequest { job_id }).await;
        assert_eq!(none.unwrap_err().code(), Code::NotFound, "{unknown}");
        let job_id = unknown;
        let none = owner.cancel_job(wire::CancelJobRequest { job_id }).await;
        assert_eq!(none.unwrap_err().code(), Code::NotFound);
    }
    let few = owner.list_jobs(wire::ListJobsRequest {
        limit: -1,
        ..Default::default()
    });
    assert_eq!(few.await.unwrap_err().code(), Code::InvalidArgument);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn measures_come_at_the_pace_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path()), NODE).await;
    let mut owner = daemon(&node, &word(dir.path())).await;
    let asked = wire::StreamMetricsRequest { interval_ms: 200 };
    let mut stream = owner.stream_metrics(asked).await.unwrap().into_inner();
    let mut last = 0;
    for _ in 0..3 {
        let update = tokio::time::timeout(LONG, stream.message()).await.unwrap();
        let update = update.unwrap().unwrap();
        assert!(update.timestamp > last && update.metrics.unwrap().ram_used_bytes > 0);
        last = update.timestamp;
    }
    for interval_ms in [-1, 1, i32::MAX] {
        let asked = wire::StreamMetricsRequest { interval_ms };
        let refused = owner.stream_metrics(asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{interval_ms}");
    }
    // The first look is taken when the node starts.
    let looked = async {
        loop {
            let measured = owner.get_metrics(wire::GetMetricsRequest {}).await.unwrap();
            let measured = measured.into_inner();
            if !measured.ram_history.is_empty() {
                return measured;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let measured = tokio::time::timeout(LONG, looked).await.expect("a look");
    assert!(measured.metrics.unwrap().ram_usage > 0.0);
    assert_eq!(measured.cpu_history.len(), measured.ram_history.len());
    assert!(measured.ram_history[0] > 0.0 && measured.gpu_history.is_empty());
    // A stream ends with the node, and the node does not wait for it.
    node.stop().await.unwrap();
    while let Ok(Some(_)) = stream.message().await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_ends_the_node_as_a_signal_does() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path()), NODE).await;
    let mut owner = daemon(&node, &word(dir.path())).await;
    let deaf = owner
        .shutdown(wire::ShutdownRequest { graceful: true })
        .await;
    let deaf = deaf.unwrap().into_inner();
    assert!(
        !deaf.success && deaf.error_message.contains("whoever runs"),
        "{deaf:?}"
    );

    let mut shutdowns = node.shutdowns();
    let ended = owner
        .shutdown(wire::ShutdownRequest { graceful: true })
        .await;
    assert!(ended.unwrap().into_inner().success);
    // The first word counts.
    let ended = owner
        .shutdown(wire::ShutdownRequest { graceful: false })
        .await;
    assert!(ended.unwrap().into_inner().success);
    let asked = tokio::time::timeout(LONG, shutdowns.asked()).await.unwrap();
    assert_eq!(asked, Shutdown::Drain);
    node.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_meaning_here_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path()), NODE).await;
    let mut owner = daemon(&node, &word(dir.path())).await;
    let refused = [
        code(owner.restart(wire::RestartRequest {})).await,
        code(owner.set_allocations(wire::SetAllocationsRequest::default())).await,
        code(owner.set_wallet_address(wire::SetWalletAddressRequest::default())).await,
        code(owner.get_pool_status(wire::GetPoolStatusRequest {})).await,
        code(owner.join_pool(wire::JoinPoolRequest::default())).await,
        code(owner.leave_pool(wire::LeavePoolRequest {})).await,
        code(owner.set_mining_intensity(wire::SetMiningIntensityRequest::default())).await,
        code(owner.start_mining(wire::StartMiningRequest {})).await,
        code(owner.stop_mining(wire::StopMiningRequest {})).await,
        code(owner.list_marketplace_models(wire::ListMarketplaceModelsRequest::default())).await,
        code(owner.get_marketplace_model(wire::GetMarketplaceModelRequest::default())).await,
        code(owner.download_marketplace_model(wire::DownloadMarketplaceModelRequest::default()))
            .await,
        code(owner.cancel_marketplace_download(wire::CancelMarketplaceDownloadRequest::default()))
            .await,
    ];
    assert!(all(&refused, Code::Unimplemented), "{refused:?}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_followed_and_made_finer() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::default();
    tracing_subscriber::registry().with(logs.layer()).init();
    let starting = Node::start_logged(ours(dir.path()), key(NODE), CancellationToken::new(), logs);
    let node = Box::pin(starting).await.unwrap();
    let mut owner = daemon(&node, &word(dir.path())).await;
    let read = async |owner: &mut Daemon, level: &str, since_timestamp: i64| {
        let asked = wire::GetLogsRequest {
            limit: 1000,
            level_filter: level.to_owned(),
            since_timestamp,
        };
        owner.get_logs(asked).await.unwrap().into_inner().entries
    };
    let asked = wire::StreamLogsRequest {
        level_filter: "info".to_owned(),
    };
    let mut lines = owner.stream_logs(asked).await.unwrap().into_inner();
    made(&mut owner, "logged", 0).await;
    let seen = async {
        loop {
            let line = lines.message().await.unwrap().unwrap();
            if line.message.contains("has made a key") {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(LONG, seen).await.expect("a line");
    assert_eq!(
        (line.level.as_str(), line.timestamp > 1_600_000_000_000),
        ("INFO", true)
    );
    assert!(line.source.starts_with("embermesh_node"), "{line:?}");
    assert!(read(&mut owner, "", 0).await.contains(&line));
    assert!(!read(&mut owner, "warn", 0).await.contains(&line));
    assert!(
        !read(&mut owner, "", line.timestamp + 1)
            .await
            .contains(&line)
    );

    let settings = owner.get_config(wire::GetConfigRequest {}).await.unwrap();
    let settings = settings.into_inner();
    assert_eq!(
        (settings.log_level.as_str(), settings.max_concurrent_jobs),
        ("info", 1)
    );
    assert_eq!(settings.node_name, node.peer_id().to_string());
    let same = wire::SetConfigRequest {
        node_name: settings.node_name,
        central_server_address: settings.central_server_address,
        model_directories: settings.model_directories,
        max_concurrent_jobs: settings.max_concurrent_jobs,
        default_gpu_layers: 0,
        default_context_size: settings.default_context_size,
        auto_start_deployments: false,
        log_level: "debug".to_owned(),
    };
    let change = async |owner: &mut Daemon, asked: wire::SetConfigRequest| {
        owner.set_config(asked).await.unwrap().into_inner()
    };
    assert!(change(&mut owner, same.clone()).await.success);
    let changed = owner.get_config(wire::GetConfigRequest {}).await.unwrap();
    assert_eq!(changed.into_inner().log_level, "debug");
    for (field, asked) in [
        (
            "node_name",
            wire::SetConfigRequest {
                node_name: "x".to_owned(),
                ..same.clone()
            },
        ),
        (
            "central_server_address",
            wire::SetConfigRequest {
                central_server_address: "x:1".to_owned(),
                ..same.clone()
            },
        ),
        (
            "model_directories",
            wire::SetConfigRequest {
                model_directories: vec!["/".to_owned()],
                ..same.clone()
            },
        ),
        (
            "max_concurrent_jobs",
            wire::SetConfigRequest {
                max_concurrent_jobs: 9,
                ..same.clone()
            },
        ),
        (
            "default_gpu_layers",
            wire::SetConfigRequest {
                default_gpu_layers: 9,
                ..same.clone()
            },
        ),
        (
            "default_context_size",
            wire::SetConfigRequest {
                default_context_size: -1,
                ..same.clone()
            },
        ),
        (
            "auto_start_deployments",
            wire::SetConfigRequest {
                auto_start_deployments: true,
                ..same.clone()
            },
        ),
        (
            "log_level",
            wire::SetConfigRequest {
                log_level: "loud".to_owned(),
                ..same.clone()
            },
        ),
    ] {
        let refused = change(&mut owner, asked).await;
        assert!(
            !refused.success && refused.error_message.starts_with(field),
            "{refused:?}"
        );
    }
    let wrong = wire::StreamLogsRequest {
        level_filter: "loud".to_owned(),
    };
    let refused = owner.stream_logs(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_the_owner_are_found_deployed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("models");
    std::fs::create_dir(&root).unwrap();
    let path = root.join("tiny.gguf");
    std::fs::write(&path, tiny::endless(4096).bytes()).unwrap();
    std::fs::write(dir.path().join("other.gguf"), "x").unwrap();
    let node = start(
        NodeConfig {
            shared: BTreeMap::from([("models".to_owned(), root.clone())]),
            ..ours(dir.path())
        },
        NODE,
    )
    .await;
    let mut owner = daemon(&node, &word(dir.path())).await;
    let shown = |path: &Path| path.display().to_string();
    let scan = async |owner: &mut Daemon, directories: Vec<String>| {
        let asked = wire::ScanModelsRequest { directories };
        owner
            .scan_models(asked)
            .await
            .map(tonic::Response::into_inner)
    };
    let first = scan(&mut owner, vec![]).await.unwrap();
    assert_eq!((first.models_found, first.new_models.len()), (1, 1));
    let model = &first.new_models[0];
    assert_eq!(
        (model.name.as_str(), model.format.as_str()),
        ("tiny", "gguf")
    );
    assert!(model.size_bytes > 0 && !model.is_deployed && model.path == shown(&path));
    let second = scan(&mut owner, vec![shown(&root)]).await.unwrap();
    assert_eq!((second.models_found, second.new_models.len()), (1, 0));
    let outside = scan(&mut owner, vec![shown(dir.path())]).await.unwrap_err();
    assert_eq!(outside.code(), Code::InvalidArgument);

    let deploy = async |owner: &mut Daemon, asked: wire::DeployModelRequest| {
        owner
            .deploy_model(asked)
            .await
            .map(tonic::Response::into_inner)
    };
    let asked = |path: &Path| wire::DeployModelRequest {
        model_path: shown(path),
        context_size: 512,
        ..Default::default()
    };
    let of = |change: fn(&mut wire::DeployModelRequest)| {
        let mut asked = asked(&path);
        change(&mut asked);
        asked
    };
    for wrong in [
        asked(&dir.path().join("other.gguf")),
        asked(&root.join("a.onnx")),
        asked(&root.join("../other.gguf")),
        of(|asked| asked.port = 80),
        of(|asked| asked.gpu_layers = 1),
        of(|asked| asked.api_key_id = "1".to_owned()),
        of(|asked| asked.context_size = -1),
    ] {
        let refused = deploy(&mut owner, wrong.clone()).await.unwrap();
        assert!(
            !refused.success && !refused.error_message.is_empty(),
            "{wrong:?}"
        );
    }
    let none = deploy(&mut owner, asked(&root.join("none.gguf"))).await;
    assert_eq!(none.unwrap_err().code(), Code::NotFound);

    let deployed = deploy(&mut owner, asked(&path)).await.unwrap();
    assert!(deployed.success, "{deployed:?}");
    let id = deployed.deployment_id;
    let status = async |owner: &mut Daemon| {
        let deployment_id = id.clone();
        let asked = wire::GetDeploymentStatusRequest { deployment_id };
        let answer = owner.get_deployment_status(asked).await?;
        Ok::<_, Status>(answer.into_inner().deployment.unwrap())
    };
    let loaded = async {
        loop {
            let shown = status(&mut owner).await.unwrap();
            if shown.status() == wire::DeploymentStatus::Running {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let running = tokio::time::timeout(LONG, loaded)
        .await
        .expect("it is loaded");
    assert_eq!(
        (running.format.as_str(), running.context_size),
        ("gguf", 512)
    );
    assert_eq!(
        (running.model_name.as_str(), running.model_path),
        ("tiny", shown(&path))
    );
    let listed = owner
        .list_deployments(wire::ListDeploymentsRequest {})
        .await;
    assert_eq!(listed.unwrap().into_inner().deployments.len(), 1);
    let directory = String::new();
    let here = owner
        .list_local_models(wire::ListLocalModelsRequest { directory })
        .await;
    assert!(here.unwrap().into_inner().models[0].is_deployed);
    let now = owner.get_status(wire::GetStatusRequest {}).await.unwrap();
    assert_eq!(now.into_inner().active_deployments, 1);

    let deployment_id = id.clone();
    let gone = owner
        .undeploy_model(wire::UndeployModelRequest { deployment_id })
        .await;
    assert!(gone.unwrap().into_inner().success);
    assert_eq!(status(&mut owner).await.unwrap_err().code(), Code::NotFound);
    let deployment_id = id.clone();
    let twice = owner
        .undeploy_model(wire::UndeployModelRequest { deployment_id })
        .await;
    assert_eq!(twice.unwrap_err().code(), Code::NotFound);

    let remove = async |owner: &mut Daemon, path: &Path| {
        let model_path = shown(path);
        let asked = wire::DeleteModelRequest { model_path };
        owner
            .delete_model(asked)
            .await
            .map(tonic::Response::into_inner)
    };
    let refused = remove(&mut owner, &dir.path().join("other.gguf"))
        .await
        .unwrap();
    assert!(!refused.success && dir.path().join("other.gguf").exists());
    assert!(remove(&mut owner, &path).await.unwrap().success && !path.exists());
    let none = remove(&mut owner, &path).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_leaves_his_index_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let index = FakeIndex::start(None).await;
    let node = start(
        NodeConfig {
            indexes: vec![index.address()],
            ..ours(dir.path())
        },
        NODE,
    )
    .await;
    index.registered().await;
    let mut owner = daemon(&node, &word(dir.path())).await;
    let standing = async |owner: &mut Daemon| {
        let status = owner.get_status(wire::GetStatusRequest {}).await.unwrap();
        status.into_inner().central_server_status()
    };
    let retry = async |owner: &mut Daemon| {
        let asked = wire::RetryConnectionRequest::default();
        owner.retry_connection(asked).await.unwrap().into_inner()
    };
    let back = retry(&mut owner).await;
    assert!(back.success && back.connected_to_central, "{back:?}");
    assert_eq!(back.node_id, node.peer_id().to_string());
    assert_eq!(
        standing(&mut owner).await,
        wire::ConnectionStatus::Connected
    );
    let leave = async |owner: &mut Daemon| {
        let asked = wire::DisconnectFromCentralRequest {};
        owner
            .disconnect_from_central(asked)
            .await
            .unwrap()
            .into_inner()
    };
    assert!(leave(&mut owner).await.success);
    assert_eq!(
        standing(&mut owner).await,
        wire::ConnectionStatus::Disconnected
    );
    assert!(retry(&mut owner).await.success);
    assert_eq!(
        standing(&mut owner).await,
        wire::ConnectionStatus::Connected
    );

    // What an index has placed here is not left, and its job is not the owner's to end.
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    let spec = long_spec();
    let token = index.token(client.claims(1, &spec));
    let _running = client.run_with(&token, &spec).await.unwrap();
    let refused = leave(&mut owner).await;
    assert!(
        !refused.success && refused.error_message.contains("1 task"),
        "{refused:?}"
    );
    let job_id = job(1).to_string();
    let cancelled = owner.cancel_job(wire::CancelJobRequest { job_id }).await;
    assert!(cancelled.unwrap().into_inner().success);
    let said = index.report("of the end", |_, report| match report {
        embermesh_job::order::Report::AttemptFailed { code, .. } => Some(code.clone()),
        _ => None,
    });
    assert_eq!(said.await, "evicted");

    // This index keeps no accounts, and nothing is made up in its place.
    let wallet = owner.get_wallet_info(wire::GetWalletInfoRequest {}).await;
    let wallet = wallet.unwrap().into_inner();
    assert_eq!(wallet.wallet_address, node.peer_id().to_string());
    assert!(!wallet.is_connected && wallet.balance == 0.0);
    let earned = owner
        .get_earnings(wire::GetEarningsRequest::default())
        .await;
    assert_eq!(earned.unwrap_err().code(), Code::Unavailable);
    node.stop().await.unwrap();
    index.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_an_index_has_been_paid_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path()), NODE).await;
    let mut owner = daemon(&node, &word(dir.path())).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(200)).await.unwrap();
    let mut stream = client.run(1, &crate::support::spec(200, 1)).await;
    crate::support::all(&mut stream).await;
    let earned = owner
        .get_earnings(wire::GetEarningsRequest::default())
        .await;
    let earned = earned.unwrap().into_inner().earnings.unwrap();
    assert_eq!((earned.all_time, earned.jobs_completed), (0.0, 1));
    let since_timestamp = -1;
    let before = owner
        .get_earnings(wire::GetEarningsRequest { since_timestamp })
        .await;
    assert_eq!(before.unwrap_err().code(), Code::InvalidArgument);
    let none = owner
        .retry_connection(wire::RetryConnectionRequest::default())
        .await;
    let none = none.unwrap().into_inner();
    assert!(
        !none.success && none.error_message.contains("indexes"),
        "{none:?}"
    );
    node.stop().await.unwrap();
}
