//! One transaction: everything that a group of commands changed.

use embermesh_crypto::ids::PeerId;
use sqlx::SqliteConnection;

use super::{body, issuer, ledger, reservation, rows, rows::integer};
use crate::state::{StoredJob, StoredNode, StoredReceipt, Writes};

/// How much a probe writes, in bytes: more than a small group of commands does.
const PROBE_BYTES: u32 = 64 << 10;

/// Writes all of it into a transaction.
pub(super) async fn write(tx: &mut SqliteConnection, writes: &Writes) -> Result<(), sqlx::Error> {
    rows::insert(
        tx,
        "INSERT INTO specs (job, bytes) ",
        " ON CONFLICT (job) DO NOTHING",
        &writes.specs,
        |row, (job, bytes)| {
            row.push_bind(job.as_bytes().to_vec())
                .push_bind(bytes.to_vec());
        },
    )
    .await?;
    write_jobs(tx, &writes.jobs).await?;
    write_receipts(tx, &writes.receipts).await?;
    let kept: Vec<_> = writes.nodes.values().flatten().collect();
    write_nodes(tx, &kept).await?;
    for (peer, row) in &writes.nodes {
        if row.is_none() {
            delete_node(tx, peer).await?;
        }
    }
    if let Some(keys) = &writes.keys {
        issuer::write_keys(tx, keys).await?;
    }
    if let Some(revocation) = &writes.revocation {
        issuer::write_revocation(tx, revocation).await?;
    }
    if let Some(changes) = &writes.ledger {
        ledger::write(tx, changes).await?;
    }
    reservation::write(tx, &writes.reservations).await?;
    Ok(())
}

/// Writes something for its own sake, and takes it back: whether there is room.
pub(super) async fn probe(tx: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO meta (key, value) VALUES ('probe', zeroblob(?))")
        .bind(PROBE_BYTES)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM meta WHERE key = 'probe'")
        .execute(tx)
        .await?;
    Ok(())
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

async fn delete_node(tx: &mut SqliteConnection, peer: &PeerId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM nodes WHERE peer = ?")
        .bind(peer.as_bytes().as_slice())
        .execute(tx)
        .await?;
    Ok(())
}
