//! Provers that say what they should not.

use embermesh_proto::zisk::{
    ExecuteTaskResponse, HeartbeatAck, Proof, ProofList, ProverError, ProverMessage, TaskType,
    execute_task_response::ResultData, prover_message::Payload,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Coordinator, Prover, result, settings};

async fn ends_with(prover: &mut Prover, code: Code) {
    let end = prover.told.message().await.unwrap_err();
    assert_eq!(end.code(), code, "{end}");
}

#[tokio::test]
async fn a_stream_begins_with_a_hello_or_ends() {
    let coordinator = Coordinator::start(settings()).await;
    for payload in [
        None,
        Some(Payload::HeartbeatAck(HeartbeatAck {
            prover_id: "p0".to_owned(),
        })),
    ] {
        let (say, said) = tokio::sync::mpsc::channel(1);
        let stream = coordinator
            .client()
            .await
            .prover_stream(ReceiverStream::new(said))
            .await;
        say.send(ProverMessage { payload }).await.unwrap();
        let end = stream.unwrap().into_inner().message().await.unwrap_err();
        assert_eq!(end.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn garbage_ends_the_stream_of_who_says_it_alone() {
    let coordinator = Coordinator::start(settings()).await;
    let mut good = coordinator.prover("good", 1).await;
    for payload in [
        None,
        // In the name of another.
        Some(Payload::HeartbeatAck(HeartbeatAck {
            prover_id: "good".to_owned(),
        })),
        Some(crate::support::register("bad", 1)),
        Some(Payload::ExecuteTaskResponse(ExecuteTaskResponse {
            prover_id: "bad".to_owned(),
            task_type: 77,
            success: true,
            ..ExecuteTaskResponse::default()
        })),
    ] {
        let mut bad = coordinator.prover("bad", 1).await;
        bad.say.send(ProverMessage { payload }).await.unwrap();
        ends_with(&mut bad, Code::InvalidArgument).await;
    }
    assert_eq!(coordinator.provers(true).await.len(), 1);
    coordinator.launch(1).await;
    good.work().await;
}

/// A proof over `bad`, with `good` to take its place.
async fn begun(coordinator: &Coordinator) -> (Prover, Prover, String) {
    let bad = coordinator.prover("bad", 2).await;
    let good = coordinator.prover("good", 1).await;
    let id = coordinator.launch(1).await;
    assert_eq!(coordinator.job(&id).await.assigned_provers, ["bad"]);
    (bad, good, id)
}

#[tokio::test]
async fn an_answer_that_is_none_fails_its_prover_and_not_the_proof() {
    let proofs = || {
        Some(ResultData::Proofs(ProofList {
            proofs: vec![Proof::default()],
        }))
    };
    // Without a result, with that of another phase, and for a phase that is not begun.
    for (task_type, data) in [
        (TaskType::PartialContribution, None),
        (TaskType::PartialContribution, proofs()),
        (TaskType::Prove, proofs()),
        (TaskType::Aggregate, None),
    ] {
        let coordinator = Coordinator::start(settings()).await;
        let (mut bad, mut good, id) = begun(&coordinator).await;
        let task = bad.task().await;
        bad.say_done(&task, task_type, data).await;
        assert_eq!(bad.cancelled().await, id);
        let again = good.task().await;
        assert!(again.job_id.starts_with(&id), "{}", again.job_id);
        let job = coordinator.job(&id).await;
        assert_eq!(job.assigned_provers, ["good"]);
        assert!(job.message.contains("bad"), "{}", job.message);
        // It is still a prover.
        coordinator.free(1).await;
    }
}

#[tokio::test]
async fn a_prover_that_gives_up_is_not_asked_again() {
    let coordinator = Coordinator::start(settings()).await;
    let (mut bad, mut good, id) = begun(&coordinator).await;
    bad.task().await;
    bad.send(Payload::Error(ProverError {
        prover_id: "bad".to_owned(),
        job_id: id.clone(),
        error_message: "no such input".to_owned(),
    }))
    .await;
    good.task().await;
    let job = coordinator.job(&id).await;
    assert!(job.message.contains("no such input"), "{}", job.message);
    // The last one too, and then nobody is left.
    let short = coordinator.cancel(&id).await.unwrap();
    assert_eq!(short.state, "Failed");
}

#[tokio::test]
async fn an_aggregation_without_a_proof_is_none() {
    let coordinator = Coordinator::start(settings()).await;
    let (mut bad, mut good, id) = begun(&coordinator).await;
    bad.work().await;
    bad.work().await;
    // As many answers as tasks, and all of them empty.
    let task = bad.task().await;
    let empty = ResultData::FinalProof(embermesh_proto::zisk::FinalProofList::default());
    bad.answer(&task, Some(empty)).await;
    let again = good.task().await;
    assert!(again.job_id.starts_with(&id));
}

#[tokio::test]
async fn what_was_said_twice_counts_once() {
    let coordinator = Coordinator::start(settings()).await;
    let mut first = coordinator.prover("p0", 1).await;
    let mut second = coordinator.prover("p1", 1).await;
    let id = coordinator.launch(2).await;
    let task = first.task().await;
    for _ in 0..3 {
        first.answer(&task, Some(result(&task))).await;
    }
    second.work().await;
    // Of a phase that is over.
    first.answer(&task, Some(result(&task))).await;
    second.work().await;
    first.work().await;
    second.aggregate(2).await;
    let job = coordinator.state(&id, "Completed").await;
    assert_eq!(job.final_proof.unwrap().values, [1]);
    assert_eq!(job.message, "");
}

#[tokio::test]
async fn proofs_may_be_larger_than_a_usual_message() {
    let coordinator = Coordinator::start(settings()).await;
    let mut first = coordinator.prover("p0", 1).await;
    let mut second = coordinator.prover("p1", 1).await;
    let id = coordinator.launch(2).await;
    first.work().await;
    second.work().await;
    // Words of ten bytes each: 10 MB.
    let values = vec![u64::MAX; 1_000_000];
    let large = ResultData::Proofs(ProofList {
        proofs: vec![Proof {
            values,
            ..Proof::default()
        }],
    });
    second.work().await;
    let task = first.task().await;
    first.answer(&task, Some(large)).await;
    coordinator.state(&id, "Running (Aggregate)").await;
    let task = second.task().await;
    let Some(embermesh_proto::zisk::execute_task_request::Params::AggParams(params)) = task.params
    else {
        panic!("an aggregation");
    };
    assert_eq!(params.agg_proofs.unwrap().proofs[0].values.len(), 1_000_000);
}
