//! Jobs that are made to take a node down, through a real worker: each is refused with
//! the right word, its worker is gone, and the node runs the next job.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use embermesh_crypto::{Digest, statement::Outcome};
use embermesh_job::{
    event::EventKind,
    spec::{JobSpec, Limits, Requirements, Work},
    units::{Bytes as Amount, Millis},
};
use serde_json::{Value, json};

use crate::support::{Caller, all, bombs, caller, config, digits, spec, start, tiny};

/// How long any of them may take to be refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// How a job must end.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// Not taken at all; the text is in the refusal.
    Refused(&'static str),
    /// The attempt ends with this code, and the text is in its message.
    Ended(&'static str, &'static str),
    /// The job has failed for good, with this text in the message.
    Failed(&'static str),
}

use Want::{Ended, Failed, Refused};

struct Bomb {
    name: &'static str,
    files: Vec<Vec<u8>>,
    work: Value,
    want: Want,
}

/// A file as a spec names it.
fn file(bytes: &[u8]) -> Value {
    json!({ "digest": Digest::of(bytes), "size": bytes.len() })
}

fn small() -> Value {
    json!({ "input": [4], "layers": [{ "op": "dense", "units": 3 }] })
}

fn train(model: &Value, data: &Value) -> Value {
    json!({ "train": { "model": model, "data": data, "passes": 1, "batch": 8 } })
}

/// A training on one file of data.
fn data(name: &'static str, bytes: Vec<u8>, form: impl Fn(Value) -> Value, want: Want) -> Bomb {
    let work = train(&small(), &form(file(&bytes)));
    Bomb {
        name,
        files: vec![bytes],
        work,
        want,
    }
}

/// A training of a model that does not fit.
fn model(name: &'static str, model: &Value, want: Want) -> Bomb {
    let rows =
        json!({ "inline": { "rows": [[1, 2, 3, 4]], "targets": { "numbers": [[1, 2, 3]] } } });
    Bomb {
        name,
        files: Vec::new(),
        work: train(model, &rows),
        want,
    }
}

/// An evaluation with these weights.
fn weights(name: &'static str, bytes: Vec<u8>, want: Want) -> Bomb {
    let table = b"1,2,3,4,0\n1,2,3,4,1\n".to_vec();
    let work = json!({ "evaluate": {
        "model": small(), "weights": file(&bytes), "batch": 2,
        "data": csv(file(&table)),
    } });
    Bomb {
        name,
        files: vec![bytes, table],
        work,
        want,
    }
}

/// A text of a language model.
fn generate(name: &'static str, bytes: Vec<u8>, request: &Value, want: Want) -> Bomb {
    let work = json!({ "generate": {
        "model": file(&bytes), "requests": [request], "report_every": 1,
    } });
    Bomb {
        name,
        files: vec![bytes],
        work,
        want,
    }
}

fn csv(file: Value) -> Value {
    json!({ "csv": {
        "file": file, "dialect": { "delimiter": ",", "header": false },
        "target": { "classes": { "column": 5, "count": 3 } },
    } })
}

fn npy_of(file: Value) -> Value {
    json!({ "npy": { "features": file, "targets": file, "target": { "numbers": 3 } } })
}

fn images(file: Value) -> Value {
    json!({ "images": { "archive": file, "classes": ["black", "white"] } })
}

fn image(name: &'static str, archive: Vec<u8>, want: Want) -> Bomb {
    let model = json!({ "input": [1, 2, 2], "layers": [
        { "op": "flatten" }, { "op": "dense", "units": 2 },
    ] });
    let work = train(&model, &images(file(&archive)));
    Bomb {
        name,
        files: vec![archive],
        work,
        want,
    }
}

fn of_models() -> Vec<Bomb> {
    let dense = |units: u64| json!({ "op": "dense", "units": units });
    let many = vec![json!({ "op": "relu" }); 30_000];
    vec![
        model(
            "a shape that overflows",
            &json!({ "input": [4_294_967_296_u64, 4_294_967_296_u64, 4_294_967_296_u64], "layers": [{ "op": "flatten" }, dense(3)] }),
            Refused(""),
        ),
        model(
            "a layer of a thousand million units",
            &json!({ "input": [4], "layers": [dense(1_000_000_000), dense(3)] }),
            Refused(""),
        ),
        model(
            "a layer of more units than there are numbers",
            &json!({ "input": [4], "layers": [dense(1 << 53), dense(3)] }),
            Refused(""),
        ),
        model(
            "thirty thousand layers",
            &json!({ "input": [4], "layers": many }),
            Refused(""),
        ),
        model(
            "a model just above what the job may use",
            &json!({ "input": [4], "layers": [dense(2_000_000), dense(3)] }),
            Refused("limits.memory"),
        ),
    ]
}

fn of_data() -> Vec<Bomb> {
    let parquet_of = |file| {
        json!({ "parquet": { "file": file, "features": ["x"],
            "target": { "classes": { "column": "kind", "labels": ["cat", "dog", "owl"] } } } })
    };
    let npz_of = |file| json!({ "npz": { "file": file, "features": "x", "targets": "x", "target": { "numbers": 4 } } });
    let idx_of = |file| json!({ "idx": { "images": file, "labels": file, "classes": 3 } });
    let mut bombs = vec![
        data(
            "a table of a hundred million rows in gzip",
            bombs::gzip_of(&b"1,2,3,4,0\n".repeat(10_000), 10_000),
            csv,
            Ended("out_of_resources", "limits.memory"),
        ),
        data(
            "a line without an end in gzip",
            bombs::gzip_of(&[b'1'; 65_536], 8_000),
            csv,
            Ended("out_of_resources", "limits.memory"),
        ),
        data(
            "an array that lies",
            bombs::npy("(1152921504606846976, 4)"),
            npy_of,
            Failed("data"),
        ),
        data("images that lie", bombs::idx(), idx_of, Failed("data")),
        data(
            "texts as differences that lie",
            bombs::parquet(),
            parquet_of,
            Failed("another number of values inside"),
        ),
        image(
            "an archive that explodes",
            bombs::tar_gz(512),
            Failed("more than limits.memory"),
        ),
        image(
            "a PNG of 60000 by 60000",
            bombs::tar("white/1.png", &bombs::png()),
            Failed("Image size exceeds limit"),
        ),
        image(
            "a JPEG of 65500 by 65500",
            bombs::tar("white/1.jpg", &bombs::jpeg()),
            Failed("an image that cannot be read"),
        ),
    ];
    let model = json!({ "input": [4], "layers": [{ "op": "dense", "units": 4 }] });
    let archive = bombs::npz(32 << 20);
    bombs.push(Bomb {
        name: "arrays that explode",
        work: train(&model, &npz_of(file(&archive))),
        files: vec![archive],
        want: Ended("out_of_resources", "limits.memory"),
    });
    bombs
}

fn of_weights() -> Vec<Bomb> {
    // The same number of bytes, so that the rest of the file stays where it is.
    let mut endless =
        b"{% for a in range(99) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_vec();
    let whole = tiny::writer().bytes();
    let template = tiny::TEMPLATE.as_bytes();
    endless.resize(template.len(), b' ');
    let at = whole
        .windows(template.len())
        .position(|part| part == template);
    let mut looping = whole.clone();
    looping[at.unwrap()..][..template.len()].copy_from_slice(&endless);
    let huge = [
        b"GGUF\x03\0\0\0",
        &u64::MAX.to_le_bytes()[..],
        &u64::MAX.to_le_bytes(),
    ]
    .concat();
    let prompt = json!({ "prompt": "abc", "max_tokens": 4 });
    let long = json!({ "prompt": "a".repeat(200_000), "max_tokens": 4 });
    let chat = json!({ "messages": [{ "role": "user", "content": "abc" }], "max_tokens": 4 });
    vec![
        weights(
            "a header of 2^64 bytes",
            bombs::safetensors(u64::MAX, b"{}"),
            Failed("weights"),
        ),
        weights(
            "a header of more than the file",
            bombs::safetensors(1 << 30, b"{}"),
            Failed("weights"),
        ),
        weights(
            "a tensor beyond the end",
            bombs::safetensors_beyond(),
            Failed("weights"),
        ),
        generate("a model file of 2^64 tensors", huge, &prompt, Failed("")),
        generate(
            "a template that does not end",
            looping,
            &chat,
            Failed("fuel"),
        ),
        generate("a prompt of one long word", whole, &long, Failed("")),
    ]
}

fn job(bomb: &Bomb) -> JobSpec {
    let work: Work = serde_json::from_value(bomb.work.clone())
        .unwrap_or_else(|error| panic!("{}: {error}", bomb.name));
    JobSpec {
        name: bomb.name.to_owned(),
        work,
        requires: Requirements::default(),
        limits: Limits {
            memory: Amount(64 << 20),
            wall: Millis(60_000),
            output: Amount(1 << 20),
            ..Limits::default()
        },
        attempts: 1,
    }
}

/// How a job ended, in words.
async fn outcome(client: &Caller, number: u8, spec: &JobSpec) -> (Option<String>, String) {
    let token = client.token(number, spec);
    let mut stream = match client.run_with(&token, spec).await {
        Ok(stream) => stream,
        Err(status) => return (Some("refused".to_owned()), status.message().to_owned()),
    };
    match all(&mut stream).await {
        (_, Some((code, message))) => (Some(code), message),
        (events, None) => match events.last().map(|event| &event.kind) {
            Some(EventKind::Finished {
                outcome: Outcome::Failed,
                message,
                ..
            }) => (Some("failed".to_owned()), message.clone()),
            last => (None, format!("{last:?}")),
        },
    }
}

async fn explode(bombs: Vec<Bomb>) {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(200)).await.unwrap();
    let mut wrong = Vec::new();
    let mut number = 0;
    for bomb in &bombs {
        for bytes in &bomb.files {
            client.put("", &Bytes::from(bytes.clone())).await.unwrap();
        }
        number += 2;
        let since = Instant::now();
        let (code, message) = outcome(&client, number, &job(bomb)).await;
        let took = since.elapsed();
        println!("{:<46} {code:?} in {took:?}: {message}", bomb.name);
        let code = code.as_deref();
        let fits = match bomb.want {
            Refused(text) => code == Some("refused") && message.contains(text),
            Ended(word, text) => code == Some(word) && message.contains(text),
            Failed(text) => code == Some("failed") && message.contains(text),
        };
        if !fits || took > REFUSED_WITHIN {
            wrong.push(format!(
                "{}: {code:?} ({message}) where {:?}",
                bomb.name, bomb.want
            ));
        }
        client.idle().await;
        // The node is as it was.
        let (events, end) = all(&mut client.run(number + 1, &spec(200, 1)).await).await;
        assert!(
            end.is_none() && events.last().unwrap().kind.is_final(),
            "after {}: {end:?}",
            bomb.name
        );
    }
    node.stop().await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_cannot_be_are_refused_before_anything_is_allocated() {
    explode(of_models()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_explodes_or_lies_ends_its_job_and_nothing_else() {
    explode(of_data()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_templates_and_tokenizers_that_lie_end_their_job_and_nothing_else() {
    explode(of_weights()).await;
}
