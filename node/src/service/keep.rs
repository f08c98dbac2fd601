//! Blobs kept for other nodes, so that the jobs that run there outlive them.
//!
//! Only a node that has said who it is in a valid advert may ask, and each has a
//! bounded share of the store: what it asked for first goes first.

use embermesh_crypto::{ids::PeerId, statement::Role, time::UnixMillis};
use embermesh_job::{address::BlobRef, wire};
use embermesh_mesh::blob::Want;
use embermesh_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::refusal;
use crate::{
    site::Site,
    store::{Kept, StoreError},
};

/// Blobs that one request may name.
const MAX_BLOBS: usize = 64;

/// Blobs that are kept for one node.
const MAX_PER_PEER: usize = 256;

/// The share of the store's quota that one node's blobs may take: one part in this.
const QUOTA_SHARE: u64 = 8;

/// Brings blobs here and keeps them. Says of each whether it did.
pub(super) async fn keep(
    site: &Site,
    peer: PeerId,
    request: v1::KeepBlobsRequest,
    cancel: &CancellationToken,
) -> Result<Vec<bool>, Status> {
    let is_node = |advert: &embermesh_crypto::statement::Advert| {
        advert.role == Role::Node && advert.expires_at > UnixMillis::now()
    };
    if !site
        .mesh
        .advert_of(&peer)
        .is_some_and(|advert| is_node(&advert))
    {
        return Err(refusal::refused(
            tonic::Code::PermissionDenied,
            "not_a_node",
            "this node keeps blobs for nodes of its mesh only, and has no advert of the caller: advertise, and try again in a moment",
        ));
    }
    wire::job_id(&request.job_id).map_err(refusal::message)?;
    if request.blobs.len() > MAX_BLOBS {
        return Err(Status::invalid_argument(format!(
            "blobs: name {MAX_BLOBS} at most"
        )));
    }
    let blobs = request
        .blobs
        .into_iter()
        .map(TryInto::try_into)
        .collect::<Result<Vec<BlobRef>, _>>()
        .map_err(refusal::message)?;
    let share = site.blobs.usage().quota / QUOTA_SHARE;
    let mut kept = Vec::with_capacity(blobs.len());
    for blob in blobs {
        let here = match Box::pin(keep_one(site, peer, &blob, share, cancel)).await {
            Ok(here) => here,
            Err(error) => return Err(refusal::store(&error)),
        };
        kept.push(here);
    }
    Ok(kept)
}

async fn keep_one(
    site: &Site,
    peer: PeerId,
    blob: &BlobRef,
    share: u64,
    cancel: &CancellationToken,
) -> Result<bool, StoreError> {
    if blob.size > share {
        tracing::debug!(%peer, digest = %blob.digest, "a blob is larger than a node's share");
        return Ok(false);
    }
    let mut want = Want::from(blob);
    // Whoever asks has it, whatever else the request says.
    if !want.holders.iter().any(|holder| holder.peer == Some(peer))
        && let Some(address) = site.mesh.address_of(peer)
    {
        want.holders.insert(0, (&address).into());
    }
    make_room(site, peer, blob, share).await?;
    if let Err(error) = Box::pin(site.fetcher.fetch(&site.blobs, &want, None, cancel)).await {
        tracing::debug!(%peer, digest = %blob.digest, %error, "a blob could not be kept");
        return Ok(false);
    }
    let kept = Kept {
        digest: blob.digest,
        size: blob.size,
    };
    // Written down before it is pinned: what is pinned and not written down would stay
    // for ever, and what is written down and not pinned goes when its turn comes.
    site.store.keep(peer, kept, UnixMillis::now()).await?;
    if let Err(error) = site.pin(blob.digest).await {
        tracing::warn!(digest = %blob.digest, %error, "a blob could not be kept");
        return Ok(false);
    }
    site.blob_brought();
    Ok(true)
}

/// Lets go of what a peer asked for first, until the new blob fits its share.
async fn make_room(
    site: &Site,
    peer: PeerId,
    blob: &BlobRef,
    share: u64,
) -> Result<(), StoreError> {
    let mut held = site.store.kept_for(peer).await?;
    held.retain(|kept| kept.digest != blob.digest);
    let mut bytes: u64 = held.iter().map(|kept| kept.size).sum();
    let mut count = held.len();
    for oldest in held {
        if count < MAX_PER_PEER && bytes.saturating_add(blob.size) <= share {
            break;
        }
        bytes = bytes.saturating_sub(oldest.size);
        count -= 1;
        if !site.store.release(peer, oldest.digest).await?
            && let Err(error) = site.blobs.unpin(&oldest.digest)
        {
            tracing::warn!(digest = %oldest.digest, %error, "a blob stays pinned");
        }
    }
    Ok(())
}
