//! Language models as jobs, in this process and in a worker.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod support;
#[path = "support/tiny.rs"]
mod tiny;

use embermesh_compute::pipe::{WorkOrder, WorkerEvent, WorkerEventKind};
use embermesh_compute::{FailureClass, WorkFailed, run_in_process};
use embermesh_job::event::{EventKind, FinishReason, Generated};
use embermesh_job::spec::{Generate, Request, Work};
use support::Bench;
use support::runs::{refusal, run};

fn job(bench: &mut Bench, model: &[u8], requests: Vec<Request>) -> WorkOrder {
    let model = bench.input(model).into();
    bench.order(Work::Generate(Generate {
        model,
        requests,
        report_every: 1,
    }))
}

fn free(prompt: &str, seed: u32) -> Request {
    Request {
        max_tokens: 24,
        temperature: 1.0,
        seed,
        ..Request::prompt(prompt)
    }
}

fn pieces(events: &[WorkerEvent]) -> Vec<Generated> {
    let piece = |event: &WorkerEvent| match &event.kind {
        WorkerEventKind::Plain(EventKind::Generated(piece)) => Some(piece.clone()),
        _ => None,
    };
    events.iter().filter_map(piece).collect()
}

/// The texts of all requests, by their events.
fn texts(events: &[WorkerEvent]) -> Vec<String> {
    let mut texts = Vec::new();
    for piece in pieces(events) {
        let at = piece.request as usize;
        if texts.len() <= at {
            texts.resize(at + 1, String::new());
        }
        texts[at].push_str(&piece.text);
    }
    texts
}

fn lines(order: &WorkOrder) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(order.workdir.join("answers.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn requests_stream_and_the_result_holds_their_texts() {
    let mut bench = Bench::new();
    let model = tiny::endless(128).bytes();
    let requests = vec![
        free("her the", 1),
        Request {
            max_tokens: 5,
            ..Request::question("Who?")
        },
        free("abc", 3),
    ];
    let order = job(&mut bench, &model, requests);
    let run = run(&order).unwrap();
    let kinds = |event: &WorkerEvent| match &event.kind {
        WorkerEventKind::Plain(EventKind::Started { samples: 3, .. }) => "started",
        WorkerEventKind::Plain(EventKind::Generated(_)) => "generated",
        WorkerEventKind::Artifact { name, .. } if name == "answers.jsonl" => "artifact",
        other => panic!("{other:?}"),
    };
    let kinds: Vec<_> = run.events.iter().map(kinds).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("started", "artifact"));
    let numbers = run.events.iter().map(|event| event.seq);
    assert!(numbers.eq(1..run.summary.next_seq));
    assert_eq!((run.summary.steps, run.summary.samples), (24 + 5 + 24, 3));

    let lines = lines(&order);
    let texts = texts(&run.events);
    assert_eq!(lines.len(), 3);
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["request"], at);
        assert_eq!(line["text"], texts[at]);
        assert_eq!(line["finish"], "length");
        let last = pieces(&run.events);
        let last = last
            .iter()
            .rfind(|piece| piece.request as usize == at)
            .unwrap();
        assert_eq!(last.finish, Some(FinishReason::Length));
        assert_eq!(line["tokens"], last.tokens);
        assert_eq!(line["prompt_tokens"], last.prompt_tokens);
    }
    // "her the" in the vocabulary of the file.
    assert_eq!(lines[0]["prompt_tokens"], 3);
}

#[test]
fn a_seed_gives_one_text_alone_and_among_others() {
    let mut bench = Bench::new();
    let model = tiny::endless(128).bytes();
    let mut alone = |request: Request| {
        let order = job(&mut bench, &model, vec![request]);
        texts(&run(&order).unwrap().events).remove(0)
    };
    let requests: Vec<Request> = (0..20).map(|seed| free("abc", seed)).collect();
    let separate: Vec<String> = requests.iter().cloned().map(&mut alone).collect();
    assert_eq!(alone(free("abc", 3)), separate[3]);
    assert_ne!(separate[3], separate[4]);
    let mut order = job(&mut bench, &model, requests);
    assert_eq!(texts(&run(&order).unwrap().events), separate);
    order.threads = 1;
    assert_eq!(texts(&run(&order).unwrap().events), separate);
    // With memory for one or two at a time.
    let ceiling = order.ceilings.memory_bytes;
    order.ceilings.memory_bytes = 200_000;
    let WorkFailed::Context { needed, .. } = refusal(&order) else {
        panic!("it was not refused");
    };
    assert!(needed < ceiling);
    order.ceilings.memory_bytes = needed + 10_000;
    assert_eq!(texts(&run(&order).unwrap().events), separate);
}

#[test]
fn a_stop_string_and_the_end_of_the_text_end_it() {
    let mut bench = Bench::new();
    let model = tiny::endless(128).bytes();
    let order = job(&mut bench, &model, vec![free("abc", 5)]);
    let whole = texts(&run(&order).unwrap().events).remove(0);
    let stop = whole.chars().nth(6).unwrap().to_string();
    let cut = &whole[..whole.find(&stop).unwrap()];
    let stopped = Request {
        stop: vec![stop],
        ..free("abc", 5)
    };
    let order = job(&mut bench, &model, vec![stopped]);
    let run_stopped = run(&order).unwrap();
    assert_eq!(texts(&run_stopped.events), [cut]);
    assert_eq!(lines(&order)[0]["finish"], "stop");
    // Of twenty texts of 120 tokens from some 70, some come to the last token.
    let model = tiny::writer().bytes();
    let requests = (0..20).map(|seed| Request {
        max_tokens: 120,
        ..free("abc", seed)
    });
    let order = job(&mut bench, &model, requests.collect());
    run(&order).unwrap();
    let ended = lines(&order)
        .iter()
        .filter(|line| line["finish"] == "stop")
        .count();
    assert!(ended > 0);
}

#[test]
fn what_cannot_be_answered_is_refused_before_it_is_begun() {
    let mut bench = Bench::new();
    let model = tiny::writer().bytes();
    let long = Request::prompt("abc ".repeat(50));
    let order = job(&mut bench, &model, vec![free("abc", 1), long]);
    let failed = refusal(&order);
    assert_eq!(failed.class(), Some(FailureClass::Invalid));
    let said = failed.to_string();
    assert!(
        said.contains("request 1: its prompt has 200 tokens"),
        "{said}"
    );

    let order = job(&mut bench, b"GGUF is not enough", vec![free("abc", 1)]);
    assert!(matches!(refusal(&order), WorkFailed::LanguageModel(_)));

    let mut order = job(&mut bench, &model, vec![free("abc", 1)]);
    order.ceilings.memory_bytes = 200_000;
    let failed = refusal(&order);
    assert!(matches!(failed, WorkFailed::Context { .. }), "{failed}");
    assert_eq!(failed.class(), Some(FailureClass::Resource));
    let mut heard = 0;
    assert!(run_in_process(&order, &mut |_| heard += 1).is_err());
    assert_eq!(heard, 0);
}
