//! Blobs that this node keeps because another node asked it to.

use embermesh_crypto::{digest::Digest, ids::PeerId, time::UnixMillis};
use sqlx::Row as _;

use super::{Durability, Store, StoreError, signed, trust::digest, unsigned};

/// A blob that is kept for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Store {
    /// What is kept for a peer, the oldest first.
    pub(crate) async fn kept_for(&self, peer: PeerId) -> Result<Vec<Kept>, StoreError> {
        sqlx::query("SELECT digest, size FROM kept WHERE peer = ? ORDER BY kept_at, digest")
            .bind(peer.as_bytes().to_vec())
            .fetch_all(self.readers())
            .await?
            .iter()
            .map(|row| {
                Ok(Kept {
                    digest: digest(&row.try_get::<Vec<u8>, _>(0)?)?,
                    size: unsigned(row.try_get(1)?),
                })
            })
            .collect()
    }

    /// Remembers that a blob is kept for a peer.
    pub(crate) async fn keep(
        &self,
        peer: PeerId,
        kept: Kept,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Process).await?;
        sqlx::query(
            "INSERT OR REPLACE INTO kept (peer, digest, size, kept_at) VALUES (?, ?, ?, ?)",
        )
        .bind(peer.as_bytes().to_vec())
        .bind(kept.digest.as_bytes().to_vec())
        .bind(signed(kept.size))
        .bind(signed(now.0))
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// Forgets that a blob is kept for a peer. Returns whether anybody else has it
    /// kept.
    pub(crate) async fn release(&self, peer: PeerId, blob: Digest) -> Result<bool, StoreError> {
        let mut writer = self.writer(Durability::Process).await?;
        sqlx::query("DELETE FROM kept WHERE peer = ? AND digest = ?")
            .bind(peer.as_bytes().to_vec())
            .bind(blob.as_bytes().to_vec())
            .execute(writer.connection())
            .await?;
        let others: i64 = sqlx::query("SELECT count(*) FROM kept WHERE digest = ?")
            .bind(blob.as_bytes().to_vec())
            .fetch_one(writer.connection())
            .await?
            .try_get(0)?;
        Ok(others > 0)
    }
}
