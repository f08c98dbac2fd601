//! Resident models over the real service: who may ask, side by side, cancelled, busy,
//! unloaded, killed.

use std::time::Duration;

use embermesh_crypto::{
    digest::Digest,
    statement::{Outcome, Receipt, Signed},
    token::{self, Claims, Method},
};
use embermesh_job::{
    ask::{Ask, Part},
    event::EventKind,
    spec::{
        Askers, Input, JobSpec, LanguageModel, Limits, Request, Requirements, Serve, Served, Work,
    },
    units::{Bytes as Amount, Millis},
    wire::ResidentModel,
};
use embermesh_proto::v1;
use tonic::{Code, Status, Streaming};

use crate::support::{
    Caller, LONG, all, caller, config, digits, job, key, spec as spec_of, start, tiny, until, word,
};

/// Tokens that a text may have: enough that none ends while a test looks.
const CONTEXT: u32 = 200_000;

fn model() -> bytes::Bytes {
    tiny::endless(CONTEXT).bytes().into()
}

fn deployment(askers: Askers, concurrency: u32, queue: u32) -> JobSpec {
    let model = model();
    JobSpec {
        name: "chat".to_owned(),
        work: Work::Serve(Serve {
            concurrency,
            queue,
            context: CONTEXT,
            askers,
            ..Serve::new(Served::Language(LanguageModel::File(Input {
                digest: Digest::of(&model),
                size: model.len() as u64,
            })))
        }),
        requires: Requirements::default(),
        limits: Limits {
            memory: Amount(512 << 20),
            wall: Millis(600_000),
            output: Amount(1 << 20),
            ..Limits::default()
        },
        attempts: 1,
    }
}

/// Deploys, and waits until it is loaded.
async fn deploy(owner: &Caller, number: u8, spec: &JobSpec) -> Streaming<v1::RunUpdate> {
    owner.put("", &model()).await.unwrap();
    let mut stream = owner.run(number, spec).await;
    until(&mut stream, |kind| matches!(kind, EventKind::Loaded(_))).await;
    stream
}

fn text(prompt: &str, seed: u32, tokens: u32) -> Ask {
    Ask::Text(Box::new(Request {
        max_tokens: tokens,
        temperature: 1.0,
        seed,
        ..Request::prompt(prompt)
    }))
}

fn endless() -> Ask {
    text("her", 1, 60_000)
}

async fn ask(
    who: &Caller,
    model: &str,
    ask: &Ask,
    within_ms: u64,
) -> Result<Streaming<v1::InferUpdate>, Status> {
    let request = v1::InferRequest {
        model: model.to_owned(),
        within_ms,
        ask: ask.to_json().unwrap().into(),
        token: String::new(),
    };
    Ok(who.stub.clone().infer(request).await?.into_inner())
}

/// Asks with a token.
async fn ask_by(
    who: &Caller,
    model: &str,
    token: String,
) -> Result<Streaming<v1::InferUpdate>, Status> {
    let request = v1::InferRequest {
        model: model.to_owned(),
        within_ms: 0,
        ask: text("a", 1, 3).to_json().unwrap().into(),
        token,
    };
    Ok(who.stub.clone().infer(request).await?.into_inner())
}

async fn part(answer: &mut Streaming<v1::InferUpdate>) -> Result<Option<Part>, Status> {
    let update = tokio::time::timeout(LONG, answer.message())
        .await
        .expect("a part within the bound")?;
    Ok(update.map(|update| update.try_into().unwrap()))
}

/// A whole answer: its text, and its tokens.
async fn whole(answer: &mut Streaming<v1::InferUpdate>) -> Result<(String, u32), Status> {
    let mut text = String::new();
    loop {
        match part(answer).await?.expect("it ends with its last part") {
            Part::Text(piece) => {
                text.push_str(&piece.text);
                if piece.finish.is_some() {
                    assert!(part(answer).await?.is_none(), "nothing behind the end");
                    return Ok((text, piece.tokens));
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn models(who: &Caller) -> Vec<ResidentModel> {
    let mut stub = who.stub.clone();
    let asked = stub.list_models(v1::ListModelsRequest {});
    let models = asked.await.unwrap().into_inner().models;
    models.into_iter().map(|m| m.try_into().unwrap()).collect()
}

/// Waits until the model is as it should be.
async fn until_model(who: &Caller, is: impl Fn(&ResidentModel) -> bool) -> ResidentModel {
    tokio::time::timeout(LONG, async {
        loop {
            if let Some(model) = models(who).await.into_iter().find(&is) {
                return model;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the model comes to be so")
}

async fn undeploy(owner: &Caller, number: u8, spec: &JobSpec) {
    let token = owner.token(number, spec);
    let control = owner.control(&token, number);
    owner.stub.clone().finish(control).await.unwrap();
}

fn receipt(events: &[embermesh_job::event::Event]) -> (Outcome, Receipt, String) {
    let EventKind::Finished {
        outcome,
        receipt,
        message,
    } = &events.last().unwrap().kind
    else {
        panic!("{events:?}");
    };
    let receipt = Signed::<Receipt>::from_bytes(receipt.clone())
        .unwrap()
        .open()
        .unwrap();
    (*outcome, (*receipt).clone(), message.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ask_side_by_side_beside_a_training_and_the_receipt_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let owner = caller(&node, 2).await;
    let friend = caller(&node, 3).await;
    let spec = deployment(Askers::Peers(vec![key(3).peer_id()]), 4, 4);
    let mut stream = deploy(&owner, 1, &spec).await;
    let shown = &models(&owner).await[0];
    assert!(shown.ready && shown.name == "chat" && shown.memory_bytes > 0);

    // One that goes on is no hindrance to others, by name or by id.
    let mut long = ask(&owner, "chat", &endless(), 0).await.unwrap();
    part(&mut long).await.unwrap().unwrap();
    let id = shown.job.to_string();
    let short = text("abc the", 7, 20);
    let (mut one, mut two) = tokio::try_join!(
        ask(&owner, &id, &short, 0),
        ask(&friend, "chat", &short, 10_000)
    )
    .unwrap();
    let (one, two) = tokio::join!(whole(&mut one), whole(&mut two));
    assert_eq!(one.unwrap(), two.unwrap(), "one seed, one text");

    // The slot is free for a job meanwhile.
    owner.put("", &digits(200)).await.unwrap();
    let (events, _) = all(&mut owner.run(2, &spec_of(200, 1)).await).await;
    assert_eq!(receipt(&events).0, Outcome::Succeeded);

    // It goes on speaking until its reader goes.
    part(&mut long).await.unwrap().unwrap();
    drop(long);
    let now = until_model(&owner, |model| model.asks == 0).await;
    assert_eq!((now.answered, now.cancelled, now.tokens), (2, 1, 40));

    undeploy(&owner, 1, &spec).await;
    let (events, end) = all(&mut stream).await;
    assert_eq!(end, None);
    let (outcome, receipt, message) = receipt(&events);
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!((receipt.samples, receipt.steps), (2, 40));
    assert_eq!(message, "stopped as asked");
    assert!(models(&owner).await.is_empty());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_is_refused_and_sees_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.open = false;
    config.allow = vec![key(2).peer_id(), key(4).peer_id()];
    config.residents = 2;
    let node = start(config, 1).await;
    let owner = caller(&node, 2).await;
    let stranger = caller(&node, 3).await;
    let allowed = caller(&node, 4).await;
    let _mine = deploy(&owner, 1, &deployment(Askers::Owner, 1, 0)).await;
    for other in [&stranger, &allowed] {
        let refused = ask(other, "chat", &endless(), 0).await.unwrap_err();
        assert_eq!(
            (refused.code(), word(&refused)),
            (Code::PermissionDenied, "not_an_asker")
        );
        assert!(refused.message().contains("askers"), "{refused}");
        assert!(models(other).await.is_empty());
    }
    let mut open = deployment(Askers::Anyone, 1, 0);
    open.name = "open".to_owned();
    let _open = deploy(&owner, 2, &open).await;
    let mut answer = ask(&allowed, "open", &text("a", 1, 3), 0).await.unwrap();
    assert_eq!(whole(&mut answer).await.unwrap().1, 3);
    // Anyone whom the node's owner allows: not this one.
    let refused = ask(&stranger, "open", &endless(), 0).await.unwrap_err();
    assert_eq!(word(&refused), "not_an_asker");
    let unknown = ask(&owner, "talk", &endless(), 0).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    // A third one has no place.
    let third = deployment(Askers::Owner, 1, 0);
    let full = owner
        .run_with(&owner.token(3, &third), &third)
        .await
        .unwrap_err();
    assert_eq!(word(&full), "no_residents");
    assert!(full.message().contains("residents"), "{full}");
    node.stop().await.unwrap();
}

/// A permission that whom the node believes has signed lets a stranger ask what anyone
/// may, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_opens_one_model_to_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.open = false;
    config.allow = vec![key(2).peer_id()];
    config.residents = 3;
    let node = start(config, 1).await;
    let owner = caller(&node, 2).await;
    let stranger = caller(&node, 3).await;
    let mut deployments = Vec::new();
    for (number, name, askers) in [
        (1, "mine", Askers::Owner),
        (2, "open", Askers::Anyone),
        (3, "other", Askers::Anyone),
    ] {
        let mut spec = deployment(askers, 1, 0);
        spec.name = name.to_owned();
        let stream = deploy(&owner, number, &spec).await;
        deployments.push((spec, stream));
    }
    let permit = |number: u8, change: &dyn Fn(&mut Claims)| {
        let (spec, _) = &deployments[usize::from(number) - 1];
        let mut claims = stranger.claims(number, spec);
        claims.issuer = key(1).peer_id();
        claims.methods = [Method::Ask].into_iter().collect();
        change(&mut claims);
        let signer = if claims.issuer == key(1).peer_id() {
            1
        } else {
            3
        };
        token::issue(&claims, &key(signer)).unwrap()
    };
    let as_it_is = |_: &mut Claims| {};
    for what in ["open".to_owned(), job(2).to_string()] {
        // By its name too, though another is open to whoever has a permission.
        let mut answer = ask_by(&stranger, &what, permit(2, &as_it_is))
            .await
            .unwrap();
        assert_eq!(whole(&mut answer).await.unwrap().1, 3);
    }
    let refused = [
        ("open", permit(3, &as_it_is), "wrong_job"),
        ("mine", permit(1, &as_it_is), "not_an_asker"),
        (
            "open",
            permit(2, &|claims| claims.issuer = claims.client),
            "unknown_issuer",
        ),
        (
            "open",
            permit(2, &|claims| claims.client = key(4).peer_id()),
            "wrong_client",
        ),
        (
            "open",
            permit(2, &|claims| claims.node = key(5).peer_id()),
            "wrong_node",
        ),
        (
            "open",
            permit(2, &|claims| {
                claims.methods = [Method::Run].into_iter().collect()
            }),
            "method_not_allowed",
        ),
        ("open", "x.y.z".to_owned(), "malformed"),
    ];
    for (model, token, why) in refused {
        let refused = ask_by(&stranger, model, token).await.unwrap_err();
        assert_eq!(word(&refused), why, "{refused}");
    }
    // It lets nobody do what else can be done with a job.
    let control = v1::ControlRequest {
        token: permit(2, &as_it_is),
        job_id: job(2).to_string(),
        ..v1::ControlRequest::default()
    };
    let refused = stranger.stub.clone().cancel(control).await.unwrap_err();
    assert_eq!(word(&refused), "method_not_allowed");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let owner = caller(&node, 2).await;
    let mut spec = deployment(Askers::Owner, 1, 1);
    if let Work::Serve(serve) = &mut spec.work {
        serve.context = 64;
    }
    let _stream = deploy(&owner, 1, &spec).await;
    // A prompt that is too long, and what is no text, and nonsense.
    let long = text(&"abc ".repeat(50), 1, 5);
    let mut answer = ask(&owner, "chat", &long, 0).await.unwrap();
    let refused = whole(&mut answer).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("200 tokens"), "{refused}");
    let rows = Ask::Rows(vec![vec![1.0]]);
    let refused = ask(&owner, "chat", &rows, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for (model, within_ms, asked) in [
        ("", 0, &b"{}"[..]),
        ("chat", 3_600_001, b"{}"),
        ("chat", 0, br#"{"text":{"prompt":"x","top_p":7}}"#),
    ] {
        let request = v1::InferRequest {
            model: model.to_owned(),
            within_ms,
            ask: asked.to_vec().into(),
            token: String::new(),
        };
        let refused = owner.stub.clone().infer(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_model_says_so_and_time_runs_out() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let owner = caller(&node, 2).await;
    let _stream = deploy(&owner, 1, &deployment(Askers::Owner, 1, 1)).await;
    let mut speaks = ask(&owner, "chat", &endless(), 0).await.unwrap();
    part(&mut speaks).await.unwrap().unwrap();
    let reads = tokio::spawn(async move { while let Ok(Some(_)) = part(&mut speaks).await {} });
    let mut waits = ask(&owner, "chat", &text("abc", 1, 4), 0).await.unwrap();
    let busy = ask(&owner, "chat", &endless(), 0).await.unwrap_err();
    assert_eq!(
        (busy.code(), word(&busy)),
        (Code::ResourceExhausted, "busy")
    );
    assert!(busy.message().contains("try again later"), "{busy}");
    // The place of one that goes is the next one's.
    reads.abort();
    assert_eq!(whole(&mut waits).await.unwrap().1, 4);
    let mut slow = ask(&owner, "chat", &endless(), 300).await.unwrap();
    let late = loop {
        match part(&mut slow).await {
            Ok(part) => assert!(part.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(late.code(), Code::DeadlineExceeded);
    // And its place, too, is free.
    let now = until_model(&owner, |model| model.asks == 0).await;
    assert_eq!((now.answered, now.cancelled, now.refused), (1, 2, 1));
    node.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_ends_its_answers_and_the_next_attempt_answers_again() {
    use rustix::process::{Pid, Signal, kill_process};
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let owner = caller(&node, 2).await;
    let spec = deployment(Askers::Owner, 2, 2);
    let mut stream = deploy(&owner, 1, &spec).await;
    let mut answer = ask(&owner, "chat", &endless(), 0).await.unwrap();
    part(&mut answer).await.unwrap().unwrap();
    // The one that holds the model and, where there is one, the one that waits: nothing
    // tells them apart from outside.
    for pid in crate::support::workers() {
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    }
    let broken = loop {
        match part(&mut answer).await {
            Ok(part) => assert!(part.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(broken.code(), Code::Aborted);
    assert!(broken.message().contains("ask again"), "{broken}");
    let (_, end) = all(&mut stream).await;
    assert_eq!(end.unwrap().0, "worker_crashed");
    assert!(models(&owner).await.is_empty());

    // The next attempt at the same job, as an index orders it.
    let mut claims = owner.claims(1, &spec);
    claims.epoch = embermesh_crypto::Epoch(2);
    let token = embermesh_crypto::token::issue(&claims, &owner.keypair).unwrap();
    let mut stream = owner.run_with(&token, &spec).await.unwrap();
    let events = until(&mut stream, |kind| matches!(kind, EventKind::Loaded(_))).await;
    assert_eq!(crate::support::numbers(&events), [1, 2]);
    let mut answer = ask(&owner, "chat", &text("abc", 1, 4), 0).await.unwrap();
    assert_eq!(whole(&mut answer).await.unwrap().1, 4);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unloaded_model_gives_its_memory_and_its_process_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.memory = Amount(1 << 30);
    let node = start(config, 1).await;
    let owner = caller(&node, 2).await;
    let advertised = || {
        let advert = node.mesh().advert_of(&node.peer_id()).unwrap();
        (
            advert.devices[0].memory_bytes,
            advert.models.len(),
            advert.free_residents,
            (advert.slots, advert.free_slots),
        )
    };
    let spec = deployment(Askers::Owner, 1, 0);
    let mut stream = deploy(&owner, 1, &spec).await;
    let until_advertised = async |what| {
        let mut changes = node.mesh().changes();
        tokio::time::timeout(LONG, async {
            while advertised() != what {
                changes.changed().await.unwrap();
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{:?} is not {what:?}", advertised()));
    };
    // What it may use is not there for others; its slot is.
    until_advertised((512 << 20, 1, 0, (2, 1))).await;
    let mut large = spec_of(200, 1);
    large.limits.memory = Amount(700 << 20);
    let refused = owner
        .run_with(&owner.token(2, &large), &large)
        .await
        .unwrap_err();
    assert_eq!(word(&refused), "memory_taken");
    let workers = children();
    undeploy(&owner, 1, &spec).await;
    all(&mut stream).await;
    until_advertised((1 << 30, 0, 1, (1, 1))).await;
    assert!(children() < workers, "the worker is gone");
    owner.put("", &digits(200)).await.unwrap();
    let (events, _) = all(&mut owner.run(2, &large).await).await;
    assert_eq!(receipt(&events).0, Outcome::Succeeded);
    node.stop().await.unwrap();
}

/// Processes that this one has started and that still run.
fn children() -> usize {
    let me = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    stats
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            after_name.split_whitespace().nth(1) == Some(me.as_str())
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_time_and_a_drain_end_a_deployment_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let owner = caller(&node, 2).await;
    let mut spec = deployment(Askers::Owner, 1, 0);
    spec.limits.wall = Millis(1500);
    let mut stream = deploy(&owner, 1, &spec).await;
    let (events, _) = all(&mut stream).await;
    let (outcome, _, message) = receipt(&events);
    assert_eq!(outcome, Outcome::Succeeded);
    assert!(message.contains("limits.wall"), "{message}");

    let mut stream = deploy(&owner, 2, &deployment(Askers::Owner, 1, 0)).await;
    let mut last = ask(&owner, "chat", &text("abc", 1, 300), 0).await.unwrap();
    part(&mut last).await.unwrap().unwrap();
    let draining = tokio::spawn(node.drain());
    // What is under way comes to its end, and then the index may move the rest.
    assert_eq!(whole(&mut last).await.unwrap().1, 300);
    let (_, end) = all(&mut stream).await;
    assert_eq!(end.unwrap().0, "drained");
    draining.await.unwrap().unwrap();
}
