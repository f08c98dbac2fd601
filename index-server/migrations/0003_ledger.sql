-- The ledger. Amounts are millionths of a unit; an account is a peer's raw bytes, or
-- empty for the issuance, from which deposits come.

-- Everything that happened, in order, without gaps; only ever appended to. `kind` is
-- what was asked: 1 deposit, 2 transfer, 3 hold, 4 capture, 5 release; 6 is a hold
-- whose time was over, which nobody asked for. What a kind does not have is null.
CREATE TABLE ledger_transactions (
    number      INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    caller      BLOB,
    key         BLOB,
    payer       BLOB,
    payee       BLOB,
    amount      INTEGER,
    hold        INTEGER,
    lifetime_ms INTEGER,
    subject     TEXT NOT NULL
) STRICT;
-- A caller's key names one transaction, for ever.
CREATE UNIQUE INDEX ledger_keys ON ledger_transactions (caller, key) WHERE key IS NOT NULL;

-- What a transaction did to each account; only ever appended to.
CREATE TABLE ledger_postings (
    account   BLOB NOT NULL,
    number    INTEGER NOT NULL,
    available INTEGER NOT NULL,
    held      INTEGER NOT NULL,
    PRIMARY KEY (account, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_postings_by_number ON ledger_postings (number);

-- The sums of the postings.
CREATE TABLE ledger_accounts (
    account   BLOB PRIMARY KEY,
    available INTEGER NOT NULL,
    held      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Holds that are open, by the number of the transaction that placed them.
CREATE TABLE ledger_holds (
    number     INTEGER PRIMARY KEY,
    payer      BLOB NOT NULL,
    placed_by  BLOB NOT NULL,
    amount     INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    subject    TEXT NOT NULL
) STRICT;
