-- Users of foreign systems. A name is of one dialect; times are milliseconds since the epoch.
CREATE TABLE users (
    dialect TEXT NOT NULL,
    name TEXT NOT NULL,
    salt BLOB NOT NULL,
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (dialect, name)
) STRICT, WITHOUT ROWID;

-- What a session's token hashes to; the token itself is kept nowhere.
CREATE TABLE sessions (
    hash BLOB NOT NULL PRIMARY KEY,
    dialect TEXT NOT NULL,
    name TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (dialect, name, expires_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- An id that has no password belongs to the first key or address that used it.
CREATE TABLE pins (
    kind TEXT NOT NULL,
    dialect TEXT NOT NULL,
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (kind, dialect, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX pins_by_holder ON pins (kind, dialect, holder);
