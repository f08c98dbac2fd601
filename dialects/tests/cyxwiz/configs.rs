//! Configurations become jobs, with everything that they say.

use embermesh_crypto::Digest;
use embermesh_dialects::Profile;
use embermesh_job::{
    model::Model,
    spec::{Dataset, Loss, Optimizer, Train, Work},
};
use embermesh_proto::cyxwiz::protocol::{
    JobConfig, SubmitJobRequest, job_service_client::JobServiceClient,
};

use crate::port::{by, serve};

/// Five flowers, their species as numbers in the last column.
pub(crate) const FLOWERS: &str = "a,b,c,d,species\n5.1,3.5,1.4,0.2,0\n4.9,3.0,1.4,0.2,0\n\
                                  7.0,3.2,4.7,1.4,1\n6.3,3.3,6.0,2.5,2\n5.8,2.7,5.1,1.9,2\n";

/// A network of four inputs, sixteen in between and three outputs, in each of the four
/// forms that clients of the system send.
pub(crate) const FORMS: [&str; 4] = [
    r#"{"nodes": [
        {"id": 1, "type": 77, "name": "Data", "parameters": {"input_shape": "[4]"}},
        {"id": 2, "type": 0, "name": "Dense", "parameters": {"units": "16"}},
        {"id": 3, "type": 29, "name": "ReLU", "parameters": {}},
        {"id": 4, "type": 0, "name": "Dense", "parameters": {"units": 3}},
        {"id": 5, "type": 50, "name": "Output", "parameters": {}}],
       "links": [{"from_node": 1, "to_node": 2}, {"from_node": 2, "to_node": 3},
        {"from_node": 3, "to_node": 4}, {"from_node": 4, "to_node": 5}]}"#,
    r#"{"layers": [{"type": "dense", "units": 16, "activation": "relu"},
        {"type": "dense", "units": 3}], "input_shape": [4]}"#,
    r#"{"type": "mlp", "input_size": 4, "output_size": 3, "hidden_layers": [16],
        "activation": "relu", "output_activation": "softmax"}"#,
    r#"{"architecture": "MLP", "layers": [4, 16, 3]}"#,
];

/// A training of that, on those flowers.
pub(crate) fn training(definition: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        config: Some(JobConfig {
            job_type: 1,
            model_definition: definition.to_owned(),
            epochs: 3,
            batch_size: 2,
            ..JobConfig::default()
        }),
        initial_data: FLOWERS.into(),
    }
}

/// The same with some hyperparameters.
pub(crate) fn with(mut request: SubmitJobRequest, more: &[(&str, &str)]) -> SubmitJobRequest {
    let config = request.config.as_mut().unwrap();
    for (name, value) in more {
        let value = (*value).to_owned();
        config.hyperparameters.insert((*name).to_owned(), value);
    }
    request
}

fn train(work: &Work) -> &Train {
    match work {
        Work::Train(train) => train,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_form_of_a_model_is_the_same_training() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    for form in FORMS {
        let request = by("alice", training(form));
        let answer = client.submit_job(request).await.unwrap().into_inner();
        assert_eq!(answer.error, None, "{form}");
        assert_eq!(answer.status, 7, "queued");
        assert!(!answer.job_id.is_empty());
    }
    let kept = memory.kept();
    let mut models: Vec<&Model> = Vec::new();
    for (_, job) in &kept.jobs {
        let train = train(&job.spec.work);
        assert_eq!((train.passes, train.batch), (3, 2));
        let Dataset::Csv(table) = &train.data else {
            panic!("{:?}", train.data);
        };
        assert!(table.dialect.header);
        assert_eq!(job.inputs[&table.file.digest], FLOWERS);
        assert_eq!(table.file.digest, Digest::of(FLOWERS.as_bytes()));
        models.push(&train.model);
    }
    assert_eq!(models[0].plan().unwrap().output_shape, [3]);
    let parameters = |model: &Model| serde_json::to_value(model).unwrap()["input"].clone();
    for model in &models[1..] {
        assert_eq!(model.plan().unwrap().output_shape, [3]);
        assert_eq!(model.layers.len(), 3);
        assert_eq!(parameters(model), parameters(models[0]));
    }
}

#[tokio::test]
async fn nothing_that_a_config_says_is_dropped() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    let mut request = with(
        training(FORMS[3]),
        &[
            ("optimizer", "sgd"),
            ("learning_rate", "0.25"),
            ("momentum", "0.9"),
            ("loss", "cross_entropy"),
            ("label_smoothing", "0.1"),
            ("validation_split", "0.4"),
            ("seed", "11"),
            ("shuffle", "false"),
            ("gradient_accumulation_steps", "2"),
            ("checkpoint_frequency", "5"),
            ("max_retries", "3"),
            ("max_grad_norm", "1.5"),
            ("warmup_epochs", "1"),
        ],
    );
    let config = request.config.as_mut().unwrap();
    config.job_id = "flowers".to_owned();
    config.priority = 1;
    config.required_device = 1;
    config.estimated_memory = 64 << 20;
    config.estimated_duration = 7_200;
    config.payment_amount = 2.5;
    config.escrow_tx_hash = "17".to_owned();
    let hold = ("alice".to_owned(), 2_500_000);
    memory.kept().holds.insert("17".to_owned(), hold);
    let answer = client.submit_job(by("alice", request)).await.unwrap();
    assert_eq!(answer.into_inner().job_id, "flowers");
    let kept = memory.kept();
    let (view, job) = &kept.jobs[0];
    let spec = &job.spec;
    let train = train(&spec.work);
    assert_eq!(
        serde_json::to_value(&train.optimizer).unwrap()["sgd"]["lr"],
        0.25
    );
    assert!(matches!(train.optimizer, Optimizer::Sgd { .. }));
    let Some(Loss::CrossEntropy {
        label_smoothing, ..
    }) = &train.loss
    else {
        panic!("{:?}", train.loss);
    };
    assert!((label_smoothing - 0.1).abs() < f64::EPSILON);
    assert!((train.holdout - 0.4).abs() < f64::EPSILON);
    assert_eq!((train.seed, train.shuffle), (11, false));
    assert_eq!((train.accumulate, train.checkpoint_every), (2, 5));
    assert!(train.clip.is_some() && train.warmup.is_some());
    assert_eq!(spec.attempts, 3);
    assert_eq!(spec.limits.memory.0, 64 << 20);
    assert_eq!(spec.limits.wall.0, 2 * 7_200 * 1_000);
    assert!(spec.requires.device.is_some());
    // Two and a half units for four hours.
    assert_eq!(spec.requires.max_price.unwrap().0, 625_000);
    assert_eq!(view.notes["budget"], "2500000");
    assert_eq!(view.notes["cyxwiz.type"], "1");
}

#[tokio::test]
async fn a_place_is_fetched_by_its_digest() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    let digest = Digest::of(FLOWERS.as_bytes());
    let end = format!("#blake3={digest}&size={}", FLOWERS.len());
    let held = format!("blake3:{digest}?size={}", FLOWERS.len());
    for (uri, origins) in [
        (format!("https://example.org/flowers.csv{end}"), 1),
        (format!("s3://bucket/flowers.csv{end}"), 1),
        (format!("file://shared/flowers.csv{end}"), 1),
        (held, 0),
    ] {
        let mut request = with(
            training(FORMS[3]),
            &[("target_column", "species"), ("dataset_format", "csv")],
        );
        request.initial_data = bytes::Bytes::new();
        request.config.as_mut().unwrap().dataset_uri = uri.clone();
        let answer = client.submit_job(by("alice", request)).await.unwrap();
        assert_eq!(answer.into_inner().error, None, "{uri}");
        let kept = memory.kept();
        let (_, job) = kept.jobs.last().unwrap();
        assert!(job.inputs.is_empty());
        assert_eq!(job.spec.requires.origins.len(), origins, "{uri}");
        let inputs: Vec<Digest> = job.spec.inputs().iter().map(|input| input.digest).collect();
        assert_eq!(inputs, [digest], "{uri}");
    }
}

#[tokio::test]
async fn weights_of_a_job_are_evaluated_and_predicted_with() {
    use embermesh_job::{event::Artifact, lifecycle::JobState};
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    let mut request = training(FORMS[3]);
    request.config.as_mut().unwrap().job_id = "first".to_owned();
    client.submit_job(by("alice", request)).await.unwrap();
    let of = |kind: i32, more: &[(&str, &str)]| {
        let mut request = with(training(FORMS[3]), &[("weights", "job:first")]);
        request = with(request, more);
        let config = request.config.as_mut().unwrap();
        config.job_type = kind;
        config.epochs = 0;
        request
    };
    // It has none yet.
    let early = client.submit_job(by("alice", of(3, &[]))).await;
    assert_eq!(early.unwrap_err().code(), tonic::Code::FailedPrecondition);
    let weights = Digest::of(b"weights");
    memory.change("first", |job| {
        job.state = JobState::Succeeded;
        job.artifacts.push(Artifact {
            name: "model.safetensors".to_owned(),
            digest: weights,
            size: 7,
        });
    });
    for kind in [2, 3] {
        let answer = client.submit_job(by("alice", of(kind, &[]))).await.unwrap();
        assert_eq!(answer.into_inner().error, None, "{kind}");
        let kept = memory.kept();
        let (_, job) = kept.jobs.last().unwrap();
        assert!(
            job.spec
                .inputs()
                .iter()
                .any(|input| input.digest == weights)
        );
        match (&job.spec.work, kind) {
            (Work::Predict(_), 2) | (Work::Evaluate(_), 3) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
    // Another's are not there.
    let theirs = client.submit_job(by("bob", of(3, &[]))).await;
    assert_eq!(theirs.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_preparation_has_its_steps_in_the_models_place() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = JobServiceClient::new(channel);
    let mut request = training(r#"{"steps": [{"select": {"columns": ["a", "species"]}}]}"#);
    let config = request.config.as_mut().unwrap();
    config.job_type = 4;
    config.epochs = 0;
    config.batch_size = 0;
    let answer = client.submit_job(by("alice", request)).await.unwrap();
    assert_eq!(answer.into_inner().error, None);
    let kept = memory.kept();
    assert!(matches!(kept.jobs[0].1.spec.work, Work::Prepare(_)));
}
