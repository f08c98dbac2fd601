//! From the wire to the state machine's words. What does not parse is refused
//! with the name of the field.

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{JobId, PeerId},
    statement::{Advert, Signed},
};
use embermesh_job::{
    order::Report,
    reservation::ReserveAsk,
    spec::{JobSpec, MAX_SPEC_LEN},
    units::{MicroUnits, Millis},
    wire::{self, InvalidMessage},
};
use embermesh_proto::v1;
use tonic::Status;

use super::status::invalid;
use crate::{
    state::{Command, Submit, TaskHeartbeat},
    store::{JobFilter, ReservationFilter},
};

/// Jobs or nodes on a page when the client does not say.
const DEFAULT_PAGE: u32 = 50;

/// The most jobs or nodes on a page.
const MAX_PAGE: u32 = 500;

/// The most states in a filter.
const MAX_STATES: usize = 16;

pub(super) fn submit(client: PeerId, request: v1::SubmitRequest) -> Result<Submit, Status> {
    Ok(Submit {
        client,
        spec: spec(&request.spec)?,
        digest: Digest::of(&request.spec),
        // A copy: what came off the wire is a slice of a larger buffer, which would
        // be kept for as long as the job is open.
        canonical: Bytes::copy_from_slice(&request.spec),
        idempotency: idempotency(&request.idempotency_key)?,
        budget: (request.budget_micros > 0).then_some(MicroUnits(request.budget_micros)),
        tentative: request.tentative,
    })
}

/// A spec from its canonical bytes.
pub(super) fn spec(canonical: &[u8]) -> Result<JobSpec, Status> {
    if canonical.len() > MAX_SPEC_LEN {
        return Err(invalid(
            "spec",
            format!(
                "{} bytes are more than the {MAX_SPEC_LEN} allowed",
                canonical.len()
            ),
        ));
    }
    JobSpec::from_canonical(canonical).map_err(|error| invalid("spec", error))
}

/// The 16 bytes by which a client names a request.
fn idempotency(key: &[u8]) -> Result<[u8; 16], Status> {
    key.try_into()
        .map_err(|_| invalid("idempotency_key", "it must be 16 random bytes"))
}

/// What a client asks of a node for a time.
pub(super) fn reserve(request: &v1::ReserveRequest) -> Result<ReserveAsk, Status> {
    Ok(ReserveAsk {
        key: idempotency(&request.idempotency_key)?,
        node: wire::peer("node_id", &request.node_id).map_err(malformed)?,
        length: Millis(request.length_ms),
        max_price: request.max_price_micros_per_hour.map(MicroUnits),
    })
}

/// Which reservations a list wants, of those of `caller`.
pub(super) fn reservation_filter(
    caller: PeerId,
    request: &v1::ListReservationsRequest,
) -> Result<ReservationFilter, Status> {
    let before = match request.page_token.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|error| invalid("page_token", error))?),
    };
    Ok(ReservationFilter {
        of: caller,
        active: request.active_only,
        before,
        size: page_size(request.page_size)?,
    })
}

pub(super) fn job_id(text: &str) -> Result<JobId, Status> {
    wire::job_id(text).map_err(malformed)
}

pub(super) fn job_filter(request: v1::ListJobsRequest) -> Result<JobFilter, Status> {
    if request.states.len() > MAX_STATES {
        return Err(invalid("states", format!("more than {MAX_STATES}")));
    }
    let before = match request.page_token.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|error| invalid("page_token", error))?),
    };
    let size = page_size(request.page_size)?;
    let states = request
        .states()
        .map(|state| state.try_into().map_err(|error| invalid("states", error)))
        .collect::<Result<_, _>>()?;
    Ok(JobFilter {
        states,
        before,
        size,
    })
}

/// Which nodes a list wants: those after a key, and how many on the page.
pub(super) fn node_page(request: &v1::ListNodesRequest) -> Result<(Option<PeerId>, u32), Status> {
    let after = match request.page_token.as_str() {
        "" => None,
        text => Some(wire::peer("page_token", text).map_err(malformed)?),
    };
    Ok((after, page_size(request.page_size)?))
}

pub(super) fn page_size(asked: u32) -> Result<u32, Status> {
    match asked {
        0 => Ok(DEFAULT_PAGE),
        size if size <= MAX_PAGE => Ok(size),
        size => Err(invalid(
            "page_size",
            format!("{size} is more than {MAX_PAGE}"),
        )),
    }
}

pub(super) fn advert(bytes: Bytes) -> Result<Signed<Advert>, Status> {
    Signed::from_bytes(bytes).map_err(|error| invalid("advert", error))
}

pub(super) fn heartbeat(node: PeerId, request: v1::HeartbeatRequest) -> Result<Command, Status> {
    let running = request.running.into_iter().map(task_heartbeat);
    let running = running.collect::<Result<_, _>>().map_err(malformed)?;
    Ok(Command::Heartbeat {
        node,
        advert: (!request.advert.is_empty())
            .then(|| advert(request.advert))
            .transpose()?,
        running,
        draining: request.draining,
    })
}

pub(super) fn report(node: PeerId, request: v1::ReportRequest) -> Result<Command, Status> {
    let (key, report) = Report::from_wire(request).map_err(malformed)?;
    Ok(Command::Report { node, key, report })
}

fn task_heartbeat(task: v1::TaskHeartbeat) -> Result<TaskHeartbeat, InvalidMessage> {
    let key = task
        .task
        .ok_or_else(|| InvalidMessage::new("task", "it is missing"))?;
    Ok(TaskHeartbeat {
        key: key.try_into()?,
        latest: task.latest.map(TryInto::try_into).transpose()?,
        paused: task.paused,
    })
}

/// A part of a request that is not what it should be.
pub(super) fn malformed(error: InvalidMessage) -> Status {
    Status::invalid_argument(error.to_string())
}
