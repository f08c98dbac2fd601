-- Proofs that gangs of provers make.
CREATE TABLE proofs (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    dialect      TEXT    NOT NULL,
    owner        TEXT    NOT NULL,
    id           TEXT    NOT NULL UNIQUE,
    block        TEXT    NOT NULL,
    input        TEXT    NOT NULL,
    units        INTEGER NOT NULL,
    -- The work in rounds, as JSON; nothing once it has ended.
    proving      TEXT,
    -- Who did which units in the latest round, and whose prover it is, as JSON.
    gang         TEXT    NOT NULL,
    submitted_ms INTEGER NOT NULL,
    ended_ms     INTEGER,
    -- Why it failed, or why its latest round was dealt again.
    message      TEXT    NOT NULL,
    -- The final proof, as JSON, if it was made.
    proof        TEXT
) STRICT;

CREATE INDEX proofs_by_owner ON proofs (dialect, owner, number);
CREATE INDEX proofs_open ON proofs (number) WHERE ended_ms IS NULL;
