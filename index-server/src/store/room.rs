//! A disk that is full, and one with room again, as a test decides from outside
//! while the actor has the store. SQLite's bound is one connection's, and the
//! writer makes its connection anew after it met the bound, so it is set again
//! in each transaction.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{AssertSqlSafe, SqliteConnection};

/// Whether the database may grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    full: Arc<AtomicBool>,
}

impl Room {
    /// Lets the database grow no further, or lifts that.
    pub(crate) fn leave_none(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Bounds what the connection may write from now on.
    pub(super) async fn bound(&self, tx: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let used: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&mut *tx)
            .await?;
        let most = if self.full.load(Ordering::SeqCst) {
            used
        } else {
            i64::from(u32::MAX)
        };
        let sql = AssertSqlSafe(format!("PRAGMA max_page_count = {most}"));
        sqlx::query(sql).execute(tx).await?;
        Ok(())
    }
}
