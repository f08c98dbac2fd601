//! Models that are resident on a node, asked by clients of other systems over a
//! connection without a key.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::time::Duration;

use embermesh_crypto::{
    Digest,
    statement::Outcome,
    token::{self, Claims},
};
use embermesh_dialects::Dialect;
use embermesh_job::{
    event::EventKind,
    spec::{
        Askers, Input, JobSpec, LanguageModel, Limits, Outputs, Requirements, Serve, Served,
        ServedNetwork, Work,
    },
    units::{Bytes as Amount, Millis},
};
use embermesh_node::{AllowedRuntimes, NodeConfig};
use embermesh_proto::{
    cyxwiz::protocol::{self as cyxwiz, inference_service_client::InferenceServiceClient},
    dim::daemon::{self as dim, daemon_client::DaemonClient},
    hivemind::{
        nodepool::{self, worker_node_service_client::WorkerNodeServiceClient},
        taskworker::{self as worker, task_worker_service_client::TaskWorkerServiceClient},
    },
    titancompute::{self as titan, agent_service_client::AgentServiceClient},
    v1,
};
use tonic::{Code, transport::Channel};

use crate::support::{
    Caller, LONG, all, caller, claims, config, digits, job, key, spec, start, tiny, until,
};

const CONTEXT: u32 = 200_000;

fn deployment(name: &str, askers: Askers, model: Served) -> JobSpec {
    JobSpec {
        name: name.to_owned(),
        work: Work::Serve(Serve {
            context: CONTEXT,
            askers,
            ..Serve::new(model)
        }),
        requires: Requirements::default(),
        limits: Limits {
            memory: Amount(512 << 20),
            wall: Millis(600_000),
            output: Amount(1 << 20),
            ..Limits::default()
        },
        attempts: 1,
    }
}

/// Deploys, and waits until it can be asked.
async fn deploy(owner: &Caller, number: u8, spec: &JobSpec) {
    let mut stream = owner.run(number, spec).await;
    until(&mut stream, |kind| matches!(kind, EventKind::Loaded(_))).await;
    let ready = async {
        loop {
            let asked = v1::ListModelsRequest {};
            let models = owner.stub.clone().list_models(asked).await.unwrap();
            let models = models.into_inner().models;
            if models.iter().all(|model| model.ready) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, ready)
        .await
        .expect("it is loaded");
}

async fn language(owner: &Caller, number: u8, name: &str, askers: Askers) {
    let model: bytes::Bytes = tiny::endless(CONTEXT).bytes().into();
    owner.put("", &model).await.unwrap();
    let file = LanguageModel::File(Input {
        digest: Digest::of(&model),
        size: model.len() as u64,
    });
    let spec = deployment(name, askers, Served::Language(file));
    deploy(owner, number, &spec).await;
}

/// Trains a network and deploys it.
async fn network(owner: &Caller, number: u8, name: &str) {
    let training = spec(200, 3);
    owner.put("", &digits(200)).await.unwrap();
    let (events, _) = all(&mut owner.run(number, &training).await).await;
    let made = events.iter().find_map(|event| match &event.kind {
        EventKind::Artifact(made) if made.name == "model.safetensors" => Some(made.clone()),
        EventKind::Finished { outcome, .. } => panic!("{outcome:?}"),
        _ => None,
    });
    let made = made.expect("weights");
    assert!(matches!(
        events.last().map(|event| &event.kind),
        Some(EventKind::Finished {
            outcome: Outcome::Succeeded,
            ..
        })
    ));
    let model = Served::Network(Box::new(ServedNetwork {
        model: training.model().unwrap().clone(),
        weights: Input {
            digest: made.digest,
            size: made.size,
        },
        outputs: Outputs::Classes,
        labels: Vec::new(),
        normalise: None,
    }));
    deploy(owner, number + 1, &deployment(name, Askers::Anyone, model)).await;
}

fn three(dir: &std::path::Path) -> NodeConfig {
    NodeConfig {
        dialects: vec![Dialect::CyxWiz, Dialect::TitanCompute, Dialect::Dim],
        residents: 2,
        ..config(dir)
    }
}

async fn plain(node: &embermesh_node::RunningNode) -> Channel {
    let at = format!("http://{}", node.address());
    Channel::from_shared(at).unwrap().connect().await.unwrap()
}

/// Asks through DIM, and waits for the end.
async fn ended(daemon: &mut DaemonClient<Channel>, id: &str) -> dim::JobStatusResponse {
    let ending = async {
        loop {
            let job_id = id.to_owned();
            let asked = daemon.get_job_status(dim::GetJobStatusRequest { job_id });
            let view = asked.await.unwrap().into_inner();
            if view.status != "running" && view.status != "queued" {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, ending).await.expect("an end")
}

fn question(model: &str, data: &str) -> dim::SubmitJobRequest {
    dim::SubmitJobRequest {
        model_id: model.to_owned(),
        input_data_json: data.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dims_daemon_answers_from_the_node_with_true_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(three(dir.path()), 1).await;
    let owner = caller(&node, 2).await;
    language(&owner, 1, "chat", Askers::Anyone).await;
    language(&owner, 2, "mine", Askers::Owner).await;
    let mut daemon = DaemonClient::new(plain(&node).await);

    let health = daemon.get_health(dim::GetHealthRequest {}).await.unwrap();
    let health = health.into_inner();
    assert!(["healthy", "degraded", "unhealthy"].contains(&health.status.as_str()));
    assert_eq!(health.node_id, node.peer_id().to_string());
    // What is its owner's alone is not told of.
    assert_eq!(health.cached_models, ["chat"]);
    let resources = health.resources.unwrap();
    assert!(resources.cpu_available > 0 && resources.memory_percent > 0.0);
    assert!(!resources.gpu_available);

    let short = question("chat", r#"{"prompt": "her", "max_tokens": 8}"#);
    let taken = daemon.submit_job(short).await.unwrap().into_inner();
    assert!(taken.job_id.starts_with("job-"), "{taken:?}");
    let view = ended(&mut daemon, &taken.job_id).await;
    assert_eq!(view.status, "completed", "{view:?}");
    let text: String = serde_json::from_str(&view.result_json).unwrap();
    assert!(!text.is_empty());
    assert!(view.execution_time.ends_with('s') && view.completed_at.ends_with('Z'));

    let mut long = question("chat", r#"{"prompt": "her", "max_tokens": 60000}"#);
    long.job_id = "long".to_owned();
    daemon.submit_job(long.clone()).await.unwrap();
    let twice = daemon.submit_job(long).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists);
    let job_id = "long".to_owned();
    let cancelled = daemon.cancel_job(dim::CancelJobRequest { job_id }).await;
    assert!(cancelled.unwrap().into_inner().success);
    assert_eq!(ended(&mut daemon, "long").await.status, "cancelled");

    for (asked, code) in [
        (question("", "\"x\""), Code::InvalidArgument),
        (question("chat", "{"), Code::InvalidArgument),
        (question("chat", "7"), Code::InvalidArgument),
        (question("chat", "[[1, 2]]"), Code::InvalidArgument),
        (question("nobody", "\"x\""), Code::NotFound),
        (question("mine", "\"x\""), Code::PermissionDenied),
        (
            dim::SubmitJobRequest {
                timeout: -1,
                ..question("chat", "\"x\"")
            },
            Code::InvalidArgument,
        ),
        (
            dim::SubmitJobRequest {
                data_source: "cabinet".to_owned(),
                ..question("chat", "\"x\"")
            },
            Code::InvalidArgument,
        ),
    ] {
        let refused = daemon.submit_job(asked.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{asked:?}: {refused}");
    }
    let job_id = "unknown".to_owned();
    let unknown = daemon.get_job_status(dim::GetJobStatusRequest { job_id });
    assert_eq!(unknown.await.unwrap_err().code(), Code::NotFound);
    let stats = daemon.get_stats(dim::GetStatsRequest {}).await.unwrap();
    let stats = stats.into_inner();
    assert_eq!(
        (stats.total_jobs, stats.successful_jobs, stats.failed_jobs),
        (2, 1, 1)
    );
    assert_eq!(stats.cached_models_count, 1);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_answers_tensors_and_an_agent_says_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(three(dir.path()), 1).await;
    let owner = caller(&node, 2).await;
    network(&owner, 1, "digits").await;
    let mut inference = InferenceServiceClient::new(plain(&node).await);
    let info = inference
        .get_model_info(cyxwiz::GetModelInfoRequest {
            deployment_id: "digits".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.input_specs[0].shape, [1, 8, 8]);
    assert_eq!(info.output_specs[0].shape, [10]);

    let tensor = |shape: &[i64], numbers: usize| cyxwiz::TensorData {
        name: "input".to_owned(),
        shape: shape.to_vec(),
        dtype: cyxwiz::DataType::Float32.into(),
        data: (0..numbers)
            .flat_map(|x| ((x % 16) as f32 / 16.0).to_le_bytes())
            .collect(),
    };
    let asked = |deployment: &str, inputs: Vec<cyxwiz::TensorData>| cyxwiz::InferRequest {
        deployment_id: deployment.to_owned(),
        inputs,
    };
    let answer = inference.infer(asked("digits", vec![tensor(&[2, 1, 8, 8], 128)]));
    let answer = answer.await.unwrap().into_inner();
    assert_eq!(answer.status, 1, "{answer:?}");
    assert_eq!(answer.outputs[0].shape, [2, 10]);
    let numbers = answer.outputs[0].data.as_chunks::<4>().0;
    let of_a_row: f32 = numbers[..10].iter().map(|x| f32::from_le_bytes(*x)).sum();
    assert!((of_a_row - 1.0).abs() < 1e-3, "{of_a_row}");
    for inputs in [
        vec![],
        vec![tensor(&[2, 1, 8, 8], 127)],
        vec![tensor(&[-2, 64], 128)],
        vec![tensor(&[i64::MAX, i64::MAX], 4)],
        vec![tensor(&[64], 64); 2],
        vec![cyxwiz::TensorData {
            dtype: cyxwiz::DataType::Int32.into(),
            ..tensor(&[64], 64)
        }],
        // The model takes 64 numbers, and hears that it is given 63.
        vec![tensor(&[1, 63], 63)],
    ] {
        let answer = inference.infer(asked("digits", inputs.clone())).await;
        let answer = answer.unwrap().into_inner();
        assert!(answer.error.is_some() && answer.status == 5, "{inputs:?}");
    }
    let unknown = inference.infer(asked("nobody", vec![tensor(&[64], 64)]));
    assert_eq!(unknown.await.unwrap_err().code(), Code::NotFound);

    let mut agent = AgentServiceClient::new(plain(&node).await);
    let mut request = titan::AgentStatusRequest {
        agent_id: node.peer_id().to_string(),
        include_jobs: false,
    };
    let status = agent
        .get_status(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.status.as_str(), status.model_loaded.as_str()),
        ("healthy", "digits")
    );
    assert!(status.total_requests_processed >= 1 && status.free_ram_mb > 0);
    request.agent_id = owner.keypair.peer_id().to_string();
    let other = agent.get_status(request).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    let stream = agent.stream_inference(titan::StreamRequest::default());
    assert_eq!(stream.await.unwrap_err().code(), Code::Unimplemented);
    node.stop().await.unwrap();
}

fn task(id: &str, source: &str) -> worker::ExecuteTaskRequest {
    worker::ExecuteTaskRequest {
        task_id: id.to_owned(),
        task_type: "python".to_owned(),
        task_data: source.to_owned().into(),
        ..Default::default()
    }
}

/// With a token in its metadata.
fn bearing<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_hivemind_runs_for_whoever_the_owner_lets_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    for (open, python) in [(true, true), (true, false), (false, true)] {
        let data = dir.path().join(format!("{open}-{python}"));
        let there =
            ["/usr/bin/bwrap", "/usr/bin/python3"].map(|at| std::path::Path::new(at).exists());
        if open && python && there != [true, true] {
            println!("skipped: bubblewrap or python3 is missing: install both");
            continue;
        }
        let node = start(
            NodeConfig {
                dialects: vec![Dialect::HiveMind],
                runtimes: AllowedRuntimes {
                    wasm: false,
                    python,
                },
                open,
                ..config(&data)
            },
            1,
        )
        .await;
        let mut tasks = TaskWorkerServiceClient::new(plain(&node).await);
        let mut pool = WorkerNodeServiceClient::new(plain(&node).await);
        // Nobody who has shown nothing runs anything.
        let asked = task("t-1", "print('out')");
        let refused = tasks
            .execute_task(asked.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(
            !refused.success && refused.message.starts_with("1004"),
            "{refused:?}"
        );
        let refused = pool
            .execute_task(nodepool::ExecuteTaskRequest {
                task_id: "t-1".to_owned(),
                task_data: "print('out')".into(),
            })
            .await
            .unwrap()
            .into_inner();
        assert!(
            !refused.success && refused.message.starts_with("1004"),
            "{refused:?}"
        );

        // A token of the node's own for a client: what it is for does not matter here.
        let any = spec(10, 1);
        let claims = Claims {
            issuer: node.peer_id(),
            ..claims(&key(2), node.peer_id(), job(1), &any)
        };
        let token = token::issue(&claims, &key(1)).unwrap();
        let started = tasks.execute_task(bearing(&token, asked)).await;
        let started = started.unwrap().into_inner();
        if !(open && python) {
            assert!(!started.success, "{started:?}");
            let word = if open { "has not allowed" } else { "owner" };
            assert!(started.message.contains(word), "{started:?}");
            node.stop().await.unwrap();
            continue;
        }
        assert!(started.success, "{started:?}");
        let ended = tokio::time::timeout(LONG, async {
            loop {
                let task_id = "t-1".to_owned();
                let asked = tasks.get_task_status(worker::GetTaskStatusRequest { task_id });
                let view = asked.await.unwrap().into_inner();
                if view.status != "RUNNING" && view.status != "PENDING" {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let ended = ended.await.expect("an end");
        assert_eq!(ended.status, "COMPLETED", "{ended:?}");
        assert_eq!(ended.output, ["out"]);
        assert_eq!(ended.result_data[..2], *b"PK");

        // Another connection has no part in it.
        let mut other = TaskWorkerServiceClient::new(plain(&node).await);
        let task_id = "t-1".to_owned();
        let refused = other.get_task_status(worker::GetTaskStatusRequest { task_id });
        assert!(!refused.await.unwrap().into_inner().success);

        caller(&node, 2).await.idle().await;
        let long = task("t-2", "import time\ntime.sleep(600)");
        let started = tasks.execute_task(bearing(&token, long)).await.unwrap();
        assert!(started.into_inner().success);
        let task_id = "t-2".to_owned();
        let cancelled = tasks.cancel_task(worker::CancelTaskRequest { task_id });
        assert!(cancelled.await.unwrap().into_inner().success);
        let task_id = "../t".to_owned();
        let mut wrong = task("", "print(1)");
        wrong.task_id = task_id;
        let refused = tasks.execute_task(bearing(&token, wrong)).await.unwrap();
        assert!(!refused.into_inner().success);
        let info = tasks.get_system_info(worker::GetSystemInfoRequest {});
        let info = info.await.unwrap().into_inner();
        assert_eq!(info.capabilities.unwrap().supported_tasks, ["python"]);
        node.stop().await.unwrap();
    }
}
