//! Language models on a node: a generation that is told to stop.

use bytes::Bytes;
use embermesh_crypto::{digest::Digest, statement::Outcome};
use embermesh_job::{
    event::{EventKind, FinishReason},
    spec::{Generate, Input, JobSpec, LanguageModel, Request, Work},
};

use crate::support::{caller, config, spec, start, tiny, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_is_told_to_stop_succeeds_with_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let model = Bytes::from(tiny::endless(100_000).bytes());
    assert!(client.put("", &model).await.unwrap());
    let input = Input {
        digest: Digest::of(&model),
        size: model.len() as u64,
    };
    let request = Request {
        max_tokens: 50_000,
        ..Request::prompt("abc")
    };
    let spec = JobSpec {
        work: Work::Generate(Generate {
            model: LanguageModel::File(input),
            requests: vec![request],
            report_every: 1,
        }),
        ..spec(200, 1)
    };
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Generated(_))).await;
    // It has no hyperparameters.
    let adjust = embermesh_proto::v1::AdjustRequest {
        task: Some(client.control(&token, 1)),
        learning_rate: Some(0.1),
        weight_decay: None,
    };
    let refused = client.stub.clone().adjust(adjust).await.unwrap_err();
    assert!(refused.message().contains("only a training"), "{refused}");
    let control = client.control(&token, 1);
    client.stub.clone().finish(control).await.unwrap();
    let events = until(&mut stream, |kind| {
        matches!(kind, EventKind::Finished { .. })
    })
    .await;
    let EventKind::Finished {
        outcome, message, ..
    } = &events.last().unwrap().kind
    else {
        panic!("{events:?}");
    };
    assert_eq!(*outcome, Outcome::Succeeded);
    assert!(message.starts_with("stopped as asked, after"), "{message}");
    let ended = events.iter().any(|event| {
        matches!(&event.kind, EventKind::Generated(piece) if piece.finish == Some(FinishReason::Stopped))
    });
    assert!(ended, "{events:?}");
    assert!(events.iter().any(
        |event| matches!(&event.kind, EventKind::Artifact(made) if made.name == "answers.jsonl")
    ));
    node.stop().await.unwrap();
}
