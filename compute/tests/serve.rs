//! Resident models in a worker's process, asked over its pipe.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::collections::BTreeMap;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use embermesh_compute::frame::{self, FrameError};
use embermesh_compute::pipe::{
    FromWorker, ToWorker, WorkOrder, WorkSummary, WorkerEvent, WorkerEventKind,
};
use embermesh_compute::{FailureClass, run_in_process};
use embermesh_job::ask::{Ask, Part};
use embermesh_job::event::{EventKind, FinishReason};
use embermesh_job::file::{Format, JobFile};
use embermesh_job::spec::{
    Generate, Network, Normalise, Outputs, Predict, Request, Serve, Served, ServedNetwork,
    TableFormat, Work,
};
use embermesh_job::units::Millis;
use support::{Bench, small_training};

/// A worker whose model is loaded.
struct Resident {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Resident {
    fn start(order: WorkOrder) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_compute-worker"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = child.stdout.take().unwrap();
        let mut worker = Self { child, to, from };
        assert!(matches!(worker.hear(), FromWorker::Ready(_)));
        worker.say(&ToWorker::Start(Box::new(order)));
        assert!(matches!(worker.hear(), FromWorker::Sandboxed(_)));
        worker
    }

    fn loaded(order: WorkOrder) -> Self {
        let mut worker = Self::start(order);
        assert!(matches!(worker.event(), (1, EventKind::Started { .. })));
        assert!(matches!(worker.event(), (2, EventKind::Loaded(_))));
        worker
    }

    fn say(&mut self, message: &ToWorker) {
        frame::write(&mut self.to, message).unwrap();
    }

    fn ask(&mut self, id: u32, ask: Ask) {
        self.say(&ToWorker::Ask {
            id,
            ask: Box::new(ask),
        });
    }

    fn text(&mut self, id: u32, request: &Request) {
        self.ask(id, Ask::Text(Box::new(request.clone())));
    }

    fn hear(&mut self) -> FromWorker {
        frame::read(&mut self.from).unwrap()
    }

    fn event(&mut self) -> (u64, EventKind) {
        match self.hear() {
            FromWorker::Event(WorkerEvent {
                seq,
                kind: WorkerEventKind::Plain(kind),
            }) => (seq, kind),
            other => panic!("{other:?}"),
        }
    }

    fn part(&mut self) -> (u32, Part) {
        match self.hear() {
            FromWorker::Answer { id, part } => (id, part),
            other => panic!("{other:?}"),
        }
    }

    /// Parts until so many answers have ended: the text of each, and in which order
    /// they began and ended.
    fn texts(&mut self, ends: usize) -> (BTreeMap<u32, String>, Vec<u32>, Vec<u32>) {
        let (mut texts, mut began, mut ended) = (BTreeMap::new(), Vec::new(), Vec::new());
        while ended.len() < ends {
            let (id, part) = self.part();
            let last = part.is_last();
            let Part::Text(piece) = part else {
                panic!("{part:?}");
            };
            assert_eq!(piece.request, id);
            if !texts.contains_key(&id) {
                began.push(id);
            }
            texts
                .entry(id)
                .or_insert_with(String::new)
                .push_str(&piece.text);
            if last {
                ended.push(id);
            }
        }
        (texts, began, ended)
    }

    /// The refusal of an ask.
    fn refusal(&mut self, id: u32) -> String {
        match self.part() {
            (of, Part::Refused(reason)) if of == id => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Its last event and its summary, once it ends.
    fn end(mut self) -> (String, WorkSummary) {
        let (seq, kind) = self.event();
        let EventKind::Stopped { reason, .. } = kind else {
            panic!("{kind:?}");
        };
        // Numbered as in every attempt, however much was asked meanwhile.
        assert_eq!(seq, 3);
        assert!(matches!(self.hear(), FromWorker::Used(_)));
        let FromWorker::Done(summary) = self.hear() else {
            panic!("it is done");
        };
        assert!(matches!(
            frame::read::<FromWorker>(&mut self.from),
            Err(FrameError::Closed)
        ));
        assert!(self.child.wait().unwrap().success());
        (reason, summary)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free(prompt: &str, seed: u32, tokens: u32) -> Request {
    Request {
        max_tokens: tokens,
        temperature: 1.0,
        seed,
        ..Request::prompt(prompt)
    }
}

fn deployment(bench: &mut Bench, change: impl FnOnce(&mut Serve)) -> WorkOrder {
    let model = bench.input(&tiny::endless(4096).bytes());
    let mut serve = Serve {
        context: 4096,
        ..Serve::new(Served::Language(model.into()))
    };
    change(&mut serve);
    bench.order(Work::Serve(serve))
}

/// The text that a job makes of a request that stands alone.
fn alone(bench: &mut Bench, request: &Request) -> String {
    let model = bench.input(&tiny::endless(4096).bytes());
    let order = bench.order(Work::Generate(Generate {
        model: model.into(),
        requests: vec![request.clone()],
        report_every: 1,
    }));
    let mut text = String::new();
    run_in_process(&order, &mut |event| {
        if let WorkerEventKind::Plain(EventKind::Generated(piece)) = event.kind {
            text.push_str(&piece.text);
        }
    })
    .unwrap();
    text
}

#[test]
fn asks_join_those_under_way_and_each_text_is_what_it_would_be_alone() {
    let mut bench = Bench::new();
    let requests = [
        free("her the", 1, 400),
        free(&"abc the her ".repeat(20), 2, 40),
        free("The", 3, 30),
        Request {
            repetition_penalty: 1.3,
            ..free("abc", 4, 50)
        },
        // One more than are answered side by side.
        free("her", 5, 20),
        Request {
            max_tokens: 12,
            seed: 6,
            ..Request::question("Who?")
        },
    ];
    let separate: Vec<String> = requests.iter().map(|r| alone(&mut bench, r)).collect();
    let order = deployment(&mut bench, |_| ());
    let mut worker = Resident::loaded(order);
    worker.text(0, &requests[0]);
    // It is in the middle of its text when the others come.
    let mut first = String::new();
    for _ in 0..5 {
        let (id, part) = worker.part();
        let Part::Text(piece) = part else {
            panic!("{part:?}");
        };
        assert_eq!(id, 0);
        first.push_str(&piece.text);
    }
    for (id, request) in (1..).zip(&requests[1..]) {
        worker.text(id, request);
    }
    let (mut texts, _, ended) = worker.texts(6);
    first.push_str(&texts[&0]);
    texts.insert(0, first);
    assert_eq!(texts.into_values().collect::<Vec<_>>(), separate);
    assert_eq!(ended.last(), Some(&0), "the others did not wait for it");
    worker.say(&ToWorker::Finish);
    let (reason, summary) = worker.end();
    assert_eq!(reason, "as asked");
    assert_eq!(
        (summary.samples, summary.steps),
        (6, 400 + 40 + 30 + 50 + 20 + 12)
    );
}

#[test]
fn a_dropped_answer_ends_in_mid_token_and_gives_its_place_to_the_next() {
    let mut bench = Bench::new();
    let order = deployment(&mut bench, |serve| serve.concurrency = 1);
    let mut worker = Resident::loaded(order);
    let endless = free("her", 1, 4000);
    worker.text(7, &endless);
    worker.text(8, &endless);
    worker.text(9, &free("abc", 2, 5));
    assert_eq!(worker.part().0, 7);
    // One that waits, and one that speaks.
    worker.say(&ToWorker::Drop { id: 8 });
    worker.say(&ToWorker::Drop { id: 7 });
    let mut late = 0;
    let last = loop {
        match worker.part() {
            (7, part) => {
                assert!(!part.is_last());
                late += 1;
            }
            (9, Part::Text(piece)) if piece.finish.is_some() => break piece,
            (9, _) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(late < 3900, "{late}");
    assert_eq!((last.tokens, last.finish), (5, Some(FinishReason::Length)));
    worker.say(&ToWorker::Finish);
    assert_eq!(worker.end().1.samples, 1);
}

#[test]
fn what_cannot_be_answered_is_refused_and_the_others_go_on() {
    let mut bench = Bench::new();
    let order = deployment(&mut bench, |serve| serve.context = 64);
    let mut worker = Resident::loaded(order);
    worker.text(1, &Request::prompt("abc ".repeat(50)));
    let said = worker.refusal(1);
    assert!(said.contains("its prompt has 200 tokens"), "{said}");
    assert!(said.contains("1 to 63"), "{said}");
    worker.ask(2, Ask::Rows(vec![vec![1.0]]));
    assert!(worker.refusal(2).contains("not rows"));
    // As much as the deployment lets a text have.
    worker.text(3, &free("abc", 1, 1000));
    let (_, _, ended) = worker.texts(1);
    assert_eq!(ended, [3]);
    // What is under way when it is unloaded hears so.
    worker.say(&ToWorker::Pause);
    assert_eq!(worker.hear(), FromWorker::Paused(true));
    worker.text(4, &free("abc", 1, 1000));
    worker.say(&ToWorker::Resume);
    assert_eq!(worker.hear(), FromWorker::Paused(false));
    assert_eq!(worker.part().0, 4);
    worker.say(&ToWorker::Finish);
    let reason = loop {
        match worker.part() {
            (4, Part::Refused(reason)) => break reason,
            (4, Part::Text(piece)) if piece.finish.is_some() => {
                break "it was faster".to_owned();
            }
            (4, Part::Text(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(
        reason.contains("unloaded") || reason == "it was faster",
        "{reason}"
    );
    worker.end();
}

#[test]
fn nobody_asks_and_it_unloads_itself() {
    let mut bench = Bench::new();
    let order = deployment(&mut bench, |serve| serve.idle = Some(Millis(1000)));
    let mut worker = Resident::loaded(order);
    worker.text(1, &free("abc", 1, 3));
    worker.texts(1);
    let (reason, summary) = worker.end();
    assert!(reason.contains("nobody has asked for"), "{reason}");
    assert_eq!((summary.samples, summary.steps), (1, 3));
}

#[test]
fn a_cancel_ends_one_that_waits_for_asks() {
    let mut bench = Bench::new();
    let order = deployment(&mut bench, |_| ());
    let mut worker = Resident::loaded(order);
    worker.say(&ToWorker::Cancel);
    assert_eq!(worker.hear(), FromWorker::Cancelled);
}

#[test]
fn a_model_without_memory_for_one_text_is_not_loaded() {
    let mut bench = Bench::new();
    let mut order = deployment(&mut bench, |_| ());
    order.ceilings.memory_bytes = 1_000_000;
    let mut worker = Resident::start(order);
    let FromWorker::Failed { class, message } = worker.hear() else {
        panic!("it is refused");
    };
    assert_eq!(class, FailureClass::Resource);
    assert!(message.contains("limits.memory"), "{message}");
}

/// A network that was trained on digits, as a deployment.
fn digits(bench: &mut Bench) -> (ServedNetwork, Vec<Vec<f64>>, Vec<serde_json::Value>) {
    let data = bench.digits(200);
    let train = small_training(data.clone());
    let order = bench.order(Work::Train(train.clone()));
    run_in_process(&order, &mut |_| ()).unwrap();
    let bytes = std::fs::read(order.workdir.join("model.safetensors")).unwrap();
    let weights = bench.input(&bytes);
    // What a prediction says of the same digits.
    let order = bench.order(Work::Predict(Predict {
        model: Network::Layers(train.model.clone()),
        weights: Some(weights),
        data,
        outputs: None,
        out: TableFormat::Jsonl,
        batch: 64,
    }));
    run_in_process(&order, &mut |_| ()).unwrap();
    let text = std::fs::read_to_string(order.workdir.join("predictions.jsonl")).unwrap();
    let predicted = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let rows = std::str::from_utf8(support::DIGITS).unwrap().lines();
    let rows = rows.take(200).map(|line| {
        let numbers = line.split(',').map(|x| x.parse().unwrap());
        numbers.take(64).collect()
    });
    let served = ServedNetwork {
        model: train.model,
        weights,
        outputs: Outputs::Classes,
        labels: (0..10).map(|digit| format!("digit {digit}")).collect(),
        normalise: Some(Normalise::Scale {
            from: 0.0,
            to: 16.0,
        }),
    };
    (served, rows.collect(), predicted.collect())
}

#[test]
fn a_network_answers_rows_as_a_prediction_does() {
    let mut bench = Bench::new();
    let (served, rows, predicted) = digits(&mut bench);
    let serve = Serve::new(Served::Network(Box::new(served)));
    let order = bench.order(Work::Serve(serve));
    let mut worker = Resident::loaded(order);
    worker.ask(1, Ask::Rows(rows.clone()));
    worker.ask(2, Ask::Rows(rows[..1].to_vec()));
    worker.ask(3, Ask::Rows(vec![vec![1.0; 3]]));
    worker.ask(4, Ask::Text(Box::new(Request::prompt("seven?"))));
    let mut answers: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    let (mut ended, mut refused) = (Vec::new(), Vec::new());
    while ended.len() < 2 || refused.len() < 2 {
        match worker.part() {
            (
                id,
                Part::Rows {
                    answers: some,
                    last,
                },
            ) => {
                answers.entry(id).or_default().extend(some);
                if last {
                    ended.push(id);
                }
            }
            (_, Part::Refused(reason)) => refused.push(reason),
            other => panic!("{other:?}"),
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 2]);
    assert!(
        refused.iter().any(|r| r.contains("takes 64")),
        "{refused:?}"
    );
    assert!(refused.iter().any(|r| r.contains("not a text")));
    assert_eq!(answers[&1].len(), 200);
    for (answer, line) in answers[&1].iter().zip(&predicted) {
        let class = format!("digit {}", line["class"]);
        assert_eq!(answer.class.as_deref(), Some(class.as_str()));
        for (one, other) in answer
            .probabilities
            .iter()
            .zip(line["probabilities"].as_array().unwrap())
        {
            assert!((f64::from(*one) - other.as_f64().unwrap()).abs() < 1e-5);
        }
    }
    worker.say(&ToWorker::Finish);
    assert_eq!(worker.end().1.samples, 2);
}

/// The job of an example, with `file` for whatever it names.
fn example(bench: &mut Bench, name: &str, file: &[u8]) -> Work {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/jobs");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let parsed = JobFile::parse(&text, Format::Toml).unwrap();
    let input = bench.input(file);
    let blobs = parsed.sources().into_iter();
    let blobs = blobs.map(|path| (path.to_owned(), input)).collect();
    parsed.resolve(&blobs).unwrap().work
}

#[test]
fn the_example_of_flowers_tells_them_apart() {
    let mut bench = Bench::new();
    let data = include_bytes!("../../data/iris.csv");
    let training = example(&mut bench, "iris-train.toml", data);
    let order = bench.order(training);
    run_in_process(&order, &mut |_| ()).unwrap();
    let weights = std::fs::read(order.workdir.join("model.safetensors")).unwrap();
    let serve = example(&mut bench, "iris-deploy.toml", &weights);
    let order = bench.order(serve);
    let mut worker = Resident::loaded(order);
    worker.ask(
        1,
        Ask::Rows(vec![vec![5.1, 3.5, 1.4, 0.2], vec![6.5, 3.0, 5.8, 2.2]]),
    );
    let (
        1,
        Part::Rows {
            answers,
            last: true,
        },
    ) = worker.part()
    else {
        panic!("two rows are one part");
    };
    let classes: Vec<_> = answers
        .iter()
        .map(|a| a.class.as_deref().unwrap())
        .collect();
    assert_eq!(classes, ["setosa", "virginica"]);
}

#[test]
fn the_example_of_a_chat_deploys_a_language_model() {
    let mut bench = Bench::new();
    let serve = example(&mut bench, "chat-deploy.toml", &tiny::endless(4096).bytes());
    let order = bench.order(serve);
    let mut worker = Resident::loaded(order);
    let question = Request {
        max_tokens: 8,
        ..Request::question("What is the capital of France?")
    };
    worker.text(1, &question);
    assert_eq!(worker.texts(1).2, [1]);
}
