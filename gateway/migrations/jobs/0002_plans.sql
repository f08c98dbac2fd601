-- Jobs of several tasks.
CREATE TABLE plans (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    dialect      TEXT    NOT NULL,
    owner        TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    -- The whole run, as JSON. It has the seed of the noise, and never leaves this file.
    run          TEXT    NOT NULL,
    notes        TEXT    NOT NULL,
    submitted_ms INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    ended_ms     INTEGER,
    UNIQUE (dialect, owner, id)
) STRICT;

CREATE INDEX plans_by_owner ON plans (dialect, owner, number);
CREATE INDEX plans_open ON plans (number) WHERE ended_ms IS NULL;
