//! Addresses, blobs, checkpoints, assignments.

use embermesh_crypto::{TaskIndex, UnixMillis, token::MAX_TOKEN_LEN};
use embermesh_proto::v1;

use super::{InvalidMessage, digest, digest_bytes, epoch, job_id, list, peer, text};
use crate::{
    address::{BlobRef, Checkpoint, PeerAddress},
    assignment::{NodeAssignment, TaskKey},
};

impl From<PeerAddress> for v1::PeerAddress {
    fn from(address: PeerAddress) -> Self {
        Self {
            peer_id: address.peer.to_string(),
            tls: address.tls,
            mesh: address.mesh,
        }
    }
}

impl TryFrom<v1::PeerAddress> for PeerAddress {
    type Error = InvalidMessage;

    fn try_from(wire: v1::PeerAddress) -> Result<Self, Self::Error> {
        Ok(Self {
            peer: peer("peer_id", &wire.peer_id)?,
            tls: list("tls", wire.tls, |address| text("tls", address))?,
            mesh: list("mesh", wire.mesh, |address| text("mesh", address))?,
        })
    }
}

impl From<BlobRef> for v1::BlobRef {
    fn from(blob: BlobRef) -> Self {
        Self {
            digest: digest_bytes(&blob.digest),
            size: blob.size,
            holders: blob.holders.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::BlobRef> for BlobRef {
    type Error = InvalidMessage;

    fn try_from(wire: v1::BlobRef) -> Result<Self, Self::Error> {
        Ok(Self {
            digest: digest("digest", &wire.digest)?,
            size: wire.size,
            holders: list("holders", wire.holders, TryInto::try_into)?,
        })
    }
}

impl From<Checkpoint> for v1::Checkpoint {
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            blob: Some(checkpoint.blob.into()),
            step: checkpoint.step,
            seq: checkpoint.seq,
        }
    }
}

impl TryFrom<v1::Checkpoint> for Checkpoint {
    type Error = InvalidMessage;

    fn try_from(wire: v1::Checkpoint) -> Result<Self, Self::Error> {
        let blob = wire
            .blob
            .ok_or_else(|| InvalidMessage::missing("checkpoint.blob"))?;
        Ok(Self {
            blob: blob.try_into()?,
            step: wire.step,
            seq: wire.seq,
        })
    }
}

impl From<NodeAssignment> for v1::NodeAssignment {
    fn from(assignment: NodeAssignment) -> Self {
        Self {
            job_id: assignment.job.to_string(),
            task: assignment.task.0,
            epoch: assignment.epoch.0,
            node: Some(assignment.node.into()),
            auth_token: assignment.token,
            expires_at_ms: assignment.expires_at.0,
        }
    }
}

impl TryFrom<v1::NodeAssignment> for NodeAssignment {
    type Error = InvalidMessage;

    fn try_from(wire: v1::NodeAssignment) -> Result<Self, Self::Error> {
        if wire.auth_token.len() > MAX_TOKEN_LEN {
            return Err(InvalidMessage::new("auth_token", "it is too long"));
        }
        let node = wire
            .node
            .ok_or_else(|| InvalidMessage::missing("assignment.node"))?;
        Ok(Self {
            job: job_id(&wire.job_id)?,
            task: TaskIndex(wire.task),
            epoch: epoch(wire.epoch)?,
            node: node.try_into()?,
            token: wire.auth_token,
            expires_at: UnixMillis(wire.expires_at_ms),
        })
    }
}

impl From<TaskKey> for v1::TaskKey {
    fn from(key: TaskKey) -> Self {
        Self {
            job_id: key.job.to_string(),
            task: key.task.0,
            epoch: key.epoch.0,
        }
    }
}

impl TryFrom<v1::TaskKey> for TaskKey {
    type Error = InvalidMessage;

    fn try_from(wire: v1::TaskKey) -> Result<Self, Self::Error> {
        Ok(Self {
            job: job_id(&wire.job_id)?,
            task: TaskIndex(wire.task),
            epoch: epoch(wire.epoch)?,
        })
    }
}
