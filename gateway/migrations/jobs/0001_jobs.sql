-- Jobs of clients that have no key.
CREATE TABLE jobs (
    -- Ours, in the order in which they came.
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    dialect      TEXT    NOT NULL,
    owner        TEXT    NOT NULL,
    -- What the owner calls it: its own name, or the job's id once there is one.
    id           TEXT,
    -- The key of the submit, so that sending it again after a crash makes no second job.
    submit_key   BLOB    NOT NULL,
    -- The job's id in the mesh; nothing until the index has taken it.
    job          BLOB,
    spec         BLOB    NOT NULL,
    notes        TEXT    NOT NULL,
    submitted_ms INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    -- How it ended, as JSON; nothing until then.
    ended        TEXT
) STRICT;

CREATE UNIQUE INDEX jobs_by_id ON jobs (dialect, owner, id) WHERE id IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (dialect, owner, number);
CREATE INDEX jobs_open ON jobs (number) WHERE ended IS NULL;
