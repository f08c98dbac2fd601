//! Bad input and bad surroundings: each refused with words that help.

use std::{fs, net::TcpListener};

use embermesh_index_server::{IndexConfig, IndexError};
use embermesh_proto::v1::{
    self, JobState, index_client::IndexClient, registry_client::RegistryClient,
};
use tonic::Code;

use crate::support::{self, World, rand_key, spec};

#[tokio::test]
async fn a_caller_without_a_key_is_told_what_is_missing() {
    let world = World::start().await;
    let channel = world.plain().await;
    let mut index = IndexClient::new(channel.clone());
    let submit = v1::SubmitRequest {
        spec: spec("plain").canonical().into(),
        idempotency_key: rand_key().to_vec().into(),
        ..v1::SubmitRequest::default()
    };
    let refused = index.submit(submit).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("TLS"), "{}", refused.message());
    let refused = index
        .list_nodes(v1::ListNodesRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let heartbeat = RegistryClient::new(channel)
        .heartbeat(v1::HeartbeatRequest::default())
        .await;
    assert_eq!(heartbeat.unwrap_err().code(), Code::Unauthenticated);
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn malformed_requests_name_their_field() {
    let world = World::start().await;
    let client = world.peer(1).await;
    let mut index = client.index.clone();
    let canonical = spec("x").canonical();
    let mut spaced = canonical.clone();
    spaced.push(b' ');
    let unknown = String::from_utf8(canonical.clone())
        .unwrap()
        .replacen('{', "{\"aaa\":1,", 1);
    let cases: [(Vec<u8>, Vec<u8>, &str); 6] = [
        (canonical.clone(), vec![1; 15], "idempotency_key"),
        (canonical.clone(), Vec::new(), "idempotency_key"),
        (spaced, vec![1; 16], "spec"),
        (unknown.into_bytes(), vec![1; 16], "spec"),
        (b"{}".to_vec(), vec![1; 16], "spec"),
        (vec![b' '; 300 << 10], vec![1; 16], "spec"),
    ];
    for (spec, idempotency_key, field) in cases {
        let request = v1::SubmitRequest {
            spec: spec.into(),
            idempotency_key: idempotency_key.into(),
            ..v1::SubmitRequest::default()
        };
        let refused = index.submit(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(field), "{refused}");
    }
    let huge = v1::SubmitRequest {
        spec: vec![b' '; 2 << 20].into(),
        idempotency_key: vec![1; 16].into(),
        ..v1::SubmitRequest::default()
    };
    let refused = index.submit(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let get = |job_id: &str| v1::GetJobRequest {
        job_id: job_id.to_owned(),
    };
    assert_eq!(
        index.get_job(get("nonsense")).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let nowhere = "01890000-0000-7000-8000-000000000001";
    assert_eq!(
        index.get_job(get(nowhere)).await.unwrap_err().code(),
        Code::NotFound
    );
    let refused = client
        .registry
        .clone()
        .register_node(v1::RegisterNodeRequest {
            advert: vec![7; 200].into(),
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = client
        .registry
        .clone()
        .orders(v1::OrdersRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_names_one_spec_and_a_client_has_a_bound() {
    let world = World::with(|config| config.limits.open_jobs_per_client = 2).await;
    let client = world.peer(1).await;
    let key = rand_key();
    let first = client
        .try_submit(&spec("a"), key)
        .await
        .unwrap()
        .job
        .unwrap();
    let again = client
        .try_submit(&spec("a"), key)
        .await
        .unwrap()
        .job
        .unwrap();
    assert_eq!(first.id, again.id);
    let refused = client.try_submit(&spec("b"), key).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    client.submit("b").await;
    let refused = client.try_submit(&spec("c"), rand_key()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    world.peer(2).await.submit("c").await;
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let world = World::start().await;
    let client = world.peer(1).await;
    let mut submitted = Vec::new();
    for n in 0..7 {
        submitted.push(client.submit(&format!("job {n}")).await.job.unwrap().id);
    }
    let cancelled = submitted[3].clone();
    let request = v1::CancelJobRequest {
        job_id: cancelled.clone(),
    };
    client.index.clone().cancel_job(request).await.unwrap();
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListJobsRequest {
            page_size: 3,
            page_token: token,
            states: Vec::new(),
        };
        let page = client
            .index
            .clone()
            .list_jobs(request)
            .await
            .unwrap()
            .into_inner();
        assert!(page.jobs.len() <= 3);
        seen.extend(page.jobs.into_iter().map(|job| job.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let mut expected = submitted.clone();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(seen, expected);
    let request = v1::ListJobsRequest {
        page_size: 0,
        page_token: String::new(),
        states: vec![JobState::Cancelled.into()],
    };
    let page = client
        .index
        .clone()
        .list_jobs(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        page.jobs.iter().map(|job| &job.id).collect::<Vec<_>>(),
        [&cancelled]
    );
    let request = v1::ListJobsRequest {
        page_size: 501,
        ..v1::ListJobsRequest::default()
    };
    let refused = client.index.clone().list_jobs(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn nodes_come_in_pages_by_key() {
    let world = World::start().await;
    let mut expected = Vec::new();
    for n in 1..=5 {
        let node = world.peer(n).await;
        node.register(1).await;
        expected.push(node.id());
    }
    expected.sort_unstable();
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    let client = world.peer(100).await;
    let list = |page_size, page_token: &str| {
        let request = v1::ListNodesRequest {
            page_size,
            page_token: page_token.to_owned(),
        };
        let mut index = client.index.clone();
        async move { index.list_nodes(request).await }
    };
    let (mut seen, mut pages, mut token) = (Vec::new(), 0, String::new());
    loop {
        let page = list(2, &token).await.unwrap().into_inner();
        assert!(page.nodes.len() <= 2);
        pages += 1;
        let peers = page.nodes.into_iter().filter_map(|node| node.address);
        seen.extend(peers.map(|address| address.peer_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (expected.clone(), 3));
    let all = list(0, "").await.unwrap().into_inner();
    assert_eq!((all.nodes.len(), all.next_page_token.as_str()), (5, ""));
    for (size, token, field) in [(501, "", "page_size"), (1, "nobody", "page_token")] {
        let refused = list(size, token).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused}");
    }
    world.index.stop().await.unwrap();
}

#[tokio::test]
async fn ports_and_folders_in_use_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = support::config(dir.path());
    config.listen = address;
    let refused = support::start(config, &support::key(1))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, IndexError::Road(_)));
    assert!(
        refused.to_string().contains(&address.to_string()),
        "{refused}"
    );

    let mut config = support::config(dir.path());
    config.metrics.listen = address;
    let refused = support::start(config, &support::key(1))
        .await
        .err()
        .unwrap();
    assert!(
        refused.to_string().contains(&address.to_string()),
        "{refused}"
    );
    assert!(refused.to_string().contains("metrics.listen"), "{refused}");

    let mut config = support::config(dir.path());
    config.mesh.listen = vec![format!("/ip4/127.0.0.1/tcp/{}", address.port())];
    let refused = support::start(config, &support::key(1))
        .await
        .err()
        .unwrap();
    assert!(
        refused.to_string().contains(&address.port().to_string()),
        "{refused}"
    );

    // None of these failures held on to anything.
    let config = support::config(dir.path());
    let index = support::start(config.clone(), &support::key(1))
        .await
        .unwrap();
    let refused = support::start(config.clone(), &support::key(1))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, IndexError::Folder(_)), "{refused}");
    index.stop().await.unwrap();
    let refused = support::start(config.clone(), &support::key(2))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, IndexError::Store(_)), "{refused}");
    assert!(
        refused
            .to_string()
            .contains(&support::key(1).peer_id().to_string())
    );
    fs::write(
        config.data_dir.join("index.db"),
        "no database at all, but longer than a header is: ".repeat(50),
    )
    .unwrap();
    let refused = support::start(config, &support::key(1))
        .await
        .err()
        .unwrap();
    assert!(refused.to_string().contains("damaged"), "{refused}");
}

#[tokio::test]
async fn numbers_that_cannot_work_name_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let interval = "leases.heartbeat_interval_ms";
    type Case = (fn(&mut IndexConfig), &'static str);
    let cases: [Case; 3] = [
        (
            |config| config.leases.heartbeat_interval_ms = config.leases.lease_ms,
            interval,
        ),
        (
            |config| config.leases.heartbeat_interval_ms = u64::MAX,
            interval,
        ),
        (
            |config| config.limits.watches = usize::MAX,
            "limits.watches",
        ),
    ];
    for (change, key) in cases {
        let mut config = support::config(dir.path());
        change(&mut config);
        let refused = support::start(config, &support::key(1))
            .await
            .err()
            .unwrap();
        assert!(refused.to_string().contains(key), "{refused}");
    }
}
