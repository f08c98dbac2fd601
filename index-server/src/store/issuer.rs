//! The issuer's rows: the keys are few and written as a whole, of the withdrawn
//! tokens only what is new.

use std::{collections::BTreeMap, sync::Arc};

use embermesh_crypto::{
    ids::{PeerId, TokenId},
    keys::Keypair,
    statement::{Signed, Statement},
    time::UnixMillis,
};
use sqlx::{Row as _, SqliteConnection};

use super::{
    StoreError,
    rows::{self, integer, number},
};
use crate::state::{IssuerKey, IssuerSnapshot, KeyRole, KeysSnapshot, RevocationWrites, Withdrawn};

const KEY_SET: &str = "key_set";
const REVOCATION: &str = "revocation";

/// Replaces the keys and their set.
pub(super) async fn write_keys(
    tx: &mut SqliteConnection,
    snapshot: &KeysSnapshot,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM issuer_keys")
        .execute(&mut *tx)
        .await?;
    for key in &snapshot.keys {
        let secret = key
            .keypair
            .as_ref()
            .map(|keypair| keypair.to_libp2p_protobuf());
        sqlx::query("INSERT INTO issuer_keys (peer, secret, role, not_before, not_after) VALUES (?, ?, ?, ?, ?)")
            .bind(key.peer.as_bytes().as_slice())
            .bind(secret.as_deref().map(Vec::as_slice))
            .bind(role_number(key.role))
            .bind(integer(key.not_before.0))
            .bind(integer(key.not_after.0))
            .execute(&mut *tx)
            .await?;
    }
    write_statement(tx, KEY_SET, snapshot.key_set.bytes()).await
}

/// Adds the tokens that were withdrawn, and deletes those that need not be named
/// any more.
pub(super) async fn write_revocation(
    tx: &mut SqliteConnection,
    revocation: &RevocationWrites,
) -> Result<(), sqlx::Error> {
    let void_by = if revocation.all_void {
        i64::MAX
    } else {
        integer(revocation.expired_by.0)
    };
    sqlx::query("DELETE FROM revoked_tokens WHERE expires_at <= ?")
        .bind(void_by)
        .execute(&mut *tx)
        .await?;
    let added: Vec<_> = revocation.added.iter().collect();
    rows::insert(
        &mut *tx,
        "INSERT INTO revoked_tokens (token, expires_at, client) ",
        " ON CONFLICT (token) DO NOTHING",
        &added,
        |row, (token, withdrawn)| {
            row.push_bind(token.0.to_vec())
                .push_bind(integer(withdrawn.expires_at.0))
                .push_bind(withdrawn.client.map(|client| client.as_bytes().to_vec()));
        },
    )
    .await?;
    write_statement(tx, REVOCATION, revocation.statement.bytes()).await
}

async fn write_statement(
    tx: &mut SqliteConnection,
    kind: &str,
    bytes: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO statements (kind, bytes) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET bytes = excluded.bytes")
        .bind(kind)
        .bind(bytes)
        .execute(tx)
        .await?;
    Ok(())
}

/// Reads it back.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<IssuerSnapshot, StoreError> {
    let rows = sqlx::query("SELECT peer, secret, role, not_before, not_after FROM issuer_keys ORDER BY not_before, role")
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let secret: Option<Vec<u8>> = row.try_get("secret").map_err(failed)?;
        let keypair = secret
            .map(|bytes| Keypair::from_libp2p_protobuf(&bytes))
            .transpose()
            .map_err(|error| StoreError::bad_row("issuer_keys", error))?;
        keys.push(IssuerKey {
            peer: peer(
                &row.try_get::<Vec<u8>, _>("peer").map_err(failed)?,
                "issuer_keys",
            )?,
            keypair: keypair.map(Arc::new),
            role: role(row.try_get("role").map_err(failed)?)?,
            not_before: UnixMillis(number(row.try_get("not_before").map_err(failed)?)),
            not_after: UnixMillis(number(row.try_get("not_after").map_err(failed)?)),
        });
    }
    Ok(IssuerSnapshot {
        keys,
        key_set: statement(connection, KEY_SET, failed).await?,
        revocation: statement(connection, REVOCATION, failed).await?,
        revoked: revoked(connection, failed).await?,
    })
}

async fn revoked(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<BTreeMap<TokenId, Withdrawn>, StoreError> {
    let rows = sqlx::query("SELECT token, expires_at, client FROM revoked_tokens")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let token: Vec<u8> = row.try_get("token").map_err(failed)?;
            let token = <[u8; 16]>::try_from(token.as_slice())
                .map_err(|_| StoreError::bad_row("revoked_tokens", "a token id is not 16 bytes"))?;
            let client: Option<Vec<u8>> = row.try_get("client").map_err(failed)?;
            let withdrawn = Withdrawn {
                expires_at: UnixMillis(number(row.try_get("expires_at").map_err(failed)?)),
                client: client
                    .map(|bytes| peer(&bytes, "revoked_tokens"))
                    .transpose()?,
            };
            Ok((TokenId(token), withdrawn))
        })
        .collect()
}

async fn statement<T: Statement>(
    connection: &mut SqliteConnection,
    kind: &str,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Option<Signed<T>>, StoreError> {
    let row = sqlx::query("SELECT bytes FROM statements WHERE kind = ?")
        .bind(kind)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let bytes: Vec<u8> = row.try_get(0).map_err(failed)?;
    Signed::from_bytes(bytes)
        .map(Some)
        .map_err(|error| StoreError::bad_row("statements", error))
}

/// A peer id from its raw bytes.
pub(super) fn peer(bytes: &[u8], table: &'static str) -> Result<PeerId, StoreError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StoreError::bad_row(table, "a peer is not 32 bytes"))?;
    PeerId::from_public_key(bytes).map_err(|error| StoreError::bad_row(table, error))
}

fn role_number(role: KeyRole) -> i64 {
    match role {
        KeyRole::Next => 0,
        KeyRole::Current => 1,
        KeyRole::Old => 2,
    }
}

fn role(number: i64) -> Result<KeyRole, StoreError> {
    match number {
        0 => Ok(KeyRole::Next),
        1 => Ok(KeyRole::Current),
        2 => Ok(KeyRole::Old),
        other => Err(StoreError::bad_row(
            "issuer_keys",
            format!("there is no role {other}"),
        )),
    }
}
