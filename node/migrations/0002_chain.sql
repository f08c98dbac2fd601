-- The digest of the newest receipt that this node has signed: one row, or none.
CREATE TABLE chain (
    id       INTEGER PRIMARY KEY CHECK (id = 0),
    receipt  BLOB    NOT NULL
) STRICT;
