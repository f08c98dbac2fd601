-- Models that foreign clients keep here. The bytes are files beside the database.
CREATE TABLE models (
    -- Ours, in the order in which they came; the name of the file.
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    dialect     TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    format      TEXT    NOT NULL,
    -- How many bytes it has; nothing until that is said.
    size        INTEGER,
    -- What its owner says that its bytes hash to.
    checksum    TEXT,
    is_public   INTEGER NOT NULL,
    -- JSON: a list, and an object.
    tags        TEXT    NOT NULL,
    metadata    TEXT    NOT NULL,
    created_ms  INTEGER NOT NULL,
    -- Of the bytes, once all of them are here.
    digest      TEXT,
    sha256      TEXT,
    uploaded_ms INTEGER,
    downloads   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX models_by_owner ON models (dialect, owner, number);
CREATE INDEX models_public ON models (number) WHERE is_public = 1 AND uploaded_ms IS NOT NULL;
