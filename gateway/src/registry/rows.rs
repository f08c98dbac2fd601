//! Models in the database.

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Dialect,
    port::{
        Principal,
        registry::{ModelFilter, ModelFormat, NewModel, Whole},
    },
};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::store::{Store, StoreError};

/// Which models a list means: `?1` and `?2` are who asks, the others the filter.
const MATCHING: &str = "FROM models
    WHERE ((dialect = ?1 AND owner = ?2) OR (is_public = 1 AND uploaded_ms IS NOT NULL))
      AND (?3 = 0 OR (is_public = 1 AND uploaded_ms IS NOT NULL))
      AND (?4 = '' OR instr(lower(name || char(10) || description), lower(?4)) > 0)
      AND (?5 = '' OR format = ?5)
      AND NOT EXISTS (SELECT 1 FROM json_each(?6) AS asked
                      WHERE asked.value NOT IN (SELECT value FROM json_each(models.tags)))";

/// A model as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptModel {
    pub(crate) number: i64,
    pub(crate) id: String,
    pub(crate) owner: Principal,
    pub(crate) said: NewModel,
    pub(crate) whole: Option<Whole>,
    pub(crate) downloads: u64,
}

/// What became of a model that was to be added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is there, under this number.
    Yes(i64),
    /// The id is taken.
    Taken,
    /// Its owner has as many models as he may have.
    TooMany,
    /// Its owner has no room for so many bytes.
    NoRoom,
}

impl Store {
    /// Keeps what is said of a model.
    pub(super) async fn add_model(
        &self,
        who: &Principal,
        id: &str,
        model: &NewModel,
        quota: u64,
        most: u64,
        now: UnixMillis,
    ) -> Result<Added, StoreError> {
        let (tags, metadata) = (json(&model.tags)?, json(&model.metadata)?);
        // One lock over looking and adding: two at once could both find room.
        let mut writer = self.writer.lock().await;
        let has = sqlx::query(
            "SELECT count(*), coalesce(sum(size), 0) FROM models WHERE dialect = ?1 AND owner = ?2",
        )
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .fetch_one(writer.connection())
        .await?;
        if count(&has, 0)? >= most {
            return Ok(Added::TooMany);
        }
        if count(&has, 1)?.saturating_add(model.size.unwrap_or(0)) > quota {
            return Ok(Added::NoRoom);
        }
        let added = sqlx::query(
            "INSERT INTO models (id, dialect, owner, name, description, format, size, checksum,
                                 is_public, tags, metadata, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT DO NOTHING RETURNING number",
        )
        .bind(id)
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(&model.name)
        .bind(&model.description)
        .bind(model.format.as_str())
        .bind(model.size.map(int))
        .bind(&model.checksum)
        .bind(model.is_public)
        .bind(tags)
        .bind(metadata)
        .bind(int(now.0))
        .fetch_optional(writer.connection())
        .await?;
        match added {
            Some(row) => Ok(Added::Yes(row.try_get(0)?)),
            None => Ok(Added::Taken),
        }
    }

    /// Says how many bytes a model has, where its owner has room for them.
    pub(super) async fn size_model(
        &self,
        model: &KeptModel,
        size: u64,
        quota: u64,
    ) -> Result<bool, StoreError> {
        let mut writer = self.writer.lock().await;
        let sized = sqlx::query(
            "UPDATE models SET size = ?4 WHERE number = ?3 AND ?5 >= ?4 +
             (SELECT coalesce(sum(size), 0) FROM models
              WHERE dialect = ?1 AND owner = ?2 AND number <> ?3)",
        )
        .bind(model.owner.dialect.as_str())
        .bind(&model.owner.name)
        .bind(model.number)
        .bind(int(size))
        .bind(int(quota))
        .execute(writer.connection())
        .await?;
        Ok(sized.rows_affected() > 0)
    }

    /// All bytes of a model are here.
    pub(super) async fn complete_model(
        &self,
        number: i64,
        whole: &Whole,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "UPDATE models SET size = ?2, digest = ?3, sha256 = ?4, uploaded_ms = ?5
             WHERE number = ?1",
        )
        .bind(number)
        .bind(int(whole.size))
        .bind(whole.digest.to_string())
        .bind(&whole.sha256)
        .bind(int(whole.at.0))
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// A model was read to its end.
    pub(super) async fn count_download(&self, number: i64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query("UPDATE models SET downloads = downloads + 1 WHERE number = ?1")
            .bind(number)
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// Forgets a model.
    pub(super) async fn remove_model(&self, number: i64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query("DELETE FROM models WHERE number = ?1")
            .bind(number)
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// The model of an id, whoever's it is.
    pub(crate) async fn find_model(&self, id: &str) -> Result<Option<KeptModel>, StoreError> {
        let row = sqlx::query("SELECT * FROM models WHERE id = ?1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(kept).transpose()
    }

    /// Some models before a place, the newest first, and how many there are in all.
    pub(super) async fn page_models(
        &self,
        who: &Principal,
        filter: &ModelFilter,
        before: i64,
        most: usize,
    ) -> Result<(Vec<KeptModel>, u64), StoreError> {
        let tags = json(&filter.tags)?;
        let format = filter.format.map_or("", ModelFormat::as_str);
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT * {MATCHING} AND number < ?7 ORDER BY number DESC LIMIT ?8"
        )))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(filter.public_only)
        .bind(&filter.text)
        .bind(format)
        .bind(&tags)
        .bind(before)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await?;
        let all = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT count(*) {MATCHING}")))
            .bind(who.dialect.as_str())
            .bind(&who.name)
            .bind(filter.public_only)
            .bind(&filter.text)
            .bind(format)
            .bind(&tags)
            .fetch_one(&self.readers)
            .await?;
        let models = rows.iter().map(kept).collect::<Result<_, _>>()?;
        Ok((models, count(&all, 0)?))
    }
}

fn kept(row: &SqliteRow) -> Result<KeptModel, StoreError> {
    let wrong = |what: &str| StoreError::Row(what.to_owned());
    let dialect: String = row.try_get("dialect")?;
    let dialect = Dialect::ALL
        .into_iter()
        .find(|known| known.as_str() == dialect)
        .ok_or_else(|| wrong("a dialect"))?;
    let format: String = row.try_get("format")?;
    let format = ModelFormat::ALL
        .into_iter()
        .find(|known| known.as_str() == format)
        .ok_or_else(|| wrong("a format"))?;
    let (tags, metadata): (String, String) = (row.try_get("tags")?, row.try_get("metadata")?);
    let size: Option<i64> = row.try_get("size")?;
    let size = size.map(|size| u64::try_from(size).unwrap_or_default());
    let digest: Option<String> = row.try_get("digest")?;
    let sha256: Option<String> = row.try_get("sha256")?;
    let uploaded: Option<i64> = row.try_get("uploaded_ms")?;
    let whole = match (digest, sha256, uploaded) {
        (Some(digest), Some(sha256), Some(at)) => Some(Whole {
            digest: digest.parse().map_err(|_| wrong("a digest"))?,
            sha256,
            size: size.unwrap_or_default(),
            at: UnixMillis(u64::try_from(at).unwrap_or_default()),
        }),
        _ => None,
    };
    Ok(KeptModel {
        number: row.try_get("number")?,
        id: row.try_get("id")?,
        owner: Principal {
            dialect,
            name: row.try_get("owner")?,
        },
        said: NewModel {
            id: Some(row.try_get("id")?),
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            format,
            size,
            checksum: row.try_get("checksum")?,
            is_public: row.try_get("is_public")?,
            tags: serde_json::from_str(&tags).map_err(|_| wrong("tags"))?,
            metadata: serde_json::from_str(&metadata).map_err(|_| wrong("metadata"))?,
        },
        whole,
        downloads: count(row, "downloads")?,
    })
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Row(error.to_string()))
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count<I>(row: &SqliteRow, column: I) -> Result<u64, StoreError>
where
    I: sqlx::ColumnIndex<SqliteRow>,
{
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}
