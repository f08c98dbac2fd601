//! What a node serves, over a port that only remembers: in both forms of the wire, and
//! nothing of a job read for whoever may not send one.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use embermesh_crypto::{Digest, Epoch, JobId, UnixMillis, statement::DeviceKind};
use embermesh_dialects::{
    ErrorCode, Failure, Mount, Profile,
    port::node::{
        Call, Line,
        asking::{AskedCounts, AskedView, Asking, ResidentView},
        computing::{Computed, Computing},
        execution::{Execution, Followed, Opened, Order, Steer, TaskView},
    },
};
use embermesh_job::{
    ask::{Ask, Part},
    event::{Artifact, Event, EventKind, Outcome, RunUpdate},
    lifecycle::JobState,
    proof::Proven,
    spec::{JobSpec, Work},
};
use embermesh_proto::cyxwiz::{protocol as documented, shipped};
use futures::stream::{self, BoxStream, StreamExt as _};
use tonic::{
    Code,
    service::Routes,
    transport::{Channel, Server, server::TcpIncoming},
};

const WEIGHTS: &[u8] = b"0123456789";

fn job() -> JobId {
    JobId::v7(UnixMillis(1), [7; 10])
}

/// A node that remembers what it was told.
#[derive(Default)]
struct Fake {
    /// What may be run.
    spec: Mutex<Option<Digest>>,
    started: Mutex<Vec<JobSpec>>,
    words: Mutex<Vec<Steer>>,
    /// Whether something may be computed.
    computes: Mutex<bool>,
    /// What a task says to whoever follows it; nobody is let in without.
    says: Mutex<Vec<EventKind>>,
}

fn unknown() -> Failure {
    Failure::new(ErrorCode::Unauthenticated, "connect first")
}

fn weights() -> Artifact {
    Artifact {
        name: "model.safetensors".to_owned(),
        digest: Digest::of(WEIGHTS),
        size: WEIGHTS.len() as u64,
    }
}

fn view() -> TaskView {
    TaskView {
        job: job(),
        state: JobState::Paused,
        pass: (2, 3),
        step: (20, 30),
        metrics: [].into(),
        checkpoint: None,
        artifacts: vec![weights()],
        log: Vec::new(),
        message: String::new(),
    }
}

#[tonic::async_trait]
impl Execution for Fake {
    async fn open(&self, call: &Call) -> Result<Opened, Failure> {
        assert_eq!(call.token.as_deref(), Some("token"));
        Ok(Opened {
            node: "node-1".to_owned(),
            job: job(),
            spec: Digest::of(b""),
            devices: Vec::new(),
            memory: 7,
        })
    }

    fn allowed(&self, _: &Call) -> Result<(JobId, Digest), Failure> {
        let spec = self.spec.lock().unwrap().ok_or_else(unknown)?;
        Ok((job(), spec))
    }

    fn may_start(&self, _: &Call) -> Result<(), Failure> {
        Err(unknown())
    }

    fn close(&self, _: &Line) -> usize {
        1
    }

    async fn start(&self, _: &Call, order: Order) -> Result<TaskView, Failure> {
        self.started.lock().unwrap().push(order.spec);
        Ok(view())
    }

    async fn start_own(&self, _: &Call, _: &str, _: Order) -> Result<TaskView, Failure> {
        Err(Failure::new(ErrorCode::Exhausted, "every slot is taken"))
    }

    async fn task(&self, _: &Call) -> Result<TaskView, Failure> {
        Ok(view())
    }

    async fn follow(&self, _: &Call) -> Result<Followed, Failure> {
        let says = std::mem::take(&mut *self.says.lock().unwrap());
        if says.is_empty() {
            return Err(unknown());
        }
        let events = (1..).zip(says).map(|(seq, kind)| {
            let at = UnixMillis(1_000 * seq);
            let epoch = Epoch::FIRST;
            Ok(RunUpdate::Event(Event {
                seq,
                epoch,
                at,
                kind,
            }))
        });
        Ok(Followed {
            job: job(),
            updates: stream::iter(events).boxed(),
            feed: None,
        })
    }

    async fn steer(&self, _: &Call, word: Steer) -> Result<TaskView, Failure> {
        self.words.lock().unwrap().push(word);
        Ok(view())
    }

    async fn read(&self, _: &Call, _: &Artifact, range: Range<u64>) -> Result<Bytes, Failure> {
        let end = range.end.min(WEIGHTS.len() as u64) as usize;
        Ok(Bytes::from_static(&WEIGHTS[range.start as usize..end]))
    }
}

#[tonic::async_trait]
impl Asking for Fake {
    fn residents(&self, _: &Line) -> Result<Vec<ResidentView>, Failure> {
        Ok(Vec::new())
    }

    async fn ask(
        &self,
        _: &Line,
        _: &str,
        _: Ask,
        _: Duration,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure> {
        Err(unknown())
    }

    async fn ask_later(
        &self,
        _: &Line,
        _: &str,
        _: &str,
        _: Ask,
        _: Duration,
    ) -> Result<AskedView, Failure> {
        Err(unknown())
    }

    fn asked(&self, _: &Line, _: &str) -> Result<AskedView, Failure> {
        Err(unknown())
    }

    fn unask(&self, _: &Line, _: &str) -> Result<AskedView, Failure> {
        Err(unknown())
    }

    fn clock(&self) -> UnixMillis {
        UnixMillis(0)
    }

    fn counts(&self) -> AskedCounts {
        AskedCounts::default()
    }
}

#[tonic::async_trait]
impl Computing for Fake {
    fn may_compute(&self, _: &Call) -> Result<(), Failure> {
        self.computes
            .lock()
            .unwrap()
            .then_some(())
            .ok_or_else(unknown)
    }

    /// Computes nothing: it gives the first tensor by the name of each result.
    async fn compute(&self, _: &Call, order: Order) -> Result<Computed, Failure> {
        let Work::Compute(compute) = &order.spec.work else {
            panic!("a computation");
        };
        let results = compute.results.iter().map(|name| {
            let entry = serde_json::json!({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]});
            (name.clone(), entry)
        });
        let header = serde_json::to_vec(&results.collect::<BTreeMap<_, _>>()).unwrap();
        let file = order.inputs.values().next().unwrap();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(&file[file.len() - 8..]);
        self.started.lock().unwrap().push(order.spec);
        Ok(Computed {
            results: bytes.into(),
            took_ms: 3,
        })
    }
}

/// Serves a node in one form of the wire.
async fn serve(port: &Arc<Fake>, profile: Profile) -> Channel {
    let routes = Mount::default()
        .cyxwiz_node(port, profile)
        .onto(Routes::default());
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = format!("http://{}", incoming.local_addr().unwrap());
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    Channel::from_shared(at).unwrap().connect().await.unwrap()
}

macro_rules! in_each_form {
    ($test:ident, $wire:ident, $profile:expr, $failed:literal) => {
        #[tokio::test]
        async fn $test() {
            use $wire::job_execution_service_client::JobExecutionServiceClient;
            let port = Arc::new(Fake::default());
            let mut node = JobExecutionServiceClient::new(serve(&port, $profile).await);
            let connect = $wire::ConnectRequest {
                auth_token: "token".to_owned(),
                ..Default::default()
            };
            let opened = node.connect_to_node(connect).await.unwrap().into_inner();
            assert_eq!((opened.status, opened.node_id.as_str()), (1, "node-1"));

            // A config that nobody could read: who may not send one is told that alone.
            let mut sent = $wire::SendJobRequest {
                config: Some($wire::JobConfig {
                    job_type: 77,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let refused = node.send_job(sent.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
            *port.spec.lock().unwrap() = Some(Digest::of(b"another"));
            let refused = node.send_job(sent.clone()).await.unwrap().into_inner();
            assert_eq!((refused.accepted, refused.status), (false, $failed));
            assert!(refused.rejection_reason.contains("config.job_type"));

            // The name is part of what was signed, and may have changed since.
            sent.config = Some($wire::JobConfig {
                job_id: "mine".to_owned(),
                job_type: 1,
                model_definition: r#"{"layers": [{"type": "dense", "units": 2}]}"#.to_owned(),
                hyperparameters: [
                    ("input_shape".to_owned(), "4".to_owned()),
                    ("dataset_samples".to_owned(), "8".to_owned()),
                ]
                .into(),
                dataset_uri: "remote://engine".to_owned(),
                epochs: 1,
                ..Default::default()
            });
            let refused = node.send_job(sent.clone()).await.unwrap().into_inner();
            assert!(!refused.accepted && port.started.lock().unwrap().is_empty());
            sent.job_id = job().to_string();
            for name in ["mine".to_owned(), "cyxwiz".to_owned(), job().to_string()] {
                let mut spec = remote();
                spec.name.clone_from(&name);
                *port.spec.lock().unwrap() = Some(spec.digest());
                let taken = node.send_job(sent.clone()).await.unwrap().into_inner();
                assert!(taken.accepted, "{name}: {taken:?}");
                assert_eq!(port.started.lock().unwrap().pop(), Some(spec));
            }

            let paused = node.pause_training($wire::PauseTrainingRequest::default());
            let paused = paused.await.unwrap().into_inner();
            assert!(paused.success);
            assert_eq!((paused.current_epoch, paused.current_batch), (2, 20));
            let cancel = $wire::CancelTrainingRequest {
                save_partial_model: true,
                ..Default::default()
            };
            let kept = node.cancel_training(cancel).await.unwrap().into_inner();
            assert!(kept.partial_model_saved);
            let words = port.words.lock().unwrap().clone();
            assert_eq!(words, [Steer::Pause, Steer::Finish]);

            let mut chunks = node
                .download_weights($wire::DownloadRequest {
                    offset: 3,
                    chunk_size: 4,
                    ..Default::default()
                })
                .await
                .unwrap()
                .into_inner();
            let mut got = Vec::new();
            while let Some(chunk) = chunks.message().await.unwrap() {
                assert_eq!(chunk.checksum, Digest::of(&chunk.data).to_string());
                got.push((chunk.offset, chunk.data, chunk.is_last_chunk));
            }
            let piece = |text: &'static str| Bytes::from_static(text.as_bytes());
            assert_eq!(got, [(3, piece("3456"), false), (7, piece("789"), true)]);

            // What is full is an answer.
            let start = $wire::StartNewJobRequest {
                job_config: sent.config,
                ..Default::default()
            };
            let full = node.start_new_job(start).await.unwrap().into_inner();
            assert!(!full.accepted && full.message.contains("slot"));
        }
    };
}

macro_rules! computes_in_each_form {
    ($test:ident, $wire:ident, $profile:expr, $failed:literal, $info:expr, $name:expr) => {
        #[tokio::test]
        async fn $test() {
            use $wire::compute_service_client::ComputeServiceClient;
            let port = Arc::new(Fake::default());
            let mut node = ComputeServiceClient::new(serve(&port, $profile).await);
            let numbers: Bytes = [1.0_f32, 2.0]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect();
            let tensor = $wire::Tensor {
                info: Some($info),
                data: numbers.clone(),
                ..Default::default()
            };
            let asked = |id: &str, function: &str| $wire::ComputeRequest {
                operation_id: id.to_owned(),
                operation: 4,
                inputs: vec![tensor.clone()],
                parameters: [("type".to_owned(), function.to_owned())].into(),
                target_device: 1,
            };
            // Who may not hears that alone, whatever he asks.
            let refused = node.execute(asked("a", "magic")).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
            let said = futures::stream::iter([asked("a", "relu")]);
            let refused = node.stream_execute(said).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
            *port.computes.lock().unwrap() = true;

            let answer = node.execute(asked("a", "relu")).await.unwrap().into_inner();
            assert_eq!(
                (answer.status, answer.compute_time_ms),
                (1, 3),
                "{answer:?}"
            );
            assert_eq!(answer.operation_id, "a");
            assert_eq!(answer.outputs[0].data, numbers);
            let info = answer.outputs[0].info.clone().unwrap();
            assert!($name(&info), "{info:?}");
            assert_eq!(info.shape, [2]);
            let spec = port.started.lock().unwrap().pop().unwrap();
            assert_eq!(spec.requires.device, Some(DeviceKind::Cpu));

            // Refusals are answers, and a stream goes on after them.
            let mut bare = asked("b", "relu");
            bare.inputs[0].info = None;
            let mut elsewhere = asked("c", "relu");
            elsewhere.inputs[0].ipfs_hash = "Qm".to_owned();
            let mut packed = asked("d", "relu");
            packed.inputs[0].compressed = true;
            let mut short = asked("e", "relu");
            short.inputs[0].data = Bytes::new();
            let said = [
                asked("a", "magic"),
                bare,
                elsewhere,
                packed,
                short,
                asked("z", "relu"),
            ];
            let answers = node.stream_execute(futures::stream::iter(said)).await;
            let mut answers = answers.unwrap().into_inner();
            for id in ["a", "b", "c", "d", "e"] {
                let answer = answers.message().await.unwrap().unwrap();
                let error = answer.error.unwrap();
                assert_eq!((answer.operation_id.as_str(), answer.status), (id, $failed));
                let named = error.message.contains(&format!("operation \"{id}\""));
                assert!(error.code == 1 && named, "{error:?}");
            }
            assert_eq!(answers.message().await.unwrap().unwrap().status, 1);
            assert_eq!(answers.message().await.unwrap(), None);

            let graph = $wire::ExecuteGraphRequest {
                graph_id: "g".to_owned(),
                operations: vec![asked("a", "relu"), asked("b", "tanh")],
                execution_order: vec!["b".to_owned(), "a".to_owned()],
            };
            let answer = node
                .execute_graph(graph.clone())
                .await
                .unwrap()
                .into_inner();
            assert_eq!((answer.graph_id.as_str(), answer.status), ("g", 1));
            let mut names: Vec<_> = answer.outputs.keys().collect();
            names.sort();
            assert_eq!(names, ["a", "b"]);
            let graph = $wire::ExecuteGraphRequest {
                execution_order: vec!["a".to_owned()],
                ..graph
            };
            let answer = node.execute_graph(graph).await.unwrap().into_inner();
            assert_eq!(answer.status, $failed);
            assert!(answer.error.unwrap().message.contains("execution_order"));
        }
    };
}

computes_in_each_form!(
    computes_in_the_documented_form,
    documented,
    Profile::Documented,
    5,
    documented::TensorInfo {
        shape: vec![2],
        dtype: "float32".to_owned(),
        size_bytes: 8,
    },
    |info: &documented::TensorInfo| info.dtype == "float32" && info.size_bytes == 8
);
computes_in_each_form!(
    computes_in_the_shipped_form,
    shipped,
    Profile::Shipped,
    6,
    shipped::TensorInfo {
        shape: vec![2],
        dtype: 1,
        name: "x".to_owned(),
    },
    |info: &shipped::TensorInfo| info.dtype == 1 && info.name == "a"
);

in_each_form!(documented_form, documented, Profile::Documented, 5);
in_each_form!(shipped_form, shipped, Profile::Shipped, 6);

#[tokio::test]
async fn the_end_of_a_job_has_its_proof_or_its_receipt() {
    use documented::{
        TrainingCommand, job_execution_service_client::JobExecutionServiceClient,
        training_update::Update,
    };
    let port = Arc::new(Fake::default());
    let channel = serve(&port, Profile::Documented).await;
    let mut node = JobExecutionServiceClient::new(channel);
    let proof = |size| {
        EventKind::Artifact(Artifact {
            name: "proof.bin".to_owned(),
            size,
            ..weights()
        })
    };
    let text = Proven::text(WEIGHTS);
    let place = format!("blake3:{}?size={}", Digest::of(WEIGHTS), 3 << 20);
    for (made, proof) in [
        (vec![proof(10)], text.as_str()),
        (vec![proof(3 << 20)], place.as_str()),
        (vec![EventKind::Artifact(weights())], "ab01"),
    ] {
        let end = EventKind::Finished {
            outcome: Outcome::Succeeded,
            receipt: vec![0xab, 0x01],
            message: String::new(),
        };
        *port.says.lock().unwrap() = [made, vec![end]].concat();
        let commands = stream::pending::<TrainingCommand>();
        let updates = node.stream_training_metrics(commands).await.unwrap();
        let mut updates = updates.into_inner();
        let complete = loop {
            let update = updates.message().await.unwrap().unwrap();
            if let Some(Update::Complete(complete)) = update.update {
                break complete;
            }
        };
        assert!(complete.success);
        assert_eq!(complete.proof_of_compute, proof);
    }
}

/// The job of the config above.
fn remote() -> JobSpec {
    use embermesh_job::{
        model::forms,
        spec::{ClientData, Dataset, Element, Limits, Missing, Requirements, Target, Train},
    };
    let model = forms::read(r#"{"layers": [{"type": "dense", "units": 2}]}"#, Some(&[4]))
        .unwrap()
        .model;
    let data = Dataset::Client(ClientData {
        digest: Digest::of(b"remote://engine"),
        samples: 8,
        holdout: 0,
        shape: vec![4],
        element: Element::Float,
        target: Target::Classes(2),
        labels: Vec::new(),
        missing: Missing::Refuse,
        normalise: None,
    });
    JobSpec {
        name: String::new(),
        work: Work::Train(Train {
            passes: 1,
            batch: 32,
            optimizer: serde_json::from_str(r#"{"adam": {}}"#).unwrap(),
            ..Train::new(model, data)
        }),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: 5,
    }
}
