//! Files of all sorts where a database is expected.

use std::fs;

use super::*;

static MIGRATIONS: Migrator = sqlx::migrate!("./src/database/migrations");

static KIND: Kind = Kind {
    application_id: 0x7465_7374,
    migrations: &MIGRATIONS,
    statements: 10,
    log_pages: 1_000,
    readers: 1,
    reader_idle: None,
};

async fn raw(path: &Path) -> SqliteConnection {
    let options = options(path).create_if_missing(true);
    options.connect().await.unwrap()
}

async fn opened(path: &Path) -> Result<(), NotOpened> {
    let (writer, readers) = open(path, &KIND).await?;
    readers.close().await;
    writer.close().await.unwrap();
    Ok(())
}

fn chmod(path: &Path, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[tokio::test]
async fn every_file_is_private_and_synced_at_each_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (mut writer, readers) = open(&path, &KIND).await.unwrap();
    let row = sqlx::query("PRAGMA synchronous")
        .fetch_one(writer.connection())
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 2, "FULL");
    let written = sqlx::query("INSERT INTO things VALUES ('a')").execute(&readers);
    assert!(written.await.is_err(), "readers only read");
    #[cfg(unix)]
    for file in fs::read_dir(dir.path()).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", file.path());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn one_that_others_can_read_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    opened(&path).await.unwrap();
    chmod(&path, 0o644);
    let refused = opened(&path).await.unwrap_err();
    assert!(matches!(refused, NotOpened::Exposed { .. }), "{refused}");
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}

#[tokio::test]
async fn another_programs_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.db");
    let mut theirs = raw(&path).await;
    sqlx::query("CREATE TABLE accounts (name TEXT)")
        .execute(&mut theirs)
        .await
        .unwrap();
    theirs.close().await.unwrap();
    chmod(&path, 0o600);
    let before = fs::read(&path).unwrap();
    let refused = opened(&path).await.unwrap_err();
    assert!(matches!(refused, NotOpened::Foreign { .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);

    let path = dir.path().join("text.db");
    fs::write(&path, "dear diary, ".repeat(1_000)).unwrap();
    chmod(&path, 0o600);
    let refused = opened(&path).await.unwrap_err();
    assert!(matches!(refused, NotOpened::Corrupt { .. }), "{refused}");
}

#[tokio::test]
async fn a_later_versions_database_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    opened(&path).await.unwrap();
    let mut connection = raw(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99990101, 'later', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let refused = opened(&path).await.unwrap_err();
    assert!(matches!(refused, NotOpened::TooNew { .. }), "{refused}");
}

#[tokio::test]
async fn a_bare_file_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    // Stopped between the mode of the journal and the first table.
    assert!(make_private(&path).unwrap());
    let mut bare = raw(&path).await;
    sqlx::query("PRAGMA journal_mode = WAL")
        .execute(&mut bare)
        .await
        .unwrap();
    bare.close().await.unwrap();
    opened(&path).await.unwrap();
    opened(&path).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_blocks_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, readers) = open(&dir.path().join("a.db"), &KIND).await.unwrap();
    let mut lost = writer.begin().await.unwrap();
    sqlx::query("INSERT INTO things VALUES ('lost')")
        .execute(&mut *lost)
        .await
        .unwrap();
    // As SQLite does when the disk is full.
    sqlx::query("ROLLBACK").execute(&mut *lost).await.unwrap();
    assert!(lost.commit().await.is_err());
    for name in ["first", "second"] {
        let mut tx = writer.begin().await.unwrap();
        sqlx::query("INSERT INTO things VALUES (?)")
            .bind(name)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM things ORDER BY name")
        .fetch_all(&readers)
        .await
        .unwrap();
    assert_eq!(names, ["first", "second"]);
}
