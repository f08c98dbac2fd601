//! Reads at the start what the state machine goes on from.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId},
    statement::Signed,
    time::UnixMillis,
};
use embermesh_job::lifecycle::JournalEntry;
use futures::TryStreamExt as _;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    StoreError, body,
    issuer::{self, peer},
    ledger, reservation,
    rows::number,
};
use crate::state::{
    LoadedJob, RememberedSubmit, Snapshot, StoredJob, StoredNode,
    settings::{ENDED_JOBS_KEPT, IDEMPOTENCY_KEYS_KEPT},
};

/// Everything, oldest first.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Snapshot, StoreError> {
    let failed = |source| StoreError::from_sqlx(path, source);
    let mut jobs = ended(connection, &failed).await?;
    for loaded in &mut jobs {
        loaded.stored.job.journal = journal(connection, loaded.stored.job.id, &failed).await?;
    }
    let mut journals = open_journals(connection, &failed).await?;
    jobs.extend(
        open(connection, &failed)
            .await?
            .into_iter()
            .map(|mut loaded| {
                let journal = journals.remove(&loaded.stored.job.id);
                loaded.stored.job.journal = journal.unwrap_or_default();
                loaded
            }),
    );
    Ok(Snapshot {
        jobs,
        idempotency: idempotency(connection, &failed).await?,
        nodes: nodes(connection, &failed).await?,
        issuer: issuer::load(connection, &failed).await?,
        ledger: ledger::load(connection, &failed).await?,
        reservations: reservation::load(connection, &failed).await?,
    })
}

async fn open(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Vec<LoadedJob>, StoreError> {
    let rows = sqlx::query(
        "SELECT jobs.idempotency, jobs.body, jobs.latest, jobs.finished, specs.bytes AS canonical FROM jobs \
         LEFT JOIN specs ON specs.job = jobs.id WHERE jobs.state < ? ORDER BY jobs.id",
    )
    .bind(body::FIRST_FINAL_STATE)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let canonical: Option<Vec<u8>> = row.try_get("canonical").map_err(failed)?;
            Ok(LoadedJob {
                stored: stored(row, failed)?,
                spec: canonical.map(Bytes::from),
            })
        })
        .collect()
}

async fn ended(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Vec<LoadedJob>, StoreError> {
    let rows =
        sqlx::query("SELECT idempotency, body, latest, finished FROM jobs WHERE state >= ? ORDER BY id DESC LIMIT ?")
            .bind(body::FIRST_FINAL_STATE)
            .bind(limit(ENDED_JOBS_KEPT))
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    rows.iter()
        .rev()
        .map(|row| {
            Ok(LoadedJob {
                stored: stored(row, failed)?,
                spec: None,
            })
        })
        .collect()
}

/// A job from its row, without its journal.
pub(super) fn stored(
    row: &SqliteRow,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<StoredJob, StoreError> {
    let idempotency: Vec<u8> = row.try_get("idempotency").map_err(failed)?;
    let text: String = row.try_get("body").map_err(failed)?;
    let mut stored = body::decode(&text, &idempotency)?;
    let event = |column: &str| row.try_get::<Option<Vec<u8>>, _>(column).map_err(failed);
    stored.latest = event("latest")?.map(body::decode_event).transpose()?;
    stored.finished = event("finished")?.map(body::decode_event).transpose()?;
    Ok(stored)
}

/// The journal of a job, as far as a job keeps it.
pub(super) async fn journal(
    connection: &mut SqliteConnection,
    job: JobId,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Vec<JournalEntry>, StoreError> {
    let rows = sqlx::query(
        "SELECT number, at, state, epoch, node, reason FROM journal WHERE job = ? ORDER BY number DESC LIMIT ?",
    )
    .bind(job.as_bytes().as_slice())
    .bind(limit(body::JOURNAL_KEPT))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter().rev().map(|row| entry(row, failed)).collect()
}

/// The journals of all open jobs, in one go: there may be very many.
async fn open_journals(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<BTreeMap<JobId, Vec<JournalEntry>>, StoreError> {
    let mut rows = sqlx::query(
        "SELECT journal.job, number, at, journal.state, epoch, node, reason FROM journal \
         JOIN jobs ON jobs.id = journal.job WHERE jobs.state < ? ORDER BY journal.job, number",
    )
    .bind(body::FIRST_FINAL_STATE)
    .fetch(connection);
    let mut journals: BTreeMap<JobId, Vec<JournalEntry>> = BTreeMap::new();
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let job: Vec<u8> = row.try_get("job").map_err(failed)?;
        let job = job
            .as_slice()
            .try_into()
            .map_err(|e| StoreError::bad_row("journal", e))?;
        let job = JobId::from_bytes(job).map_err(|e| StoreError::bad_row("journal", e))?;
        let journal = journals.entry(job).or_default();
        journal.push(entry(&row, failed)?);
        if journal.len() > body::JOURNAL_KEPT {
            journal.remove(0);
        }
    }
    Ok(journals)
}

fn entry(
    row: &SqliteRow,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<JournalEntry, StoreError> {
    let node: Option<Vec<u8>> = row.try_get("node").map_err(failed)?;
    Ok(JournalEntry {
        number: number(row.try_get("number").map_err(failed)?),
        at: UnixMillis(number(row.try_get("at").map_err(failed)?)),
        state: body::state(row.try_get("state").map_err(failed)?)?,
        epoch: Epoch(number(row.try_get("epoch").map_err(failed)?)),
        node: node.map(|bytes| peer(&bytes, "journal")).transpose()?,
        reason: row.try_get("reason").map_err(failed)?,
    })
}

async fn idempotency(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Vec<RememberedSubmit>, StoreError> {
    let rows =
        sqlx::query("SELECT id, owner, idempotency, spec FROM jobs ORDER BY id DESC LIMIT ?")
            .bind(limit(IDEMPOTENCY_KEYS_KEPT))
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    let bytes = |row: &SqliteRow, column: &str| row.try_get::<Vec<u8>, _>(column).map_err(failed);
    let bad = |detail: &dyn std::fmt::Display| StoreError::bad_row("jobs", detail);
    rows.iter()
        .rev()
        .map(|row| {
            let id = bytes(row, "id")?
                .as_slice()
                .try_into()
                .map_err(|e| bad(&e))?;
            Ok(RememberedSubmit {
                client: peer(&bytes(row, "owner")?, "jobs")?,
                key: bytes(row, "idempotency")?
                    .as_slice()
                    .try_into()
                    .map_err(|e| bad(&e))?,
                job: JobId::from_bytes(id).map_err(|e| bad(&e))?,
                spec: Digest::from_slice(&bytes(row, "spec")?).map_err(|e| bad(&e))?,
            })
        })
        .collect()
}

async fn nodes(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Vec<StoredNode>, StoreError> {
    let rows = sqlx::query("SELECT peer, advert, seen_at FROM nodes ORDER BY peer")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let advert: Vec<u8> = row.try_get("advert").map_err(failed)?;
            Ok(StoredNode {
                peer: peer(&row.try_get::<Vec<u8>, _>("peer").map_err(failed)?, "nodes")?,
                advert: Signed::from_bytes(advert)
                    .map_err(|error| StoreError::bad_row("nodes", error))?,
                seen_at: UnixMillis(number(row.try_get("seen_at").map_err(failed)?)),
            })
        })
        .collect()
}

pub(super) fn limit(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
