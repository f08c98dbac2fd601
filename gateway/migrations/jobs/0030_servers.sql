-- Server nodes of a foreign system. An id is of the first who used it (see the pins of
-- users).
CREATE TABLE servers (
    id       TEXT    PRIMARY KEY,
    owner    TEXT    NOT NULL,
    -- Where it registered from.
    host     TEXT    NOT NULL,
    -- What it says of itself, as JSON.
    offer    TEXT    NOT NULL,
    -- When it was written down last that it lives.
    heard_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Open jobs that are not in the mesh: they wait for whoever can run them, or a server has
-- them. A job that goes to the mesh has no row here any more.
CREATE TABLE server_tasks (
    number  INTEGER PRIMARY KEY,
    -- What a server is sent, and which of the job's inputs with it.
    config  BLOB    NOT NULL,
    data    TEXT,
    -- What it may cost, in micro-units, the hold that this is in, and what names its
    -- movements in the ledger.
    budget  INTEGER,
    hold    TEXT,
    key     TEXT    NOT NULL,
    -- How often it has been given to a server, and how many servers were lost with it.
    attempt INTEGER NOT NULL,
    lost    INTEGER NOT NULL,
    -- Who has it, as JSON.
    lease   TEXT
) STRICT;

-- What servers were given, by the names that the jobs had there: a name is of one attempt.
CREATE TABLE server_names (
    server   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    given_ms INTEGER NOT NULL,
    -- Whether its server has said how it ended, and what that was paid by.
    ended    INTEGER NOT NULL DEFAULT 0,
    paid     TEXT,
    PRIMARY KEY (server, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX server_names_by_time ON server_names (given_ms);
