//! One round of asking nodes for a permit.

use std::collections::BTreeMap;

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId},
    time::UnixMillis,
    token::{Method, inspect},
};
use embermesh_job::{address::PeerAddress, assignment::NodeAssignment, spec::JobSpec};
use tokio::time::timeout;

use super::{Direct, PassedOver, candidates::candidates};
use crate::{ClientError, bounds::ASK_TIMEOUT, node::Permit, view::wire};

/// What a round has come to.
pub(super) struct Asked {
    pub(super) permit: Option<NodeAssignment>,
    pub(super) passed_over: Vec<PassedOver>,
}

/// The attempt that is asked for.
pub(super) struct Wanted<'a> {
    pub(super) job: JobId,
    pub(super) epoch: Epoch,
    pub(super) spec: &'a JobSpec,
    pub(super) canonical: &'a Bytes,
    /// A node that has just been lost.
    pub(super) avoid: Option<PeerId>,
}

/// Asks the nodes that fit, one after the other, until one gives a permit.
pub(super) async fn ask(direct: &Direct, wanted: &Wanted<'_>, tie_break: u64) -> Asked {
    let mesh = direct.mesh();
    let adverts = mesh.adverts();
    let latency_ms: BTreeMap<PeerId, u32> = mesh
        .peers()
        .into_iter()
        .filter_map(|view| {
            let round_trip = view.round_trip?.as_millis();
            Some((view.peer, u32::try_from(round_trip).unwrap_or(u32::MAX)))
        })
        .collect();
    let found = candidates(
        wanted.spec,
        direct.ways().peer_id(),
        adverts.iter().map(|known| &***known),
        &latency_ms,
        wanted.avoid.as_slice(),
        tie_break,
    );
    let mut passed_over = found.passed_over;
    for peer in found.ask {
        let Some(address) = mesh.address_of(peer) else {
            let message = "nothing says where it is".to_owned();
            passed_over.push((peer, "no_address".to_owned(), message));
            continue;
        };
        let canonical = wanted.canonical.clone();
        let asking = permit(direct, &address, wanted.job, wanted.epoch, canonical);
        let asked = match timeout(ASK_TIMEOUT, Box::pin(asking)).await {
            Ok(asked) => asked,
            Err(_) => Err(ClientError::Timeout {
                what: "it".to_owned(),
                after: ASK_TIMEOUT,
            }),
        };
        match asked {
            Ok(Permit::Given(permit)) => {
                return Asked {
                    permit: Some(permit),
                    passed_over,
                };
            }
            Ok(Permit::Queued {
                ahead,
                code,
                message,
            }) => {
                let message = match ahead {
                    0 => format!("{message}; this job is the next"),
                    1 => format!("{message}; 1 job goes first"),
                    many => format!("{message}; {many} jobs go first"),
                };
                passed_over.push((peer, code, message));
            }
            Ok(Permit::Refused { code, message }) => passed_over.push((peer, code, message)),
            Err(error) => {
                passed_over.push((peer, "unreachable".to_owned(), error.to_string()));
            }
        }
    }
    Asked {
        permit: None,
        passed_over,
    }
}

/// A permit from the node of an attempt that has begun there.
pub(super) async fn permit_at(
    direct: &Direct,
    node: &PeerAddress,
    job: JobId,
    epoch: Epoch,
    canonical: Bytes,
) -> Result<NodeAssignment, ClientError> {
    let who = format!("node {}", node.peer.short());
    match permit(direct, node, job, epoch, canonical).await? {
        Permit::Given(permit) => Ok(permit),
        Permit::Queued { code, message, .. } | Permit::Refused { code, message } => {
            Err(ClientError::Refused { who, code, message })
        }
    }
}

async fn permit(
    direct: &Direct,
    node: &PeerAddress,
    job: JobId,
    epoch: Epoch,
    canonical: Bytes,
) -> Result<Permit, ClientError> {
    let link = direct.ways().node(node).await?;
    let spec = Digest::of(&canonical);
    let grants = direct.grants_for(&node.peer, UnixMillis::now());
    let mut answer = link.permit(job, epoch, canonical, grants).await?;
    if let Permit::Given(permit) = &mut answer {
        let client = direct.ways().peer_id();
        is_meant(permit, client, node.peer, (job, epoch, spec))
            .map_err(|reason| wire(link.name(), reason))?;
        // It was reached there.
        permit.node.clone_from(node);
    }
    Ok(answer)
}

/// Whether a permit is for what was asked.
fn is_meant(
    permit: &NodeAssignment,
    client: PeerId,
    node: PeerId,
    (job, epoch, spec): (JobId, Epoch, Digest),
) -> Result<(), String> {
    let said = inspect(&permit.token, UnixMillis::now()).map_err(|error| error.to_string())?;
    let claims = &said.claims;
    let same = claims.client == client
        && (claims.issuer, claims.node, permit.node.peer) == (node, node, node)
        && (claims.job, permit.job) == (job, job)
        && (claims.epoch, permit.epoch) == (epoch, epoch)
        && claims.spec == spec
        && claims.methods.contains(Method::Run);
    if same {
        return Ok(());
    }
    Err("its permit is for something else than was asked for".to_owned())
}
