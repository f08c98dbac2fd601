-- What a node must not forget: which attempts it has admitted, what they said,
-- what an index has still to hear, whom it trusts, and what it keeps for others.

-- One attempt at one task; admitted once, ever.
CREATE TABLE attempts (
    job          BLOB    NOT NULL,
    task         INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    token_id     BLOB    NOT NULL,
    issuer       BLOB    NOT NULL,
    client       BLOB    NOT NULL,
    -- The index that hears of it; NULL when a client issued it to itself.
    reports_to   BLOB,
    spec_digest  BLOB    NOT NULL,
    admitted_at  INTEGER NOT NULL,
    ended_at     INTEGER,
    -- NULL while it runs; 'finished' when its last event is in the log; else
    -- the code with which the attempt ended.
    end_code     TEXT,
    end_message  TEXT,
    PRIMARY KEY (job, task, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_ended ON attempts (ended_at);

-- The numbered events of a task, whichever attempt said them.
CREATE TABLE events (
    job   BLOB    NOT NULL,
    task  INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    body  TEXT    NOT NULL,
    PRIMARY KEY (job, task, seq)
) STRICT, WITHOUT ROWID;

-- Reports that an index has not acknowledged, in order.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    index_peer  BLOB    NOT NULL,
    job         BLOB    NOT NULL,
    task        INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    -- Of reports of one kind and attempt only the newest matters, where the
    -- kind says so.
    kind        TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_index ON outbox (index_peer, id);

-- The newest statement of each kind of an index, exactly as it signed it.
CREATE TABLE statements (
    index_peer  BLOB    NOT NULL,
    kind        TEXT    NOT NULL,
    sequence    INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    PRIMARY KEY (index_peer, kind)
) STRICT, WITHOUT ROWID;

-- Blobs that this node keeps because another node asked it to.
CREATE TABLE kept (
    peer     BLOB    NOT NULL,
    digest   BLOB    NOT NULL,
    size     INTEGER NOT NULL,
    kept_at  INTEGER NOT NULL,
    PRIMARY KEY (peer, digest)
) STRICT, WITHOUT ROWID;
