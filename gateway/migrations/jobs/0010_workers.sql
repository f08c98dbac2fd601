-- Workers of foreign systems. An id is of the first who used it (see the pins of users).
CREATE TABLE workers (
    dialect TEXT NOT NULL,
    id      TEXT NOT NULL,
    owner   TEXT NOT NULL,
    -- Where it registered from, with the port that it serves.
    address TEXT NOT NULL,
    -- What it says of itself, as JSON.
    offer   TEXT NOT NULL,
    PRIMARY KEY (dialect, id)
) STRICT, WITHOUT ROWID;

-- Open jobs that are not in the mesh: they wait for whoever can run them, or a worker has
-- them. A job that goes to the mesh has no row here any more.
CREATE TABLE tasks (
    number   INTEGER PRIMARY KEY,
    -- What a worker is sent, among the inputs of the job.
    package  TEXT    NOT NULL,
    -- How often it has been given to a worker, and how many workers were lost with it.
    attempt  INTEGER NOT NULL,
    lost     INTEGER NOT NULL,
    -- Who has it, since when, and how much of that has been paid for.
    worker   TEXT,
    given_ms INTEGER NOT NULL,
    paid_ms  INTEGER NOT NULL,
    -- How it is being stopped, as JSON.
    stopping TEXT,
    -- What it has made, as JSON.
    result   TEXT
) STRICT;
