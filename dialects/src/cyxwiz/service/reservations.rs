//! `JobReservationService`: nodes that are taken for a time. Amounts of escrow are
//! millionths of a unit; accounts and hashes are the numbers of transactions in the
//! ledger.

use std::time::Duration;

use bytes::Bytes;
use embermesh_job::lifecycle::JobState;
use tonic::{Request, Response, Status};

use super::{
    Adapter, error,
    jobs::{invalid_error, parse},
    server::{answered, is_of_the_job, of, taken, weights},
};
// What is generated for this form of the wire.
use super::super::{PROFILE, wire};
use crate::{
    Failure,
    cyxwiz::{
        caller::{caller, is_own},
        code,
        models::page,
    },
    port::{
        IndexPort, Principal,
        jobs::Submission,
        reservations::{
            Beat, Leave, ReservationFilter, ReservationState, ReservationView, Reservations,
            Reserve, Reserved,
        },
        servers::{Served, ServerPort},
    },
};

/// What is left of a reservation when its owner should think of more time.
const NEARLY_OVER: Duration = Duration::from_secs(300);
/// Why nobody speaks of a reservation as its node.
const NO_NODE: &str = "nodes of the mesh are what is reserved here, and these report of their reservations themselves: a server node of the system has none";

#[tonic::async_trait]
impl<P: IndexPort + Reservations + ServerPort>
    wire::job_reservation_service_server::JobReservationService for Adapter<P>
{
    async fn reserve_node(
        &self,
        request: Request<wire::ReserveNodeRequest>,
    ) -> Result<Response<wire::ReserveNodeResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_wallet).await?;
        let request = request.into_inner();
        is_own(&who, "user_wallet", &request.user_wallet)?;
        let node = request
            .node_id
            .parse()
            .map_err(|_| Failure::invalid(format!("node_id: {:?} is none", request.node_id)))?;
        let length = minutes("duration_minutes", request.duration_minutes)?;
        let job = match request.job_config {
            None => None,
            Some(mut config) => {
                // It is reserved by this call: the job says nothing more of it.
                if config.reservation_duration_minutes == request.duration_minutes {
                    config.reservation_duration_minutes = 0;
                }
                match self.job_there(&who, config).await? {
                    Ok(job) => Some(job),
                    Err(error) => return Ok(Response::new(not_reserved(error))),
                }
            }
        };
        let what = Reserve { node, length, job };
        Ok(Response::new(match self.0.reserve(&who, what).await {
            Ok(reserved) => reserved_node(&reserved),
            Err(failure) if code::is_answer(failure.code) => not_reserved(refusal(failure)),
            Err(failure) => return Err(failure.into()),
        }))
    }

    async fn confirm_job_complete(
        &self,
        request: Request<wire::ConfirmJobCompleteRequest>,
    ) -> Result<Response<wire::ConfirmJobCompleteResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let request = request.into_inner();
        if request.success {
            self.0
                .confirm(&who, &request.reservation_id, &request.job_id)
                .await?;
        } else {
            // One that has failed is not counted; whose it is, is looked at all the same.
            self.0.reservation(&who, &request.reservation_id).await?;
            self.0.job(&who, &request.job_id).await?;
        }
        Ok(Response::new(wire::ConfirmJobCompleteResponse {
            status: code::SUCCESS,
            // The node is paid for the time, at the end of the reservation.
            payment_released: false,
            payment_tx_hash: String::new(),
            error: None,
        }))
    }

    async fn extend_reservation(
        &self,
        request: Request<wire::ExtendReservationRequest>,
    ) -> Result<Response<wire::ExtendReservationResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let request = request.into_inner();
        let by = minutes("additional_minutes", request.additional_minutes)?;
        let before = self.0.reservation(&who, &request.reservation_id).await?;
        let longer = self.0.extend(&who, &request.reservation_id, by).await?;
        Ok(Response::new(wire::ExtendReservationResponse {
            status: code::SUCCESS,
            new_expires: code::seconds(Some(longer.ends_at)),
            additional_escrow: code::int64(longer.held.saturating_sub(before.held)),
            escrow_tx_hash: transaction(&longer, "hold"),
            error: None,
        }))
    }

    async fn release_reservation(
        &self,
        request: Request<wire::ReleaseReservationRequest>,
    ) -> Result<Response<wire::ReleaseReservationResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let id = &request.get_ref().reservation_id;
        let left = self.0.leave(&who, id, Leave::Release).await?;
        Ok(Response::new(wire::ReleaseReservationResponse {
            status: code::SUCCESS,
            time_used_seconds: seconds(left.used.unwrap_or_default()),
            payment_released: code::int64(left.paid),
            refund_amount: code::int64(left.refunded),
            payment_tx_hash: transaction(&left, "capture"),
            refund_tx_hash: refund(&left),
            error: None,
        }))
    }

    async fn get_reservation(
        &self,
        request: Request<wire::GetReservationRequest>,
    ) -> Result<Response<wire::GetReservationResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let id = &request.get_ref().reservation_id;
        let view = self.0.reservation(&who, id).await?;
        Ok(Response::new(wire::GetReservationResponse {
            status: code::SUCCESS,
            reservation: Some(info(&view)),
            error: None,
        }))
    }

    async fn list_reservations(
        &self,
        request: Request<wire::ListReservationsRequest>,
    ) -> Result<Response<wire::ListReservationsResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_id).await?;
        let request = request.into_inner();
        is_own(&who, "user_id", &request.user_id)?;
        let filter = ReservationFilter {
            open_only: request.active_only,
            after: Some(request.page_token).filter(|token| !token.is_empty()),
            most: page(request.page_size)?,
        };
        let found = self.0.reservations(&who, filter).await?;
        Ok(Response::new(wire::ListReservationsResponse {
            reservations: found.reservations.iter().map(info).collect(),
            next_page_token: found.next.unwrap_or_default(),
            total_count: code::int32(found.total),
        }))
    }

    async fn engine_heartbeat(
        &self,
        request: Request<wire::EngineHeartbeatRequest>,
    ) -> Result<Response<wire::EngineHeartbeatResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let request = request.into_inner();
        let beat = Beat {
            job: Some(request.job_id).filter(|job| !job.is_empty()),
            progress: request.job_progress,
            metrics: request.current_metrics.into_iter().collect(),
        };
        let view = self.0.attend(&who, &request.reservation_id, beat).await?;
        let is_nearly_over = view.left < NEARLY_OVER;
        Ok(Response::new(wire::EngineHeartbeatResponse {
            status: code::SUCCESS,
            time_remaining_seconds: seconds(view.left),
            should_extend: is_nearly_over,
            message: if is_nearly_over {
                "the reservation is nearly over: extend it to go on".to_owned()
            } else {
                String::new()
            },
            error: None,
        }))
    }

    async fn get_active_reservations(
        &self,
        request: Request<wire::GetActiveReservationsRequest>,
    ) -> Result<Response<wire::GetActiveReservationsResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_wallet).await?;
        is_own(&who, "user_wallet", &request.get_ref().user_wallet)?;
        let filter = ReservationFilter {
            open_only: true,
            most: usize::MAX,
            ..ReservationFilter::default()
        };
        let found = self.0.reservations(&who, filter).await?;
        Ok(Response::new(wire::GetActiveReservationsResponse {
            status: code::SUCCESS,
            reservations: found.reservations.iter().map(active).collect(),
            error: None,
        }))
    }

    async fn get_reconnection_token(
        &self,
        request: Request<wire::GetReconnectionTokenRequest>,
    ) -> Result<Response<wire::GetReconnectionTokenResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().user_wallet).await?;
        let request = request.into_inner();
        is_own(&who, "user_wallet", &request.user_wallet)?;
        let again = self.0.readmit(&who, &request.reservation_id).await?;
        let view = &again.reservation;
        let (token, expires, missing) = pass(&again);
        Ok(Response::new(wire::GetReconnectionTokenResponse {
            status: if missing.is_none() {
                code::SUCCESS
            } else {
                code::failed(PROFILE)
            },
            p2p_auth_token: token,
            p2p_token_expires: expires,
            node_endpoint: endpoint(view),
            time_remaining_seconds: seconds(view.left),
            current_job_id: view.job.clone().unwrap_or_default(),
            error: missing,
        }))
    }

    async fn report_job_complete_from_node(
        &self,
        request: Request<wire::ReportJobCompleteFromNodeRequest>,
    ) -> Result<Response<wire::ReportJobCompleteFromNodeResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().node_id).await?;
        let said = request.into_inner();
        if !said.reservation_id.is_empty() {
            return Err(Status::not_found(format!("reservation_id: {NO_NODE}")));
        }
        let how = Served {
            state: if said.success {
                JobState::Succeeded
            } else {
                JobState::Failed
            },
            metrics: said.final_metrics.into_iter().collect(),
            message: String::new(),
            weights: weights(String::new(), said.model_hash, 0),
        };
        let ended = self.0.served(&who, of(said.node_id, said.job_id), how);
        let failure = ended.await.err();
        let error = failure.map(|failure| answered(failure, is_of_the_job));
        let error = error.transpose()?;
        // Nobody's reputation is kept, and no reservation counts its jobs.
        Ok(Response::new(wire::ReportJobCompleteFromNodeResponse {
            status: taken(error.is_none()),
            error,
            ..Default::default()
        }))
    }

    async fn report_reservation_end_from_engine(
        &self,
        request: Request<wire::ReportReservationEndFromEngineRequest>,
    ) -> Result<Response<wire::ReportReservationEndFromEngineResponse>, Status> {
        let who = caller(&*self.0, &request, "").await?;
        let id = &request.get_ref().reservation_id;
        let left = self.0.leave(&who, id, Leave::Done).await?;
        Ok(Response::new(
            wire::ReportReservationEndFromEngineResponse {
                status: code::SUCCESS,
                payment_released: !left.state.is_open(),
                amount_paid: code::int64(left.paid),
                payment_tx_hash: transaction(&left, "capture"),
                message: String::new(),
                error: None,
            },
        ))
    }

    async fn report_reservation_end_from_node(
        &self,
        _: Request<wire::ReportReservationEndFromNodeRequest>,
    ) -> Result<Response<wire::ReportReservationEndFromNodeResponse>, Status> {
        Err(Status::unimplemented(NO_NODE))
    }
}

impl<P: IndexPort> Adapter<P> {
    /// The job that is to run on a reserved node; the inner error is an answer.
    async fn job_there(
        &self,
        who: &Principal,
        config: wire::JobConfig,
    ) -> Result<Result<Submission, wire::Error>, Failure> {
        let config = parse(config, Bytes::new());
        is_own(who, "job_config.payment_address", &config.payment_address)?;
        let weights = self.weights(who, &config).await?;
        Ok(config
            .submission(weights)
            .map_err(|invalid| invalid_error(&invalid)))
    }
}

fn minutes(field: &str, minutes: i32) -> Result<Duration, Failure> {
    let some = u64::try_from(minutes).ok().filter(|minutes| *minutes > 0);
    let some = some.ok_or_else(|| Failure::invalid(format!("{field}: {minutes} is no time")))?;
    Ok(Duration::from_secs(some * 60))
}

fn seconds(time: Duration) -> i64 {
    code::int64(time.as_secs())
}

fn refusal(failure: Failure) -> wire::Error {
    error(code::error(failure.code), failure.message, String::new())
}

fn not_reserved(error: wire::Error) -> wire::ReserveNodeResponse {
    wire::ReserveNodeResponse {
        status: code::failed(PROFILE),
        error: Some(error),
        ..Default::default()
    }
}

/// The permission to run there and until when it holds, or why there is none.
fn pass(reserved: &Reserved) -> (String, i64, Option<wire::Error>) {
    if let Some(assignment) = &reserved.assignment {
        let expires = code::seconds(Some(assignment.expires_at));
        return (assignment.token.clone(), expires, None);
    }
    let why = if reserved.reservation.job.is_some() {
        "the job does not run on its node now: ask for a token when it does"
    } else {
        "a token is for a job, and none is there: submit one that names the node"
    };
    let code = code::error(crate::ErrorCode::Precondition);
    let missing = error(code, why.to_owned(), String::new());
    (String::new(), 0, Some(missing))
}

fn reserved_node(reserved: &Reserved) -> wire::ReserveNodeResponse {
    let view = &reserved.reservation;
    let (token, expires, missing) = pass(reserved);
    wire::ReserveNodeResponse {
        status: code::SUCCESS,
        reservation_id: view.id.clone(),
        job_id: view.job.clone().unwrap_or_default(),
        node_endpoint: endpoint(view),
        p2p_auth_token: token,
        p2p_token_expires: expires,
        escrow_account: transaction(view, "hold"),
        escrow_amount: code::int64(view.held),
        reservation_start: code::seconds(Some(view.starts_at)),
        reservation_expires: code::seconds(Some(view.ends_at)),
        price_per_hour: code::units(view.price),
        error: missing,
    }
}

/// The number of the newest transaction of a kind; empty where there is none.
fn transaction(view: &ReservationView, kind: &str) -> String {
    let found = view.movements.iter().find(|(each, _)| *each == kind);
    found.map(|(_, number)| number.clone()).unwrap_or_default()
}

/// The transaction with which something went back: what is not captured of a hold goes
/// back with its capture.
fn refund(view: &ReservationView) -> String {
    if view.refunded == 0 {
        return String::new();
    }
    match transaction(view, "release") {
        released if released.is_empty() => transaction(view, "capture"),
        released => released,
    }
}

fn endpoint(view: &ReservationView) -> String {
    let address = view.address.as_ref();
    address
        .and_then(|address| address.tls.first().cloned())
        .unwrap_or_default()
}

const fn status(state: ReservationState) -> i32 {
    match state {
        ReservationState::Pending => 1,
        ReservationState::Active => 2,
        ReservationState::Completed => 5,
        ReservationState::Cancelled => 6,
        ReservationState::Expired => 7,
        ReservationState::Lost => 8,
    }
}

fn info(view: &ReservationView) -> wire::ReservationInfo {
    wire::ReservationInfo {
        reservation_id: view.id.clone(),
        user_id: view.owner.name.clone(),
        user_wallet: view.owner.name.clone(),
        node_id: view.node.to_string(),
        // A node is paid to its key.
        node_wallet: view.node.to_string(),
        node_endpoint: endpoint(view),
        status: status(view.state),
        start_time: code::seconds(Some(view.starts_at)),
        end_time: code::seconds(Some(view.ends_at)),
        time_remaining_seconds: seconds(view.left),
        escrow_account: transaction(view, "hold"),
        escrow_amount: code::int64(view.held),
        price_per_hour: code::units(view.price),
        current_job_id: view.job.clone().unwrap_or_default(),
        job_progress: view.progress,
        current_metrics: view.metrics.clone().into_iter().collect(),
        jobs_completed: code::int32(view.jobs_completed),
    }
}

fn active(view: &ReservationView) -> wire::ActiveReservationInfo {
    wire::ActiveReservationInfo {
        reservation_id: view.id.clone(),
        node_id: view.node.to_string(),
        node_endpoint: endpoint(view),
        time_remaining_seconds: seconds(view.left),
        engine_connected: view.is_attended,
        status: status(view.state),
        jobs_completed: code::int32(view.jobs_completed),
    }
}
