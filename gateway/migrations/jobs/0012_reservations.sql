-- What foreign clients say of the nodes that they have taken. The reservations themselves
-- are the index's.
CREATE TABLE reservations (
    -- The index's number of it.
    id            INTEGER PRIMARY KEY,
    dialect       TEXT    NOT NULL,
    owner         TEXT    NOT NULL,
    -- When its owner was last heard of; nothing before the first time.
    heard_ms      INTEGER,
    -- What he says of what runs there.
    job           TEXT,
    progress      REAL    NOT NULL DEFAULT 0,
    metrics       TEXT    NOT NULL DEFAULT '{}',
    -- Whether he says that he is done.
    done          INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Jobs that ended well on a reserved node, and that its owner has confirmed.
CREATE TABLE reservation_jobs (
    reservation INTEGER NOT NULL,
    job         TEXT    NOT NULL,
    PRIMARY KEY (reservation, job)
) STRICT, WITHOUT ROWID;
