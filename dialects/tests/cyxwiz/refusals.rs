//! What cannot be is refused by the name of its field, and nothing is taken on.

use embermesh_dialects::{ErrorCode, Failure, Profile};
use embermesh_proto::cyxwiz::{
    protocol::{JobConfig, SubmitJobRequest, job_service_client::JobServiceClient},
    shipped,
};
use tonic::Code;

use crate::{
    configs::{FORMS, training, with},
    port::{by, serve},
};

/// A change of a config, and the field that is refused then.
type Case = (&'static str, fn(&mut JobConfig));

const CASES: &[Case] = &[
    ("config.job_type", |c| c.job_type = 0),
    ("config.job_type", |c| c.job_type = 9),
    ("config.priority", |c| c.priority = 2),
    ("config.priority", |c| c.priority = 7),
    ("config.model_definition", |c| c.model_definition.clear()),
    ("config.model_definition", |c| {
        c.model_definition = "{".to_owned()
    }),
    ("config.model_definition", |c| {
        c.model_definition = r#"{"layers": [{"type": "teleport"}], "input_shape": [4]}"#.to_owned();
    }),
    ("config.epochs", |c| c.epochs = 0),
    ("config.epochs", |c| c.epochs = -1),
    ("config.batch_size", |c| c.batch_size = -1),
    ("config.required_device", |c| c.required_device = 3),
    ("config.required_device", |c| c.required_device = 17),
    ("config.estimated_memory", |c| c.estimated_memory = -1),
    ("config.estimated_duration", |c| c.estimated_duration = -1),
    ("config.payment_amount", |c| c.payment_amount = -0.5),
    ("config.payment_amount", |c| c.payment_amount = f64::NAN),
    ("config.payment_amount", |c| c.payment_amount = 1e-9),
    ("config.reservation_duration_minutes", |c| {
        c.reservation_duration_minutes = 60;
    }),
    ("initial_data", |c| {
        c.dataset_uri = "https://example.org/a.csv".to_owned();
    }),
    ("config.hyperparameters.optimizer", |c| {
        hyper(c, "optimizer", "guess");
    }),
    ("config.hyperparameters.loss", |c| {
        hyper(c, "loss", "regret")
    }),
    ("config.hyperparameters.lr", |c| {
        hyper(c, "learning_rate", "fast")
    }),
    ("config.hyperparameters.lr", |c| hyper(c, "lr", "inf")),
    ("config.hyperparameters.seed", |c| hyper(c, "seed", "-1")),
    ("config.hyperparameters.colour", |c| {
        hyper(c, "colour", "red")
    }),
    ("config.hyperparameters.dataset_format", |c| {
        hyper(c, "dataset_format", "docx");
    }),
];

/// Places that nothing is fetched from.
const PLACES: [&str; 9] = [
    "ipfs://QmFlowers",
    "mock://random",
    "ftp://example.org/flowers.csv",
    "flowers.csv",
    "https://example.org/flowers.csv",
    "https://example.org/flowers.csv#blake3=short&size=7",
    "https://example.org/flowers.csv#size=7",
    "file://../../etc/passwd#size=7",
    "",
];

fn hyper(config: &mut JobConfig, name: &str, value: &str) {
    let value = value.to_owned();
    config.hyperparameters.insert(name.to_owned(), value);
}

fn field(details: &str) -> String {
    let details: serde_json::Value = serde_json::from_str(details).unwrap();
    details["field"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_refusal_names_its_field() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    let mut cases: Vec<(&str, SubmitJobRequest)> = Vec::new();
    for (named, change) in CASES {
        let mut request = training(FORMS[3]);
        change(request.config.as_mut().unwrap());
        cases.push((named, request));
    }
    for place in PLACES {
        let mut request = with(training(FORMS[3]), &[("target_column", "species")]);
        request.initial_data = bytes::Bytes::new();
        request.config.as_mut().unwrap().dataset_uri = place.to_owned();
        cases.push(("config.dataset_uri", request));
    }
    let mut garbage = training(FORMS[3]);
    garbage.initial_data = bytes::Bytes::from_static(b"\x00\x01\x02");
    cases.push(("initial_data", garbage));
    for (named, request) in cases {
        let answer = client.submit_job(by("alice", request.clone())).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.status, 5, "{named}: {request:?}");
        assert_eq!(answer.job_id, "", "{named}");
        let error = answer.error.unwrap();
        assert_eq!(error.code, 1, "{}", error.message);
        assert_eq!(field(&error.details), named, "{}", error.message);
        assert!(error.message.starts_with(named), "{}", error.message);
    }
    assert!(memory.kept().jobs.is_empty());
}

#[tokio::test]
async fn the_form_that_shipped_has_a_number_of_its_own_for_a_refusal() {
    let (memory, channel) = serve(Profile::Shipped).await;
    let mut client = shipped::job_service_client::JobServiceClient::new(channel);
    let request = shipped::SubmitJobRequest {
        config: Some(shipped::JobConfig::default()),
        ..shipped::SubmitJobRequest::default()
    };
    let answer = client.submit_job(by("alice", request)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.status, 6);
    assert_eq!(field(&answer.error.unwrap().details), "config.job_type");
    assert!(memory.kept().jobs.is_empty());
}

#[tokio::test]
async fn whoever_takes_jobs_on_refuses_in_the_numbers_of_the_table() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    for (code, number) in [
        (ErrorCode::Invalid, 1),
        (ErrorCode::Exists, 3),
        (ErrorCode::Exhausted, 5),
    ] {
        memory.kept().refusal = Some(Failure::new(code, "not this one"));
        let answer = client.submit_job(by("alice", training(FORMS[3]))).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.status, 5);
        assert_eq!(answer.error.unwrap().code, number);
    }
    // A fault is no refusal of the job.
    memory.kept().refusal = Some(Failure::new(ErrorCode::Unavailable, "later"));
    let answer = client.submit_job(by("alice", training(FORMS[3]))).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    let empty = client
        .submit_job(by("alice", SubmitJobRequest::default()))
        .await;
    let empty = empty.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    assert!(empty.message().starts_with("config"), "{empty}");
}

#[tokio::test]
async fn nobody_submits_on_anothers_account() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    let mut request = training(FORMS[3]);
    request.config.as_mut().unwrap().payment_address = "bob".to_owned();
    let refused = client.submit_job(by("alice", request.clone())).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let nobody = client.submit_job(request.clone()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    assert!(memory.kept().jobs.is_empty());
    // Where names are believed, the one who pays is the one who calls; a call that has
    // no name is by one of ours.
    memory.kept().legacy = true;
    client.submit_job(request).await.unwrap();
    client.submit_job(training(FORMS[3])).await.unwrap();
    let kept = memory.kept();
    let owners: Vec<&str> = kept.jobs.iter().map(|(job, _)| &*job.owner.name).collect();
    assert_eq!(owners, ["bob", "engine"]);
}
