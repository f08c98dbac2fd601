//! Plans in the database.

use std::collections::BTreeMap;

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Dialect,
    port::{Principal, plans::Question},
};
use embermesh_job::{
    lifecycle::JobState,
    plan::{Ended, Run},
};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::store::{Store, StoreError};

/// A plan as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptPlan {
    pub(crate) number: i64,
    pub(crate) owner: Principal,
    pub(crate) id: String,
    pub(crate) run: Run<Question>,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) submitted_at: UnixMillis,
    pub(crate) ended_at: Option<UnixMillis>,
}

/// Where a run stands, in the words of jobs.
pub(super) fn state(run: &Run<Question>) -> JobState {
    match run.ended() {
        Some(Ended::Done(_)) => JobState::Succeeded,
        Some(Ended::Failed(_)) => JobState::Failed,
        Some(Ended::Cancelled { .. }) => JobState::Cancelled,
        None if run.trace().is_empty() => JobState::Queued,
        None => JobState::Running,
    }
}

impl Store {
    /// Keeps a new plan. `None` when its owner has one of that name already.
    pub(super) async fn add_plan(&self, plan: &KeptPlan) -> Result<Option<i64>, StoreError> {
        let run = json(&plan.run)?;
        let mut writer = self.writer.lock().await;
        let added = sqlx::query(
            "INSERT INTO plans (dialect, owner, id, run, notes, submitted_ms, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO NOTHING RETURNING number",
        )
        .bind(plan.owner.dialect.as_str())
        .bind(&plan.owner.name)
        .bind(&plan.id)
        .bind(run)
        .bind(json(&plan.notes)?)
        .bind(i64::try_from(plan.submitted_at.0).unwrap_or(i64::MAX))
        .bind(state(&plan.run).as_str())
        .fetch_optional(writer.connection())
        .await?;
        added.map(|row| Ok(row.try_get(0)?)).transpose()
    }

    /// Writes down how far a plan is.
    pub(super) async fn step_plan(
        &self,
        number: i64,
        run: &Run<Question>,
        ended_at: Option<UnixMillis>,
    ) -> Result<(), StoreError> {
        let text = json(run)?;
        let mut writer = self.writer.lock().await;
        sqlx::query("UPDATE plans SET run = ?2, state = ?3, ended_ms = ?4 WHERE number = ?1")
            .bind(number)
            .bind(text)
            .bind(state(run).as_str())
            .bind(ended_at.map(|at| i64::try_from(at.0).unwrap_or(i64::MAX)))
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// The plan that somebody calls so.
    pub(super) async fn find_plan(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<Option<KeptPlan>, StoreError> {
        let row = sqlx::query("SELECT * FROM plans WHERE dialect = ?1 AND owner = ?2 AND id = ?3")
            .bind(who.dialect.as_str())
            .bind(&who.name)
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(kept).transpose()
    }

    /// Some plans of an owner in one of some states, the newest first, and how many
    /// there are.
    pub(super) async fn page_plans(
        &self,
        who: &Principal,
        states: &[JobState],
        skip: usize,
        most: usize,
    ) -> Result<(Vec<KeptPlan>, u64), StoreError> {
        // A list of words of ours, as JSON, so that one statement does for all.
        let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let states = json(&states)?;
        let matching = "FROM plans WHERE dialect = ?1 AND owner = ?2
             AND (?3 = '[]' OR state IN (SELECT value FROM json_each(?3)))";
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT * {matching} ORDER BY number DESC LIMIT ?4 OFFSET ?5"
        )))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(&states)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .bind(i64::try_from(skip).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await?;
        let count = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT count(*) {matching}")))
            .bind(who.dialect.as_str())
            .bind(&who.name)
            .bind(&states)
            .fetch_one(&self.readers)
            .await?;
        let plans = rows.iter().map(kept).collect::<Result<_, _>>()?;
        let count = u64::try_from(count.try_get::<i64, _>(0)?).unwrap_or_default();
        Ok((plans, count))
    }

    /// Every plan that has not ended.
    pub(super) async fn open_plans(&self) -> Result<Vec<KeptPlan>, StoreError> {
        let rows = sqlx::query("SELECT * FROM plans WHERE ended_ms IS NULL ORDER BY number")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(kept).collect()
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Row(error.to_string()))
}

fn kept(row: &SqliteRow) -> Result<KeptPlan, StoreError> {
    let wrong = |what: &str| StoreError::Row(what.to_owned());
    let dialect: String = row.try_get("dialect")?;
    let dialect = Dialect::ALL
        .into_iter()
        .find(|known| known.as_str() == dialect)
        .ok_or_else(|| wrong("a dialect"))?;
    let run: String = row.try_get("run")?;
    let notes: String = row.try_get("notes")?;
    let at = |millis: i64| UnixMillis(u64::try_from(millis).unwrap_or_default());
    Ok(KeptPlan {
        number: row.try_get("number")?,
        owner: Principal {
            dialect,
            name: row.try_get("owner")?,
        },
        id: row.try_get("id")?,
        run: serde_json::from_str(&run).map_err(|error| wrong(&format!("a run: {error}")))?,
        notes: serde_json::from_str(&notes).map_err(|_| wrong("notes"))?,
        submitted_at: at(row.try_get("submitted_ms")?),
        ended_at: row.try_get::<Option<i64>, _>("ended_ms")?.map(at),
    })
}
