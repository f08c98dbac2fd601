//! Permits for clients who come without an index: who may, whether it fits, whose turn
//! it is.

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, PeerId, TaskIndex},
    time::UnixMillis,
    token::{Refusal, TaskRef},
};
use embermesh_job::{
    assignment::NodeAssignment,
    place::Takes,
    spec::JobSpec,
    turns::{Ask, Rank, Turn, Waits},
    wire,
};
use embermesh_proto::v1::{self, permit_response::Answer};
use tonic::{Code, Status};

use super::refusal;
use crate::{
    gate::Gate,
    permit::{self, Permitted},
    site::Site,
    trust::{NotGranted, Trust},
};

/// Grants that a client may show at once.
const MAX_GRANTS: usize = 4;

/// Answers a client who asks to run a job here.
pub(super) async fn permit(
    site: &Site,
    gate: &Gate,
    client: PeerId,
    request: v1::PermitRequest,
) -> Result<Answer, Status> {
    let rank = rank(gate.trust(), client, request.grants)?;
    let spec = JobSpec::from_canonical(&request.spec).map_err(|error| refusal::spec(&error))?;
    let job = wire::job_id(&request.job_id).map_err(refusal::message)?;
    if request.epoch < Epoch::FIRST.0 {
        return Err(Status::invalid_argument("epoch: attempts count from 1"));
    }
    let permitted = Permitted {
        client,
        job,
        epoch: Epoch(request.epoch),
        spec: Digest::of(&request.spec),
        ceilings: spec.limits.ceilings(),
    };
    if goes_on(site, &permitted).await? {
        return assignment(site, &permitted);
    }
    match turn(site, rank, &permitted, &spec)? {
        Ok(()) => assignment(site, &permitted),
        Err(queued) => Ok(Answer::Queued(queued)),
    }
}

/// How near the client is to the owner: by the settings, or by what it shows.
// A Status is what a handler returns, and tonic made it large.
#[allow(clippy::result_large_err)]
fn rank(trust: &Trust, client: PeerId, grants: Vec<Bytes>) -> Result<Rank, Status> {
    if grants.len() > MAX_GRANTS {
        let message = format!(
            "grants: {} are shown, and {MAX_GRANTS} may be",
            grants.len()
        );
        return Err(Status::invalid_argument(message));
    }
    let mut refused = None;
    if trust.rank(&client).is_none_or(|rank| rank > Rank::Allowed) {
        for grant in grants {
            match trust.show_grant(&client, grant.into(), UnixMillis::now()) {
                Ok(()) => break,
                Err(not) => refused = Some(not),
            }
        }
    }
    trust.rank(&client).ok_or_else(|| not_allowed(refused))
}

fn not_allowed(refused: Option<NotGranted>) -> Status {
    let Some(refused) = refused else {
        return refusal::refused(
            Code::PermissionDenied,
            "not_allowed",
            "the owner of this node lets only some clients run jobs without an index, and this key is not among them: ask for a grant (`embermesh grant new`) or to be put into `allow`, or submit the job to an index",
        );
    };
    let message = format!("{refused}: ask the owner of this node for another");
    refusal::refused(Code::PermissionDenied, refused.code(), message)
}

/// Whether the attempt has been started here by this client, who then needs a permit
/// for what goes on with it. A later one must be above all that were started here.
async fn goes_on(site: &Site, permitted: &Permitted) -> Result<bool, Status> {
    let task = TaskRef {
        job: permitted.job,
        task: TaskIndex(0),
    };
    let newest = site.store.attempt(task).await;
    let Some(newest) = newest.map_err(|error| refusal::store(&error))? else {
        return Ok(false);
    };
    let refuse = |refused: Refusal| Err(refusal::token(&refused));
    if newest.client != permitted.client {
        return refuse(Refusal::WrongClient);
    }
    if newest.reports_to.is_some() {
        return Err(refusal::refused(
            Code::FailedPrecondition,
            "of_an_index",
            "an index has given this job to this node: ask that index",
        ));
    }
    if newest.key.epoch > permitted.epoch {
        return refuse(Refusal::StaleEpoch {
            token: permitted.epoch,
            newest: newest.key.epoch,
        });
    }
    if newest.spec != permitted.spec {
        return refuse(Refusal::WrongJob);
    }
    Ok(newest.key.epoch == permitted.epoch)
}

/// Whether it is the client's turn; else its place in the queue.
// A Status is what a handler returns, and tonic made it large.
#[allow(clippy::result_large_err)]
fn turn(
    site: &Site,
    rank: Rank,
    permitted: &Permitted,
    spec: &JobSpec,
) -> Result<Result<(), v1::permit_response::Queued>, Status> {
    let takes = Takes::of(&spec.work);
    let room = site
        .slots
        .room(takes, &spec.requires, &spec.limits, spec.runtime());
    let (free, full) = match room {
        Ok(free) => (free, None),
        Err(full) if full.passes() => (0, Some(full)),
        Err(never) => return Err(refusal::no_slot(&never)),
    };
    let ask = ask(rank, permitted, spec);
    let turn = site.door.ask(ask, free);
    match turn.map_err(|not| refusal::not_taken(&not))? {
        Turn::Go => Ok(Ok(())),
        Turn::Wait { ahead, why } => {
            let (code, message) = match (why, full) {
                // What is taken, and by how much.
                (Waits::Busy | Waits::Behind, Some(full)) => (full.code(), full.to_string()),
                _ => (why.code(), why.to_string()),
            };
            Ok(Err(v1::permit_response::Queued {
                ahead,
                code: code.to_owned(),
                message,
            }))
        }
    }
}

fn ask(rank: Rank, permitted: &Permitted, spec: &JobSpec) -> Ask {
    Ask {
        client: permitted.client,
        rank,
        job: permitted.job,
        takes: Takes::of(&spec.work),
        device: spec.requires.device,
        memory: spec.limits.memory,
        wall: spec.limits.wall,
    }
}

#[allow(clippy::result_large_err)]
fn assignment(site: &Site, permitted: &Permitted) -> Result<Answer, Status> {
    let issued = permit::issue(&site.keypair, permitted, UnixMillis::now());
    let (token, expires_at) = issued.map_err(|error| Status::internal(error.to_string()))?;
    let assignment = NodeAssignment {
        job: permitted.job,
        task: TaskIndex(0),
        epoch: permitted.epoch,
        node: site.address(),
        token,
        expires_at,
    };
    Ok(Answer::Assignment(assignment.into()))
}
