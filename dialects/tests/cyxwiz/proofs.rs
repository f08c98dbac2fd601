//! Computations that are to be proven, and the proof in what a job came to.

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis};
use embermesh_dialects::Profile;
use embermesh_job::{
    event::Artifact,
    lifecycle::JobState,
    proof::Proven,
    spec::{Compute, Prove, Work},
};
use embermesh_proto::cyxwiz::protocol::{
    GetJobStatusRequest, JobConfig, JobResult, SubmitJobRequest,
    job_service_client::JobServiceClient,
};

use tonic::transport::Channel;

use crate::{
    configs::{FORMS, training, with},
    port::{Memory, by, serve},
};

const SQUARE: &str = r#"{"tensors": [{"name": "x", "shape": [2, 2], "values": [1, 2, 3, 4]}],
    "operations": [{"op": "matmul", "name": "square", "from": ["x", "x"]}]}"#;

/// An inference of this definition.
fn computation(definition: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        config: Some(JobConfig {
            job_type: 2,
            model_definition: definition.to_owned(),
            ..JobConfig::default()
        }),
        initial_data: Bytes::new(),
    }
}

/// The computation that was submitted last.
fn computed(memory: &Memory) -> (Compute, usize) {
    let kept = memory.kept();
    let (_, job) = kept.jobs.last().unwrap();
    match &job.spec.work {
        Work::Compute(compute) => (compute.clone(), job.inputs.len()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_inference_of_operations_is_a_computation_and_may_ask_for_a_proof() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    let mut submit = async |request: SubmitJobRequest| {
        let answer = client.submit_job(by("alice", request)).await.unwrap();
        answer.into_inner().error.map(|error| error.message)
    };
    assert_eq!(submit(computation(SQUARE)).await, None);
    assert_eq!(computed(&memory).0.prove, None);
    let proven = with(computation(SQUARE), &[("prove", "3")]);
    assert_eq!(submit(proven).await, None);
    assert_eq!(computed(&memory).0.prove, Some(Prove::alone(3)));
    // Tensors without numbers are in the data that came with the call.
    let bare = SQUARE.replace(r#", "values": [1, 2, 3, 4]"#, "");
    let mut filed = computation(&bare);
    filed.initial_data = "a safetensors file".into();
    assert_eq!(submit(filed).await, None);
    let (compute, inputs) = computed(&memory);
    assert_eq!(inputs, 1);
    let digest = compute.tensors[0].file.unwrap().digest;
    assert_eq!(digest, Digest::of(b"a safetensors file"));

    let gradient = SQUARE.replace(
        r#""from": ["x", "x"]}"#,
        r#""from": ["x", "x"]}, {"op": "sum", "name": "s", "from": ["square"]},
            {"op": "gradient", "name": "d", "from": ["s", "x"]}"#,
    );
    let mut spare = computation(SQUARE);
    spare.initial_data = "nobody reads it".into();
    let twice = SQUARE.replacen('{', r#"{"prove": {"opened": 1}, "#, 1);
    let named = SQUARE.replace(r#""values""#, r#""file": {}, "values""#);
    for (request, words) in [
        (
            with(computation(&gradient), &[("prove", "2")]),
            "gradient \"d\"",
        ),
        (with(computation(SQUARE), &[("prove", "0")]), "prove.opened"),
        (
            with(computation(SQUARE), &[("prove", "all")]),
            "whole number",
        ),
        (with(computation(&twice), &[("prove", "1")]), "says it too"),
        (
            with(training(FORMS[3]), &[("prove", "1")]),
            "only a computation",
        ),
        (computation(&bare), "no `values`"),
        (computation(&named), "initial_data"),
        (spare, "no use for data"),
    ] {
        let refused = submit(request).await.unwrap();
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

/// What a job of this name came to, as its status and the last word of its stream say.
async fn result(
    client: &mut JobServiceClient<Channel>,
    memory: &Memory,
    name: &str,
    artifacts: &[(&str, u64)],
) -> JobResult {
    let named = GetJobStatusRequest {
        job_id: name.to_owned(),
    };
    let stream = client.stream_job_updates(by("alice", named.clone())).await;
    let mut stream = stream.unwrap().into_inner();
    memory.change(name, |view| {
        view.state = JobState::Succeeded;
        view.started_at = Some(UnixMillis(5_000));
        view.ended_at = Some(UnixMillis(8_500));
        view.receipt = Some(Bytes::from_static(&[0xab, 0x01]));
        let made = artifacts.iter().map(|(made, size)| Artifact {
            name: (*made).to_owned(),
            digest: Digest::of(made.as_bytes()),
            size: *size,
        });
        view.artifacts = made.collect();
    });
    let answer = client.get_job_status(by("alice", named)).await.unwrap();
    let answered = answer.into_inner().result.unwrap();
    let last = stream.message().await.unwrap().unwrap();
    assert_eq!(last.result.as_ref(), Some(&answered));
    // Nothing comes after that, whatever is said.
    memory.change(name, |job| job.progress = 1.0);
    assert_eq!(stream.message().await.unwrap(), None);
    answered
}

#[tokio::test]
async fn what_a_job_came_to_has_its_proof_or_its_receipt() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    for name in ["proven", "large", "plain"] {
        let mut request = computation(SQUARE);
        request.config.as_mut().unwrap().job_id = name.to_owned();
        client.submit_job(by("alice", request)).await.unwrap();
        // None before its end.
        let named = GetJobStatusRequest {
            job_id: name.to_owned(),
        };
        let answer = client.get_job_status(by("alice", named)).await.unwrap();
        assert_eq!(answer.into_inner().result, None);
    }
    let results = ("results.safetensors", 99);
    let came = result(
        &mut client,
        &memory,
        "proven",
        &[results, ("proof.bin", 20)],
    )
    .await;
    let bytes = Proven::bytes_of(&came.proof_of_compute).unwrap();
    assert_eq!(bytes, b"proven/proof.bin pro");
    assert_eq!(came.signatures, ["ab01"]);
    assert_eq!((came.status, came.total_compute_time), (4, 3));
    assert_eq!(came.model_size, 99);
    assert_eq!(
        came.model_weights_hash,
        Digest::of(results.0.as_bytes()).to_string()
    );
    // One that no message carries is named.
    let came = result(
        &mut client,
        &memory,
        "large",
        &[results, ("proof.bin", 3 << 20)],
    )
    .await;
    let place = format!("blake3:{}?size={}", Digest::of(b"proof.bin"), 3 << 20);
    assert_eq!(came.proof_of_compute, place);
    // Without a proof there is what the node signed.
    let came = result(&mut client, &memory, "plain", &[results]).await;
    assert_eq!(came.proof_of_compute, "ab01");
}
