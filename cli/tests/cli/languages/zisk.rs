//! ZisK distributed: provers that dial in, a proof in three phases, and what operators ask.

use serde_json::json;

use crate::{
    grpcurl,
    support::{Mesh, foreign::Foreign},
};

const LEGACY: &str = "[gateway]\nlegacy = [\"zisk\"]\n";

/// What grpcurl says of each verb while nobody proves.
const LINES: &[grpcurl::Line] = &[
    (
        "grpcurl -plaintext 127.0.0.1:50051 zisk.distributed.api.v1.ZiskDistributedApi/HealthCheck",
        0,
        &["{"],
    ),
    (
        "grpcurl -plaintext 127.0.0.1:50051 zisk.distributed.api.v1.ZiskDistributedApi/StatusInfo",
        0,
        &[r#""serviceName""#, r#""version""#, r#""startTime""#],
    ),
    (
        "grpcurl -plaintext 127.0.0.1:50051 zisk.distributed.api.v1.ZiskDistributedApi/SystemStatus",
        0,
        &[r#""status""#],
    ),
    (
        r#"grpcurl -plaintext -d '{"active_only": true}' \
  127.0.0.1:50051 zisk.distributed.api.v1.ZiskDistributedApi/JobsList"#,
        0,
        &[r#""jobsList""#],
    ),
    (
        r#"grpcurl -plaintext -d '{"available_only": true}' \
  127.0.0.1:50051 zisk.distributed.api.v1.ZiskDistributedApi/ProversList"#,
        0,
        &[r#""proversList""#],
    ),
    (
        r#"grpcurl -plaintext -d '{"job_id": "job_123"}' \
  127.0.0.1:50051 zisk.distributed.api.v1.ZiskDistributedApi/JobStatus"#,
        0,
        &[r#""code": "JOB_NOT_FOUND""#],
    ),
    (
        r#"grpcurl -plaintext -d '{"block_id": "block_456", "compute_capacity": 4, "input_path": "/path/to/input"}' \
  127.0.0.1:50051 zisk.distributed.api.v1.ZiskDistributedApi/LaunchProof"#,
        0,
        &[r#""code": "PROVER_UNAVAILABLE""#],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn zisk_proves_with_provers_in_python_and_answers_typescript() {
    let Some(foreign) = Foreign::installed() else {
        return;
    };
    let mesh = Mesh::start_with(0, LEGACY).await;
    let address = mesh.index.address();
    grpcurl::run(&mesh, &foreign, LINES).await;

    let provers = ["test-worker-001", "test-worker-002"];
    let python = foreign.python("zisk.py", &[&address]).await;
    assert_eq!(python["nobody"], "PROVER_UNAVAILABLE");
    assert_eq!(python["capacity"], 4);
    assert_eq!(python["provers"], json!(provers));
    assert_eq!(
        (&python["state"], &python["phase"]),
        (&json!("Completed"), &json!("None"))
    );
    let mut assigned: Vec<&str> = python["assigned"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prover| prover.as_str().unwrap())
        .collect();
    assigned.sort_unstable();
    assert_eq!(assigned, provers);
    // Both contribute and prove; one of them takes in the proofs of both.
    let told: Vec<_> = provers.map(|prover| &python["told"][prover]).into();
    let (few, all) = (
        json!(["PARTIAL_CONTRIBUTION", "PROVE"]),
        json!(["PARTIAL_CONTRIBUTION", "PROVE", "AGGREGATE", "AGGREGATE"]),
    );
    assert!(told.contains(&&few) && told.contains(&&all), "{told:?}");
    assert_eq!(python["active"], 0);
    assert_eq!(python["jobs"], json!([python["job"]]));
    assert_eq!(python["unknown"], "JOB_NOT_FOUND");

    // One that has gone is not there, and its name is free again.
    let typescript = foreign.typescript("zisk.ts", &[&address]).await;
    assert_eq!(typescript["service"], python["service"]);
    assert_eq!(typescript["unknown"], "JOB_NOT_FOUND");
    assert_eq!(typescript["accepted"], true);
    assert_eq!(typescript["before"], json!(["test-worker-001"]));
    assert_eq!(typescript["after"], json!([]));
    assert_eq!(typescript["nobody"], "PROVER_UNAVAILABLE");
}
