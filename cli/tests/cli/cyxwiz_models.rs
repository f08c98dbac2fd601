//! A client of CyxWiz keeps models in an index, deploys them on a node, and asks them
//! through the index.

use std::{path::Path, time::Duration};

use embermesh_crypto::Digest;
use embermesh_proto::cyxwiz::protocol::{
    CreateDeploymentRequest, DeleteDeploymentRequest, DeleteModelRequest, Deployment,
    DeploymentConfig, DownloadModelMetadataRequest, GetDeploymentMetricsRequest,
    GetDeploymentRequest, GetModelInfoRequest, HardwareRequirements, InferRequest, InferResponse,
    ListDeploymentsRequest, ModelChunk, ModelInfo, StopDeploymentRequest, TensorData,
    UploadModelMetadataRequest, deployment_service_client::DeploymentServiceClient,
    inference_service_client::InferenceServiceClient, model_service_client::ModelServiceClient,
};
use tonic::{Code, Request, Status, transport::Channel};

use crate::support::{Mesh, eventually, stderr, tiny};

const SERVED: &str = r#"
open = true
[gateway]
dialects = ["cyxwiz"]
"#;
/// Numbers of formats, states and types of the wire.
const GGUF: i32 = 2;
const SAFETENSORS: i32 = 5;
const RUNNING: i32 = 5;
const STOPPED: i32 = 6;
const FLOAT32: i32 = 1;
const INT32: i32 = 3;
const UINT8: i32 = 5;

/// Somebody who holds a token.
struct Somebody {
    token: String,
    channel: Channel,
}

impl Somebody {
    async fn new(mesh: &Mesh, name: &str) -> Self {
        let pass = mesh.pass("cyxwiz", name).await;
        Self {
            token: pass["token"].as_str().unwrap().to_owned(),
            channel: mesh.channel().await,
        }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel.clone())
    }

    fn deployments(&self) -> DeploymentServiceClient<Channel> {
        DeploymentServiceClient::new(self.channel.clone())
    }

    /// Keeps a model, in chunks.
    async fn upload(&self, info: ModelInfo, data: &[u8]) -> String {
        let metadata = UploadModelMetadataRequest {
            info: Some(info),
            ..Default::default()
        };
        let added = self.models().upload_metadata(self.ask(metadata)).await;
        let id = added.unwrap().into_inner().model_id;
        let chunks: Vec<ModelChunk> = data
            .chunks(64 << 10)
            .scan(0, |offset, piece| {
                let at = *offset;
                *offset += piece.len() as i64;
                Some(ModelChunk {
                    model_id: id.clone(),
                    data: piece.to_vec().into(),
                    offset: at,
                    total_size: data.len() as i64,
                    is_final: *offset == data.len() as i64,
                    checksum: Digest::of(piece).to_string(),
                })
            })
            .collect();
        let sent = self.ask(futures::stream::iter(chunks));
        assert_eq!(
            self.models()
                .upload_model(sent)
                .await
                .unwrap()
                .into_inner()
                .status,
            1
        );
        id
    }

    async fn deploy(&self, model: &str, context: i32) -> Result<String, String> {
        let config = DeploymentConfig {
            model: Some(ModelInfo {
                model_id: model.to_owned(),
                name: "kept".to_owned(),
                ..Default::default()
            }),
            requirements: Some(HardwareRequirements {
                min_ram: 512 << 20,
                ..Default::default()
            }),
            context_size: context,
            ..Default::default()
        };
        let request = CreateDeploymentRequest {
            config: Some(config),
            ..Default::default()
        };
        let made = self
            .deployments()
            .create_deployment(self.ask(request))
            .await;
        let made = made.unwrap().into_inner();
        match made.deployment {
            Some(deployment) => Ok(deployment.deployment_id),
            None => Err(made.error.unwrap().message),
        }
    }

    async fn deployment(&self, id: &str) -> Result<Deployment, Status> {
        let request = GetDeploymentRequest {
            deployment_id: id.to_owned(),
            user_id: String::new(),
        };
        let got = self.deployments().get_deployment(self.ask(request)).await?;
        Ok(got.into_inner().deployment.unwrap())
    }

    async fn until_running(&self, id: &str) {
        eventually("the model is loaded", async || {
            match self.deployment(id).await {
                Ok(deployment) => deployment.status == RUNNING,
                // The index may be away.
                Err(_) => false,
            }
        })
        .await;
    }

    async fn infer(&self, id: &str, inputs: Vec<TensorData>) -> Result<InferResponse, Status> {
        let request = InferRequest {
            deployment_id: id.to_owned(),
            inputs,
        };
        let mut client = InferenceServiceClient::new(self.channel.clone());
        Ok(client.infer(self.ask(request)).await?.into_inner())
    }

    async fn listed(&self) -> Vec<String> {
        let request = self.ask(ListDeploymentsRequest::default());
        let listed = self.deployments().list_deployments(request).await.unwrap();
        let listed = listed.into_inner().deployments;
        listed.into_iter().map(|one| one.deployment_id).collect()
    }
}

fn tensor(name: &str, shape: &[i64], dtype: i32, data: Vec<u8>) -> TensorData {
    TensorData {
        name: name.to_owned(),
        shape: shape.to_vec(),
        dtype,
        data: data.into(),
    }
}

fn prompt() -> Vec<TensorData> {
    let number = |name: &str, value: i32| tensor(name, &[1], INT32, value.to_le_bytes().to_vec());
    vec![
        tensor("prompt", &[7], UINT8, b"her the".to_vec()),
        number("max_tokens", 12),
        number("seed", 7),
        tensor("temperature", &[1], FLOAT32, 1.0_f32.to_le_bytes().to_vec()),
    ]
}

fn text(answer: &InferResponse) -> String {
    assert_eq!(answer.outputs[0].name, "text");
    assert!(answer.latency_ms > 0.0);
    String::from_utf8(answer.outputs[0].data.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_language_model_is_kept_deployed_asked_and_gone() {
    let mut mesh = Mesh::start_with(1, SERVED).await;
    let (ada, bob) = (
        Somebody::new(&mesh, "ada").await,
        Somebody::new(&mesh, "bob").await,
    );
    let data = tiny::endless(100_000).bytes();
    let info = ModelInfo {
        name: "tiny".to_owned(),
        format: GGUF,
        ..Default::default()
    };
    let model = ada.upload(info, &data).await;
    let request = DownloadModelMetadataRequest {
        model_id: model.clone(),
    };
    let refused = bob.models().download_model(bob.ask(request.clone())).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let mut chunks = ada.models().download_model(ada.ask(request)).await;
    let chunks = chunks.as_mut().unwrap().get_mut();
    let mut back = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        assert_eq!(chunk.offset, back.len() as i64);
        back.extend_from_slice(&chunk.data);
    }
    assert!(back == data);

    let id = ada.deploy(&model, 100_000).await.unwrap();
    ada.until_running(&id).await;
    let first = text(&ada.infer(&id, prompt()).await.unwrap());
    assert!(!first.is_empty());
    let wrong = ada.infer(&id, prompt().split_off(1)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);

    // Another sees, asks, stops and counts nothing of it.
    let none = |result: Result<(), Status>| assert_eq!(result.unwrap_err().code(), Code::NotFound);
    none(bob.infer(&id, prompt()).await.map(drop));
    none(bob.deployment(&id).await.map(drop));
    let stop = StopDeploymentRequest {
        deployment_id: id.clone(),
        user_id: String::new(),
    };
    none(
        bob.deployments()
            .stop_deployment(bob.ask(stop.clone()))
            .await
            .map(drop),
    );
    assert_eq!(
        (bob.listed().await.len(), ada.listed().await),
        (0, vec![id.clone()])
    );

    // What is deployed outlives the index.
    mesh.restart_index(Duration::from_millis(100)).await;
    ada.until_running(&id).await;
    assert_eq!(text(&ada.infer(&id, prompt()).await.unwrap()), first);
    let metrics = GetDeploymentMetricsRequest {
        deployment_id: id.clone(),
        ..Default::default()
    };
    eventually("both asks are counted", async || {
        let counted = ada
            .deployments()
            .get_deployment_metrics(ada.ask(metrics.clone()))
            .await;
        let points = counted.unwrap().into_inner().metrics;
        let asks: i64 = points.iter().map(|point| point.request_count).sum();
        asks == 2 && points.iter().all(|point| point.avg_latency_ms > 0.0)
    })
    .await;
    let shown = ada.deployment(&id).await.unwrap();
    assert_eq!(shown.total_requests, 2);
    assert_eq!(shown.config.unwrap().model.unwrap().model_id, model);
    assert_eq!(shown.assigned_node.unwrap().node_id, mesh.nodes[0].peer());

    let stopped = ada
        .deployments()
        .stop_deployment(ada.ask(stop))
        .await
        .unwrap();
    assert_eq!(stopped.into_inner().deployment.unwrap().status, STOPPED);
    let over = ada.infer(&id, prompt()).await.unwrap_err();
    assert_eq!(over.code(), Code::FailedPrecondition);
    let delete = DeleteDeploymentRequest {
        deployment_id: id.clone(),
        user_id: String::new(),
    };
    ada.deployments()
        .delete_deployment(ada.ask(delete))
        .await
        .unwrap();
    none(ada.deployment(&id).await.map(drop));
    let delete = DeleteModelRequest {
        model_id: model.clone(),
        user_id: "ada".to_owned(),
    };
    ada.models().delete_model(ada.ask(delete)).await.unwrap();
    let gone = DownloadModelMetadataRequest { model_id: model };
    none(
        ada.models()
            .download_metadata(ada.ask(gone))
            .await
            .map(drop),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_deployed_with_their_definition_and_answer_tensors() {
    let mesh = Mesh::start_with(1, SERVED).await;
    let ada = Somebody::new(&mesh, "ada").await;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs/iris-train.toml");
    let out = mesh.path().join("out");
    let words = [
        "submit",
        example.to_str().unwrap(),
        "--follow",
        "--out",
        out.to_str().unwrap(),
    ];
    let trained = mesh.run(&words).await;
    assert!(trained.status.success(), "{}", stderr(&trained));
    let weights = std::fs::read(out.join("model.safetensors")).unwrap();
    let info = |metadata: &[(&str, &str)], format| ModelInfo {
        name: "flowers".to_owned(),
        format,
        metadata: metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Default::default()
    };
    let definition = r#"{"input":[4],"layers":[{"op":"dense","units":16},{"op":"relu"},{"op":"dense","units":3,"name":"species"}]}"#;
    let said = [
        ("definition", definition),
        ("outputs", "classes"),
        ("labels", "setosa,versicolor,virginica"),
        ("normalise", "standardise"),
    ];
    // Without a definition nobody knows which network it is, and a pickle is a program.
    let bare = ada.upload(info(&[], SAFETENSORS), &weights).await;
    assert!(
        ada.deploy(&bare, 0)
            .await
            .unwrap_err()
            .contains("definition")
    );
    let pickle = ada.upload(info(&said, 3), &weights).await;
    assert!(ada.deploy(&pickle, 0).await.unwrap_err().contains("pickle"));

    let model = ada.upload(info(&said, SAFETENSORS), &weights).await;
    let id = ada.deploy(&model, 0).await.unwrap();
    ada.until_running(&id).await;
    let request = GetModelInfoRequest {
        deployment_id: id.clone(),
    };
    let mut client = InferenceServiceClient::new(ada.channel.clone());
    let told = client
        .get_model_info(ada.ask(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(told.input_specs[0].shape, [-1, 4]);
    assert_eq!(told.output_specs[0].shape, [-1, 3]);
    let flowers: [f32; 8] = [5.1, 3.5, 1.4, 0.2, 6.3, 3.3, 6.0, 2.5];
    let data: Vec<u8> = flowers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let answer = ada
        .infer(&id, vec![tensor("x", &[2, 4], FLOAT32, data.clone())])
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.outputs[0].shape, [2, 3]);
    let classes: Vec<i64> = answer.outputs[1]
        .data
        .chunks_exact(8)
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(classes, [0, 2], "a setosa and a virginica");
    let narrow = ada
        .infer(&id, vec![tensor("x", &[4, 2], FLOAT32, data)])
        .await;
    assert_eq!(narrow.unwrap_err().code(), Code::InvalidArgument);
}
