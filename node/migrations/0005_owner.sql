-- What the owner of a node sees of its attempts, and the keys that he gives away.

-- What the work is and what its client calls it; NULL where an earlier version of the
-- node admitted it.
ALTER TABLE attempts ADD COLUMN kind TEXT;
ALTER TABLE attempts ADD COLUMN name TEXT;
-- How its task ended, where it ended with it.
ALTER TABLE attempts ADD COLUMN outcome TEXT;
CREATE INDEX attempts_admitted ON attempts (admitted_at);

-- Keys of programs that may look at the node, each by the digest of its secret.
CREATE TABLE owner_keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    prefix      TEXT    NOT NULL,
    digest      BLOB    NOT NULL,
    per_minute  INTEGER NOT NULL,
    made_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
