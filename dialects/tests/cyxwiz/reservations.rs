//! `JobReservationService`: a node is taken, used, given back, by its owner alone.

use std::{collections::HashMap, time::Duration};

use embermesh_crypto::{Epoch, JobId, TaskIndex, UnixMillis};
use embermesh_dialects::{ErrorCode, Failure, Profile, port::reservations::Beat};
use embermesh_job::{address::PeerAddress, assignment::NodeAssignment};
use embermesh_proto::cyxwiz::{
    protocol::{
        ConfirmJobCompleteRequest, EngineHeartbeatRequest, ExtendReservationRequest,
        GetActiveReservationsRequest, GetReconnectionTokenRequest, GetReservationRequest,
        JobConfig, ListReservationsRequest, ReleaseReservationRequest,
        ReportJobCompleteFromNodeRequest, ReportReservationEndFromEngineRequest,
        ReportReservationEndFromNodeRequest, ReserveNodeRequest, ReserveNodeResponse,
        job_reservation_service_client::JobReservationServiceClient,
    },
    shipped,
};
use tonic::{Code, Request, transport::Channel};

use crate::{
    port::{Memory, by, serve},
    rooms::node,
};

type Client = JobReservationServiceClient<Channel>;

fn wanted() -> ReserveNodeRequest {
    ReserveNodeRequest {
        node_id: node().to_string(),
        user_wallet: "ada".to_owned(),
        duration_minutes: 10,
        job_config: None,
    }
}

fn id() -> String {
    "1".to_owned()
}

fn assignment() -> NodeAssignment {
    NodeAssignment {
        job: JobId::v7(UnixMillis(1), [1; 10]),
        task: TaskIndex(0),
        epoch: Epoch(1),
        node: PeerAddress {
            peer: node(),
            tls: Vec::new(),
            mesh: Vec::new(),
        },
        token: "a.b.c".to_owned(),
        expires_at: UnixMillis(60_000),
    }
}

async fn taken() -> (std::sync::Arc<Memory>, Client, ReserveNodeResponse) {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = Client::new(channel);
    let taken = client.reserve_node(by("ada", wanted())).await.unwrap();
    (memory, client, taken.into_inner())
}

#[tokio::test]
async fn a_node_is_taken_with_its_escrow_and_without_a_made_up_token() {
    let (memory, _, taken) = taken().await;
    assert_eq!((taken.status, taken.reservation_id.as_str()), (1, "1"));
    assert_eq!(
        (taken.escrow_account.as_str(), taken.escrow_amount),
        ("17", 250_000)
    );
    assert_eq!(
        (taken.price_per_hour, taken.reservation_expires),
        (1.5, 601)
    );
    assert_eq!(
        (taken.p2p_auth_token.as_str(), taken.p2p_token_expires),
        ("", 0)
    );
    assert!(
        taken
            .error
            .unwrap()
            .message
            .contains("a token is for a job")
    );
    let wanted = memory.kept().rooms.wanted.remove(0);
    assert_eq!(
        (wanted.node, wanted.length),
        (node(), Duration::from_secs(600))
    );
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused() {
    let (memory, mut client, _) = taken().await;
    let nobody = client.reserve_node(Request::new(wanted())).await;
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
    let posed = client.reserve_node(by("bob", wanted())).await;
    assert_eq!(posed.unwrap_err().code(), Code::PermissionDenied);
    for wrong in [
        ReserveNodeRequest {
            node_id: "node".to_owned(),
            ..wanted()
        },
        ReserveNodeRequest {
            duration_minutes: 0,
            ..wanted()
        },
        ReserveNodeRequest {
            duration_minutes: -5,
            ..wanted()
        },
    ] {
        let refused = client.reserve_node(by("ada", wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    // A node that is taken, and a job that cannot be, are answers.
    memory.kept().rooms.refusal = Some(Failure::new(ErrorCode::Precondition, "it is taken"));
    let twice = client
        .reserve_node(by("ada", wanted()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((twice.status, twice.reservation_id.as_str()), (5, ""));
    assert!(twice.error.unwrap().message.contains("taken"));
    let no_job = ReserveNodeRequest {
        job_config: Some(JobConfig {
            job_type: 1,
            model_definition: "no json".to_owned(),
            ..Default::default()
        }),
        ..wanted()
    };
    let no_job = client
        .reserve_node(by("ada", no_job))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(no_job.status, 5);
    assert!(no_job.error.unwrap().details.contains("field"));
    assert_eq!(
        memory.kept().rooms.wanted.len(),
        1,
        "nothing refused was taken"
    );
}

#[tokio::test]
async fn a_reservation_is_nobody_elses() {
    let (memory, mut client, _) = taken().await;
    let jobless = EngineHeartbeatRequest {
        reservation_id: id(),
        ..Default::default()
    };
    let not_his = [
        client
            .get_reservation(by(
                "bob",
                GetReservationRequest {
                    reservation_id: id(),
                },
            ))
            .await
            .map(drop),
        client.engine_heartbeat(by("bob", jobless)).await.map(drop),
        client
            .extend_reservation(by(
                "bob",
                ExtendReservationRequest {
                    reservation_id: id(),
                    additional_minutes: 1,
                },
            ))
            .await
            .map(drop),
        client
            .release_reservation(by(
                "bob",
                ReleaseReservationRequest {
                    reservation_id: id(),
                    reason: String::new(),
                },
            ))
            .await
            .map(drop),
        client
            .get_reconnection_token(by(
                "bob",
                GetReconnectionTokenRequest {
                    reservation_id: id(),
                    user_wallet: String::new(),
                },
            ))
            .await
            .map(drop),
        client
            .confirm_job_complete(by(
                "bob",
                ConfirmJobCompleteRequest {
                    reservation_id: id(),
                    ..Default::default()
                },
            ))
            .await
            .map(drop),
        client
            .report_reservation_end_from_engine(by(
                "bob",
                ReportReservationEndFromEngineRequest {
                    reservation_id: id(),
                    ..Default::default()
                },
            ))
            .await
            .map(drop),
    ];
    for refused in not_his {
        assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    }
    let all = ListReservationsRequest {
        user_id: "ada".to_owned(),
        ..Default::default()
    };
    let posed = client.list_reservations(by("bob", all)).await;
    assert_eq!(posed.unwrap_err().code(), Code::PermissionDenied);
    let none = client
        .list_reservations(by("bob", ListReservationsRequest::default()))
        .await;
    assert_eq!(none.unwrap().into_inner().total_count, 0);
    assert!(memory.kept().rooms.reservations[0].state.is_open());
    // Nobody reports for the node that is reserved, whoever he is.
    let job = ReportJobCompleteFromNodeRequest {
        reservation_id: id(),
        ..Default::default()
    };
    let refused = client.report_job_complete_from_node(by("ada", job)).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let end = ReportReservationEndFromNodeRequest {
        reservation_id: id(),
        ..Default::default()
    };
    let refused = client
        .report_reservation_end_from_node(by("ada", end))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("themselves"), "{refused}");
}

#[tokio::test]
async fn a_heartbeat_makes_it_active_and_more_time_costs_more() {
    let (memory, mut client, _) = taken().await;
    let get = || GetReservationRequest {
        reservation_id: id(),
    };
    let shown = client
        .get_reservation(by("ada", get()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.reservation.unwrap().status, 1);
    let beat = EngineHeartbeatRequest {
        reservation_id: id(),
        job_id: "job-7".to_owned(),
        training_active: true,
        job_progress: 0.5,
        current_metrics: HashMap::from([("loss".to_owned(), 0.25)]),
    };
    let heard = client
        .engine_heartbeat(by("ada", beat))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (heard.time_remaining_seconds, heard.should_extend),
        (600, false)
    );
    let Beat {
        job,
        progress,
        metrics,
    } = memory.kept().rooms.beats.remove(0);
    assert_eq!(
        (job.as_deref(), progress, metrics["loss"]),
        (Some("job-7"), 0.5, 0.25)
    );
    let wallet = GetActiveReservationsRequest {
        user_wallet: "ada".to_owned(),
    };
    let open = client
        .get_active_reservations(by("ada", wallet.clone()))
        .await
        .unwrap();
    let open = open.into_inner().reservations;
    assert_eq!((open[0].status, open[0].engine_connected), (2, true));

    memory.kept().rooms.reservations[0].left = Duration::from_secs(200);
    let jobless = EngineHeartbeatRequest {
        reservation_id: id(),
        ..Default::default()
    };
    let heard = client
        .engine_heartbeat(by("ada", jobless))
        .await
        .unwrap()
        .into_inner();
    assert!(heard.should_extend && heard.message.contains("extend"));
    let more = ExtendReservationRequest {
        reservation_id: id(),
        additional_minutes: 5,
    };
    let longer = client
        .extend_reservation(by("ada", more.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (longer.new_expires, longer.additional_escrow),
        (901, 50_000)
    );
    assert_eq!(longer.escrow_tx_hash, "18");
    let none = ExtendReservationRequest {
        additional_minutes: 0,
        ..more
    };
    let none = client.extend_reservation(by("ada", none)).await;
    assert_eq!(none.unwrap_err().code(), Code::InvalidArgument);

    let leave = ReleaseReservationRequest {
        reservation_id: id(),
        reason: "done".to_owned(),
    };
    let left = client
        .release_reservation(by("ada", leave))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (left.time_used_seconds, left.payment_released),
        (90, 100_000)
    );
    assert_eq!(
        (left.refund_amount, left.payment_tx_hash.as_str()),
        (200_000, "19")
    );
    let shown = client
        .get_reservation(by("ada", get()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.reservation.unwrap().status, 6);
    let open = client
        .get_active_reservations(by("ada", wallet))
        .await
        .unwrap();
    assert!(open.into_inner().reservations.is_empty());
}

#[tokio::test]
async fn jobs_are_confirmed_and_the_end_is_said_by_the_engine() {
    let (memory, mut client, _) = taken().await;
    let confirm = |success| ConfirmJobCompleteRequest {
        reservation_id: id(),
        job_id: "job-7".to_owned(),
        success,
        ..Default::default()
    };
    let done = client
        .confirm_job_complete(by("ada", confirm(true)))
        .await
        .unwrap()
        .into_inner();
    // The time is paid, not the job.
    assert_eq!(
        (done.payment_released, done.payment_tx_hash.as_str()),
        (false, "")
    );
    assert_eq!(memory.kept().rooms.confirmed, ["job-7"]);
    memory.kept().rooms.refusal = Some(Failure::new(ErrorCode::Precondition, "it still runs"));
    let early = client.confirm_job_complete(by("ada", confirm(true))).await;
    assert_eq!(early.unwrap_err().code(), Code::FailedPrecondition);
    // A job that is not his is not told of, not even as one that failed.
    let unknown = client.confirm_job_complete(by("ada", confirm(false))).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let end = ReportReservationEndFromEngineRequest {
        reservation_id: id(),
        ..Default::default()
    };
    let end = client
        .report_reservation_end_from_engine(by("ada", end))
        .await
        .unwrap();
    let end = end.into_inner();
    assert_eq!((end.payment_released, end.amount_paid), (true, 100_000));
    assert_eq!(end.payment_tx_hash, "19");
    let get = GetReservationRequest {
        reservation_id: id(),
    };
    let shown = client
        .get_reservation(by("ada", get))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.reservation.unwrap().status, 5);
}

#[tokio::test]
async fn a_token_is_a_real_assignment_or_none() {
    let (memory, mut client, _) = taken().await;
    let again = || GetReconnectionTokenRequest {
        reservation_id: id(),
        user_wallet: "ada".to_owned(),
    };
    let none = client
        .get_reconnection_token(by("ada", again()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((none.status, none.p2p_auth_token.as_str()), (5, ""));
    assert!(none.error.is_some());
    memory.kept().rooms.assignment = Some(assignment());
    let token = client
        .get_reconnection_token(by("ada", again()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((token.status, token.error), (1, None));
    assert_eq!(
        (token.p2p_auth_token.as_str(), token.p2p_token_expires),
        ("a.b.c", 60)
    );
}

#[tokio::test]
async fn the_form_that_shipped_has_its_own_numbers() {
    let (memory, channel) = serve(Profile::Shipped).await;
    memory.kept().rooms.refusal = Some(Failure::new(ErrorCode::Precondition, "it is taken"));
    let mut client =
        shipped::job_reservation_service_client::JobReservationServiceClient::new(channel);
    let request = shipped::ReserveNodeRequest {
        node_id: node().to_string(),
        duration_minutes: 10,
        ..Default::default()
    };
    let refused = client
        .reserve_node(by("ada", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(refused.status, 6);
}
