//! Brings a job's inputs to the node that will run it: only what it lacks.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use embermesh_crypto::digest::Digest;
use embermesh_job::spec::Input;
use embermesh_proto::v1::{self, put_blob_request::Part};
use tokio::{fs::File, io::AsyncReadExt as _, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    ClientError, Source, Sources, Update,
    bounds::{UPLOAD_CHUNK, UPLOAD_QUEUE, UPLOAD_STALL},
    node::NodeLink,
};

/// Sends every source that the node lacks. `tell` hears of each before it is sent.
/// Without a token, the owner of the node must have allowed this client.
pub(crate) async fn upload(
    link: &NodeLink,
    token: &str,
    sources: &Sources,
    tell: Option<&mpsc::Sender<Result<Update, ClientError>>>,
) -> Result<(), ClientError> {
    if sources.is_empty() {
        return Ok(());
    }
    let all: Vec<(&Input, &Source)> = sources.iter().collect();
    let digests: Vec<Digest> = all.iter().map(|(input, _)| input.digest).collect();
    let has = link.has(&digests).await?;
    for ((input, source), _) in all.into_iter().zip(has).filter(|(_, has)| !has) {
        if let Some(tell) = tell {
            let update = Update::Uploading {
                digest: input.digest,
                size: input.size,
            };
            // Whether anybody listens is for the follower to find out.
            let _ = tell.send(Ok(update)).await;
        }
        put(link, token, input, source).await?;
    }
    Ok(())
}

async fn put(
    link: &NodeLink,
    token: &str,
    input: &Input,
    source: &Source,
) -> Result<(), ClientError> {
    let (parts, queue) = mpsc::channel(UPLOAD_QUEUE);
    let header = v1::PutBlobHeader {
        token: token.to_owned(),
        digest: Bytes::copy_from_slice(input.digest.as_bytes()),
        size: input.size,
    };
    let sending = async {
        let sent = feed(&parts, header, source).await;
        drop(parts);
        sent
    };
    let answering = async {
        let answer = link.put(ReceiverStream::new(queue)).await;
        // The feeder is not needed any more: its queue is gone with the call.
        answer
    };
    // A node that refuses answers before everything is sent; the feeder then finds
    // its queue closed and ends, so both are waited for.
    let (sent, answer) = tokio::join!(sending, bounded(link, answering, input.size));
    match (answer, sent) {
        (Err(ClientError::Invalid { .. }), Ok(())) if matches!(source, Source::File(_)) => {
            let Source::File(path) = source else {
                return Ok(());
            };
            Err(ClientError::InputChanged(path.clone()))
        }
        (Err(error), Ok(()) | Err(ClientError::Timeout { .. })) => Err(error),
        (_, Err(error)) => Err(error),
        (Ok(_), Ok(())) => Ok(()),
    }
}

/// An upload may take as long as its bytes need at a slow pace, and a stall besides.
async fn bounded(
    link: &NodeLink,
    answering: impl Future<Output = Result<bool, ClientError>>,
    size: u64,
) -> Result<bool, ClientError> {
    /// The slowest pace that is waited for, in bytes per second.
    const SLOWEST: u64 = 64 * 1024;
    let bound = UPLOAD_STALL + Duration::from_secs(size / SLOWEST);
    timeout(bound, answering).await.unwrap_or_else(|_| {
        Err(ClientError::Timeout {
            what: link.name().to_owned(),
            after: bound,
        })
    })
}

async fn feed(
    parts: &mpsc::Sender<v1::PutBlobRequest>,
    header: v1::PutBlobHeader,
    source: &Source,
) -> Result<(), ClientError> {
    if !send(parts, Part::Header(header)).await? {
        return Ok(());
    }
    match source {
        Source::Memory(bytes) => {
            let mut rest = bytes.clone();
            while !rest.is_empty() {
                let part = rest.split_to(rest.len().min(UPLOAD_CHUNK));
                if !send(parts, Part::Data(part)).await? {
                    return Ok(());
                }
            }
            Ok(())
        }
        Source::File(path) => {
            let io = |source| ClientError::Io {
                action: "read the input",
                path: path.clone(),
                source,
            };
            let mut file = File::open(path).await.map_err(io)?;
            loop {
                let mut part = BytesMut::with_capacity(UPLOAD_CHUNK);
                if file.read_buf(&mut part).await.map_err(io)? == 0 {
                    return Ok(());
                }
                if !send(parts, Part::Data(part.freeze())).await? {
                    return Ok(());
                }
            }
        }
    }
}

/// False when the node wants no more.
async fn send(parts: &mpsc::Sender<v1::PutBlobRequest>, part: Part) -> Result<bool, ClientError> {
    let message = v1::PutBlobRequest { part: Some(part) };
    match timeout(UPLOAD_STALL, parts.send(message)).await {
        Ok(sent) => Ok(sent.is_ok()),
        Err(_) => Err(ClientError::Timeout {
            what: "the node that is being given an input".to_owned(),
            after: UPLOAD_STALL,
        }),
    }
}
