//! How provers come, go, and come back, and who may.

use embermesh_dialects::{Dialect, port::users::Users as _};
use embermesh_proto::zisk::{
    HealthCheckRequest, JobStatusRequest, LaunchProofRequest, ProverMessage, ProversListRequest,
    job_status_response, launch_proof_response,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use crate::support::{
    Coordinator, Duration, Prover, reconnect, register, request, result, settings,
};

#[tokio::test]
async fn an_id_is_one_provers_as_long_as_it_is_there() {
    let coordinator = Coordinator::start(settings()).await;
    let first = coordinator.prover("p0", 2).await;
    let (mut second, refused) = Prover::enter(coordinator.client().await, register("p0", 9)).await;
    assert!(!refused.accepted);
    assert!(
        refused.message.contains("connected already"),
        "{}",
        refused.message
    );
    // The refused stream ends; the first goes on.
    assert!(second.next().await.is_none());
    assert_eq!(coordinator.provers(true).await.len(), 1);
    drop(first);
    coordinator.free(0).await;
    coordinator.prover("p0", 9).await;
}

#[tokio::test]
async fn one_that_closes_is_gone_and_one_that_was_never_here_may_come_back() {
    let coordinator = Coordinator::start(settings()).await;
    let Prover { say, mut told, .. } = coordinator.prover("p0", 2).await;
    drop(say);
    assert!(told.message().await.unwrap().is_none());
    assert!(coordinator.provers(false).await.is_empty());
    let mut back = coordinator.prover_again("p1", 2, "job_of_long_ago").await;
    assert_eq!(back.cancelled().await, "job_of_long_ago");
    assert_eq!(coordinator.provers(true).await.len(), 1);
}

#[tokio::test]
async fn within_its_grace_a_prover_comes_back_to_its_work() {
    let patient = embermesh_gateway::ProvingSettings {
        grace: Duration::from_secs(60),
        ..settings()
    };
    let coordinator = Coordinator::start(patient).await;
    let mut first = coordinator.prover("p0", 2).await;
    let mut second = coordinator.prover("p1", 2).await;
    let id = coordinator.launch(4).await;
    let task = first.task().await;
    // Both halves at once, as a broken connection does.
    drop(first);
    while coordinator.provers(false).await[0].state != "Disconnected" {
        tokio::task::yield_now().await;
    }
    second.work().await;
    let mut first = coordinator.prover_again("p0", 2, &id).await;
    first.answer(&task, Some(result(&task))).await;
    assert_eq!(second.work().await.job_id, id);
    coordinator.state(&id, "Running (Prove)").await;
    first.work().await;
    second.aggregate(2).await;
    let job = coordinator.state(&id, "Completed").await;
    assert_eq!((job.assigned_provers.len(), &*job.message), (2, ""));
    // One that begins anew has lost its work.
    let id = coordinator.launch(4).await;
    first.task().await;
    drop(first);
    loop {
        let answer = Prover::enter(coordinator.client().await, register("p0", 2)).await;
        if answer.1.accepted {
            break;
        }
    }
    assert_eq!(second.task().await.job_id, id);
    assert_eq!(second.cancelled().await, id);
}

#[tokio::test]
async fn what_a_prover_claims_has_bounds() {
    let coordinator = Coordinator::start(settings()).await;
    let boast = coordinator.prover("boast", u32::MAX).await;
    let provers = coordinator.provers(false).await;
    let capacity = provers[0].compute_capacity.unwrap().compute_units;
    assert_eq!(capacity, embermesh_job::plan::gang::MAX_CAPACITY);
    let refused = coordinator.try_launch(capacity + 1).await;
    assert_eq!(refused.unwrap_err(), "PROVER_UNAVAILABLE");
    drop(boast);
    for (id, units) in [("none", 0), ("../etc", 1), ("", 1)] {
        let (_, answer) = Prover::enter(coordinator.client().await, register(id, units)).await;
        assert!(!answer.accepted, "{id}");
    }
}

#[tokio::test]
async fn without_a_token_nobody_comes_in_unless_he_is_believed() {
    let coordinator = Coordinator::strict().await;
    let mut client = coordinator.client().await;
    client.health_check(HealthCheckRequest {}).await.unwrap();
    let (_say, said) = tokio::sync::mpsc::channel::<ProverMessage>(1);
    let refused = client.prover_stream(ReceiverStream::new(said)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let refused = client.launch_proof(request(1)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let refused = client.provers_list(ProversListRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

/// A user, and a client of his.
async fn token(coordinator: &Coordinator, name: &str) -> String {
    let gateway = coordinator.gateway();
    let password = "a good password";
    let made = gateway.register(Dialect::Zisk, name, password, None).await;
    made.unwrap();
    let session = gateway.login(Dialect::Zisk, name, password, None).await;
    session.unwrap().token
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn an_id_and_a_job_belong_to_whoever_had_them_first() {
    let coordinator = Coordinator::strict().await;
    let ada = token(&coordinator, "ada").await;
    let bob = token(&coordinator, "bob").await;
    let mut client = coordinator.client().await;
    let open = async |token: &str, client: &mut crate::support::Client| {
        let (say, said) = tokio::sync::mpsc::channel(8);
        let hello = ProverMessage {
            payload: Some(register("p0", 2)),
        };
        say.send(hello).await.unwrap();
        let stream = client
            .prover_stream(by(token, ReceiverStream::new(said)))
            .await;
        let mut told = stream.unwrap().into_inner();
        let first = told.message().await.unwrap().unwrap().payload.unwrap();
        let embermesh_proto::zisk::coordinator_message::Payload::RegisterResponse(answer) = first
        else {
            panic!("{first:?}");
        };
        (say, told, answer)
    };
    let (say, told, answer) = open(&ada, &mut client).await;
    assert!(answer.accepted, "{}", answer.message);
    drop((say, told));
    let (_say, _told, answer) = open(&bob, &mut client).await;
    assert!(!answer.accepted);
    let (_say, _told, answer) = open(&ada, &mut client).await;
    assert!(answer.accepted, "{}", answer.message);

    let launched = client.launch_proof(by(&ada, request(2))).await.unwrap();
    let Some(launch_proof_response::Result::JobId(id)) = launched.into_inner().result else {
        panic!("a job");
    };
    let look = JobStatusRequest {
        job_id: id,
        with_proof: false,
    };
    let hers = client.job_status(by(&ada, look.clone())).await.unwrap();
    assert!(matches!(
        hers.into_inner().result,
        Some(job_status_response::Result::Job(_))
    ));
    let his = client.job_status(by(&bob, look)).await.unwrap();
    let Some(job_status_response::Result::Error(error)) = his.into_inner().result else {
        panic!("another's job");
    };
    assert_eq!(error.code, "JOB_NOT_FOUND");
}

#[tokio::test]
async fn failures_of_a_verb_are_in_its_answer() {
    let coordinator = Coordinator::start(settings()).await;
    assert_eq!(
        coordinator.try_job("job_none").await.unwrap_err(),
        "JOB_NOT_FOUND"
    );
    assert_eq!(
        coordinator.cancel("job_none").await.unwrap_err(),
        "JOB_NOT_FOUND"
    );
    let wrong = [
        LaunchProofRequest {
            compute_capacity: 0,
            ..request(1)
        },
        LaunchProofRequest {
            input_path: String::new(),
            ..request(1)
        },
        LaunchProofRequest {
            block_id: "a\nb".to_owned(),
            ..request(1)
        },
        LaunchProofRequest {
            simulated_node: Some(0),
            ..request(1)
        },
        request(u32::MAX),
    ];
    for request in wrong {
        let answer = coordinator.client().await.launch_proof(request).await;
        let Some(launch_proof_response::Result::Error(error)) = answer.unwrap().into_inner().result
        else {
            panic!("it is refused");
        };
        assert_eq!(error.code, "INVALID_ARGUMENT", "{}", error.message);
    }
    // The later name of a stream takes the same words.
    let (say, said) = tokio::sync::mpsc::channel(8);
    let stream = coordinator
        .client()
        .await
        .worker_stream(ReceiverStream::new(said))
        .await;
    let mut told = stream.unwrap().into_inner();
    let hello = ProverMessage {
        payload: Some(reconnect("w0", 1, "")),
    };
    say.send(hello).await.unwrap();
    told.message().await.unwrap().unwrap();
    let mut client = coordinator.client().await;
    let list = client.workers_list(ProversListRequest::default()).await;
    assert!(list.is_ok());
    assert_eq!(coordinator.provers(true).await[0].prover_id, "w0");
}
