//! One transaction: everything that a group of commands changed.

use embermesh_storage::database::Writer;
use sqlx::SqliteConnection;

use super::{body, issuer, rows, rows::integer};
use crate::state::{StoredJob, StoredNode, StoredReceipt, Writes};

/// Writes all of it, or nothing.
pub(super) async fn commit(writer: &mut Writer, writes: &Writes) -> Result<(), sqlx::Error> {
    let mut tx = writer.begin().await?;
    rows::insert(
        &mut tx,
        "INSERT INTO specs (job, bytes) ",
        " ON CONFLICT (job) DO NOTHING",
        &writes.specs,
        |row, (job, bytes)| {
            row.push_bind(job.as_bytes().to_vec())
                .push_bind(bytes.to_vec());
        },
    )
    .await?;
    write_jobs(&mut tx, &writes.jobs).await?;
    write_receipts(&mut tx, &writes.receipts).await?;
    let nodes: Vec<_> = writes.nodes.values().collect();
    write_nodes(&mut tx, &nodes).await?;
    if let Some(issuer) = &writes.issuer {
        issuer::write(&mut tx, issuer).await?;
    }
    tx.commit().await
}

async fn write_jobs(tx: &mut SqliteConnection, jobs: &[StoredJob]) -> Result<(), sqlx::Error> {
    rows::insert(
        tx,
        "INSERT INTO jobs (id, owner, idempotency, spec, state, body, latest, finished) ",
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body, \
         latest = excluded.latest, finished = excluded.finished",
        jobs,
        |row, stored| {
            row.push_bind(stored.job.id.as_bytes().to_vec())
                .push_bind(stored.job.owner.as_bytes().to_vec())
                .push_bind(stored.idempotency.to_vec())
                .push_bind(stored.job.spec_digest.as_bytes().to_vec())
                .push_bind(body::state_number(stored.job.state))
                .push_bind(body::encode(stored))
                .push_bind(stored.latest.as_ref().map(body::encode_event))
                .push_bind(stored.finished.as_ref().map(body::encode_event));
        },
    )
    .await?;
    let entries: Vec<_> = jobs
        .iter()
        .flat_map(|stored| {
            stored
                .journal
                .iter()
                .map(move |entry| (stored.job.id, entry))
        })
        .collect();
    rows::insert(
        tx,
        "INSERT INTO journal (job, number, at, state, epoch, node, reason) ",
        " ON CONFLICT (job, number) DO NOTHING",
        &entries,
        |row, (job, entry)| {
            row.push_bind(job.as_bytes().to_vec())
                .push_bind(integer(entry.number))
                .push_bind(integer(entry.at.0))
                .push_bind(body::state_number(entry.state))
                .push_bind(integer(entry.epoch.0))
                .push_bind(entry.node.map(|node| node.as_bytes().to_vec()))
                .push_bind(entry.reason.clone());
        },
    )
    .await
}

async fn write_receipts(
    tx: &mut SqliteConnection,
    receipts: &[StoredReceipt],
) -> Result<(), sqlx::Error> {
    rows::insert(
        tx,
        "INSERT INTO receipts (job, epoch, node, bytes) ",
        " ON CONFLICT (job, epoch) DO NOTHING",
        receipts,
        |row, receipt| {
            row.push_bind(receipt.job.as_bytes().to_vec())
                .push_bind(integer(receipt.epoch.0))
                .push_bind(receipt.node.as_bytes().to_vec())
                .push_bind(receipt.bytes.to_vec());
        },
    )
    .await
}

async fn write_nodes(tx: &mut SqliteConnection, nodes: &[&StoredNode]) -> Result<(), sqlx::Error> {
    rows::insert(
        tx,
        "INSERT INTO nodes (peer, advert, seen_at) ",
        " ON CONFLICT (peer) DO UPDATE SET advert = excluded.advert, seen_at = excluded.seen_at",
        nodes,
        |row, node| {
            row.push_bind(node.peer.as_bytes().to_vec())
                .push_bind(node.advert.bytes().to_vec())
                .push_bind(integer(node.seen_at.0));
        },
    )
    .await
}
