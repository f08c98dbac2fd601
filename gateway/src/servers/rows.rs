//! Servers and their jobs in the database.

use std::{net::IpAddr, time::Duration};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::port::servers::Package;
use embermesh_job::units::MicroUnits;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::book::{Given, Known, Lease, NAMES_KEPT, Task};
use crate::store::{Store, StoreError, millis};

/// How long a server is remembered that is not heard of.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// A job's row, without what its job says.
pub(crate) struct ServedRow {
    pub(super) number: i64,
    pub(super) package: Package,
    pub(super) budget: Option<MicroUnits>,
    pub(super) hold: Option<String>,
    pub(super) key: String,
    pub(super) attempt: u32,
    pub(super) lost: u32,
    pub(super) lease: Option<Lease>,
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn wrong(error: impl std::fmt::Display) -> StoreError {
    StoreError::Row(error.to_string())
}

fn ago(now: UnixMillis, span: Duration) -> i64 {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    millis(UnixMillis(now.0.saturating_sub(span)))
}

fn at(row: &SqliteRow, column: &str) -> Result<UnixMillis, StoreError> {
    let ms: i64 = row.try_get(column)?;
    Ok(UnixMillis(u64::try_from(ms).unwrap_or_default()))
}

impl Store {
    /// Forgets servers and names that nobody speaks of any more.
    pub(super) async fn forget_servers(&self, now: UnixMillis) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        for (statement, span) in [
            ("DELETE FROM servers WHERE heard_ms < ?1", FORGOTTEN),
            (
                "DELETE FROM server_names WHERE given_ms < ?1
                 AND number NOT IN (SELECT number FROM server_tasks)",
                NAMES_KEPT,
            ),
        ] {
            sqlx::query(statement)
                .bind(ago(now, span))
                .execute(writer.connection())
                .await?;
        }
        Ok(())
    }

    /// Keeps a server, or keeps it anew.
    pub(super) async fn keep_server(
        &self,
        id: &str,
        known: &Known,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let offer = serde_json::to_string(&known.offer).map_err(wrong)?;
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT OR REPLACE INTO servers (id, owner, host, offer, heard_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(id)
        .bind(&known.owner)
        .bind(known.host.to_string())
        .bind(offer)
        .bind(millis(now))
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// Every server that is kept; none has been heard of yet.
    pub(super) async fn servers(&self) -> Result<Vec<(String, Known)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM servers")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(server).collect()
    }

    /// Keeps how a job stands.
    pub(super) async fn keep_served(&self, number: i64, task: &Task) -> Result<(), StoreError> {
        let lease = task.lease.as_ref().map(serde_json::to_string);
        let budget = task.budget.map(|budget| i64::try_from(budget.0));
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT OR REPLACE INTO server_tasks
                (number, config, data, budget, hold, key, attempt, lost, lease)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .bind(number)
        .bind(&task.package.config[..])
        .bind(task.package.data.map(|data| data.to_string()))
        .bind(budget.transpose().map_err(wrong)?)
        .bind(&task.hold)
        .bind(&task.key)
        .bind(task.attempt)
        .bind(task.lost)
        .bind(lease.transpose().map_err(wrong)?)
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// A job has ended, or is the mesh's now.
    pub(super) async fn drop_served(&self, number: i64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query("DELETE FROM server_tasks WHERE number = ?1")
            .bind(number)
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// Every job that is kept.
    pub(super) async fn served(&self) -> Result<Vec<ServedRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM server_tasks")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(task).collect()
    }

    /// Keeps a name that a server is given, before it is.
    pub(super) async fn keep_name(&self, lease: &Lease, number: i64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT OR REPLACE INTO server_names (server, name, number, given_ms)
             VALUES (?1, ?2, ?3, ?4)",
        )
        .bind(&lease.server)
        .bind(&lease.name)
        .bind(number)
        .bind(millis(lease.given))
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// A server has said how a job ended, and was paid so.
    pub(super) async fn end_name(
        &self,
        lease: &Lease,
        paid: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query("UPDATE server_names SET ended = 1, paid = ?3 WHERE server = ?1 AND name = ?2")
            .bind(&lease.server)
            .bind(&lease.name)
            .bind(paid)
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// Every name that is kept.
    pub(super) async fn names(&self) -> Result<Vec<((String, String), Given)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM server_names")
            .fetch_all(&self.readers)
            .await?;
        let name = |row: &SqliteRow| {
            let ended: bool = row.try_get("ended")?;
            let paid: Option<String> = row.try_get("paid")?;
            let given = Given {
                number: row.try_get("number")?,
                at: at(row, "given_ms")?,
                end: ended.then_some(paid),
            };
            Ok(((row.try_get("server")?, row.try_get("name")?), given))
        };
        rows.iter().map(name).collect()
    }
}

fn server(row: &SqliteRow) -> Result<(String, Known), StoreError> {
    let (host, offer): (String, String) = (row.try_get("host")?, row.try_get("offer")?);
    let known = Known {
        owner: row.try_get("owner")?,
        offer: serde_json::from_str(&offer).map_err(wrong)?,
        host: host.parse::<IpAddr>().map_err(wrong)?,
        heard: None,
        kept: at(row, "heard_ms")?,
        shunned: None,
        free_memory: None,
        stops: std::collections::BTreeMap::new(),
    };
    Ok((row.try_get("id")?, known))
}

fn task(row: &SqliteRow) -> Result<ServedRow, StoreError> {
    let config: Vec<u8> = row.try_get("config")?;
    let data: Option<String> = row.try_get("data")?;
    let data = data.map(|data| data.parse().map_err(|_| wrong("a digest")));
    let budget: Option<i64> = row.try_get("budget")?;
    let budget = budget.map(|budget| u64::try_from(budget).map(MicroUnits));
    let lease: Option<String> = row.try_get("lease")?;
    let lease = lease.map(|lease| serde_json::from_str(&lease).map_err(wrong));
    Ok(ServedRow {
        number: row.try_get("number")?,
        package: Package {
            config: config.into(),
            data: data.transpose()?,
        },
        budget: budget.transpose().map_err(wrong)?,
        hold: row.try_get("hold")?,
        key: row.try_get("key")?,
        attempt: row.try_get("attempt")?,
        lost: row.try_get("lost")?,
        lease: lease.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::book::tests as book;
    use super::*;

    const NOW: UnixMillis = UnixMillis(5_000_000_000);

    #[tokio::test]
    async fn servers_jobs_and_names_are_as_they_were_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sqlite");
        let known = book::known("bob");
        let mut kept = book::task("t");
        (kept.attempt, kept.lost) = (3, 1);
        kept.budget = Some(MicroUnits(7));
        kept.hold = Some("12".to_owned());
        let lease = book::lease("s", "t");
        kept.lease = Some(lease.clone());
        let late = book::lease("s", "u");
        {
            let store = Store::open(&path).await.unwrap();
            store.keep_server("s", &known, NOW).await.unwrap();
            let long_ago = UnixMillis(1);
            store.keep_server("gone", &known, long_ago).await.unwrap();
            store.keep_served(1, &book::task("t")).await.unwrap();
            store.keep_served(1, &kept).await.unwrap();
            store.keep_served(2, &book::task("u")).await.unwrap();
            store.drop_served(2).await.unwrap();
            store.keep_name(&lease, 1).await.unwrap();
            store.keep_name(&late, 2).await.unwrap();
            store.end_name(&late, Some("9")).await.unwrap();
            store.readers.close().await;
        }
        let store = Store::open(&path).await.unwrap();
        store.forget_servers(NOW).await.unwrap();
        let servers = store.servers().await.unwrap();
        assert_eq!(servers.len(), 1);
        let (id, server) = &servers[0];
        assert_eq!((id.as_str(), &server.offer), ("s", &known.offer));
        assert_eq!((&*server.owner, server.host), ("bob", known.host));
        assert_eq!((server.heard, server.kept), (None, NOW));
        let rows = store.served().await.unwrap();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.number, row.attempt, row.lost), (1, 3, 1));
        assert_eq!((&row.package, row.budget), (&kept.package, kept.budget));
        assert_eq!((&row.hold, &row.lease), (&kept.hold, &kept.lease));
        assert_eq!(row.key, kept.key);
        // A name of a job that is open stays, however old it is.
        let names = store.names().await.unwrap();
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].0, ("s".to_owned(), "t".to_owned()));
        assert_eq!((names[0].1.number, &names[0].1.end), (1, &None));
    }
}
