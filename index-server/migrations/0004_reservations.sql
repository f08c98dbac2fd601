-- Nodes that are taken for a time. Amounts are millionths of a unit, times milliseconds.
-- `state` is 1 while it is open; then 2 released, 3 expired, 4 lost. `key` is the
-- client's name for its request, `asked` the length in it; `holds` are the numbers of
-- what was set aside, the oldest first, each in 8 bytes, big endian.
CREATE TABLE reservations (
    id        INTEGER PRIMARY KEY,
    client    BLOB NOT NULL,
    node      BLOB NOT NULL,
    state     INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at   INTEGER NOT NULL,
    price     INTEGER NOT NULL,
    held      INTEGER NOT NULL,
    closed_at INTEGER,
    paid      INTEGER NOT NULL,
    key       BLOB NOT NULL,
    asked     INTEGER NOT NULL,
    holds     BLOB NOT NULL
) STRICT;
CREATE INDEX reservations_by_client ON reservations (client, id);
CREATE INDEX reservations_by_node ON reservations (node, id);
CREATE INDEX reservations_open ON reservations (id) WHERE state = 1;
