-- What the index must still know after it was killed. Times are milliseconds
-- since the Unix epoch; ids, digests and peers are their raw bytes.

-- Facts about the database itself: whose it is.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a job. `body` is what changes as the job runs, as JSON; the columns
-- before it are what is looked for. The two events are protobuf, as they came:
-- a loss that is not a number has no JSON. A job's id starts with its time, so its order is the
-- order of submits.
CREATE TABLE jobs (
    id           BLOB PRIMARY KEY,
    owner        BLOB NOT NULL,
    idempotency  BLOB NOT NULL,
    spec         BLOB NOT NULL,
    state        INTEGER NOT NULL,
    body         TEXT NOT NULL,
    latest       BLOB,
    finished     BLOB
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);

-- Canonical specs, apart from the rows that change. By job rather than by
-- digest: rows that arrive in the order of their key touch one page, rows in a
-- random order touch one each.
CREATE TABLE specs (
    job   BLOB PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Every change of a job's state, in order; only ever appended to.
CREATE TABLE journal (
    job    BLOB NOT NULL,
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    state  INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    node   BLOB,
    reason TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- Receipts, exactly as the nodes signed them; only ever appended to.
CREATE TABLE receipts (
    job   BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    node  BLOB NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (job, epoch)
) STRICT, WITHOUT ROWID;

-- The keys that sign assignments. A key that signs no more has no secret.
CREATE TABLE issuer_keys (
    peer       BLOB PRIMARY KEY,
    secret     BLOB,
    role       INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    not_after  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest key set and the newest revocation, exactly as they were signed.
CREATE TABLE statements (
    kind  TEXT PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Tokens withdrawn before they expired.
CREATE TABLE revoked_tokens (
    token      BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last signed advert of every node that registered: where to find it until
-- it registers again.
CREATE TABLE nodes (
    peer    BLOB PRIMARY KEY,
    advert  BLOB NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
