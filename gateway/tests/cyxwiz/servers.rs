//! What server nodes may, and what becomes of their jobs.

use embermesh_crypto::Keypair;
use embermesh_job::lifecycle::JobState;
use embermesh_proto::cyxwiz::protocol as wire;
use tonic::Code;

use crate::{
    ears::listen,
    support::{FLOWERS, Index, Node, by, registration, update},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_given_a_job_and_its_owner_sees_how_it_is() {
    let index = Index::start().await;
    let ada = index.pass("ada").await;
    let mut node = Node::join(&index, "bob", "node-1").await;
    assert_eq!(node.id, "node-1");
    let id = index.submit(&ada, "t").await;
    let (assigned, sent) = node.job().await;
    assert_eq!((&*id, &*assigned.node_id), ("t", "node-1"));
    let config = assigned.job.unwrap();
    assert_eq!((&*config.job_id, config.epochs), ("t", 2));
    assert_eq!(&*config.dataset_uri, "remote://initial_data");
    assert_eq!(&sent.initial_dataset[..], FLOWERS);

    // Its owner may come there, with a token that opens that door.
    index
        .until("ada", "t", |job| job.state == JobState::Assigned)
        .await;
    let assignment = index.assignment(&ada, "t").await.unwrap();
    assert_eq!(assignment.node_endpoint, format!("127.0.0.1:{}", node.port));
    node.verify(&assignment.auth_token, "t");
    assert!(
        node.beat(&index, &["t", "of another index"])
            .await
            .is_empty()
    );

    assert!(node.progress(&index, "t", 0.5).await);
    let job = index.job("ada", "t").await;
    assert_eq!(
        (job.state, job.progress, job.pass.0),
        (JobState::Running, 0.5, 1)
    );
    assert_eq!(job.metrics["loss"], 0.5);
    assert_eq!(job.node.as_deref(), Some("node-1"));

    assert_eq!(node.ends(&index, "t").await, None);
    let job = index.job("ada", "t").await;
    assert_eq!((job.state, job.progress), (JobState::Succeeded, 1.0));
    assert_eq!(job.metrics["accuracy"], 0.9);
    assert_eq!(job.node.as_deref(), Some("node-1"));
    // What it says of the weights is said to be its word, and no receipt is made up.
    assert!(
        job.message.contains("file:///weights/t.bin"),
        "{}",
        job.message
    );
    assert!(job.message.contains("nobody here has seen them"));
    assert!(job.receipt.is_none() && job.artifacts.is_empty());
    // Said again, it is answered again; what comes later is not taken.
    assert_eq!(node.ends(&index, "t").await, None);
    assert!(!node.progress(&index, "t", 0.7).await);
    assert_eq!(index.job("ada", "t").await.progress, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another_or_of_what_it_has_not() {
    let index = Index::start().await;
    let (ada, eve) = (index.pass("ada").await, index.pass("eve").await);
    let mut node = Node::join(&index, "bob", "node-1").await;
    let other = Node::join(&index, "eve", "").await;
    assert!(!other.id.is_empty() && other.key != node.key);
    index.submit(&ada, "t").await;
    // One of the two has it; the other speaks of it in vain.
    index
        .until("ada", "t", |job| job.state == JobState::Assigned)
        .await;
    let has = index.job("ada", "t").await.node.unwrap();
    let (owner, stranger) = if has == node.id {
        node.job().await;
        (&node, &other)
    } else {
        (&other, &node)
    };
    assert!(!stranger.progress(&index, "t", 0.9).await);
    assert!(stranger.ends(&index, "t").await.is_some());
    assert!(stranger.ends(&index, "u").await.is_some());
    assert!(owner.progress(&index, "t", 0.1).await);

    let mut nodes = index.nodes().await;
    let mut statuses = index.statuses().await;
    // An id is its first user's, and a node of the mesh's is nobody's.
    let stolen = nodes
        .register_node(by(&eve, registration("node-1", "127.0.0.1", 9)))
        .await;
    assert_eq!(stolen.unwrap_err().code(), Code::PermissionDenied);
    let peer = Keypair::from_seed(&[1; 32]).peer_id().to_string();
    let posed = nodes
        .register_node(by(&eve, registration(&peer, "127.0.0.1", 9)))
        .await;
    assert!(posed.unwrap().into_inner().error.is_some());
    let beat = |id: &str| wire::HeartbeatRequest {
        node_id: id.to_owned(),
        ..Default::default()
    };
    let posed = nodes.heartbeat(by(&eve, beat("node-1"))).await;
    assert_eq!(posed.unwrap_err().code(), Code::PermissionDenied);
    let unknown = nodes.heartbeat(by(&eve, beat("node-9"))).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let posed = statuses
        .update_job_status(by(&eve, update("node-1", "t", 0.9)))
        .await;
    assert_eq!(posed.unwrap_err().code(), Code::PermissionDenied);
    // Without a token nobody is anybody.
    let nobody = [
        nodes
            .register_node(registration("node-2", "127.0.0.1", 9))
            .await
            .map(drop),
        nodes.heartbeat(beat("node-1")).await.map(drop),
        statuses
            .update_job_status(update("node-1", "t", 0.9))
            .await
            .map(drop),
    ];
    for refused in nobody {
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }
    assert_eq!(index.job("ada", "t").await.progress, 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_called_where_it_registered_from_and_nowhere_else() {
    let index = Index::start().await;
    let (ada, eve) = (index.pass("ada").await, index.pass("eve").await);
    // Somebody else's program, at an address that is not its own.
    let (port, mut victim) = listen("127.0.0.2:0").await;
    let request = by(&eve, registration("node-1", "127.0.0.2", port));
    let answer = index.nodes().await.register_node(request).await.unwrap();
    assert_eq!(answer.into_inner().error, None);
    index.submit(&ada, "t").await;
    let job = index
        .until("ada", "t", |job| job.message.contains("cannot be reached"))
        .await;
    assert!(
        job.message.contains(&format!("127.0.0.1:{port}")),
        "{}",
        job.message
    );
    assert!(job.message.contains("it waits for"), "{}", job.message);
    assert_eq!(job.state, JobState::Queued);
    assert!(victim.try_recv().is_err());
    assert_eq!(index.assignment(&ada, "t").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_server_that_is_gone_goes_to_another_and_late_words_are_refused() {
    let index = Index::start().await;
    let ada = index.pass("ada").await;
    // It takes a job, and is not heard of any more.
    let mut first = Node::join(&index, "bob", "first").await;
    index.submit(&ada, "t").await;
    first.job().await;
    assert!(first.progress(&index, "t", 0.5).await);
    let lost = index
        .until("ada", "t", |job| job.state == JobState::Queued)
        .await;
    assert!(
        lost.message.contains("\"first\" was lost"),
        "{}",
        lost.message
    );
    assert_eq!((lost.progress, lost.node), (0.0, None));
    let mut second = Node::join(&index, "eve", "second").await;
    let (assigned, _) = second.job().await;
    assert_eq!(assigned.job.unwrap().job_id, "t");
    // What the first says now is of an attempt that is over, and it shall stop that.
    assert!(!first.progress(&index, "t", 0.9).await);
    assert!(first.ends(&index, "t").await.is_some());
    assert_eq!(first.beat(&index, &["t"]).await, ["t"]);
    assert_ne!(index.job("ada", "t").await.progress, 0.9);
    assert_eq!(second.ends(&index, "t").await, None);
    let job = index.job("ada", "t").await;
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(job.node.as_deref(), Some("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_stays_with_its_server_when_the_index_starts_anew() {
    let index = Index::start().await;
    let ada = index.pass("ada").await;
    let mut node = Node::join(&index, "bob", "node-1").await;
    index.submit(&ada, "t").await;
    node.job().await;
    assert!(node.progress(&index, "t", 0.5).await);
    let key = node.key.clone();
    let index = index.restart().await;
    // It goes on as if nothing had been, without joining again.
    let job = index.job("ada", "t").await;
    assert_eq!(
        (job.state, job.node.as_deref()),
        (JobState::Assigned, Some("node-1"))
    );
    assert!(node.beat(&index, &["t"]).await.is_empty());
    let assignment = index.assignment(&ada, "t").await.unwrap();
    node.verify(&assignment.auth_token, "t");
    assert!(node.progress(&index, "t", 0.75).await);
    assert_eq!(node.ends(&index, "t").await, None);
    let index = index.restart().await;
    assert_eq!(index.job("ada", "t").await.state, JobState::Succeeded);
    assert_eq!(
        node.ends(&index, "t").await,
        None,
        "as it was answered before"
    );
    // A node that joins again is who it was.
    let request = by(&node.token, registration("node-1", "127.0.0.1", node.port));
    let again = index.nodes().await.register_node(request).await.unwrap();
    assert_eq!(again.into_inner().session_token, key);
    assert!(node.is_told_nothing());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_its_owner_ends_is_to_be_stopped() {
    let index = Index::start().await;
    let ada = index.pass("ada").await;
    let mut node = Node::join(&index, "bob", "node-1").await;
    index.submit(&ada, "t").await;
    node.job().await;
    assert!(node.progress(&index, "t", 0.5).await);
    let request = wire::CancelJobRequest {
        job_id: "t".to_owned(),
        reason: "enough".to_owned(),
    };
    let mut jobs = wire::job_service_client::JobServiceClient::new(index.channel().await);
    let answer = jobs.cancel_job(by(&ada, request)).await.unwrap();
    assert_eq!(answer.into_inner().status, 6);
    assert_eq!(index.job("ada", "t").await.state, JobState::Cancelled);
    assert!(!node.progress(&index, "t", 0.6).await);
    assert_eq!(node.beat(&index, &["t"]).await, ["t"]);
    assert!(node.ends(&index, "t").await.is_some());
    let job = index.job("ada", "t").await;
    assert_eq!((job.state, job.progress), (JobState::Cancelled, 0.5));
    // A server gives up what it has; it cancels nothing.
    index.submit(&ada, "u").await;
    node.job().await;
    let request = wire::ReportJobResultRequest {
        node_id: node.id.clone(),
        job_id: "u".to_owned(),
        final_status: 6,
        ..Default::default()
    };
    let mut statuses = index.statuses().await;
    let answer = statuses.report_job_result(by(&node.token, request)).await;
    assert_eq!(answer.unwrap().into_inner().error, None);
    let job = index.job("ada", "u").await;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.message.contains("given the job up"), "{}", job.message);
}
