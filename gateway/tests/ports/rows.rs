//! What the documentation says of each call is so.

use bytes::Bytes;
use embermesh_dialects::Profile;
use embermesh_mesh::road::ListenConfig;
use tonic::Code;

use crate::support::{ALL, Ports, answer, connect};

const DOCS: &str = include_str!("../../../docs/dialects.md");
/// Services, and calls, that a node has and an index has not.
const OF_NODES: [&str; 9] = [
    "cyxwiz.daemon.DaemonService/",
    "cyxwiz.protocol.ComputeService/",
    "cyxwiz.protocol.JobExecutionService/",
    "cyxwiz.protocol.NodeService/AssignJob",
    "cyxwiz.protocol.P2PTrainingService/",
    "dim.daemon.Daemon/GetHealth",
    "dim.daemon.Daemon/GetStats",
    "nodepool.WorkerNodeService/",
    "taskworker.TaskWorkerService/",
];

#[tokio::test]
async fn every_row_of_the_documentation_is_so() {
    let ports = Ports::start().await;
    let usual = ListenConfig::default();
    let port = ports.open(&usual, &ALL, Profile::Documented).await;
    let channel = connect(port).await.unwrap();
    let (mut works, mut refused) = (0, 0);
    for line in DOCS.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [rpc, state, ..] = cells.as_slice() else {
            continue;
        };
        let rpc = rpc.trim_matches('`');
        let at_a_node = OF_NODES.iter().any(|of| rpc.starts_with(of));
        if !rpc.contains('/') || at_a_node {
            continue;
        }
        match *state {
            "works" => {
                let said = answer(&channel, rpc, Bytes::new()).await;
                let code = said.code();
                let broken = [Code::Unimplemented, Code::Internal, Code::Unknown];
                assert!(!broken.contains(&code), "{rpc}: {said}");
                works += 1;
            }
            "refused" => {
                let said = answer(&channel, rpc, Bytes::new()).await;
                assert_eq!(said.code(), Code::Unimplemented, "{rpc}: {said}");
                assert!(!said.message().is_empty(), "{rpc} has no reason");
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(works > 80 && refused > 10, "{works} work, {refused} do not");
}
