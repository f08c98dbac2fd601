//! From where another node can go on, and who can give it what it needs.

use embermesh_crypto::{digest::Digest, ids::PeerId};
use embermesh_job::{
    address::{BlobRef, Checkpoint, PeerAddress},
    copies::rank,
    spec::JobSpec,
};
use tokio::time::timeout;

use super::Direct;
use crate::bounds::{ASK_TIMEOUT, MAX_HOLDERS};

/// The newest checkpoint that somebody has, with who has it. The nodes that are asked
/// are those which the node of the job would have asked to keep a copy, and that node.
pub(super) async fn newest(
    direct: &Direct,
    checkpoints: &[Checkpoint],
    last: &PeerAddress,
) -> Option<Checkpoint> {
    for checkpoint in checkpoints.iter().rev() {
        let mut places = keepers(direct, &checkpoint.blob.digest, last.peer);
        places.push(last.clone());
        let asking = places
            .iter()
            .map(|place| has(direct, place, checkpoint.blob.digest));
        let has = futures::future::join_all(asking).await;
        let holders: Vec<PeerAddress> = places
            .into_iter()
            .zip(has)
            .filter_map(|(place, has)| has.then_some(place))
            .collect();
        if !holders.is_empty() {
            let mut found = checkpoint.clone();
            found.blob.holders = holders;
            return Some(found);
        }
    }
    None
}

/// Who may hold the inputs of a job that ran at a node.
pub(super) fn inputs(direct: &Direct, spec: &JobSpec, last: &PeerAddress) -> Vec<BlobRef> {
    let inputs = spec.inputs();
    let Some(first) = inputs.first() else {
        return Vec::new();
    };
    // All of them are kept where the first is.
    let mut holders = keepers(direct, &first.digest, last.peer);
    holders.push(last.clone());
    inputs
        .iter()
        .map(|input| BlobRef {
            digest: input.digest,
            size: input.size,
            holders: holders.clone(),
        })
        .collect()
}

fn keepers(direct: &Direct, blob: &Digest, last: PeerId) -> Vec<PeerAddress> {
    let adverts = direct.mesh().adverts();
    let peers = rank(blob, adverts.iter().map(|known| &***known), last);
    let places = peers.into_iter().take(MAX_HOLDERS);
    places
        .filter_map(|peer| direct.mesh().address_of(peer))
        .collect()
}

async fn has(direct: &Direct, place: &PeerAddress, blob: Digest) -> bool {
    let asking = async {
        let link = direct.ways().node(place).await?;
        link.has(&[blob]).await
    };
    match timeout(ASK_TIMEOUT, Box::pin(asking)).await {
        Ok(Ok(has)) => has.first() == Some(&true),
        Ok(Err(error)) => {
            tracing::debug!(peer = %place.peer, %error, "it was not learnt what a node keeps");
            false
        }
        Err(_) => false,
    }
}
