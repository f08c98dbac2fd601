//! `ComputeService` of CyxWiz at a real node: numbers from a worker.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use embermesh_crypto::token::{self, Claims};
use embermesh_dialects::Dialect;
use embermesh_node::{NodeConfig, RunningNode};
use embermesh_proto::cyxwiz::protocol::{
    self as wire, compute_service_client::ComputeServiceClient,
};
use tonic::{Code, Request, transport::Channel};

use crate::support::{caller, claims, config, job, key, spec, start};

const NODE: u8 = 1;

fn ours(dir: &std::path::Path, open: bool) -> NodeConfig {
    NodeConfig {
        dialects: vec![Dialect::CyxWiz],
        open,
        ..config(dir)
    }
}

async fn client(node: &RunningNode) -> ComputeServiceClient<Channel> {
    let at = format!("http://{}", node.address());
    ComputeServiceClient::new(Channel::from_shared(at).unwrap().connect().await.unwrap())
}

/// A call with a token of the node's own for a client: what it is for does not matter
/// here.
fn bearing<T>(node: &RunningNode, message: T) -> Request<T> {
    let claims = Claims {
        issuer: node.peer_id(),
        ..claims(&key(2), node.peer_id(), job(1), &spec(10, 1))
    };
    let token = token::issue(&claims, &key(NODE)).unwrap();
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn tensor(shape: &[i32], numbers: &[f32]) -> wire::Tensor {
    wire::Tensor {
        info: Some(wire::TensorInfo {
            shape: shape.to_vec(),
            dtype: "float32".to_owned(),
            size_bytes: 0,
        }),
        data: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn asked(
    id: &str,
    operation: wire::OperationType,
    inputs: Vec<wire::Tensor>,
    parameters: &[(&str, &str)],
) -> wire::ComputeRequest {
    wire::ComputeRequest {
        operation_id: id.to_owned(),
        operation: operation.into(),
        inputs,
        parameters: parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        target_device: 0,
    }
}

fn product() -> wire::ComputeRequest {
    let (a, b) = (tensor(&[1, 2], &[1.0, 2.0]), tensor(&[2, 1], &[3.0, 4.0]));
    asked("y", wire::OperationType::OpMatmul, vec![a, b], &[])
}

fn numbers(tensor: &wire::Tensor) -> Vec<f32> {
    let (words, rest) = tensor.data.as_chunks::<4>();
    assert!(rest.is_empty());
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_and_graphs_come_back_as_true_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path(), true), NODE).await;
    let mut client = client(&node).await;
    let answer = client.execute(bearing(&node, product())).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(
        (answer.status, answer.operation_id.as_str()),
        (1, "y"),
        "{answer:?}"
    );
    assert_eq!(numbers(&answer.outputs[0]), [11.0]);
    let info = answer.outputs[0].info.clone().unwrap();
    assert_eq!(
        (info.shape, info.dtype.as_str(), info.size_bytes),
        (vec![1, 1], "float32", 4)
    );

    // loss = mean((x w - t)^2), and its gradient by w: one step of descent.
    use wire::OperationType::{OpCustom, OpLoss, OpMatmul, OpOptimizerStep};
    let graph = wire::ExecuteGraphRequest {
        graph_id: "g".to_owned(),
        operations: vec![
            asked(
                "loss",
                OpLoss,
                vec![tensor(&[1, 1], &[2.0])],
                &[("type", "mse"), ("inputs", "xw,#0")],
            ),
            asked(
                "xw",
                OpMatmul,
                vec![tensor(&[1, 2], &[1.0, 2.0]), tensor(&[2, 1], &[0.5, 0.25])],
                &[],
            ),
            asked(
                "slope",
                OpCustom,
                vec![],
                &[("op", "gradient"), ("inputs", "loss,xw#1")],
            ),
            asked(
                "step",
                OpOptimizerStep,
                vec![],
                &[("type", "sgd"), ("lr", "0.1"), ("inputs", "xw#1,slope")],
            ),
            asked(
                "half",
                OpCustom,
                vec![tensor(&[], &[0.5])],
                &[("op", "add"), ("inputs", "#0,xw")],
            ),
        ],
        execution_order: ["xw", "loss", "slope", "step", "half"]
            .map(str::to_owned)
            .to_vec(),
    };
    let answer = client.execute_graph(bearing(&node, graph)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(
        (answer.status, answer.graph_id.as_str()),
        (1, "g"),
        "{answer:?}"
    );
    assert_eq!(numbers(&answer.outputs["half"]), [1.5]);
    // 2 (x w - t) x is [-2, -4].
    let step = numbers(&answer.outputs["step.parameter"]);
    let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
    assert!(near(step[0], 0.7) && near(step[1], 0.65), "{step:?}");
    assert_eq!(answer.outputs.len(), 2, "{answer:?}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_answered_in_its_order_and_outlives_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(ours(dir.path(), true), NODE).await;
    let mut client = client(&node).await;
    use wire::OperationType::{OpActivation, OpMatmul};
    let wrong = vec![tensor(&[1, 2], &[1.0, 2.0]), tensor(&[3, 1], &[0.0; 3])];
    let said = futures::stream::iter([
        product(),
        asked("bad", OpMatmul, wrong, &[]),
        asked(
            "act",
            OpActivation,
            vec![tensor(&[2], &[-1.0, 2.0])],
            &[("type", "relu")],
        ),
    ]);
    let answers = client.stream_execute(bearing(&node, said)).await.unwrap();
    let mut answers = answers.into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!(numbers(&first.outputs[0]), [11.0], "{first:?}");
    let second = answers.message().await.unwrap().unwrap();
    assert_eq!((second.status, second.operation_id.as_str()), (5, "bad"));
    let error = second.error.unwrap();
    assert!(
        error.code == 1 && error.message.contains("\"bad\""),
        "{error:?}"
    );
    let third = answers.message().await.unwrap().unwrap();
    assert_eq!(numbers(&third.outputs[0]), [0.0, 2.0], "{third:?}");
    assert_eq!(answers.message().await.unwrap(), None);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_computed_for_whoever_may_not() {
    let dir = tempfile::tempdir().unwrap();
    for open in [true, false] {
        let node = start(ours(&dir.path().join(open.to_string()), open), NODE).await;
        let mut client = client(&node).await;
        let refused = client.execute(product()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        if !open {
            let refused = client.execute(bearing(&node, product())).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
            let graph = wire::ExecuteGraphRequest::default();
            let refused = client
                .execute_graph(bearing(&node, graph))
                .await
                .unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
            let said = futures::stream::iter([product()]);
            let refused = client
                .stream_execute(bearing(&node, said))
                .await
                .unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
        }
        assert!(caller(&node, 3).await.status().await.running.is_empty());
        node.stop().await.unwrap();
    }
}
