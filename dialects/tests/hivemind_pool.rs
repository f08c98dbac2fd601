//! HiveMind's users, nodes and workers over a real server.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

mod support;

use embermesh_crypto::{Keypair, UnixMillis};
use embermesh_dialects::{Profile, port::nodes::NodeView};
use embermesh_job::address::PeerAddress;
use embermesh_proto::hivemind::{
    nodepool::{
        self, master_node_service_client::MasterNodeServiceClient as Tasks,
        node_manager_service_client::NodeManagerServiceClient as Nodes,
        user_service_client::UserServiceClient as Users,
    },
    shipped::{
        self, node_manager_service_client::NodeManagerServiceClient as ShippedNodes,
        user_service_client::UserServiceClient as ShippedUsers,
    },
    taskworker::{
        self, dns_service_client::DnsServiceClient, file_service_client::FileServiceClient,
        rpc_service_client::RpcServiceClient,
    },
};
use support::{by, pool};
use tonic::Code;

#[tokio::test]
async fn a_user_is_made_logs_in_and_is_told_what_is_wrong() {
    let (_, channel) = pool(Profile::Documented).await;
    let mut users = Users::new(channel);
    let user = |name: &str, password: &str| (name.to_owned(), password.to_owned());
    for ((username, password), head) in [
        (user("testuser", "password123"), "0 SUCCESS: "),
        (user("testuser", "password123"), "1003 USER_EXISTS: "),
        (user("other", "short"), "1002 INVALID_PASSWORD: "),
    ] {
        let request = nodepool::RegisterRequest { username, password };
        let answer = users.register(request).await.unwrap().into_inner();
        assert!(answer.message.starts_with(head), "{}", answer.message);
        assert_eq!(answer.success, head.starts_with("0 "));
    }
    for ((username, password), head, token) in [
        (
            user("testuser", "password123"),
            "0 SUCCESS: ",
            "token-of-testuser",
        ),
        (
            user("testuser", "password124"),
            "1002 INVALID_PASSWORD: ",
            "",
        ),
        (user("nobody", "password123"), "1001 USER_NOT_FOUND: ", ""),
    ] {
        let request = nodepool::LoginRequest { username, password };
        let answer = users.login(request).await.unwrap().into_inner();
        assert!(answer.message.starts_with(head), "{}", answer.message);
        assert_eq!(answer.token, token);
    }
}

#[tokio::test]
async fn only_the_owner_sees_and_moves_a_balance() {
    let (memory, channel) = pool(Profile::Documented).await;
    memory.kept().balances.insert("ada".to_owned(), 5_900_000);
    let mut users = Users::new(channel);
    let ask = |username: &str, token: &str| nodepool::GetBalanceRequest {
        username: username.to_owned(),
        token: token.to_owned(),
    };
    let own = users
        .get_balance(ask("ada", "token-of-ada"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((own.success, own.balance), (true, 5));
    let by_metadata = users.get_balance(by("ada", ask("ada", ""))).await.unwrap();
    assert_eq!(by_metadata.into_inner().balance, 5);
    for (name, token) in [("ada", "token-of-bob"), ("ada", "wrong"), ("ada", "")] {
        let other = users
            .get_balance(ask(name, token))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((other.success, other.balance), (false, 0));
        assert!(
            other.message.starts_with("1004 INVALID_SESSION: "),
            "{}",
            other.message
        );
    }
    let give = |to: &str, amount| nodepool::TransferRequest {
        token: "token-of-ada".to_owned(),
        receiver_username: to.to_owned(),
        amount,
    };
    for (to, amount, head) in [
        ("bob", 2, "0 SUCCESS: "),
        ("bob", 2, "0 SUCCESS: "),
        ("bob", 2, "2003 INSUFFICIENT_RESOURCES: "),
        ("nobody", 1, "1001 USER_NOT_FOUND: "),
        ("bob", 0, "9999 "),
        ("bob", -1, "9999 "),
        ("bob", i64::MAX, "9999 "),
        ("ada", 1, "9999 "),
    ] {
        let given = users.transfer(give(to, amount)).await.unwrap().into_inner();
        assert!(
            given.message.starts_with(head),
            "{to} {amount}: {}",
            given.message
        );
    }
    let kept = memory.kept();
    assert_eq!(
        (kept.balances["ada"], kept.balances["bob"]),
        (1_900_000, 4_000_000)
    );
}

#[tokio::test]
async fn the_shipped_word_for_no_session_stands_alone() {
    let (_, channel) = pool(Profile::Shipped).await;
    let request = shipped::GetBalanceRequest {
        username: "ada".to_owned(),
        token: "wrong".to_owned(),
    };
    let answer = ShippedUsers::new(channel)
        .get_balance(request)
        .await
        .unwrap();
    assert_eq!(answer.into_inner().message, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn nodes_are_listed_for_users_and_their_health_is_told() {
    let (memory, channel) = pool(Profile::Documented).await;
    let peer = Keypair::from_seed(&[7; 32]).peer_id();
    memory.kept().nodes.push(NodeView {
        address: PeerAddress {
            peer,
            tls: vec!["192.0.2.1:7443".to_owned()],
            mesh: Vec::new(),
        },
        live: false,
        last_seen: UnixMillis(2500),
        running: 0,
        advert: None,
    });
    let mut nodes = Nodes::new(channel);
    let list = nodepool::GetNodeListRequest {};
    let refused = nodes.get_node_list(list).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let list = nodes
        .get_node_list(by("ada", list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.nodes.len(), 1);
    assert_eq!(list.nodes[0].node_id, peer.to_string());
    assert_eq!(
        (list.nodes[0].hostname.as_str(), list.nodes[0].port),
        ("192.0.2.1", 7443)
    );
    for (node_id, status, head) in [
        (String::new(), "healthy", "0 "),
        (peer.to_string(), "offline", "2002 NODE_OFFLINE: "),
        ("worker-001".to_owned(), "unknown", "2001 NODE_NOT_FOUND: "),
    ] {
        let health = nodes
            .health_check(nodepool::HealthCheckRequest { node_id })
            .await;
        let health = health.unwrap().into_inner();
        assert_eq!(health.status, status);
        assert!(health.message.starts_with(head), "{}", health.message);
    }
}

#[tokio::test]
async fn a_worker_is_its_owners_and_speaks_only_of_tasks_that_it_was_given() {
    let (memory, channel) = pool(Profile::Documented).await;
    let mut nodes = Nodes::new(channel.clone());
    let worker = nodepool::RegisterWorkerNodeRequest {
        node_id: "w".to_owned(),
        hostname: "192.0.2.5".to_owned(),
        memory_gb: 16,
        port: 50_052,
        gpu_name: "RTX 4090".to_owned(),
        last_heartbeat: 1_640_995_200.0,
        ..nodepool::RegisterWorkerNodeRequest::default()
    };
    let known = nodes
        .register_worker_node(by("ada", worker.clone()))
        .await
        .unwrap();
    assert!(known.into_inner().success);
    let stolen = nodes
        .register_worker_node(by("bob", worker.clone()))
        .await
        .unwrap();
    assert!(!stolen.into_inner().success);
    let none = nodes
        .register_worker_node(worker)
        .await
        .unwrap()
        .into_inner();
    assert!(none.message.starts_with("1004 "), "{}", none.message);
    {
        let kept = memory.kept();
        let (owner, offer) = &kept.workers["w"];
        assert_eq!(owner, "ada");
        assert_eq!((offer.host.as_str(), offer.port), ("192.0.2.5", 50_052));
        assert_eq!(offer.form, Profile::Documented);
        assert_eq!(offer.gpu.as_deref(), Some("RTX 4090"));
        assert_eq!(offer.memory, 16 << 30);
    }
    // The shipped form, sent to the same listener.
    let shipped = shipped::RegisterWorkerNodeRequest {
        node_id: "s".to_owned(),
        port: 50_053,
        gpu_name: "A100".to_owned(),
        ..shipped::RegisterWorkerNodeRequest::default()
    };
    let mut other = ShippedNodes::new(channel.clone());
    let known = other
        .register_worker_node(by("ada", shipped))
        .await
        .unwrap();
    assert!(known.into_inner().success);
    {
        let kept = memory.kept();
        let (_, offer) = &kept.workers["s"];
        assert_eq!(offer.gpu.as_deref(), Some("A100"));
        assert_eq!(offer.form, Profile::Shipped);
    }

    memory.kept().given.insert("t".to_owned(), "w".to_owned());
    let mut tasks = Tasks::new(channel);
    let output = |task: &str| nodepool::StoreOutputRequest {
        task_id: task.to_owned(),
        output: "hello".to_owned(),
    };
    for (who, task, head) in [
        ("ada", "t", "0 SUCCESS: "),
        ("bob", "t", "3002 TASK_FAILED: "),
        ("ada", "another", "3001 TASK_NOT_FOUND: "),
    ] {
        let kept = tasks
            .store_output(by(who, output(task)))
            .await
            .unwrap()
            .into_inner();
        assert!(kept.message.starts_with(head), "{}", kept.message);
    }
    let completed = |node: &str| nodepool::TaskCompletedRequest {
        task_id: "t".to_owned(),
        node_id: node.to_owned(),
        success: false,
    };
    let wrong = tasks
        .task_completed(by("ada", completed("s")))
        .await
        .unwrap();
    assert!(!wrong.into_inner().success);
    let right = tasks
        .task_completed(by("ada", completed("w")))
        .await
        .unwrap();
    assert!(right.into_inner().success);
    let said = memory.kept().said.clone();
    assert_eq!(
        said.iter()
            .map(|(_, text)| text.as_str())
            .collect::<Vec<_>>(),
        ["hello", "well: false"]
    );
}

#[tokio::test]
async fn what_workers_do_for_programs_elsewhere_is_refused_with_the_reason() {
    let (_, channel) = pool(Profile::Documented).await;
    let mut files = FileServiceClient::new(channel.clone());
    let mut calls = RpcServiceClient::new(channel.clone());
    let mut resolver = DnsServiceClient::new(channel);
    let push = taskworker::PushRequest {
        filename: "../../etc/passwd".to_owned(),
        ..Default::default()
    };
    let answers = [
        files.push(push).await.map(drop),
        files.get(taskworker::GetRequest::default()).await.map(drop),
        files
            .revise(taskworker::ReviseRequest::default())
            .await
            .map(drop),
        files
            .synchronous(taskworker::SynchronousRequest::default())
            .await
            .map(drop),
        calls
            .call_function(taskworker::FunctionCallRequest::default())
            .await
            .map(drop),
        resolver
            .resolve_domain(taskworker::DnsRequest::default())
            .await
            .map(drop),
    ];
    for answer in answers {
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert!(refused.message().contains("task"), "{refused}");
    }
}
