//! The lines that the documentation of foreign systems gives for grpcurl, as they are
//! written but for the address and the model, on a real index.

use crate::{
    support::{Mesh, foreign::Foreign, stderr, stdout},
    titancompute,
};

/// What grpcurl adds to a status for its exit code.
const STATUS: i32 = 64;

/// A line, the code that it ends with, and what it says on stdout, or on stderr when it
/// fails.
pub(crate) type Line = (&'static str, i32, &'static [&'static str]);

const TITANCOMPUTE: &[Line] = &[
    (
        "grpcurl -plaintext localhost:50051 list titancompute.v1.CoordinatorService",
        0,
        &[
            "titancompute.v1.CoordinatorService.GetPublicKey\n",
            "titancompute.v1.CoordinatorService.QuerySystemStatus\n",
            "titancompute.v1.CoordinatorService.RegisterAgent\n",
            "titancompute.v1.CoordinatorService.ReportHealth\n",
            "titancompute.v1.CoordinatorService.RequestInference\n",
        ],
    ),
    (
        "grpcurl -plaintext localhost:50052 list titancompute.v1.AgentService",
        0,
        &[
            "titancompute.v1.AgentService.GetStatus\n",
            "titancompute.v1.AgentService.StreamInference\n",
        ],
    ),
    (
        r#"grpcurl -plaintext -d '{"field1": "test"}' localhost:50051 titancompute.v1.CoordinatorService/NewMethod"#,
        1,
        &[r#"does not include a method named "NewMethod""#],
    ),
    (
        "grpcurl -plaintext localhost:50051 list",
        0,
        &[
            "cyxwiz.protocol.JobService\n",
            "cyxwiz.protocol.NodeDiscoveryService\n",
            "dim.daemon.Daemon\n",
            "dim.orchestrator.Orchestrator\n",
            "grpc.health.v1.Health\n",
            "nodepool.MasterNodeService\n",
            "nodepool.UserService\n",
            "titancompute.v1.AgentService\n",
            "titancompute.v1.CoordinatorService\n",
            "zisk.distributed.api.v1.ZiskDistributedApi\n",
        ],
    ),
    (
        "grpcurl -plaintext localhost:50051 describe cyxwiz.protocol.JobService",
        0,
        &[
            "  rpc SubmitJob ( .cyxwiz.protocol.SubmitJobRequest ) returns ( .cyxwiz.protocol.SubmitJobResponse );\n",
        ],
    ),
    (
        "grpcurl -plaintext localhost:50051 describe nodepool.UploadTaskRequest",
        0,
        &["  bytes task_data = 2;\n", "  string user_id = 3;\n"],
    ),
    (
        "grpcurl -plaintext localhost:50051 describe dim.orchestrator.SubmitJobRequest",
        0,
        &["  string config_json = 3;\n", "  int32 max_cost = 5;\n"],
    ),
    (
        "grpcurl -plaintext localhost:50051 describe zisk.distributed.api.v1.ZiskDistributedApi",
        0,
        &[
            "  rpc ProverStream ( stream .zisk.distributed.api.v1.ProverMessage ) returns ( stream .zisk.distributed.api.v1.CoordinatorMessage );\n",
        ],
    ),
    (
        "grpcurl -plaintext localhost:50051 describe titancompute.v1.CoordinatorService",
        0,
        &[
            "titancompute.v1.CoordinatorService is a service:\n",
            "  rpc RequestInference ( .titancompute.v1.InferenceRequest ) returns ( .titancompute.v1.InferenceResponse );\n",
            "  rpc ReportHealth ( stream .titancompute.v1.HealthUpdate ) returns ( stream .titancompute.v1.HealthAck );\n",
        ],
    ),
    (
        "grpcurl -plaintext localhost:50051 describe titancompute.v1.InferenceRequest",
        0,
        &[
            "titancompute.v1.InferenceRequest is a message:\n",
            "  int32 max_tokens = 4;\n",
            "  float temperature = 5;\n",
            "  map<string, string> parameters = 6;\n",
        ],
    ),
    (
        "grpcurl -plaintext localhost:50051 grpc.health.v1.Health/Check",
        0,
        &[r#""status": "SERVING""#],
    ),
    (
        "grpcurl -plaintext -d '{}' localhost:50051 titancompute.v1.CoordinatorService/QuerySystemStatus",
        0,
        &[
            r#""totalAgents": 1"#,
            r#""healthyAgents": 1"#,
            r#""uptime""#,
        ],
    ),
    (
        r#"grpcurl -plaintext -d '{
  "client_id": "test",
  "model": "llama3.1:8b-instruct-q4_k_m", 
  "prompt": "Hello",
  "max_tokens": 10
}' localhost:50051 titancompute.v1.CoordinatorService/RequestInference"#,
        0,
        &[
            r#""agentEndpoint""#,
            r#""sessionToken""#,
            r#""expiresAt""#,
            r#""jobId""#,
            r#""agentId""#,
        ],
    ),
    (
        r#"grpcurl -plaintext -d '{"client_id": "test", "model": "nobodys", "prompt": "Hello"}' localhost:50051 titancompute.v1.CoordinatorService/RequestInference"#,
        STATUS + 14,
        &["ERROR:\n  Code: Unavailable\n  Message: no agents available"],
    ),
];

/// Runs lines against an index.
pub(crate) async fn run(mesh: &Mesh, foreign: &Foreign, lines: &[Line]) {
    let address = mesh.index.address();
    for (line, code, says) in lines {
        let mut here = (*line).to_owned();
        for there in ["localhost:50051", "localhost:50052", "127.0.0.1:50051"] {
            here = here.replace(there, &address);
        }
        // The one model of the mesh.
        let output = foreign
            .shell(&here.replace("llama3.1:8b-instruct-q4_k_m", "chat"))
            .await;
        let said = format!("{line}\n{}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(*code), "{said}");
        let heard = if *code == 0 {
            stdout(&output)
        } else {
            stderr(&output)
        };
        for words in *says {
            assert!(heard.contains(words), "`{words}` is not in: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_titancompute_say_what_they_should() {
    let Some(foreign) = Foreign::installed() else {
        return;
    };
    let mesh = titancompute::with_model(titancompute::LEGACY).await;
    run(&mesh, &foreign, TITANCOMPUTE).await;
}
