//! Proofs in the database. The parts of a round are not: after a restart its gang is
//! dealt again.

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{Dialect, port::Principal};
use embermesh_job::plan::{
    Row,
    proving::{self, Proving},
};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::Share;
use crate::store::{Store, StoreError};

/// The most proofs of one list.
const LONGEST_LIST: i64 = 1000;

/// What a list needs of a proof.
const COLUMNS: &str = "number, dialect, owner, id, block, input, units, gang, submitted_ms, \
     ended_ms, message, proof IS NOT NULL AS made";

/// A proof as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptProof {
    pub(crate) number: i64,
    pub(crate) owner: Principal,
    pub(crate) id: String,
    pub(crate) block: String,
    pub(crate) input: String,
    pub(crate) units: u32,
    pub(crate) gang: Vec<Share>,
    pub(crate) submitted_at: UnixMillis,
    pub(crate) ended_at: Option<UnixMillis>,
    pub(crate) message: String,
    pub(crate) made: bool,
}

impl Store {
    /// Keeps a new proof.
    pub(super) async fn add_proof(
        &self,
        proof: &KeptProof,
        proving: &Proving,
    ) -> Result<i64, StoreError> {
        let proving = json(proving)?;
        let mut writer = self.writer.lock().await;
        let row = sqlx::query(
            "INSERT INTO proofs (dialect, owner, id, block, input, units, proving, gang,
                                 submitted_ms, message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, '') RETURNING number",
        )
        .bind(proof.owner.dialect.as_str())
        .bind(&proof.owner.name)
        .bind(&proof.id)
        .bind(&proof.block)
        .bind(&proof.input)
        .bind(proof.units)
        .bind(proving)
        .bind(json(&proof.gang)?)
        .bind(millis(proof.submitted_at))
        .fetch_one(writer.connection())
        .await?;
        Ok(row.try_get(0)?)
    }

    /// Writes down how far a proof is.
    pub(super) async fn step_proof(
        &self,
        kept: &KeptProof,
        proving: &Proving,
    ) -> Result<(), StoreError> {
        let proof = proving.ended().and_then(proving::proof).map(json);
        let open = proving.ended().is_none().then(|| json(proving));
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "UPDATE proofs SET proving = ?2, gang = ?3, ended_ms = ?4, message = ?5, proof = ?6
             WHERE number = ?1",
        )
        .bind(kept.number)
        .bind(open.transpose()?)
        .bind(json(&kept.gang)?)
        .bind(kept.ended_at.map(millis))
        .bind(&kept.message)
        .bind(proof.transpose()?)
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// A proof of somebody's.
    pub(super) async fn find_proof(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<Option<KeptProof>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM proofs WHERE dialect = ?1 AND owner = ?2 AND id = ?3"
        )))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(kept).transpose()
    }

    /// The proof itself.
    pub(super) async fn made_proof(&self, number: i64) -> Result<Vec<Row>, StoreError> {
        let row = sqlx::query("SELECT proof FROM proofs WHERE number = ?1")
            .bind(number)
            .fetch_one(&self.readers)
            .await?;
        let text: String = row.try_get(0)?;
        serde_json::from_str(&text).map_err(|_| StoreError::Row("a proof".to_owned()))
    }

    /// Somebody's newest proofs.
    pub(super) async fn list_proofs(
        &self,
        who: &Principal,
        open: bool,
    ) -> Result<Vec<KeptProof>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM proofs WHERE dialect = ?1 AND owner = ?2
             AND (NOT ?3 OR ended_ms IS NULL) ORDER BY number DESC LIMIT {LONGEST_LIST}"
        )))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(open)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(kept).collect()
    }

    /// Every proof that has not ended.
    pub(super) async fn open_proofs(&self) -> Result<Vec<(KeptProof, Proving)>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS}, proving FROM proofs WHERE ended_ms IS NULL ORDER BY number"
        )))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let proving: String = row.try_get("proving")?;
                let proving = serde_json::from_str(&proving)
                    .map_err(|error| StoreError::Row(format!("a proof's rounds: {error}")))?;
                Ok((kept(row)?, proving))
            })
            .collect()
    }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Row(error.to_string()))
}

fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn kept(row: &SqliteRow) -> Result<KeptProof, StoreError> {
    let wrong = |what: &str| StoreError::Row(what.to_owned());
    let dialect: String = row.try_get("dialect")?;
    let dialect = Dialect::ALL
        .into_iter()
        .find(|known| known.as_str() == dialect)
        .ok_or_else(|| wrong("a dialect"))?;
    let gang: String = row.try_get("gang")?;
    let at = |millis: i64| UnixMillis(u64::try_from(millis).unwrap_or_default());
    Ok(KeptProof {
        number: row.try_get("number")?,
        owner: Principal {
            dialect,
            name: row.try_get("owner")?,
        },
        id: row.try_get("id")?,
        block: row.try_get("block")?,
        input: row.try_get("input")?,
        units: row.try_get("units")?,
        gang: serde_json::from_str(&gang).map_err(|_| wrong("a gang"))?,
        submitted_at: at(row.try_get("submitted_ms")?),
        ended_at: row.try_get::<Option<i64>, _>("ended_ms")?.map(at),
        message: row.try_get("message")?,
        made: row.try_get("made")?,
    })
}
