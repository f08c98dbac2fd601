//! Jobs from their submit to their end, in both forms of the wire.

use std::time::Duration;

use embermesh_crypto::{Digest, Keypair, UnixMillis, ids::Epoch};
use embermesh_dialects::{Profile, port::jobs::JobUpdate};
use embermesh_job::{
    address::PeerAddress,
    assignment::NodeAssignment,
    event::{Artifact, LogStream},
    lifecycle::JobState,
};
use embermesh_proto::cyxwiz::{
    protocol::{
        CancelJobRequest, DeleteJobRequest, GetJobStatusRequest, ListJobsRequest,
        job_service_client::JobServiceClient,
    },
    shipped,
};
use tonic::{Code, transport::Channel};

use crate::{
    configs::{FORMS, training},
    port::{Memory, by, serve},
};

type Jobs = JobServiceClient<Channel>;

/// Submits a job of this name for Alice.
async fn submitted(client: &mut Jobs, name: &str) {
    let mut request = training(FORMS[3]);
    request.config.as_mut().unwrap().job_id = name.to_owned();
    let answer = client.submit_job(by("alice", request)).await.unwrap();
    assert_eq!(answer.into_inner().job_id, name);
}

fn named(job: &str) -> GetJobStatusRequest {
    GetJobStatusRequest {
        job_id: job.to_owned(),
    }
}

fn progress(memory: &Memory, job: &str) {
    memory.change(job, |view| {
        view.state = JobState::Running;
        view.progress = 0.25;
        view.pass = (2, 8);
        view.node = Some("node-1".to_owned());
        view.started_at = Some(UnixMillis(5_000));
        view.metrics.insert("loss".to_owned(), 0.75);
    });
}

#[tokio::test]
async fn states_have_the_numbers_of_either_form() {
    let states = [
        (JobState::Queued, 7, 3),
        (JobState::Assigned, 2, 4),
        (JobState::Running, 3, 4),
        (JobState::Paused, 3, 4),
        (JobState::Succeeded, 4, 5),
        (JobState::Failed, 5, 6),
        (JobState::Cancelled, 6, 7),
    ];
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    submitted(&mut client, "a").await;
    for (state, documented, _) in states {
        memory.change("a", |job| job.state = state);
        let answer = client
            .get_job_status(by("alice", named("a")))
            .await
            .unwrap();
        let status = answer.into_inner().status.unwrap();
        assert_eq!(status.status, documented, "{state}");
        assert_eq!(status.error.is_some(), state == JobState::Failed, "{state}");
    }
    let (memory, channel) = serve(Profile::Shipped).await;
    let mut client = shipped::job_service_client::JobServiceClient::new(channel);
    let request = shipped::SubmitJobRequest {
        config: Some(shipped::JobConfig {
            job_id: "a".to_owned(),
            job_type: 1,
            model_definition: FORMS[3].to_owned(),
            epochs: 1,
            ..shipped::JobConfig::default()
        }),
        initial_data: crate::configs::FLOWERS.into(),
    };
    let answer = client.submit_job(by("alice", request)).await.unwrap();
    assert_eq!(answer.into_inner().status, 3, "pending");
    for (state, _, number) in states {
        memory.change("a", |job| job.state = state);
        let request = shipped::GetJobStatusRequest {
            job_id: "a".to_owned(),
        };
        let answer = client.get_job_status(by("alice", request)).await.unwrap();
        let status = answer.into_inner().status.unwrap();
        assert_eq!(status.status, number, "{state}");
        // What is listed by a number has it.
        let request = shipped::ListJobsRequest {
            filter_status: number,
            ..shipped::ListJobsRequest::default()
        };
        let listed = client.list_jobs(by("alice", request)).await.unwrap();
        assert_eq!(listed.into_inner().jobs.len(), 1, "{state}");
    }
}

#[tokio::test]
async fn progress_and_measures_are_those_of_the_job() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    submitted(&mut client, "a").await;
    let answer = client
        .get_job_status(by("alice", named("a")))
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert!(answer.node_assignment.is_none());
    assert!(answer.status.unwrap().progress.abs() < f64::EPSILON);
    progress(&memory, "a");
    let node = Keypair::from_seed(&[7; 32]).peer_id();
    memory.change("a", |view| {
        view.assignment = Some(NodeAssignment {
            job: "019a0000-0000-7000-8000-000000000001".parse().unwrap(),
            task: embermesh_crypto::ids::TaskIndex(0),
            epoch: Epoch(1),
            node: PeerAddress {
                peer: node,
                tls: vec!["192.0.2.1:7421".to_owned()],
                mesh: Vec::new(),
            },
            token: "a.signed.token".to_owned(),
            expires_at: UnixMillis(600_000),
        });
    });
    let answer = client
        .get_job_status(by("alice", named("a")))
        .await
        .unwrap();
    let answer = answer.into_inner();
    let status = answer.status.unwrap();
    assert!((status.progress - 0.25).abs() < f64::EPSILON);
    assert_eq!((status.current_epoch, status.start_time), (2, 5));
    assert_eq!(status.current_node_id, "node-1");
    assert!((status.metrics["loss"] - 0.75).abs() < f64::EPSILON);
    let assigned = answer.node_assignment.unwrap();
    assert_eq!(assigned.node_endpoint, "192.0.2.1:7421");
    assert_eq!(assigned.auth_token, "a.signed.token");
    assert_eq!(assigned.token_expires_at, 600);
    // Its key is there, and is its id.
    assert_eq!(assigned.node_public_key, node.to_string());
}

#[tokio::test]
async fn pages_hold_while_jobs_are_added() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    for number in 0..7 {
        submitted(&mut client, &format!("old-{number}")).await;
    }
    let mut request = ListJobsRequest {
        user_id: "alice".to_owned(),
        page_size: 3,
        ..ListJobsRequest::default()
    };
    let mut seen = Vec::new();
    let mut totals = Vec::new();
    loop {
        let page = client
            .list_jobs(by("alice", request.clone()))
            .await
            .unwrap();
        let page = page.into_inner();
        assert!(page.jobs.len() <= 3);
        totals.push(page.total_count);
        seen.extend(page.jobs.into_iter().map(|job| job.job_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // One more comes between two pages, and moves nothing.
        submitted(&mut client, &format!("new-{}", seen.len())).await;
    }
    let expected: Vec<String> = (0..7).rev().map(|number| format!("old-{number}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(totals, [7, 8, 9]);
    // Only what is asked for, and only one's own.
    memory.change("old-2", |job| job.state = JobState::Failed);
    let failed = ListJobsRequest {
        filter_status: 5,
        ..ListJobsRequest::default()
    };
    let page = client.list_jobs(by("alice", failed.clone())).await.unwrap();
    let page = page.into_inner();
    assert_eq!((page.jobs.len(), page.total_count), (1, 1));
    assert_eq!(page.jobs[0].job_id, "old-2");
    let of_type = |kind| ListJobsRequest {
        filter_type: kind,
        ..ListJobsRequest::default()
    };
    for (kind, many) in [(1, 9), (2, 0)] {
        let page = client.list_jobs(by("alice", of_type(kind))).await.unwrap();
        assert_eq!(page.into_inner().total_count, many);
    }
    let theirs = client.list_jobs(by("bob", failed)).await.unwrap();
    assert_eq!(theirs.into_inner().total_count, 0);
}

#[tokio::test]
async fn a_list_refuses_what_it_cannot_mean() {
    let (_, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    let usual = ListJobsRequest::default;
    for (field, request) in [
        (
            "page_size",
            ListJobsRequest {
                page_size: -1,
                ..usual()
            },
        ),
        (
            "filter_type",
            ListJobsRequest {
                filter_type: 5,
                ..usual()
            },
        ),
        (
            "filter_status",
            ListJobsRequest {
                filter_status: 1,
                ..usual()
            },
        ),
    ] {
        let refused = client.list_jobs(by("alice", request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused}");
    }
    let theirs = ListJobsRequest {
        user_id: "bob".to_owned(),
        ..usual()
    };
    let refused = client.list_jobs(by("alice", theirs)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_anothers_look_the_same() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    submitted(&mut client, "a").await;
    let mut said = Vec::new();
    for (name, job) in [("bob", "a"), ("alice", "nothing")] {
        let status = client.get_job_status(by(name, named(job))).await;
        let cancel = CancelJobRequest {
            job_id: job.to_owned(),
            reason: String::new(),
        };
        let cancel = client.cancel_job(by(name, cancel)).await;
        let stream = client.stream_job_updates(by(name, named(job))).await;
        let delete = DeleteJobRequest {
            job_id: job.to_owned(),
        };
        let delete = client.delete_job(by(name, delete)).await;
        let codes = [
            status.unwrap_err().code(),
            cancel.unwrap_err().code(),
            stream.unwrap_err().code(),
            delete.unwrap_err().code(),
        ];
        said.push(codes);
    }
    assert_eq!(said, [[Code::NotFound; 4]; 2]);
    assert_eq!(memory.kept().jobs[0].0.state, JobState::Queued);
    // And nobody is heard without saying who he is.
    let nobody = client.get_job_status(named("a")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_cancel_ends_the_job_and_says_whether_it_was_paid_for() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    let hold = ("alice".to_owned(), 5);
    memory.kept().holds.insert("17".to_owned(), hold);
    let mut request = training(FORMS[3]);
    let config = request.config.as_mut().unwrap();
    config.job_id = "paid".to_owned();
    config.escrow_tx_hash = "17".to_owned();
    client.submit_job(by("alice", request)).await.unwrap();
    submitted(&mut client, "free").await;
    for (job, is_paid) in [("paid", true), ("free", false)] {
        let cancel = CancelJobRequest {
            job_id: job.to_owned(),
            reason: "enough".to_owned(),
        };
        let answer = client
            .cancel_job(by("alice", cancel.clone()))
            .await
            .unwrap();
        let answer = answer.into_inner();
        assert_eq!((answer.status, answer.refund_issued), (6, is_paid), "{job}");
        assert_eq!(answer.error, None);
        let again = client.cancel_job(by("alice", cancel)).await.unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition, "{job}");
    }
    assert!(memory.kept().holds.is_empty());
    assert_eq!(memory.kept().jobs[0].0.notes["budget"], "5");
}

#[tokio::test]
async fn a_hold_that_is_not_the_callers_pays_for_nothing() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    let hold = ("bob".to_owned(), 5);
    memory.kept().holds.insert("17".to_owned(), hold);
    for hold in ["17", "no such hold"] {
        let mut request = training(FORMS[3]);
        request.config.as_mut().unwrap().escrow_tx_hash = hold.to_owned();
        let refused = client.submit_job(by("alice", request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{hold}");
    }
    assert!(memory.kept().jobs.is_empty() && memory.kept().holds.len() == 1);
}

#[tokio::test]
async fn a_stream_begins_at_once_and_ends_with_the_job() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    submitted(&mut client, "a").await;
    // The answer's headers are here though nothing has been said yet.
    let stream = client.stream_job_updates(by("alice", named("a"))).await;
    let mut stream = stream.unwrap().into_inner();
    progress(&memory, "a");
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.job_id, "a");
    assert!((first.status.as_ref().unwrap().progress - 0.25).abs() < f64::EPSILON);
    assert!((first.live_metrics["loss"] - 0.75).abs() < f64::EPSILON);
    memory.say(
        "a",
        JobUpdate::Logged(embermesh_dialects::port::jobs::LogPiece {
            at: UnixMillis(6_000),
            stream: LogStream::Stdout,
            text: "half way".to_owned(),
        }),
    );
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(second.log_message, "half way");
    // What was known before is still said.
    assert_eq!(second.status, first.status);
    let digest = Digest::of(b"weights");
    memory.change("a", |job| {
        job.state = JobState::Succeeded;
        job.artifacts.push(Artifact {
            name: "model.safetensors".to_owned(),
            digest,
            size: 7,
        });
    });
    let last = stream.message().await.unwrap().unwrap();
    assert_eq!(last.status.unwrap().status, 4);
    let weights = format!("model.safetensors blake3:{digest}?size=7");
    assert!(last.log_message.contains(&weights), "{}", last.log_message);
    // Nothing comes after that, whatever is said.
    memory.change("a", |job| job.progress = 1.0);
    assert_eq!(stream.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_ends_when_its_callers_time_is_up_or_he_goes() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    submitted(&mut client, "a").await;
    let mut request = by("alice", named("a"));
    request.set_timeout(Duration::from_millis(300));
    let mut stream = client
        .stream_job_updates(request)
        .await
        .unwrap()
        .into_inner();
    progress(&memory, "a");
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(memory.watched(), 1);
    let end = stream.message().await.unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
    until(|| memory.watched() == 0).await;

    let stream = client.stream_job_updates(by("alice", named("a"))).await;
    let stream = stream.unwrap().into_inner();
    assert_eq!(memory.watched(), 1);
    drop(stream);
    until(|| memory.watched() == 0).await;
}

/// Waits until it is so.
async fn until(is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting);
    waited.await.expect("it comes to be so");
}

#[tokio::test]
async fn only_what_is_there_and_has_ended_is_deleted() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Jobs::new(channel);
    submitted(&mut client, "a").await;
    let delete = DeleteJobRequest {
        job_id: "a".to_owned(),
    };
    let early = client.delete_job(by("alice", delete.clone())).await;
    assert_eq!(early.unwrap_err().code(), Code::FailedPrecondition);
    memory.change("a", |job| job.state = JobState::Failed);
    let answer = client.delete_job(by("alice", delete.clone())).await;
    assert_eq!(answer.unwrap().into_inner().status, 1);
    let again = client.delete_job(by("alice", delete)).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}
