//! Blobs out of this node and into it.

use embermesh_crypto::{
    ids::PeerId,
    time::UnixMillis,
    token::{Bearer, Method},
};
use embermesh_job::wire;
use embermesh_mesh::blob::{self, BlobService, Refused};
use embermesh_proto::v1::{self, put_blob_request::Part};
use futures::{Stream, StreamExt as _};
use tokio::time::{Duration, timeout};
use tonic::{Code, Status, Streaming};

use super::refusal;
use crate::{gate::Gate, site::Site};

/// How long the next part of an upload may take.
const PART_WAIT: Duration = Duration::from_secs(60);

/// A range of a blob, encoded.
// A Status is what a handler returns, and tonic made it large.
#[allow(clippy::result_large_err)]
pub(super) fn fetch(
    service: &BlobService,
    peer: PeerId,
    request: &v1::FetchBlobRequest,
) -> Result<impl Stream<Item = Result<v1::BlobChunk, Status>> + Send + use<>, Status> {
    let digest = wire::digest("digest", &request.digest).map_err(refusal::message)?;
    let encoded = service
        .encode(peer, &digest, request.offset, request.length)
        .map_err(|refused| {
            let code = match refused {
                Refused::NotAllowed => Code::PermissionDenied,
                Refused::NotFound => Code::NotFound,
                Refused::Busy => Code::ResourceExhausted,
                Refused::BadRange => Code::OutOfRange,
                Refused::Unreadable => Code::DataLoss,
            };
            Status::new(code, refused.to_string())
        })?;
    let mut size = encoded.size();
    Ok(encoded.map(move |chunk| {
        let data = chunk.map_err(|error| unreadable(&error))?;
        // Said once, in the first chunk.
        let size = std::mem::take(&mut size);
        Ok(v1::BlobChunk { size, data })
    }))
}

fn unreadable(error: &std::io::Error) -> Status {
    tracing::warn!(%error, "a blob could not be read to its end");
    Status::data_loss("the blob could not be read to its end: fetch it from another holder")
}

/// Takes a blob in. Nothing is written before the caller may and the size fits.
pub(super) async fn put(
    site: &Site,
    gate: &Gate,
    peer: PeerId,
    mut parts: Streaming<v1::PutBlobRequest>,
) -> Result<bool, Status> {
    let Some(Part::Header(header)) = next(&mut parts).await? else {
        return Err(Status::invalid_argument(
            "the first message carries the header",
        ));
    };
    if !(header.token.is_empty() && gate.allows(&peer)) {
        gate.pass(
            &header.token,
            Bearer::Peer(peer),
            Method::PutBlob,
            None,
            None,
            UnixMillis::now(),
        )
        .map_err(|refused| refusal::token(&refused))?;
    }
    let digest = wire::digest("digest", &header.digest).map_err(refusal::message)?;
    if site.blobs.contains(&digest) {
        site.blob_brought();
        return Ok(false);
    }
    let arrival = site.arriving.begin(digest);
    let mut upload = site
        .blobs
        .upload(digest, header.size)
        .await
        .map_err(|error| not_kept(&error))?;
    while let Some(part) = next(&mut parts).await? {
        let Part::Data(data) = part else {
            return Err(Status::invalid_argument(
                "only the first message carries a header",
            ));
        };
        upload
            .write(&data)
            .await
            .map_err(|error| not_kept(&error))?;
        arrival.grew();
    }
    let stored = upload.finish().await.map_err(|error| not_kept(&error))?;
    site.blob_brought();
    Ok(stored.new)
}

async fn next(parts: &mut Streaming<v1::PutBlobRequest>) -> Result<Option<Part>, Status> {
    let message = timeout(PART_WAIT, parts.message()).await.map_err(|_| {
        Status::deadline_exceeded(format!(
            "no part of the blob came for {} s",
            PART_WAIT.as_secs()
        ))
    })??;
    match message {
        None => Ok(None),
        Some(message) => message
            .part
            .map(Some)
            .ok_or_else(|| Status::invalid_argument("a message without a part")),
    }
}

fn not_kept(error: &blob::StoreError) -> Status {
    let code = match error {
        blob::StoreError::WrongHash { .. } | blob::StoreError::WrongSize { .. } => {
            Code::InvalidArgument
        }
        error if error.is_full() => Code::ResourceExhausted,
        error => {
            tracing::error!(%error, "a blob could not be kept");
            return Status::unavailable(
                "the node could not keep the blob: try again, or ask another node",
            );
        }
    };
    Status::new(code, error.to_string())
}
