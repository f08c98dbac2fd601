//! The signed statements of indexes, exactly as they signed them.

use embermesh_crypto::{digest::Digest, ids::PeerId};
use sqlx::Row as _;

use super::{Durability, Store, StoreError, signed};

impl Store {
    /// Keeps a statement of an index, unless a newer one of its kind is there.
    pub(crate) async fn keep_statement(
        &self,
        index: PeerId,
        kind: &'static str,
        sequence: u64,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Power).await?;
        sqlx::query(
            "INSERT INTO statements (index_peer, kind, sequence, body) VALUES (?, ?, ?, ?)
             ON CONFLICT (index_peer, kind) DO UPDATE
             SET sequence = excluded.sequence, body = excluded.body
             WHERE excluded.sequence > statements.sequence",
        )
        .bind(index.as_bytes().to_vec())
        .bind(kind)
        .bind(signed(sequence))
        .bind(body)
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// Every statement of a kind.
    pub(crate) async fn statements(&self, kind: &'static str) -> Result<Vec<Vec<u8>>, StoreError> {
        sqlx::query("SELECT body FROM statements WHERE kind = ?")
            .bind(kind)
            .fetch_all(self.readers())
            .await?
            .iter()
            .map(|row| Ok(row.try_get(0)?))
            .collect()
    }
}

pub(super) fn peer(bytes: &[u8]) -> Result<PeerId, StoreError> {
    bytes
        .try_into()
        .ok()
        .and_then(|bytes| PeerId::from_public_key(bytes).ok())
        .ok_or_else(|| StoreError::bad_row("attempts", "a key is not an ed25519 key"))
}

pub(super) fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    Digest::from_slice(bytes).map_err(|error| StoreError::bad_row("attempts", error))
}
