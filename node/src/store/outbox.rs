//! Reports that an index has still to hear, kept until it acknowledges them.

use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use embermesh_job::{assignment::TaskKey, order::Report};
use embermesh_proto::v1;
use prost::Message as _;
use sqlx::Row as _;

use super::{Durability, Store, StoreError, signed};

/// The most reports that wait for one index; beyond it the oldest that do not
/// end an attempt make room.
const MAX_WAITING: i64 = 10_000;

/// What a report is, as far as keeping it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportKind {
    /// An event that the index must have.
    Event,
    /// A checkpoint: only the newest of an attempt matters.
    Checkpoint,
    /// Who holds the inputs: only the newest matters.
    Inputs,
    /// The end of an attempt: never dropped.
    End,
}

impl ReportKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Checkpoint => "checkpoint",
            Self::Inputs => "inputs",
            Self::End => "end",
        }
    }

    const fn replaces_earlier(self) -> bool {
        matches!(self, Self::Checkpoint | Self::Inputs)
    }
}

/// A report that waits.
#[derive(Debug)]
pub(crate) struct OutboxEntry {
    pub(crate) id: i64,
    pub(crate) key: TaskKey,
    pub(crate) report: Report,
}

impl Store {
    /// Puts a report into the outbox of an index.
    pub(crate) async fn post(
        &self,
        index: PeerId,
        key: TaskKey,
        kind: ReportKind,
        report: Report,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Power).await?;
        let mut tx = writer.begin().await?;
        insert(&mut tx, index, key, kind, report, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The oldest report that waits for an index. One that cannot be read is
    /// dropped: it would block all that come after it.
    pub(crate) async fn next_report(
        &self,
        index: PeerId,
    ) -> Result<Option<OutboxEntry>, StoreError> {
        loop {
            let row =
                sqlx::query("SELECT id, body FROM outbox WHERE index_peer = ? ORDER BY id LIMIT 1")
                    .bind(index.as_bytes().to_vec())
                    .fetch_optional(self.readers())
                    .await?;
            let Some(row) = row else { return Ok(None) };
            let (id, body): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let read = v1::ReportRequest::decode(body.as_slice())
                .map_err(|error| error.to_string())
                .and_then(|wire| Report::from_wire(wire).map_err(|error| error.to_string()));
            match read {
                Ok((key, report)) => return Ok(Some(OutboxEntry { id, key, report })),
                Err(reason) => {
                    tracing::error!(id, reason, "a damaged report is dropped");
                    self.acknowledged(id).await?;
                }
            }
        }
    }

    /// The index has taken a report.
    pub(crate) async fn acknowledged(&self, id: i64) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Process).await?;
        sqlx::query("DELETE FROM outbox WHERE id = ?")
            .bind(id)
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// Whether any report waits for any index.
    pub(crate) async fn any_report(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query("SELECT EXISTS (SELECT 1 FROM outbox)")
            .fetch_one(self.readers())
            .await?
            .try_get(0)?)
    }

    /// Drops reports that have waited since before a moment: their index is gone.
    pub(crate) async fn forget_reports(&self, before: UnixMillis) -> Result<u64, StoreError> {
        let mut writer = self.writer(Durability::Process).await?;
        Ok(sqlx::query("DELETE FROM outbox WHERE created_at < ?")
            .bind(signed(before.0))
            .execute(writer.connection())
            .await?
            .rows_affected())
    }
}

pub(super) async fn insert(
    tx: &mut sqlx::SqliteConnection,
    index: PeerId,
    key: TaskKey,
    kind: ReportKind,
    report: Report,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let body = report.into_wire(key).encode_to_vec();
    let (peer, job) = (index.as_bytes().to_vec(), key.job.as_bytes().to_vec());
    if kind.replaces_earlier() {
        sqlx::query(
            "DELETE FROM outbox WHERE index_peer = ? AND job = ? AND task = ? AND epoch = ? AND kind = ?",
        )
        .bind(&peer)
        .bind(&job)
        .bind(i64::from(key.task.0))
        .bind(signed(key.epoch.0))
        .bind(kind.as_str())
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query(
        "INSERT INTO outbox (index_peer, job, task, epoch, kind, body, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&peer)
    .bind(&job)
    .bind(i64::from(key.task.0))
    .bind(signed(key.epoch.0))
    .bind(kind.as_str())
    .bind(body)
    .bind(signed(now.0))
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM outbox WHERE id IN (
             SELECT id FROM outbox WHERE index_peer = ?1 AND kind <> 'end'
             ORDER BY id DESC LIMIT -1 OFFSET ?2)",
    )
    .bind(&peer)
    .bind(MAX_WAITING)
    .execute(&mut *tx)
    .await?;
    Ok(())
}
