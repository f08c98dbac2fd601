//! The daemon of CyxWiz at the process of a node: its owner sees what it has earned and
//! logged, and ends it.

use embermesh_proto::cyxwiz::daemon::{self as wire, daemon_service_client::DaemonServiceClient};
use tonic::{Request, transport::Channel};

use crate::support::{Mesh, digits_job, ended, stderr};

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_node_sees_what_it_earned_and_ends_it() {
    // The settings of a mesh end with those of its nodes: a hundredth for a second.
    let more = "price = \"36.0\"\ndialects = [\"cyxwiz\"]\n";
    let mut mesh = Mesh::start_with(1, more).await;
    let own = mesh.json(&["account", "show"]).await;
    let me = own["account"].as_str().unwrap();
    let index_key = mesh.path().join("index").join("key.pem");
    let key = index_key.to_str().unwrap();
    mesh.json(&["account", "deposit", me, "5", "--key", key])
        .await;
    let job = digits_job(mesh.path(), "paid", 1);
    let paid = ["submit", job.to_str().unwrap(), "--follow", "--budget", "3"];
    let output = mesh.run(&paid).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let jobs = mesh.json(&["jobs", "ls"]).await;
    let id = jobs[0]["id"].as_str().unwrap().to_owned();
    let charged = mesh.json(&["jobs", "get", &id]).await["charge"]["charged"]
        .as_u64()
        .unwrap();

    let node = &mesh.nodes[0];
    let address = node.address();
    let address = address.split("/p2p/").next().unwrap().to_owned();
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut daemon = DaemonServiceClient::new(channel.connect().await.unwrap());
    let word = mesh.path().join("node-1").join("owner.token");
    let word = std::fs::read_to_string(word).unwrap();
    let bearer = format!("Bearer {}", word.trim());
    macro_rules! owned {
        ($message:expr) => {{
            let mut request = Request::new($message);
            request
                .metadata_mut()
                .insert("authorization", bearer.parse().unwrap());
            request
        }};
    }
    let earned = daemon
        .get_earnings(owned!(wire::GetEarningsRequest::default()))
        .await
        .unwrap()
        .into_inner()
        .earnings
        .unwrap();
    let micros = |units: f64| (units * 1e6).round() as u64;
    assert_eq!(
        (micros(earned.all_time), earned.jobs_completed),
        (charged, 1)
    );
    assert_eq!(micros(earned.this_week), charged);
    let wallet = daemon
        .get_wallet_info(owned!(wire::GetWalletInfoRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (micros(wallet.balance), wallet.is_connected),
        (charged, true)
    );
    assert_eq!(wallet.wallet_address, node.peer());
    let status = daemon
        .get_status(owned!(wire::GetStatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    let connected = wire::ConnectionStatus::Connected;
    assert_eq!(status.central_server_status(), connected);
    // The node says nothing of it on stderr: its log there has warnings alone.
    let lines = daemon
        .get_logs(owned!(wire::GetLogsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let started = |line: &wire::LogEntry| {
        line.level == "INFO" && line.message.contains("starts") && line.message.contains(&id)
    };
    assert!(lines.entries.iter().any(started), "{lines:?}");

    let stopped = daemon
        .shutdown(owned!(wire::ShutdownRequest { graceful: true }))
        .await
        .unwrap()
        .into_inner();
    assert!(stopped.success, "{stopped:?}");
    let status = ended(&mut mesh.nodes[0].child).await;
    assert!(status.success(), "{status:?}");
}
