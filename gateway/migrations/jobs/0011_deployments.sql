-- Models that foreign clients have put into the memory of a node. Each is a job of the
-- same owner and id.
CREATE TABLE deployments (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    dialect    TEXT    NOT NULL,
    owner      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    -- The model of the registry, where it is one's.
    model      TEXT,
    digest     TEXT    NOT NULL,
    format     TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    -- What was asked of it so far: how often, how often badly, microseconds together.
    asks       INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    micros     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (dialect, owner, id)
) STRICT;

-- The same by the minute, counted from 1970.
CREATE TABLE deployment_minutes (
    deployment INTEGER NOT NULL,
    minute     INTEGER NOT NULL,
    asks       INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    micros     INTEGER NOT NULL,
    PRIMARY KEY (deployment, minute)
) STRICT, WITHOUT ROWID;
