//! DIM's three patterns over real models on real nodes, and who may see them.

use std::path::Path;

use embermesh_proto::dim::{
    common::{JobState, Pattern},
    daemon::{self, daemon_client::DaemonClient},
    orchestrator::{
        CancelJobRequest, GetJobResultRequest, GetJobStatusRequest, JobStatusResponse,
        ListJobsRequest, SubmitJobRequest, orchestrator_client::OrchestratorClient,
    },
    pattern_engine::{self, pattern_engine_client::PatternEngineClient},
};
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};

use crate::{
    support::{Mesh, PATIENCE, link, stderr},
    titancompute::deploy_chat,
};

/// Clients without a token are believed, and two models have room on a node.
pub(crate) const SETTINGS: &str = r#"
residents = 2
[gateway]
legacy = ["dim"]
"#;

/// A setosa and a virginica.
pub(crate) fn flowers() -> Value {
    json!({"rows": [[5.1, 3.5, 1.4, 0.2], [7.2, 3.2, 6.0, 1.8]]})
}

/// Trains on the irises and puts the network on a node under a name.
pub(crate) async fn deploy_flowers(mesh: &Mesh, name: &str, node: &str) {
    let weights = mesh.path().join("weights");
    if !weights.exists() {
        let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs/iris-train.toml");
        let words = ["submit", job.to_str().unwrap(), "--follow", "--out"];
        let trained = mesh
            .run(&[&words[..], &[weights.to_str().unwrap()]].concat())
            .await;
        assert!(trained.status.success(), "{}", stderr(&trained));
    }
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs/iris-deploy.toml"),
    );
    let text = text
        .unwrap()
        .replace("name = \"flowers\"", &format!("name = \"{name}\""));
    let file = mesh.path().join(format!("{name}-{node}.toml"));
    std::fs::write(&file, format!("{text}\n[requires]\nnodes = [\"{node}\"]\n")).unwrap();
    mesh.json(&["deploy", file.to_str().unwrap(), "--anyone"])
        .await;
}

struct User {
    stub: OrchestratorClient<Channel>,
}

impl User {
    async fn submit(&mut self, pattern: Pattern, config: &Value) -> Result<String, tonic::Status> {
        let request = SubmitJobRequest {
            user_id: "user-123".to_owned(),
            pattern: pattern.into(),
            config_json: config.to_string(),
            ..SubmitJobRequest::default()
        };
        let submitted = self.stub.submit_job(request).await?.into_inner();
        assert!(submitted.job_id.starts_with("job-"), "{submitted:?}");
        Ok(submitted.job_id)
    }

    async fn status(&mut self, job: &str) -> JobStatusResponse {
        let job_id = job.to_owned();
        let status = self.stub.get_job_status(GetJobStatusRequest { job_id });
        status.await.unwrap().into_inner()
    }

    async fn until(&mut self, job: &str, state: JobState) -> JobStatusResponse {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let status = self.status(job).await;
            if status.status() == state {
                return status;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "it never was {state:?}: {status:?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn result(&mut self, job: &str) -> Value {
        self.until(job, JobState::Completed).await;
        let job_id = job.to_owned();
        let result = self.stub.get_job_result(GetJobResultRequest { job_id });
        let result = result.await.unwrap().into_inner();
        assert!(result.error.is_none() && result.metadata.unwrap().nodes_used > 0);
        serde_json::from_str(&result.result_json).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_patterns_run_on_several_nodes() {
    let mesh = Mesh::start_with(2, SETTINGS).await;
    let nodes: Vec<String> = mesh.nodes.iter().map(|node| node.peer()).collect();
    deploy_flowers(&mesh, "flowers", &nodes[0]).await;
    deploy_flowers(&mesh, "flowers", &nodes[1]).await;
    deploy_flowers(&mesh, "blooms", &nodes[0]).await;
    deploy_chat(&mesh).await;
    let mut user = User {
        stub: OrchestratorClient::new(mesh.channel().await),
    };

    // Two nodes with the same model say the same, and so does their average.
    let config = json!({"model_id": "flowers", "nodes": nodes, "input_data": flowers()});
    let job = user.submit(Pattern::Collaborative, &config).await.unwrap();
    let result = user.result(&job).await;
    assert_eq!(result["pattern"], "collaborative");
    assert_eq!(result["nodes_used"], json!(nodes));
    let aggregation = &result["aggregation"];
    assert_eq!(aggregation["method"], "federated_averaging");
    assert_eq!(aggregation["node_count"], 2);
    let said = &aggregation["node_results"][0]["result"];
    let average = &aggregation["aggregated_output"];
    assert_eq!(&aggregation["node_results"][1]["result"], said);
    for at in 0..2 {
        for class in 0..3 {
            let apart = average[at][class].as_f64().unwrap() - said[at][class].as_f64().unwrap();
            assert!(apart.abs() < 1e-6, "{aggregation}");
        }
    }
    let status = user.status(&job).await;
    assert_eq!(status.progress.unwrap().percent_complete, 100);
    let ran_at: Vec<&str> = status.nodes.iter().map(|node| &*node.node_id).collect();
    assert_eq!(ran_at, nodes);
    assert!(status.nodes.iter().all(|node| node.status == "completed"));
    assert!(status.created_at.ends_with('Z') && status.completed_at >= status.created_at);

    // Two models agree on the flowers.
    let config = json!({"modelIds": ["flowers", "blooms"], "inputData": flowers()});
    let compared = user.submit(Pattern::Comparative, &config).await.unwrap();
    let result = user.result(&compared).await;
    let consensus = &result["consensus"];
    assert_eq!(
        consensus["consensus_output"],
        json!(["setosa", "virginica"])
    );
    assert_eq!(consensus["agreement_level"], 1.0);

    // What one says is what the next is asked.
    let ask = json!({"prompt": "her the", "max_tokens": 6, "temperature": 0.0});
    let config = json!({
        "pipeline": [
            {"step": 1, "name": "draft", "model_id": "chat", "input_source": "client_data"},
            {"step": 2, "name": "final", "model_id": "chat", "input_source": "step_1_output", "timeout": 50},
        ],
        "input_data": ask,
    });
    let chained = user.submit(Pattern::Chained, &config).await.unwrap();
    let result = user.result(&chained).await;
    assert_eq!(result["steps_completed"], json!([1, 2]));
    assert_eq!(result["pipeline_trace"][0]["name"], "draft");
    assert_eq!(
        result["final_output"],
        result["pipeline_trace"][1]["result"]
    );
    assert!(!result["final_output"].as_str().unwrap().is_empty());

    // The other two services, over the same models.
    let mut engine = PatternEngineClient::new(mesh.channel().await);
    let spec = json!({"pattern": "comparative", "model_ids": ["flowers", "blooms"], "input_data": flowers()});
    let request = pattern_engine::ExecuteRequest {
        job_id: "engine-1".to_owned(),
        spec_json: spec.to_string(),
    };
    let executed = engine.execute(request.clone()).await.unwrap().into_inner();
    assert_eq!(
        (executed.job_id.as_str(), executed.error),
        ("engine-1", None)
    );
    assert!(executed.result_json.contains("virginica"));
    let twice = engine.execute(request).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists);
    let mut power_node = DaemonClient::new(mesh.channel().await);
    let request = daemon::SubmitJobRequest {
        job_id: "daemon-1".to_owned(),
        model_id: "flowers".to_owned(),
        input_data_json: flowers().to_string(),
        ..daemon::SubmitJobRequest::default()
    };
    let queued = power_node.submit_job(request).await.unwrap().into_inner();
    assert_eq!(queued.job_id, "daemon-1");
    user.until("daemon-1", JobState::Completed).await;
    let job_id = "daemon-1".to_owned();
    let status = power_node.get_job_status(daemon::GetJobStatusRequest { job_id });
    let status = status.await.unwrap().into_inner();
    assert_eq!(status.status, "completed");
    assert_eq!(status.result_json, r#"["setosa","virginica"]"#);

    // A list holds what was submitted, by state and by page.
    let list = ListJobsRequest {
        user_id: "user-123".to_owned(),
        status_filter: JobState::Completed.into(),
        limit: 2,
        offset: 3,
    };
    let listed = user.stub.list_jobs(list).await.unwrap().into_inner();
    let ids: Vec<&str> = listed.jobs.iter().map(|job| &*job.job_id).collect();
    assert_eq!((listed.total, ids), (5, vec![&*compared, &*job]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_fails_with_a_reason_is_cancelled_and_is_its_users_alone() {
    let mesh = Mesh::start_with(1, SETTINGS).await;
    deploy_chat(&mesh).await;
    let mut user = User {
        stub: OrchestratorClient::new(mesh.channel().await),
    };
    let config = json!({"model_ids": ["nobodys", "chat"], "input_data": "x", "timeout": 30});
    let failed = user.submit(Pattern::Comparative, &config).await.unwrap();
    let status = user.until(&failed, JobState::Failed).await;
    assert!(status.error.contains("nobodys"), "{status:?}");

    let refused = user.submit(Pattern::Chained, &json!({})).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("pipeline"), "{refused}");

    // Whoever has a token submits in his own name alone.
    let mut carol = OrchestratorClient::new(link(&mesh, "dim", "carol").await);
    let spoofed = SubmitJobRequest {
        user_id: "user-123".to_owned(),
        pattern: Pattern::Comparative.into(),
        config_json: config.to_string(),
        ..SubmitJobRequest::default()
    };
    let spoofed = carol.submit_job(spoofed).await.unwrap_err();
    assert_eq!(spoofed.code(), Code::PermissionDenied);

    // A collaboration may come without data, and then says what it lacks: nodes have none.
    let config = json!({"model_id": "model-abc", "nodes": ["node-001"]});
    let bare = user.submit(Pattern::Collaborative, &config).await.unwrap();
    let status = user.until(&bare, JobState::Failed).await;
    assert!(status.error.contains("input_data"), "{status:?}");

    let endless = json!({"prompt": "her the", "max_tokens": 60_000});
    let config = json!({
        "model_ids": ["chat", "nobodys"], "input_data": endless, "timeout": 600,
    });
    let running = user.submit(Pattern::Comparative, &config).await;
    // One that can never be is no reason to wait for the other.
    user.until(&running.unwrap(), JobState::Failed).await;
    let config = json!({
        "pipeline": [{"step": 1, "model_id": "chat"}, {"step": 2, "model_id": "chat"}],
        "input_data": endless, "timeout": 600,
    });
    let running = user.submit(Pattern::Chained, &config).await.unwrap();
    user.until(&running, JobState::Running).await;

    // Somebody else neither sees nor ends it, and is not told that it is there.
    let cancel = |user: &str| CancelJobRequest {
        job_id: running.clone(),
        user_id: user.to_owned(),
    };
    let other = user.stub.cancel_job(cancel("user-456")).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    // From here two are believed now, so a call without a name is nobody's.
    let job_id = running.clone();
    let nameless = user.stub.get_job_status(GetJobStatusRequest { job_id });
    assert_eq!(nameless.await.unwrap_err().code(), Code::Unauthenticated);
    let cancelled = user.stub.cancel_job(cancel("user-123")).await.unwrap();
    assert!(cancelled.into_inner().success);
    let again = user.stub.cancel_job(cancel("user-123")).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
}
