//! Attempts: admitted once, ended once.

use std::time::Duration;

use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId, TaskIndex},
    time::UnixMillis,
    token::{self, Assignment, Ceilings, Refusal, TaskRef},
};
use embermesh_job::{
    assignment::TaskKey,
    event::{Event, EventKind, Outcome},
    order::Report,
};
use sqlx::{Row as _, sqlite::SqliteRow};
use thiserror::Error;

use super::{
    Durability, Store, StoreError, events, outbox,
    outbox::ReportKind,
    signed,
    trust::{digest, peer},
    unsigned,
};

/// The word that stands for an end whose event is in the log.
const FINISHED: &str = "finished";

/// What an attempt is about to be admitted with.
pub(crate) struct NewAttempt<'a> {
    pub(crate) assignment: &'a Assignment,
    /// What its spec asks for.
    pub(crate) asked: Ceilings,
    /// The index that hears of it.
    pub(crate) reports_to: Option<PeerId>,
    /// The number after which it goes on; 0 from the start.
    pub(crate) resume_after: u64,
    /// The word for its work, and what its client calls it.
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
}

/// An attempt as it is remembered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) key: TaskKey,
    pub(crate) client: PeerId,
    pub(crate) reports_to: Option<PeerId>,
    pub(crate) spec: Digest,
    pub(crate) end: Option<AttemptEnd>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// With the task: its last event says how.
    Finished,
    /// Without it.
    Gone {
        /// A stable word.
        code: String,
        /// What happened.
        message: String,
    },
}

/// Why an attempt was not admitted.
#[derive(Debug, Error)]
pub(crate) enum NotAdmitted {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for NotAdmitted {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Admits an attempt: once per (job, task, epoch), and never below the newest
    /// epoch. Forgets the events that the attempt will say anew.
    pub(crate) async fn admit(
        &self,
        new: &NewAttempt<'_>,
        now: UnixMillis,
    ) -> Result<(), NotAdmitted> {
        let claims = new.assignment.claims();
        let (job, task) = (claims.job.as_bytes().to_vec(), i64::from(claims.task.0));
        let mut writer = self.writer(Durability::Power).await?;
        let mut tx = writer.begin().await?;
        enter(&mut tx, new, now).await?;
        sqlx::query("DELETE FROM events WHERE job = ? AND task = ? AND seq > ?")
            .bind(&job)
            .bind(task)
            .bind(signed(new.resume_after))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends an attempt that has no room here before it begins: its token is used up, and
    /// its index hears of it. So it runs here neither now nor later, wherever the index
    /// gives the task next.
    pub(crate) async fn decline(
        &self,
        new: &NewAttempt<'_>,
        index: PeerId,
        (code, message): (&str, &str),
        now: UnixMillis,
    ) -> Result<(), NotAdmitted> {
        let claims = new.assignment.claims();
        let key = TaskKey {
            job: claims.job,
            task: claims.task,
            epoch: claims.epoch,
        };
        let report = Report::AttemptFailed {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let mut writer = self.writer(Durability::Power).await?;
        let mut tx = writer.begin().await?;
        enter(&mut tx, new, now).await?;
        end(&mut tx, key, code, message, now).await?;
        outbox::insert(&mut tx, index, key, ReportKind::End, report, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The newest attempt at a task.
    pub(crate) async fn attempt(&self, task: TaskRef) -> Result<Option<Attempt>, StoreError> {
        sqlx::query(
            "SELECT job, task, epoch, client, reports_to, spec_digest, end_code, end_message
             FROM attempts WHERE job = ? AND task = ? ORDER BY epoch DESC LIMIT 1",
        )
        .bind(task.job.as_bytes().to_vec())
        .bind(i64::from(task.task.0))
        .fetch_optional(self.readers())
        .await?
        .map(|row| attempt(&row))
        .transpose()
    }

    /// What each client used of this node in attempts that ended since a moment: when, and
    /// for how long.
    pub(crate) async fn used_since(
        &self,
        since: UnixMillis,
    ) -> Result<Vec<(PeerId, UnixMillis, Duration)>, StoreError> {
        sqlx::query(
            "SELECT client, admitted_at, ended_at FROM attempts
             WHERE ended_at >= ? ORDER BY ended_at",
        )
        .bind(signed(since.0))
        .fetch_all(self.readers())
        .await?
        .iter()
        .map(|row| {
            let client = peer(&row.try_get::<Vec<u8>, _>("client")?)?;
            let admitted = UnixMillis(unsigned(row.try_get("admitted_at")?));
            let ended = UnixMillis(unsigned(row.try_get("ended_at")?));
            Ok((client, ended, ended.since(admitted)))
        })
        .collect()
    }

    /// Attempts that have not ended.
    pub(crate) async fn open_attempts(&self) -> Result<Vec<Attempt>, StoreError> {
        sqlx::query(
            "SELECT job, task, epoch, client, reports_to, spec_digest, end_code, end_message
             FROM attempts WHERE end_code IS NULL",
        )
        .fetch_all(self.readers())
        .await?
        .iter()
        .map(attempt)
        .collect()
    }

    /// Ends a task with its last event, and puts the report of it into the outbox.
    pub(crate) async fn finish(
        &self,
        key: TaskKey,
        event: &Event,
        reports_to: Option<PeerId>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Power).await?;
        let mut tx = writer.begin().await?;
        events::insert(&mut tx, key, event).await?;
        end(&mut tx, key, FINISHED, "", event.at).await?;
        came_to(&mut tx, key, event).await?;
        link(&mut tx, event).await?;
        if let Some(index) = reports_to {
            let report = Report::Event(Box::new(event.clone()));
            outbox::insert(&mut tx, index, key, ReportKind::End, report, event.at).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Ends an attempt without ending its task, and puts what the index is to
    /// hear of it into the outbox.
    pub(crate) async fn end_attempt(
        &self,
        key: TaskKey,
        code: &str,
        message: &str,
        report: Option<(PeerId, Report)>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Power).await?;
        let mut tx = writer.begin().await?;
        end(&mut tx, key, code, message, now).await?;
        if let Some((index, report)) = report {
            if let Report::Event(event) = &report {
                link(&mut tx, event).await?;
            }
            outbox::insert(&mut tx, index, key, ReportKind::End, report, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The digest of the newest receipt that this node has signed and written down.
    pub(crate) async fn newest_receipt(&self) -> Result<Option<Digest>, StoreError> {
        let row = sqlx::query("SELECT receipt FROM chain")
            .fetch_optional(self.readers())
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let bytes: Vec<u8> = row.try_get(0)?;
        let bytes = bytes
            .try_into()
            .map_err(|_| StoreError::bad_row("chain", "a digest has 32 bytes"))?;
        Ok(Some(Digest::from_bytes(bytes)))
    }

    /// Forgets attempts that ended before a moment, with their events. Returns
    /// the events of theirs that name blobs, so that those can be let go.
    pub(crate) async fn forget_ended(&self, before: UnixMillis) -> Result<Vec<Event>, StoreError> {
        let old = "SELECT job, task FROM attempts GROUP BY job, task
                   HAVING count(*) = count(ended_at) AND max(ended_at) < ?";
        let mut writer = self.writer(Durability::Process).await?;
        let mut tx = writer.begin().await?;
        let rows = sqlx::query(old)
            .bind(signed(before.0))
            .fetch_all(&mut *tx)
            .await?;
        let mut naming = Vec::new();
        for row in rows {
            let (job, task): (Vec<u8>, i64) = (row.try_get(0)?, row.try_get(1)?);
            let bodies = sqlx::query(
                "SELECT body FROM events WHERE job = ? AND task = ? AND body LIKE '%\"artifact\"%'",
            )
            .bind(&job)
            .bind(task)
            .fetch_all(&mut *tx)
            .await?;
            for body in bodies {
                naming.push(events::event(body.try_get(0)?)?);
            }
            for sql in [
                "DELETE FROM events WHERE job = ? AND task = ?",
                "DELETE FROM attempts WHERE job = ? AND task = ?",
            ] {
                sqlx::query(sql)
                    .bind(&job)
                    .bind(task)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(naming)
    }
}

/// Writes an attempt down: once per (job, task, epoch), and never below the newest epoch.
async fn enter(
    tx: &mut sqlx::SqliteConnection,
    new: &NewAttempt<'_>,
    now: UnixMillis,
) -> Result<(), NotAdmitted> {
    let claims = new.assignment.claims();
    let (job, task) = (claims.job.as_bytes().to_vec(), i64::from(claims.task.0));
    let newest: Option<i64> =
        sqlx::query("SELECT max(epoch) FROM attempts WHERE job = ? AND task = ?")
            .bind(&job)
            .bind(task)
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?;
    let newest = newest.map(|epoch| Epoch(unsigned(epoch)));
    token::admit(new.assignment, newest, new.asked)?;
    sqlx::query(
        "INSERT INTO attempts (job, task, epoch, token_id, issuer, client, reports_to, spec_digest, admitted_at, kind, name)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&job)
    .bind(task)
    .bind(signed(claims.epoch.0))
    .bind(claims.token_id.0.to_vec())
    .bind(claims.issuer.as_bytes().to_vec())
    .bind(claims.client.as_bytes().to_vec())
    .bind(new.reports_to.map(|index| index.as_bytes().to_vec()))
    .bind(claims.spec.as_bytes().to_vec())
    .bind(signed(now.0))
    .bind(new.kind)
    .bind(new.name)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

async fn end(
    tx: &mut sqlx::SqliteConnection,
    key: TaskKey,
    code: &str,
    message: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE attempts SET ended_at = ?, end_code = ?, end_message = ?
         WHERE job = ? AND task = ? AND epoch = ? AND end_code IS NULL",
    )
    .bind(signed(now.0))
    .bind(code)
    .bind(message)
    .bind(key.job.as_bytes().to_vec())
    .bind(i64::from(key.task.0))
    .bind(signed(key.epoch.0))
    .execute(tx)
    .await?;
    Ok(())
}

/// What a task came to.
async fn came_to(
    tx: &mut sqlx::SqliteConnection,
    key: TaskKey,
    event: &Event,
) -> Result<(), StoreError> {
    let EventKind::Finished { outcome, .. } = &event.kind else {
        return Ok(());
    };
    let word = match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    };
    sqlx::query("UPDATE attempts SET outcome = ? WHERE job = ? AND task = ? AND epoch = ?")
        .bind(word)
        .bind(key.job.as_bytes().to_vec())
        .bind(i64::from(key.task.0))
        .bind(signed(key.epoch.0))
        .execute(tx)
        .await?;
    Ok(())
}

/// A receipt that is written down becomes the one that the next names.
async fn link(tx: &mut sqlx::SqliteConnection, event: &Event) -> Result<(), StoreError> {
    let EventKind::Finished { receipt, .. } = &event.kind else {
        return Ok(());
    };
    if receipt.is_empty() {
        return Ok(());
    }
    sqlx::query("INSERT OR REPLACE INTO chain (id, receipt) VALUES (0, ?)")
        .bind(Digest::of(receipt).as_bytes().to_vec())
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    let bad = |reason: &dyn std::fmt::Display| StoreError::bad_row("attempts", reason);
    let code: Option<String> = row.try_get("end_code")?;
    let message: Option<String> = row.try_get("end_message")?;
    let end = code.map(|code| match code.as_str() {
        FINISHED => AttemptEnd::Finished,
        _ => AttemptEnd::Gone {
            code,
            message: message.unwrap_or_default(),
        },
    });
    let job: Vec<u8> = row.try_get("job")?;
    let task: i64 = row.try_get("task")?;
    Ok(Attempt {
        key: TaskKey {
            job: job_id(&job)?,
            task: TaskIndex(u32::try_from(task).map_err(|error| bad(&error))?),
            epoch: Epoch(unsigned(row.try_get("epoch")?)),
        },
        client: peer(&row.try_get::<Vec<u8>, _>("client")?)?,
        reports_to: row
            .try_get::<Option<Vec<u8>>, _>("reports_to")?
            .map(|bytes| peer(&bytes))
            .transpose()?,
        spec: digest(&row.try_get::<Vec<u8>, _>("spec_digest")?)?,
        end,
    })
}

pub(super) fn job_id(bytes: &[u8]) -> Result<JobId, StoreError> {
    bytes
        .try_into()
        .ok()
        .and_then(|bytes| JobId::from_bytes(bytes).ok())
        .ok_or_else(|| StoreError::bad_row("attempts", "a job id is not a UUID"))
}
