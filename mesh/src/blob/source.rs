//! One holder, asked for what a partial lacks.

use std::{io, time::Duration};

use embermesh_crypto::digest::Digest;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{
    HolderFault,
    geometry::{Groups, MAX_BLOB_BYTES},
    partial::Partial,
    receive::{self, Ended, Intake},
    wire::{MAX_RANGES, Request, Response, Status},
};
use crate::road::{RoadKind, RoadStream};

/// A connection to a holder, in the bulk framing.
pub(crate) struct Source {
    pub(crate) stream: RoadStream,
    pub(crate) digest: Digest,
    /// How long the holder may be silent.
    pub(crate) patience: Duration,
}

impl Source {
    pub(crate) fn road(&self) -> RoadKind {
        self.stream.caller().road
    }

    /// Asks for groups, or for everything where the size is not known, and reads the
    /// answer's head: the size of the blob.
    pub(crate) async fn ask(&mut self, groups: Option<&Groups>) -> Result<u64, HolderFault> {
        self.request(groups).await?;
        self.answer(groups).await
    }

    /// Asks for groups, or for everything. Several requests may be under way: they are
    /// answered in their order.
    pub(crate) async fn request(&mut self, groups: Option<&Groups>) -> Result<(), HolderFault> {
        let ranges = groups.map_or_else(|| vec![(0, 0)], Groups::pairs);
        let request = Request {
            digest: self.digest,
            ranges,
        };
        let stream = &mut self.stream;
        let asking = async {
            stream.write_all(&request.encode()).await?;
            stream.flush().await
        };
        match timeout(self.patience, asking).await {
            Ok(asked) => asked.map_err(|error| lost(&error)),
            Err(_) => Err(HolderFault::Stalled(self.patience)),
        }
    }

    /// Reads the head of the answer to the oldest request that has none, which was for
    /// these groups: the size of the blob.
    pub(crate) async fn answer(&mut self, groups: Option<&Groups>) -> Result<u64, HolderFault> {
        let reading = Response::read(&mut self.stream);
        let response = match timeout(self.patience, reading).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(HolderFault::Malformed("an unknown status"));
            }
            Ok(Err(error)) => return Err(lost(&error)),
            Err(_) => return Err(HolderFault::Stalled(self.patience)),
        };
        match response.status {
            Status::Sending => check_size(response.size, groups.map(Groups::size)),
            Status::NotFound => Err(HolderFault::NotFound),
            Status::Refused => Err(HolderFault::Refused),
            Status::Busy => Err(HolderFault::Busy),
            Status::BadRange => Err(HolderFault::Failed("it says the range lies past the end")),
            Status::Failed => Err(HolderFault::Failed("it cannot read its copy")),
        }
    }

    /// Reads the encoding of `groups`, which has been asked for.
    pub(crate) async fn take(
        &mut self,
        partial: Partial,
        groups: &Groups,
        tell: impl FnMut(&Partial),
    ) -> (Option<Partial>, Result<(), Ended>) {
        let decoder = partial.decoder(groups);
        let intake = Intake {
            partial,
            decoder,
            patience: self.patience,
        };
        receive::receive(&mut self.stream, intake, tell).await
    }
}

/// A connection that broke before anything came.
fn lost(error: &io::Error) -> HolderFault {
    HolderFault::Lost {
        received: 0,
        reason: error.to_string(),
    }
}

fn check_size(claimed: u64, known: Option<u64>) -> Result<u64, HolderFault> {
    match known {
        Some(expected) if expected != claimed => Err(HolderFault::WrongSize { claimed, expected }),
        _ if claimed > MAX_BLOB_BYTES => Err(HolderFault::Oversize(claimed)),
        _ => Ok(claimed),
    }
}

/// What to ask for next of what is missing.
pub(crate) fn next_groups(partial: &Partial) -> Groups {
    partial.missing().first(MAX_RANGES)
}
