//! A client of CyxWiz at a real node: a job by its assignment, over a connection without
//! a key.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use bytes::Bytes;
use embermesh_crypto::{
    Digest,
    token::{self, Claims, Method},
};
use embermesh_dialects::Dialect;
use embermesh_job::{
    model::forms,
    spec::{
        ClientData, Dataset, Element, Input, JobSpec, Limits, Missing, Requirements, Target, Train,
        Work,
    },
    units::{Bytes as Amount, Millis},
};
use embermesh_node::{NodeConfig, RunningNode};
use embermesh_proto::cyxwiz::protocol::{
    self as wire, job_execution_service_client::JobExecutionServiceClient,
    node_service_client::NodeServiceClient, p2p_training_service_client::P2pTrainingServiceClient,
    training_command::Command, training_update::Update,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::support::{LONG, claims, config, digits, job, key, start};

const MODEL: &str = r#"{"layers": [{"type": "flatten"}, {"type": "dense", "units": 10}]}"#;
const NODE: u8 = 1;
const CLIENT: u8 = 2;

fn foreign(dir: &std::path::Path) -> NodeConfig {
    NodeConfig {
        dialects: vec![Dialect::CyxWiz],
        ..config(dir)
    }
}

/// A client on a connection of its own.
async fn engine(node: &RunningNode) -> JobExecutionServiceClient<Channel> {
    JobExecutionServiceClient::new(plain(node).await)
}

async fn plain(node: &RunningNode) -> Channel {
    let at = format!("http://{}", node.address());
    Channel::from_shared(at).unwrap().connect().await.unwrap()
}

/// A training, in the words of the system.
fn training(passes: i32, hyper: &[(&str, &str)]) -> wire::JobConfig {
    let mut said = vec![("input_shape", "1,8,8"), ("lr", "0.01")];
    said.extend(hyper);
    wire::JobConfig {
        job_type: 1,
        model_definition: MODEL.to_owned(),
        hyperparameters: said
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        batch_size: 16,
        epochs: passes,
        estimated_memory: 512 << 20,
        ..Default::default()
    }
}

/// The same as a job of ours, as an index would have had it signed.
fn spec(passes: u32, checkpoints: u32, data: Dataset) -> JobSpec {
    let model = forms::read(MODEL, Some(&[1, 8, 8])).unwrap().model;
    let optimizer = serde_json::from_str(r#"{"adam": {"lr": 0.01}}"#).unwrap();
    JobSpec {
        name: "cyxwiz".to_owned(),
        work: Work::Train(Train {
            passes,
            batch: 16,
            optimizer,
            seed: 0,
            holdout: 0.0,
            checkpoint_every: checkpoints,
            report_every: 0,
            ..Train::new(model, data)
        }),
        requires: Requirements::default(),
        limits: Limits {
            memory: Amount(512 << 20),
            ..Limits::default()
        },
        attempts: 5,
    }
}

fn file(rows: usize) -> Dataset {
    let bytes = digits(rows);
    Dataset::DigitsCsv {
        file: Input {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        },
        classes: 10,
    }
}

fn staying(samples: u32, holdout: u32) -> Dataset {
    Dataset::Client(ClientData {
        digest: Digest::of(b"remote://engine"),
        samples,
        holdout,
        shape: vec![1, 8, 8],
        element: Element::Float,
        target: Target::Classes(10),
        labels: Vec::new(),
        missing: Missing::Refuse,
        normalise: None,
    })
}

fn permission(node: &RunningNode, number: u8, spec: &JobSpec) -> Claims {
    claims(&key(CLIENT), node.peer_id(), job(number), spec)
}

fn issue(claims: &Claims) -> String {
    token::issue(claims, &key(CLIENT)).unwrap()
}

async fn connect(
    engine: &mut JobExecutionServiceClient<Channel>,
    token: &str,
    job: &str,
) -> Result<wire::ConnectResponse, Status> {
    let request = wire::ConnectRequest {
        auth_token: token.to_owned(),
        job_id: job.to_owned(),
        engine_version: "1".to_owned(),
    };
    Ok(engine.connect_to_node(request).await?.into_inner())
}

async fn send(
    engine: &mut JobExecutionServiceClient<Channel>,
    job: &str,
    config: wire::JobConfig,
    data: Bytes,
) -> Result<wire::SendJobResponse, Status> {
    let request = wire::SendJobRequest {
        job_id: job.to_owned(),
        config: Some(config),
        initial_dataset: data,
        dataset_uri: String::new(),
    };
    Ok(engine.send_job(request).await?.into_inner())
}

/// A stream of commands and updates.
struct Talk {
    to: mpsc::Sender<wire::TrainingCommand>,
    updates: Streaming<wire::TrainingUpdate>,
}

async fn talk(engine: &mut JobExecutionServiceClient<Channel>) -> Result<Talk, Status> {
    let (to, queue) = mpsc::channel(16);
    let updates = engine
        .stream_training_metrics(ReceiverStream::new(queue))
        .await?
        .into_inner();
    Ok(Talk { to, updates })
}

impl Talk {
    async fn say(&self, command: Command) {
        let command = Some(command);
        // The node may have ended the call; what it says of that is what counts.
        let _ = self.to.send(wire::TrainingCommand { command }).await;
    }

    async fn next(&mut self) -> Result<Option<Update>, Status> {
        let message = tokio::time::timeout(LONG, self.updates.message());
        let message = message.await.expect("an update within the bound")?;
        Ok(message.map(|message| message.update.expect("an update has a kind")))
    }

    /// The first update that fits.
    async fn until(&mut self, fits: impl Fn(&Update) -> bool) -> Update {
        let mut seen = Vec::new();
        while let Some(update) = self.next().await.unwrap() {
            if fits(&update) {
                return update;
            }
            seen.push(update);
        }
        panic!("the stream ended; it had {seen:?}");
    }

    async fn log(&mut self, word: &str) {
        self.until(|update| matches!(update, Update::Log(log) if log.message.contains(word)))
            .await;
    }

    async fn complete(&mut self) -> wire::TrainingComplete {
        let update = self.until(|update| matches!(update, Update::Complete(_)));
        match update.await {
            Update::Complete(complete) => complete,
            other => panic!("{other:?}"),
        }
    }

    /// Serves samples as an engine does, until the task is complete.
    async fn serve(&mut self, rows: &[(Vec<f32>, i32)], held: usize) -> wire::TrainingComplete {
        let trains = rows.len() - held;
        loop {
            match self.next().await.unwrap().expect("it is not over") {
                Update::DatasetInfoRequest(_) => self.say(info(trains, held)).await,
                Update::BatchRequest(asked) => {
                    let from = if asked.split == 1 { trains } else { 0 };
                    self.say(Command::BatchResponse(batch(rows, from, &asked)))
                        .await;
                }
                Update::Complete(complete) => return complete,
                Update::Error(error) => panic!("{error:?}"),
                _ => {}
            }
        }
    }
}

fn info(train: usize, held: usize) -> Command {
    let split = |count: usize| {
        Some(wire::SplitInfo {
            num_samples: count as i64,
            available: count > 0,
            shuffle_enabled: false,
        })
    };
    Command::DatasetInfoResponse(wire::DatasetInfoResponse {
        status: 1,
        train: split(train),
        validation: split(held),
        sample_shape: vec![1, 8, 8],
        dtype: "float32".to_owned(),
        num_classes: 10,
        ..Default::default()
    })
}

fn batch(rows: &[(Vec<f32>, i32)], from: usize, asked: &wire::BatchRequest) -> wire::BatchResponse {
    let samples: Vec<_> = asked
        .sample_indices
        .iter()
        .map(|at| &rows[from + usize::try_from(*at).unwrap()])
        .collect();
    let count = samples.len() as i64;
    wire::BatchResponse {
        status: 1,
        request_id: asked.request_id,
        images: samples
            .iter()
            .flat_map(|(numbers, _)| numbers.iter().flat_map(|x| x.to_le_bytes()))
            .collect(),
        labels: samples
            .iter()
            .flat_map(|(_, label)| label.to_le_bytes())
            .collect(),
        batch_shape: vec![count, 1, 8, 8],
        label_shape: vec![count],
        error: None,
    }
}

/// The digits as an engine keeps them.
fn rows(count: usize) -> Vec<(Vec<f32>, i32)> {
    let text = String::from_utf8(digits(count).to_vec()).unwrap();
    text.lines()
        .map(|line| {
            let numbers: Vec<f32> = line.split(',').map(|x| x.parse().unwrap()).collect();
            let (label, pixels) = numbers.split_last().unwrap();
            (pixels.iter().map(|x| x / 16.0).collect(), *label as i32)
        })
        .collect()
}

async fn download(
    engine: &mut JobExecutionServiceClient<Channel>,
    job: &str,
    offset: i64,
    chunk_size: i32,
) -> Result<Vec<wire::WeightsChunk>, Status> {
    let job_id = job.to_owned();
    let request = wire::DownloadRequest {
        job_id,
        offset,
        chunk_size,
    };
    let mut stream = engine.download_weights(request).await?.into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.message().await? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_by_its_assignment_and_its_weights_are_fetched_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(foreign(dir.path()), NODE).await;
    let mut engine = engine(&node).await;
    let spec = spec(3, 10, file(200));
    let token = issue(&permission(&node, 1, &spec));
    let opened = connect(&mut engine, &token, "mine").await.unwrap();
    assert_eq!(opened.status, 1);
    assert_eq!(opened.node_id, node.peer_id().to_string());
    assert_eq!(opened.capabilities.unwrap().supported_devices, [1]);
    let config = training(
        3,
        &[("dataset_format", "digits"), ("checkpoint_every", "10")],
    );
    let sent = send(&mut engine, "mine", config.clone(), digits(200)).await;
    let sent = sent.unwrap();
    assert!(sent.accepted, "{sent:?}");

    let mut talk = talk(&mut engine).await.unwrap();
    let at = talk.until(|update| matches!(update, Update::Checkpoint(_)));
    let Update::Checkpoint(checkpoint) = at.await else {
        panic!("no checkpoint");
    };
    assert_eq!(checkpoint.checkpoint_hash.len(), 64);
    assert!(checkpoint.weights_size > 0);
    let complete = talk.complete().await;
    assert!(complete.success, "{complete:?}");
    assert_eq!(complete.total_epochs_completed, 3);
    assert!(complete.final_metrics["loss"].is_finite());
    assert!(!complete.proof_of_compute.is_empty());
    assert_eq!(talk.next().await.unwrap(), None);

    // Whole and in pieces it is the same, and what the job said that it is.
    let chunks = download(&mut engine, "mine", 0, 1000).await.unwrap();
    assert!(chunks.len() > 1);
    let mut whole = Vec::new();
    for chunk in &chunks {
        assert_eq!(chunk.offset, whole.len() as i64);
        assert_eq!(chunk.checksum, Digest::of(&chunk.data).to_string());
        assert_eq!(chunk.total_size, complete.final_weights_size);
        whole.extend_from_slice(&chunk.data);
        let is_last = whole.len() as i64 == chunk.total_size;
        assert_eq!(chunk.is_last_chunk, is_last);
    }
    assert_eq!(Digest::of(&whole).to_string(), complete.result_hash);
    let rest = download(&mut engine, "mine", 1500, 0).await.unwrap();
    assert_eq!(rest[0].data, whole[1500..]);
    let size = complete.final_weights_size;
    let end = download(&mut engine, "mine", size, 0).await.unwrap();
    assert!(end[0].data.is_empty() && end[0].is_last_chunk);
    for (offset, chunk, code) in [
        (size + 1, 0, Code::OutOfRange),
        (i64::MAX, 0, Code::OutOfRange),
        (-1, 0, Code::InvalidArgument),
        (0, -1, Code::InvalidArgument),
    ] {
        let refused = download(&mut engine, "mine", offset, chunk).await;
        assert_eq!(refused.unwrap_err().code(), code, "{offset} {chunk}");
    }

    // Sent once more, it is found; after goodbye, nobody is known.
    let again = send(&mut engine, "mine", config, digits(200))
        .await
        .unwrap();
    assert!(again.accepted);
    let bye = wire::DisconnectRequest::default();
    engine.disconnect_from_node(bye).await.unwrap();
    let refused = download(&mut engine, "mine", 0, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_act_and_what_cannot_be_done_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(foreign(dir.path()), NODE).await;
    let mut engine = engine(&node).await;
    let spec = spec(10_000, 0, file(1000));
    let id = job(1).to_string();
    let token = issue(&permission(&node, 1, &spec));
    connect(&mut engine, &token, &id).await.unwrap();
    let config = training(10_000, &[("dataset_format", "digits")]);
    let sent = send(&mut engine, &id, config, digits(1000)).await.unwrap();
    assert!(sent.accepted, "{sent:?}");
    let mut talk = talk(&mut engine).await.unwrap();
    talk.until(|update| matches!(update, Update::Progress(_)))
        .await;

    talk.say(Command::Pause(true)).await;
    talk.log("paused").await;
    talk.say(Command::Resume(true)).await;
    talk.log("goes on").await;
    talk.say(Command::RequestCheckpoint(true)).await;
    talk.until(|update| matches!(update, Update::Checkpoint(_)))
        .await;
    let asked = wire::UpdateHyperparameters {
        learning_rate: 0.002,
        ..Default::default()
    };
    talk.say(Command::UpdateParams(asked.clone())).await;
    talk.log("learning rate 0.002").await;
    for (wrong, word) in [
        (
            wire::UpdateHyperparameters {
                batch_size: 4,
                ..asked.clone()
            },
            "batch_size",
        ),
        (
            wire::UpdateHyperparameters {
                learning_rate: -1.0,
                ..asked.clone()
            },
            "lr",
        ),
        (
            wire::UpdateHyperparameters {
                other_params: [("dropout".to_owned(), 0.5)].into(),
                ..asked
            },
            "dropout",
        ),
    ] {
        talk.say(Command::UpdateParams(wrong)).await;
        talk.log(word).await;
    }
    talk.say(Command::BatchResponse(wire::BatchResponse::default()))
        .await;
    talk.log("nothing was asked").await;

    // The same verbs as calls, of either service.
    let request = wire::PauseTrainingRequest { job_id: id.clone() };
    let paused = engine.pause_training(request.clone()).await.unwrap();
    let paused = paused.into_inner();
    assert!(paused.success, "{paused:?}");
    assert_eq!(paused.checkpoint_path.len(), 64);
    let mut resume = wire::ResumeTrainingRequest {
        job_id: id.clone(),
        checkpoint_path: "elsewhere".to_owned(),
    };
    let refused = engine.resume_training(resume.clone()).await.unwrap();
    let refused = refused.into_inner();
    assert!(!refused.success && refused.message.contains("checkpoint_path"));
    resume.checkpoint_path = paused.checkpoint_path;
    let resumed = engine.resume_training(resume).await.unwrap().into_inner();
    assert!(resumed.success, "{resumed:?}");
    // Another line has not connected.
    let mut p2p = P2pTrainingServiceClient::new(plain(&node).await);
    let refused = p2p.pause_training(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    talk.say(Command::Stop(true)).await;
    let complete = talk.complete().await;
    assert!(complete.success, "{complete:?}");
    let chunks = download(&mut engine, &id, 0, 0).await.unwrap();
    assert_eq!(
        Digest::of(&chunks[0].data).to_string(),
        complete.result_hash
    );
    let ended = wire::CancelTrainingRequest {
        job_id: id,
        ..Default::default()
    };
    let ended = engine.cancel_training(ended).await.unwrap().into_inner();
    assert!(!ended.success && ended.message.contains("ended"));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_enough_only_where_and_for_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(foreign(dir.path()), NODE).await;
    let mut engine = engine(&node).await;
    let spec = spec(1, 0, file(100));
    let good = permission(&node, 1, &spec);
    let with = |change: &dyn Fn(&mut Claims)| {
        let mut claims = good.clone();
        change(&mut claims);
        issue(&claims)
    };
    let mine = job(1).to_string();
    let other = job(2).to_string();
    let now = good.issued_at;
    let valid = issue(&good);
    let touched = valid.replace(&valid[60..70], "AAAAAAAAAA");
    let cases = [
        (valid.as_str(), other.as_str(), "another job"),
        (
            &with(&|claims| claims.node = key(9).peer_id()),
            &mine,
            "for node",
        ),
        (
            &with(&|claims| {
                claims.issued_at.0 = now.0 - 600;
                claims.not_before.0 = now.0 - 600;
                claims.expires_at.0 = now.0 - 60;
            }),
            &mine,
            "expired",
        ),
        (
            &with(&|claims| claims.methods = [Method::Run].into_iter().collect()),
            &mine,
            "attach",
        ),
        ("", &mine, "missing"),
        ("a.b.c", &mine, "malformed"),
        (&touched, &mine, "token"),
    ];
    for (token, job, word) in cases {
        let refused = connect(&mut engine, token, job).await.unwrap_err();
        assert!(refused.message().contains(word), "{word}: {refused}");
    }
    // Nobody was let in by any of these.
    let refused = talk(&mut engine).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let config = training(1, &[("dataset_format", "digits")]);
    let refused = send(&mut engine, &mine, config.clone(), digits(100)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);

    // Who is let in runs what was assigned, with the data of it, and nothing else.
    connect(&mut engine, &valid, &mine).await.unwrap();
    for (config, data) in [
        (training(2, &[("dataset_format", "digits")]), digits(100)),
        (config.clone(), digits(99)),
        (training(1, &[("momentun", "1")]), digits(100)),
        (wire::JobConfig::default(), Bytes::new()),
    ] {
        let sent = send(&mut engine, &mine, config, data).await.unwrap();
        assert!(!sent.accepted && !sent.rejection_reason.is_empty());
        assert_eq!((sent.status, sent.error.unwrap().code), (5, 1));
    }
    assert!(
        send(&mut engine, &mine, config, digits(100))
            .await
            .unwrap()
            .accepted
    );
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_stays_is_asked_for_on_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(foreign(dir.path()), NODE).await;
    let mut engine = engine(&node).await;
    let spec = spec(3, 0, staying(150, 50));
    let id = job(1).to_string();
    let token = issue(&permission(&node, 1, &spec));
    connect(&mut engine, &token, &id).await.unwrap();
    let mut config = training(
        3,
        &[("dataset_samples", "150"), ("validation_samples", "50")],
    );
    config.dataset_uri = "remote://engine".to_owned();
    let sent = send(&mut engine, &id, config, Bytes::new()).await.unwrap();
    assert!(sent.accepted, "{sent:?}");
    let rows = rows(200);

    // A client with less than it said, and one whose batch is of another shape, are sent
    // away, and the job waits for a better one.
    let mut less = talk(&mut engine).await.unwrap();
    less.until(|update| matches!(update, Update::DatasetInfoRequest(_)))
        .await;
    less.say(info(149, 50)).await;
    let sent_away = async |mut talk: Talk, word: &str| {
        let error = talk
            .until(|update| matches!(update, Update::Error(_)))
            .await;
        let Update::Error(error) = error else {
            panic!("{error:?}");
        };
        assert!(
            error.recoverable && error.error_message.contains(word),
            "{error:?}"
        );
        let status = loop {
            match talk.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::InvalidArgument);
    };
    sent_away(less, "train").await;
    for (word, spoil) in [
        (
            "images",
            (|batch| batch.images = Bytes::from_static(b"garbage")) as fn(&mut wire::BatchResponse),
        ),
        ("labels", |batch| batch.labels = Bytes::new()),
        ("is none of 10", |batch| {
            batch.labels = vec![0xee; batch.labels.len()].into();
        }),
        ("batch_shape", |batch| batch.batch_shape = vec![1, 2]),
        ("is to be answered", |batch| batch.request_id += 1),
        ("no disk", |batch| {
            batch.error = Some(wire::Error {
                code: 6,
                message: "no disk".to_owned(),
                details: String::new(),
            });
        }),
    ] {
        let mut talk = talk(&mut engine).await.unwrap();
        talk.say(info(150, 50)).await;
        let asked = talk.until(|update| matches!(update, Update::BatchRequest(_)));
        let Update::BatchRequest(asked) = asked.await else {
            panic!("no question");
        };
        let mut batch = batch(&rows, 0, &asked);
        spoil(&mut batch);
        talk.say(Command::BatchResponse(batch)).await;
        sent_away(talk, word).await;
    }

    let mut talk = talk(&mut engine).await.unwrap();
    let complete = talk.serve(&rows, 50).await;
    assert!(complete.success, "{complete:?}");
    let learnt = &complete.final_metrics;
    assert!(learnt["val_accuracy"] > 0.5, "{learnt:?}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_answers_ends_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(
        NodeConfig {
            data_wait: Millis(1000),
            ..foreign(dir.path())
        },
        NODE,
    )
    .await;
    let mut engine = engine(&node).await;
    let spec = spec(1, 0, staying(32, 0));
    let id = job(1).to_string();
    let token = issue(&permission(&node, 1, &spec));
    connect(&mut engine, &token, &id).await.unwrap();
    let mut config = training(1, &[("dataset_samples", "32")]);
    config.dataset_uri = "remote://engine".to_owned();
    let sent = send(&mut engine, &id, config, Bytes::new()).await.unwrap();
    assert!(sent.accepted, "{sent:?}");
    let mut talk = talk(&mut engine).await.unwrap();
    talk.say(info(32, 0)).await;
    let error = talk
        .until(|update| matches!(update, Update::Error(_)))
        .await;
    let Update::Error(error) = error else {
        panic!("{error:?}");
    };
    assert!(
        error.error_message.contains("stays with its client"),
        "{error:?}"
    );
    assert!(!talk.complete().await.success);
    let refused = download(&mut engine, &id, 0, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_job_is_the_owners_to_allow() {
    let dir = tempfile::tempdir().unwrap();
    for (open, data) in [
        (true, dir.path().join("open")),
        (false, dir.path().join("shut")),
    ] {
        let node = start(
            NodeConfig {
                open,
                ..foreign(&data)
            },
            NODE,
        )
        .await;
        let mut engine = engine(&node).await;
        let spec = spec(1, 0, staying(32, 0));
        // The node's own key may always issue.
        let claims = Claims {
            issuer: node.peer_id(),
            ..permission(&node, 1, &spec)
        };
        let token = token::issue(&claims, &key(NODE)).unwrap();
        connect(&mut engine, &token, "").await.unwrap();
        let mut config = training(1, &[("dataset_samples", "64")]);
        config.dataset_uri = "remote://engine".to_owned();
        let request = wire::StartNewJobRequest {
            reservation_id: "r-1".to_owned(),
            job_id: "second".to_owned(),
            job_config: Some(config),
        };
        let started = engine.start_new_job(request).await;
        if !open {
            let refused = started.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
            node.stop().await.unwrap();
            continue;
        }
        let started = started.unwrap().into_inner();
        assert!(started.accepted, "{started:?}");
        // The newest job of the line is the one that is streamed.
        let mut talk = talk(&mut engine).await.unwrap();
        assert!(talk.serve(&rows(64), 0).await.success);
        let chunks = download(&mut engine, "second", 0, 0).await.unwrap();
        assert!(chunks[0].is_last_chunk);
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_foreign_is_served_that_the_owner_has_not_named() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), NODE).await;
    let mut engine = engine(&node).await;
    let refused = connect(&mut engine, "token", "job").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_assigned_by_its_token_to_the_node_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(foreign(dir.path()), NODE).await;
    let channel = plain(&node).await;
    let mut assigner = NodeServiceClient::new(channel.clone());
    let mut engine = JobExecutionServiceClient::new(channel);
    let spec = spec(3, 0, staying(64, 0));
    let mut config = training(3, &[("dataset_samples", "64")]);
    config.job_id = job(1).to_string();
    config.dataset_uri = "remote://engine".to_owned();
    let token = issue(&permission(&node, 1, &spec));
    let asked = wire::AssignJobRequest {
        node_id: node.peer_id().to_string(),
        job: Some(config.clone()),
        authorization_token: token,
    };
    let with = |change: &dyn Fn(&mut wire::AssignJobRequest)| {
        let mut asked = asked.clone();
        change(&mut asked);
        asked
    };
    for (wrong, code) in [
        (
            with(&|asked| asked.authorization_token.clear()),
            Code::Unauthenticated,
        ),
        (
            with(&|asked| asked.authorization_token = "a.b.c".to_owned()),
            Code::InvalidArgument,
        ),
        (
            with(&|asked| asked.node_id = key(9).peer_id().to_string()),
            Code::FailedPrecondition,
        ),
        (with(&|asked| asked.job = None), Code::InvalidArgument),
    ] {
        let refused = assigner.assign_job(wrong.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{wrong:?}: {refused}");
    }
    // Another job than the token is for is an answer, and starts nothing.
    let mut other = asked.clone();
    other.job.as_mut().unwrap().epochs = 4;
    let refused = assigner.assign_job(other).await.unwrap().into_inner();
    assert!(!refused.accepted && refused.status == 5 && refused.error.is_some());

    let taken = assigner.assign_job(asked.clone()).await.unwrap();
    let taken = taken.into_inner();
    assert!(taken.accepted, "{taken:?}");
    assert_eq!(taken.job_id, job(1).to_string());
    // Assigned again it is found; and the line may go on with it as with any other.
    let again = assigner.assign_job(asked).await.unwrap().into_inner();
    assert!(again.accepted, "{again:?}");
    let mut talk = talk(&mut engine).await.unwrap();
    assert!(talk.serve(&rows(64), 0).await.success);

    // The rest of the service is an index's.
    let beat = assigner.heartbeat(wire::HeartbeatRequest::default()).await;
    assert_eq!(beat.unwrap_err().code(), Code::Unimplemented);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verbs_of_p2p_steer_the_job_of_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(foreign(dir.path()), NODE).await;
    let channel = plain(&node).await;
    let mut engine = JobExecutionServiceClient::new(channel.clone());
    let mut p2p = P2pTrainingServiceClient::new(channel);
    let spec = spec(10_000, 0, file(1000));
    let id = job(1).to_string();
    let pause = wire::PauseTrainingRequest { job_id: id.clone() };
    let refused = p2p.pause_training(pause.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let token = issue(&permission(&node, 1, &spec));
    connect(&mut engine, &token, &id).await.unwrap();
    let config = training(10_000, &[("dataset_format", "digits")]);
    let sent = send(&mut engine, &id, config, digits(1000)).await.unwrap();
    assert!(sent.accepted, "{sent:?}");
    let mut talk = talk(&mut engine).await.unwrap();
    talk.until(|update| matches!(update, Update::Progress(_)))
        .await;

    let paused = p2p.pause_training(pause).await.unwrap().into_inner();
    assert!(paused.success, "{paused:?}");
    let resume = wire::ResumeTrainingRequest {
        job_id: id.clone(),
        checkpoint_path: String::new(),
    };
    let resumed = p2p.resume_training(resume).await.unwrap().into_inner();
    assert!(resumed.success, "{resumed:?}");
    let full = wire::StartNewJobRequest {
        job_config: Some(training(1, &[("dataset_samples", "32")])),
        ..Default::default()
    };
    let full = p2p.start_new_job(full).await.unwrap().into_inner();
    assert!(!full.accepted && !full.message.is_empty(), "{full:?}");
    let none = p2p.start_new_job(wire::StartNewJobRequest::default()).await;
    assert_eq!(none.unwrap_err().code(), Code::InvalidArgument);
    let cancel = wire::CancelTrainingRequest {
        job_id: id,
        ..Default::default()
    };
    let ended = p2p
        .cancel_training(cancel.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(ended.success && !ended.partial_model_saved, "{ended:?}");
    let again = p2p.cancel_training(cancel).await.unwrap().into_inner();
    assert!(
        !again.success && again.message.contains("ended"),
        "{again:?}"
    );
    node.stop().await.unwrap();
}
