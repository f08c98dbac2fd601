//! Opens the database of users.

use std::time::Duration;

use embermesh_dialects::{ErrorCode, Failure};
use embermesh_storage::database::Kind;
use sqlx::migrate::Migrator;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/users");

pub(super) static KIND: Kind = Kind {
    // "EMus"
    application_id: 0x454d_7573,
    migrations: &MIGRATIONS,
    statements: 32,
    log_pages: 1_000,
    // Each call with a token reads once.
    readers: 2,
    reader_idle: Some(Duration::from_secs(30)),
};

/// What a caller reads of an error of the database; the log has the rest.
#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub(super) fn failed(error: sqlx::Error) -> Failure {
    tracing::error!(%error, "the database of users failed");
    Failure::new(ErrorCode::Internal, "the users cannot be read now")
}
