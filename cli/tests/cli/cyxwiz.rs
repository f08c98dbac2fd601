//! A client of CyxWiz trains on a real node, watches it, pays, and is kept apart from
//! the others.

use std::time::Duration;

use embermesh_proto::cyxwiz::{
    protocol::{
        CancelJobRequest, CreateEscrowRequest, DeleteJobRequest, EstimateJobCostRequest,
        GetBalanceRequest, GetJobStatusRequest, GetTransactionHistoryRequest, JobConfig, JobStatus,
        ListNodesRequest, NodeAssignment, ReleaseEscrowRequest, SubmitJobRequest,
        job_service_client::JobServiceClient,
        node_discovery_service_client::NodeDiscoveryServiceClient,
        wallet_service_client::WalletServiceClient,
    },
    shipped,
};
use tonic::{Code, Request, transport::Channel};

use crate::support::{Mesh, eventually};

/// What an hour on a node of the test costs, in millionths.
const PRICE: &str = "price = 3600000\n";
const MODEL: &str = r#"{"type": "mlp", "input_size": 4, "hidden_layers": [16], "output_size": 3}"#;

/// Somebody with a token.
pub(crate) struct Somebody {
    pub(crate) account: String,
    pub(crate) token: String,
}

impl Somebody {
    pub(crate) async fn new(mesh: &Mesh, name: &str) -> Self {
        let pass = mesh.pass("cyxwiz", name).await;
        let text = |field: &str| pass[field].as_str().unwrap().to_owned();
        Self {
            account: text("account"),
            token: text("token"),
        }
    }

    pub(crate) fn says<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub(crate) async fn status(&self, jobs: &JobServiceClient<Channel>, job: &str) -> JobStatus {
        let request = self.says(named(job));
        let answer = jobs.clone().get_job_status(request).await.unwrap();
        answer.into_inner().status.unwrap()
    }

    /// The node of a job, with the permission for it, once it has one.
    pub(crate) async fn assigned(
        &self,
        jobs: &JobServiceClient<Channel>,
        job: &str,
    ) -> Option<NodeAssignment> {
        let request = self.says(named(job));
        let answer = jobs.clone().get_job_status(request).await.unwrap();
        answer.into_inner().node_assignment
    }

    pub(crate) async fn has(&self, wallet: &mut WalletServiceClient<Channel>) -> f64 {
        let request = self.says(GetBalanceRequest::default());
        wallet
            .get_balance(request)
            .await
            .unwrap()
            .into_inner()
            .cyxwiz_balance
    }
}

pub(crate) fn named(job: &str) -> GetJobStatusRequest {
    GetJobStatusRequest {
        job_id: job.to_owned(),
    }
}

fn cancel(job: &str) -> CancelJobRequest {
    CancelJobRequest {
        job_id: job.to_owned(),
        reason: "enough".to_owned(),
    }
}

/// A training on the flowers, which come with the call.
pub(crate) fn training(epochs: i32) -> SubmitJobRequest {
    let options = [
        ("learning_rate", "0.01"),
        ("validation_split", "0.2"),
        ("seed", "4"),
        ("normalise", "standardise"),
        ("target_column", "species"),
        ("labels", "setosa,versicolor,virginica"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    SubmitJobRequest {
        config: Some(JobConfig {
            job_type: 1,
            model_definition: MODEL.to_owned(),
            hyperparameters: options.into(),
            batch_size: 16,
            epochs,
            estimated_memory: 256 << 20,
            ..JobConfig::default()
        }),
        initial_data: include_bytes!("../../../data/iris.csv").as_slice().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_runs_is_watched_and_is_nobody_elses() {
    let mut mesh = Mesh::start(1).await;
    let (alice, bob) = (
        Somebody::new(&mesh, "alice").await,
        Somebody::new(&mesh, "bob").await,
    );
    let mut jobs = JobServiceClient::new(mesh.channel().await);
    let nobody = jobs.submit_job(training(1)).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);

    // It trains, and says so while it does.
    let answer = jobs.submit_job(alice.says(training(60))).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!((answer.status, answer.error), (7, None));
    let job = answer.job_id;
    let stream = jobs.stream_job_updates(alice.says(named(&job))).await;
    let mut stream = stream.unwrap().into_inner();
    let (mut progressed, mut last) = (0, None);
    while let Some(update) = stream.message().await.unwrap() {
        assert_eq!(update.job_id, job);
        let status = update.status.clone().unwrap();
        if status.status == 3 && status.progress > 0.0 && update.live_metrics.contains_key("loss") {
            progressed += 1;
        }
        last = Some(update);
    }
    let last = last.unwrap();
    let status = last.status.unwrap();
    assert_eq!(status.status, 4, "{:?}: {}", status.error, last.log_message);
    assert!(progressed > 0, "it says how far it is");
    assert!(status.metrics["val_accuracy"] > 0.8, "{:?}", status.metrics);
    assert_eq!(status.current_node_id, mesh.nodes[0].peer());
    assert!(status.start_time > 0 && status.end_time >= status.start_time);
    // The weights are named by their hash, and are what the mesh has under it.
    let weights = last.log_message;
    let (_, weights) = weights.split_once("model.safetensors blake3:").unwrap();
    let (digest, _) = weights.split_once("?size=").unwrap();
    assert_eq!(digest.len(), 64, "{digest}");

    // They are evaluated by another job, by the name of the first.
    let mut request = training(0);
    let config = request.config.as_mut().unwrap();
    config.job_type = 3;
    let weights = format!("job:{job}");
    config.hyperparameters.insert("weights".to_owned(), weights);
    for name in ["learning_rate", "validation_split", "seed"] {
        config.hyperparameters.remove(name);
    }
    let answer = jobs
        .submit_job(alice.says(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.error, None);
    let evaluation = answer.job_id;
    eventually("the evaluation has ended", async || {
        alice.status(&jobs, &evaluation).await.end_time > 0
    })
    .await;
    let evaluated = alice.status(&jobs, &evaluation).await;
    assert_eq!(evaluated.status, 4, "{:?}", evaluated.error);
    assert!(
        evaluated.metrics["accuracy"] > 0.8,
        "{:?}",
        evaluated.metrics
    );

    // One that would go on for long: its node is told, and its cancel frees that.
    let answer = jobs.submit_job(alice.says(training(1_000_000))).await;
    let endless = answer.unwrap().into_inner().job_id;
    eventually("it runs", async || {
        alice.status(&jobs, &endless).await.status == 3
    })
    .await;
    let assigned = alice.assigned(&jobs, &endless).await.unwrap();
    assert_eq!(assigned.node_id, mesh.nodes[0].peer());
    assert_eq!(assigned.node_public_key, assigned.node_id);
    assert_eq!(assigned.auth_token.split('.').count(), 3);

    // Another sees none of it, ends none of it.
    for theirs in [&job, &endless] {
        let status = jobs.get_job_status(bob.says(named(theirs))).await;
        assert_eq!(status.unwrap_err().code(), Code::NotFound);
        let ended = jobs.cancel_job(bob.says(cancel(theirs))).await;
        assert_eq!(ended.unwrap_err().code(), Code::NotFound);
        let stream = jobs.stream_job_updates(bob.says(named(theirs))).await;
        assert_eq!(stream.unwrap_err().code(), Code::NotFound);
        let job_id = theirs.clone();
        let deleted = jobs.delete_job(bob.says(DeleteJobRequest { job_id })).await;
        assert_eq!(deleted.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(alice.status(&jobs, &endless).await.status, 3);
    let ended = jobs.cancel_job(alice.says(cancel(&endless))).await.unwrap();
    let ended = ended.into_inner();
    assert_eq!((ended.status, ended.refund_issued), (6, false));
    eventually("the node is free", async || {
        let nodes = mesh.json(&["nodes", "ls"]).await;
        nodes[0]["running"] == 0
    })
    .await;

    // What was is kept where the index starts again, and so is the token.
    mesh.restart_index(Duration::ZERO).await;
    let mut jobs = JobServiceClient::new(mesh.channel().await);
    let kept = alice.status(&jobs, &job).await;
    assert_eq!((kept.status, kept.metrics), (4, status.metrics));
    let delete = DeleteJobRequest { job_id: job };
    let deleted = jobs.delete_job(alice.says(delete.clone())).await.unwrap();
    assert_eq!(deleted.into_inner().status, 1);
    let again = jobs.delete_job(alice.says(delete)).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_and_an_escrow_are_of_the_ledger() {
    let mesh = Mesh::start_with(1, PRICE).await;
    let (alice, bob) = (
        Somebody::new(&mesh, "alice").await,
        Somebody::new(&mesh, "bob").await,
    );
    let here = mesh.channel().await;
    let mut wallet = WalletServiceClient::new(here.clone());
    // What an hour costs is seen by everybody, and a quote is by it.
    let mut nodes = NodeDiscoveryServiceClient::new(here.clone());
    let listed = nodes.list_nodes(ListNodesRequest::default()).await;
    let listed = listed.unwrap().into_inner().nodes;
    assert!((listed[0].pricing.as_ref().unwrap().price_per_hour - 3.6).abs() < 1e-9);
    assert!(!listed[0].devices.is_empty());
    let quote = EstimateJobCostRequest {
        model_type: MODEL.to_owned(),
        epochs: 10,
        dataset_size: 150,
        node_tier: String::new(),
    };
    let quote = wallet.estimate_job_cost(alice.says(quote)).await;
    let quote = quote.unwrap().into_inner();
    assert_eq!(quote.status, 1, "{}", quote.message);
    let minutes = quote.estimated_time_minutes;
    assert!(quote.estimated_cost > 0.0 && (quote.estimated_cost - 0.06 * minutes).abs() < 1e-6);

    let index_key = mesh.path().join("index").join("key.pem");
    let index_key = ["--key", index_key.to_str().unwrap()];
    let deposit = [
        "account",
        "deposit",
        &alice.account,
        "10",
        "--once",
        "order-1",
    ];
    mesh.json(&[&deposit[..], &index_key].concat()).await;
    assert!((alice.has(&mut wallet).await - 10.0).abs() < f64::EPSILON);
    let escrow = |amount| CreateEscrowRequest {
        job_id: "flowers".to_owned(),
        payer_address: "alice".to_owned(),
        amount,
        expiration_time: 4_000_000_000,
    };
    // More than a year is no escrow; a day is, and once.
    let long = wallet
        .create_escrow(alice.says(escrow(2.5)))
        .await
        .unwrap_err();
    assert_eq!(long.code(), Code::InvalidArgument, "{long}");
    let tomorrow = std::time::SystemTime::now() + Duration::from_secs(24 * 3_600);
    let tomorrow = tomorrow.duration_since(std::time::UNIX_EPOCH).unwrap();
    let escrow = |amount| CreateEscrowRequest {
        expiration_time: i64::try_from(tomorrow.as_secs()).unwrap(),
        ..escrow(amount)
    };
    let first = wallet.create_escrow(alice.says(escrow(2.5))).await.unwrap();
    let first = first.into_inner().escrow_id;
    let again = wallet.create_escrow(alice.says(escrow(2.5))).await.unwrap();
    assert_eq!(again.into_inner().escrow_id, first);
    let funds = ["account", "show", "--account", &alice.account];
    let funds = mesh.json(&[&funds[..], &index_key].concat()).await;
    assert_eq!(funds["available_micros"], 7_500_000);
    assert_eq!(funds["held_micros"], 2_500_000);
    let poor = wallet.create_escrow(alice.says(escrow(7.500_001))).await;
    assert_eq!(poor.unwrap_err().code(), Code::FailedPrecondition);

    // A job that is ended gives back what pays for it; another's cannot be spent.
    let mut jobs = JobServiceClient::new(here);
    let mut request = training(1_000_000);
    request.config.as_mut().unwrap().escrow_tx_hash = first.clone();
    let answer = jobs
        .submit_job(alice.says(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.error, None);
    let release = |escrow: &str, to: &str| ReleaseEscrowRequest {
        escrow_id: escrow.to_owned(),
        recipient_address: to.to_owned(),
    };
    let theirs = wallet
        .release_escrow(bob.says(release(&first, "bob")))
        .await;
    assert_eq!(theirs.unwrap_err().code(), Code::NotFound);
    let ended = jobs.cancel_job(alice.says(cancel(&answer.job_id))).await;
    let ended = ended.unwrap().into_inner();
    assert!(ended.refund_issued, "{:?}", ended.error);
    assert!((alice.has(&mut wallet).await - 10.0).abs() < f64::EPSILON);
    let gone = wallet
        .release_escrow(alice.says(release(&first, "bob")))
        .await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);

    // What is released is paid once.
    let second = wallet.create_escrow(alice.says(escrow(4.0))).await.unwrap();
    let second = second.into_inner().escrow_id;
    let paid = wallet
        .release_escrow(alice.says(release(&second, "bob")))
        .await;
    let paid = paid.unwrap().into_inner();
    let again = wallet
        .release_escrow(alice.says(release(&second, "bob")))
        .await;
    assert_eq!(again.unwrap().into_inner(), paid);
    assert!((bob.has(&mut wallet).await - 4.0).abs() < f64::EPSILON);
    assert!((alice.has(&mut wallet).await - 6.0).abs() < f64::EPSILON);
    let history = GetTransactionHistoryRequest::default();
    let history = wallet.get_transaction_history(alice.says(history)).await;
    let history = history.unwrap().into_inner();
    // The escrow became the job's budget, and that came back.
    assert_eq!(history.total_count, 7);
    let sum: f64 = history.transactions.iter().map(|one| one.amount).sum();
    assert!((sum - 6.0).abs() < 1e-9, "{history:?}");

    // A job that is paid for pays its node for the time it took, and no more.
    let mut request = training(5);
    request.config.as_mut().unwrap().payment_amount = 5.0;
    let answer = jobs.submit_job(alice.says(request)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.error, None);
    eventually("it is done", async || {
        alice.status(&jobs, &answer.job_id).await.status == 4
    })
    .await;
    let cost = 6.0 - alice.has(&mut wallet).await;
    assert!(cost > 0.0 && cost < 3.6, "{cost}");
    let node = mesh.nodes[0].peer();
    let funds = ["account", "show", "--account", &node];
    let funds = mesh.json(&[&funds[..], &index_key].concat()).await;
    let paid = funds["available_micros"].as_f64().unwrap() / 1e6;
    assert!((paid - cost).abs() < 1e-9, "{paid} of {cost}");
    let mut request = training(5);
    request.config.as_mut().unwrap().payment_amount = 50.0;
    let poor = jobs.submit_job(alice.says(request)).await.unwrap();
    let poor = poor.into_inner().error.unwrap();
    assert!(poor.message.contains("are needed"), "{poor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_that_shipped_is_served_to_those_who_are_believed() {
    let settings = "[gateway]\nlegacy = [\"cyxwiz\"]\nprofile = \"shipped\"\n";
    let mesh = Mesh::start_with(0, settings).await;
    let mut jobs = shipped::job_service_client::JobServiceClient::new(mesh.channel().await);
    let request = shipped::SubmitJobRequest {
        config: Some(shipped::JobConfig {
            job_type: 1,
            model_definition: MODEL.to_owned(),
            epochs: 1,
            ..shipped::JobConfig::default()
        }),
        initial_data: b"1,2,3,4,0\n4,3,2,1,1\n1,3,2,4,2\n".as_slice().into(),
    };
    let answer = jobs.submit_job(request).await.unwrap().into_inner();
    assert_eq!((answer.status, answer.error), (3, None), "pending");
    let job_id = answer.job_id;
    let status = shipped::GetJobStatusRequest { job_id };
    let answer = jobs.get_job_status(status).await.unwrap().into_inner();
    assert_eq!(answer.status.unwrap().status, 3);
    let mut wallet = shipped::wallet_service_client::WalletServiceClient::new(mesh.channel().await);
    let balance = wallet
        .get_balance(shipped::GetBalanceRequest::default())
        .await;
    assert_eq!(balance.unwrap().into_inner().status, 1);
    // A name with a token is believed with it alone.
    Somebody::new(&mesh, "carol").await;
    let request = shipped::GetBalanceRequest {
        wallet_address: "carol".to_owned(),
    };
    let refused = wallet.get_balance(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_node_dies_goes_on_elsewhere_under_its_id() {
    let mut mesh = Mesh::start(2).await;
    let alice = Somebody::new(&mesh, "alice").await;
    let mut jobs = JobServiceClient::new(mesh.channel().await);
    let mut request = training(1_000_000);
    let config = request.config.as_mut().unwrap();
    let often = ("checkpoint_frequency".to_owned(), "500".to_owned());
    config.hyperparameters.extend([often]);
    let answer = jobs.submit_job(alice.says(request)).await.unwrap();
    let job = answer.into_inner().job_id;
    let runs_on = async || {
        let status = alice.status(&jobs, &job).await;
        (status.status == 3 && status.progress > 0.0).then_some(status.current_node_id)
    };
    eventually("it runs", async || runs_on().await.is_some()).await;
    let first = runs_on().await.unwrap();
    mesh.node_of(&first).kill().await;
    eventually("it runs elsewhere", async || {
        runs_on().await.is_some_and(|node| node != first)
    })
    .await;
    let ended = jobs.cancel_job(alice.says(cancel(&job))).await.unwrap();
    assert_eq!(ended.into_inner().status, 6);
}
