-- Agents of foreign systems that answer for models, as they have described themselves.
CREATE TABLE agents (
    dialect  TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    offer    TEXT    NOT NULL,
    heard_ms INTEGER NOT NULL,
    PRIMARY KEY (dialect, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX agents_by_time ON agents (heard_ms);
