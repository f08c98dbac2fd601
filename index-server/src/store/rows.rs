//! Many rows in one statement: a transaction of a thousand rows is a handful of
//! statements, each of which SQLite has prepared before.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection, query_builder::Separated};

/// The most rows in one statement. Each number of rows up to it is a statement of
/// its own, prepared once; each statement is a message to SQLite's thread and back.
const ROWS: usize = 128;

/// Prepared statements that are kept: for each table every number of rows, and
/// the few that are not inserts.
pub(super) const STATEMENTS_KEPT: usize = 11 * ROWS + 32;

/// Runs `head VALUES (…), (…) tail` over all rows.
pub(super) async fn insert<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    tail: &'static str,
    rows: &[T],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &T),
) -> Result<(), sqlx::Error> {
    for rows in rows.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(head);
        query.push_values(rows, |mut row, value| bind(&mut row, value));
        query.push(tail);
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// A number for SQLite, whose integers are signed. Everything counted here stays
/// far below the sign.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from SQLite.
pub(super) fn number(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}
