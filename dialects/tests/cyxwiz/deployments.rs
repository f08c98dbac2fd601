//! `DeploymentService` and `InferenceService`: what is asked for, what is refused, and
//! tensors both ways.

use std::{collections::HashMap, time::Duration};

use embermesh_crypto::{Digest, UnixMillis, statement::DeviceKind};
use embermesh_dialects::{
    ErrorCode, Failure, Profile,
    port::{
        deployments::{Answers, DeploymentState, Measure, Signature, Weights},
        registry::ModelFormat,
    },
};
use embermesh_job::{
    ask::{Ask, Part, RowAnswer},
    units::MicroUnits,
};
use embermesh_proto::cyxwiz::{
    protocol::{
        CreateDeploymentRequest, DeleteDeploymentRequest, DeploymentConfig,
        GetDeploymentMetricsRequest, GetDeploymentRequest, GetModelInfoRequest,
        HardwareRequirements, InferRequest, ListDeploymentsRequest, ModelInfo,
        StopDeploymentRequest, TensorData, deployment_service_client::DeploymentServiceClient,
        inference_service_client::InferenceServiceClient,
    },
    shipped,
};
use tonic::{Code, Request};

use crate::{
    port::{by, serve},
    rooms::node,
};

fn config() -> DeploymentConfig {
    DeploymentConfig {
        deployment_id: "mine".to_owned(),
        r#type: 3,
        model: Some(ModelInfo {
            model_id: "model-0".to_owned(),
            name: "chat".to_owned(),
            ..Default::default()
        }),
        node_id: node().to_string(),
        requirements: Some(HardwareRequirements {
            min_ram: 1 << 30,
            min_vram: 2 << 30,
            required_device: 2,
            ..Default::default()
        }),
        max_price_per_hour: 0.25,
        runtime_params: HashMap::from([
            ("askers".to_owned(), "anyone".to_owned()),
            ("concurrency".to_owned(), "3".to_owned()),
        ]),
        context_size: 4096,
        ..Default::default()
    }
}

fn create(config: DeploymentConfig) -> CreateDeploymentRequest {
    CreateDeploymentRequest {
        config: Some(config),
        authentication_token: String::new(),
    }
}

fn got(id: &str) -> GetDeploymentRequest {
    GetDeploymentRequest {
        deployment_id: id.to_owned(),
        user_id: String::new(),
    }
}

#[tokio::test]
async fn a_deployment_is_what_its_config_says() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = DeploymentServiceClient::new(channel);
    // The token may stand in the request.
    let request = CreateDeploymentRequest {
        authentication_token: "ada".to_owned(),
        ..create(config())
    };
    let made = client
        .create_deployment(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((made.status, made.error), (1, None));
    let shown = made.deployment.unwrap();
    assert_eq!(
        (shown.status, shown.created_at, shown.uptime_seconds),
        (1, 1, 60)
    );
    assert_eq!((shown.total_requests, shown.avg_latency_ms), (4, 2.5));
    let deploy = memory.kept().rooms.deployed[0].1.clone();
    assert_eq!(deploy.id.as_deref(), Some("mine"));
    assert_eq!(deploy.weights, Weights::Kept("model-0".to_owned()));
    assert_eq!((deploy.memory, deploy.context), (Some(1 << 30), Some(4096)));
    assert_eq!(deploy.concurrency, Some(3));
    assert_eq!(
        deploy.options.get("askers").map(String::as_str),
        Some("anyone")
    );
    assert_eq!(deploy.requires.nodes, [node()]);
    assert_eq!(deploy.requires.device, Some(DeviceKind::Cuda));
    assert_eq!(deploy.requires.min_memory.0, 2 << 30);
    assert_eq!(deploy.requires.max_price, Some(MicroUnits(250_000)));

    // A blob of the mesh, by its digest.
    let digest = Digest::of(b"weights");
    let blob = ModelInfo {
        source_url: format!("blake3:{digest}?size=7"),
        format: 5,
        ..Default::default()
    };
    let blob = DeploymentConfig {
        model: Some(blob),
        ..Default::default()
    };
    client
        .create_deployment(by("ada", create(blob)))
        .await
        .unwrap();
    let Weights::Blob(input, format) = memory.kept().rooms.deployed[1].1.weights.clone() else {
        panic!("a blob");
    };
    assert_eq!(
        (input.digest, input.size, format),
        (digest, 7, ModelFormat::Safetensors)
    );
}

#[tokio::test]
async fn what_a_deployment_cannot_have_is_refused_by_its_name() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = DeploymentServiceClient::new(channel);
    let with = |how: &dyn Fn(&mut DeploymentConfig)| {
        let mut config = config();
        how(&mut config);
        create(config)
    };
    let model = |url: &str, format| ModelInfo {
        source_url: url.to_owned(),
        format,
        ..Default::default()
    };
    let web = model("https://example.org/x.gguf", 2);
    for (request, word) in [
        (CreateDeploymentRequest::default(), "config"),
        (with(&|config| config.r#type = 1), "config.type"),
        (
            with(&|config| config.enable_terminal = true),
            "enable_terminal",
        ),
        (with(&|config| config.model = None), "config.model"),
        (
            with(&|config| config.model = Some(web.clone())),
            "source_url",
        ),
        (with(&|config| config.node_id = "n".to_owned()), "node_id"),
        (
            with(&|config| config.max_price_per_hour = -1.0),
            "max_price_per_hour",
        ),
        (with(&|config| config.context_size = -1), "context_size"),
        (
            with(&|config| drop(config.environment_vars.insert("A".into(), "b".into()))),
            "environment_vars",
        ),
        (
            with(&|config| {
                drop(
                    config
                        .runtime_params
                        .insert("concurrency".into(), "x".into()),
                )
            }),
            "concurrency",
        ),
        (
            with(&|config| config.requirements.as_mut().unwrap().min_cpu_cores = 4),
            "min_cpu_cores",
        ),
        (
            with(&|config| config.requirements.as_mut().unwrap().required_device = 3),
            "required_device",
        ),
    ] {
        let refused = client
            .create_deployment(by("ada", request))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{word}");
        assert!(refused.message().contains(word), "{word}: {refused}");
    }
    let posed = with(&|config| config.user_id = "bob".to_owned());
    let posed = client.create_deployment(by("ada", posed)).await;
    assert_eq!(posed.unwrap_err().code(), Code::PermissionDenied);
    // What the port refuses of the deployment itself is an answer.
    memory.kept().rooms.refusal = Some(Failure::invalid("format: onnx: it does not stay"));
    let answer = client
        .create_deployment(by("ada", create(config())))
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert_eq!((answer.status, answer.deployment), (5, None));
    let error = answer.error.unwrap();
    assert_eq!((error.code, error.message.contains("onnx")), (1, true));
    memory.kept().rooms.refusal = Some(Failure::not_found("no such model"));
    let gone = client.create_deployment(by("ada", create(config()))).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_deployment_is_shown_listed_measured_stopped_and_deleted_by_its_owner_alone() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = DeploymentServiceClient::new(channel);
    client
        .create_deployment(by("ada", create(config())))
        .await
        .unwrap();
    let id = "deployment-0";
    for (state, number) in [
        (DeploymentState::Placed, 2),
        (DeploymentState::Loading, 3),
        (DeploymentState::Ready, 5),
        (DeploymentState::Failed, 7),
    ] {
        memory.kept().rooms.deployed[0].0.state = state;
        let shown = client
            .get_deployment(by("ada", got(id)))
            .await
            .unwrap()
            .into_inner();
        let shown = shown.deployment.unwrap();
        assert_eq!((shown.status, shown.error.is_some()), (number, number == 7));
    }
    let list = |user: &str, kind, state| ListDeploymentsRequest {
        user_id: user.to_owned(),
        type_filter: kind,
        status_filter: state,
        ..Default::default()
    };
    let all = client
        .list_deployments(by("ada", list("", 0, 4)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((all.deployments.len(), all.total_count), (1, 2));
    client
        .list_deployments(by("ada", list("ada", 3, 0)))
        .await
        .unwrap();
    let asked = std::mem::take(&mut memory.kept().rooms.listed);
    assert_eq!(
        (asked[0].own_only, &asked[0].states[..]),
        (false, &[DeploymentState::Ready][..])
    );
    assert!(asked[1].own_only && asked[1].states.is_empty());
    let local = client
        .list_deployments(by("ada", list("", 2, 0)))
        .await
        .unwrap();
    assert!(local.into_inner().deployments.is_empty());
    for wrong in [list("", 4, 0), list("", 0, 9)] {
        let refused = client.list_deployments(by("ada", wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    memory.kept().rooms.measures = vec![Measure {
        at: UnixMillis(120_000),
        span: Duration::from_secs(60),
        asks: 30,
        failed: 0,
        time: Duration::from_millis(600),
    }];
    let metrics = GetDeploymentMetricsRequest {
        deployment_id: id.to_owned(),
        start_time: 60,
        end_time: 0,
    };
    let points = client
        .get_deployment_metrics(by("ada", metrics.clone()))
        .await
        .unwrap();
    let points = points.into_inner().metrics;
    let point = (
        points[0].timestamp,
        points[0].request_count,
        points[0].avg_latency_ms,
    );
    assert_eq!(point, (120, 30, 20.0));
    assert_eq!(points[0].throughput_rps, 0.5);
    let span = memory.kept().rooms.spans[0].clone();
    assert_eq!(
        (span.start, span.end),
        (UnixMillis(60_000), UnixMillis(u64::MAX))
    );

    let stop = StopDeploymentRequest {
        deployment_id: id.to_owned(),
        user_id: String::new(),
    };
    let delete = DeleteDeploymentRequest {
        deployment_id: id.to_owned(),
        user_id: String::new(),
    };
    let not_his = [
        client.get_deployment(by("bob", got(id))).await.map(drop),
        client
            .get_deployment_metrics(by("bob", metrics))
            .await
            .map(drop),
        client
            .stop_deployment(by("bob", stop.clone()))
            .await
            .map(drop),
        client
            .delete_deployment(by("bob", delete.clone()))
            .await
            .map(drop),
    ];
    for refused in not_his {
        assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    }
    let stopped = client
        .stop_deployment(by("ada", stop))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stopped.deployment.unwrap().status, 6);
    client.delete_deployment(by("ada", delete)).await.unwrap();
    let gone = client.get_deployment(by("ada", got(id))).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
}

fn floats(shape: &[i64], numbers: &[f32]) -> TensorData {
    let data: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    TensorData {
        name: "x".to_owned(),
        shape: shape.to_vec(),
        dtype: 1,
        data: data.into(),
    }
}

#[tokio::test]
async fn tensors_go_in_and_come_out() {
    let (memory, channel) = serve(Profile::Documented).await;
    memory.kept().rooms.signature = Some(Signature::Rows {
        input: Some(vec![2]),
        output: Some(Answers::Numbers(1)),
    });
    let answer = |number| RowAnswer {
        numbers: vec![number],
        ..RowAnswer::default()
    };
    memory.kept().rooms.answer = vec![Part::Rows {
        answers: vec![answer(0.5), answer(1.5)],
        last: true,
    }];
    let mut deployments = DeploymentServiceClient::new(channel.clone());
    deployments
        .create_deployment(by("ada", create(config())))
        .await
        .unwrap();
    let mut client = InferenceServiceClient::new(channel);
    let infer = |inputs: Vec<TensorData>| InferRequest {
        deployment_id: "deployment-0".to_owned(),
        inputs,
    };
    let rows = infer(vec![floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])]);
    let answer = client
        .infer(by("ada", rows.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.status, answer.latency_ms), (1, 1.5));
    let expected = TensorData {
        name: "outputs".to_owned(),
        ..floats(&[2, 1], &[0.5, 1.5])
    };
    assert_eq!(answer.outputs, [expected]);
    let asked = Ask::Rows(vec![vec![1.0, 2.0], vec![3.0, 4.0]]);
    assert_eq!(memory.kept().rooms.asks, [asked]);

    for wrong in [
        infer(Vec::new()),
        infer(vec![floats(&[1, 3], &[1.0, 2.0, 3.0])]),
        infer(vec![floats(&[2, 2], &[1.0])]),
    ] {
        let refused = client.infer(by("ada", wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let other = client.infer(by("bob", rows.clone())).await;
    assert_eq!(other.unwrap_err().code(), Code::NotFound);
    let nobody = client.infer(Request::new(rows.clone())).await;
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
    memory.kept().rooms.refusal = Some(Failure::new(ErrorCode::Precondition, "it is stopped"));
    let stopped = client.infer(by("ada", rows.clone())).await;
    assert_eq!(stopped.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(
        memory.kept().rooms.asks.len(),
        1,
        "nothing refused was asked"
    );

    let info = GetModelInfoRequest {
        deployment_id: "deployment-0".to_owned(),
    };
    let told = client
        .get_model_info(by("ada", info.clone()))
        .await
        .unwrap()
        .into_inner();
    let input = &told.input_specs[0];
    assert_eq!(
        (&input.shape[..], input.dtype.as_str()),
        (&[-1, 2][..], "float32")
    );
    assert_eq!(input.size_bytes, 8);
    // Before it is loaded somebody else's model has not said what it takes.
    memory.kept().rooms.deployed[0].0.signature = None;
    for refused in [
        client.get_model_info(by("ada", info)).await.map(drop),
        client.infer(by("ada", rows)).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    }
}

#[tokio::test]
async fn the_form_that_shipped_names_tensors_and_has_its_own_numbers() {
    let (memory, channel) = serve(Profile::Shipped).await;
    memory.kept().rooms.signature = Some(Signature::Text);
    let mut deployments =
        shipped::deployment_service_client::DeploymentServiceClient::new(channel.clone());
    let request = shipped::CreateDeploymentRequest {
        config: Some(shipped::DeploymentConfig {
            model: Some(shipped::ModelInfo {
                model_id: "model-0".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        authentication_token: String::new(),
    };
    deployments
        .create_deployment(by("ada", request.clone()))
        .await
        .unwrap();
    let mut client = shipped::inference_service_client::InferenceServiceClient::new(channel);
    let info = shipped::GetModelInfoRequest {
        deployment_id: "deployment-0".to_owned(),
    };
    let told = client
        .get_model_info(by("ada", info))
        .await
        .unwrap()
        .into_inner();
    let input = &told.input_specs[0];
    assert_eq!((input.name.as_str(), input.dtype), ("prompt", 5));
    memory.kept().rooms.refusal = Some(Failure::invalid("no"));
    let refused = deployments
        .create_deployment(by("ada", request))
        .await
        .unwrap();
    assert_eq!(refused.into_inner().status, 6);
}
