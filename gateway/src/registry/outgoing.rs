//! A model on its way out, piece by piece.

use std::{fs::File, io::Read as _};

use bytes::Bytes;
use embermesh_dialects::{Failure, port::registry::Piece};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::task::spawn_blocking;

use super::{checksum::Hashes, file_failed, rows::KeptModel};
use crate::{Gateway, failure::store_failed};

/// Bytes of a piece.
const PIECE: u64 = 1 << 20;

struct Outgoing {
    gateway: Gateway,
    model: KeptModel,
    file: File,
    at: u64,
    size: u64,
    over: bool,
}

impl Gateway {
    /// The bytes of a whole model.
    pub(super) async fn pieces(
        &self,
        model: KeptModel,
        size: u64,
    ) -> Result<BoxStream<'static, Result<Piece, Failure>>, Failure> {
        let path = self.inner.models.path(model.number);
        let file = spawn_blocking(move || File::open(path))
            .await
            .map_err(|error| store_failed(&error))?
            .map_err(|error| file_failed(&error))?;
        let outgoing = Outgoing {
            gateway: self.clone(),
            model,
            file,
            at: 0,
            size,
            over: false,
        };
        Ok(stream::unfold(outgoing, next).boxed())
    }
}

async fn next(mut outgoing: Outgoing) -> Option<(Result<Piece, Failure>, Outgoing)> {
    if outgoing.over {
        return None;
    }
    let read = spawn_blocking(move || {
        let piece = outgoing.read();
        (piece, outgoing)
    });
    let (piece, mut outgoing) = read.await.ok()?;
    outgoing.over = !matches!(&piece, Ok(piece) if !piece.is_last);
    if piece.is_ok() && outgoing.over {
        let store = &outgoing.gateway.inner.store;
        if let Err(error) = store.count_download(outgoing.model.number).await {
            tracing::warn!(%error, "a download was not counted");
        }
    }
    Some((piece, outgoing))
}

impl Outgoing {
    /// The next piece. Blocks.
    fn read(&mut self) -> Result<Piece, Failure> {
        let length = PIECE.min(self.size - self.at);
        let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file
            .read_exact(&mut data)
            .map_err(|error| file_failed(&error))?;
        let offset = self.at;
        self.at += length;
        Ok(Piece {
            model: self.model.id.clone(),
            offset,
            total: self.size,
            checksum: Some(Hashes::of(&data).sha256),
            data: Bytes::from(data),
            is_last: self.at == self.size,
        })
    }
}
