//! The ledger's tables: what a group of transactions adds, and what the rules go on
//! from. Old transactions are read by `reader`.

mod reader;

use std::collections::BTreeMap;

use embermesh_crypto::time::UnixMillis;
use embermesh_job::{
    ledger::{Account, Ask, Balance, Changes, Hold, HoldId, LedgerSnapshot, Transaction, Why},
    units::MicroUnits,
};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    StoreError,
    issuer::peer,
    rows::{self, integer, number},
};

const DEPOSIT: i64 = 1;
const TRANSFER: i64 = 2;
const HOLD: i64 = 3;
const CAPTURE: i64 = 4;
const RELEASE: i64 = 5;
const EXPIRY: i64 = 6;

/// Adds what is new.
pub(super) async fn write(tx: &mut SqliteConnection, changes: &Changes) -> Result<(), sqlx::Error> {
    write_transactions(tx, &changes.transactions).await?;
    let accounts: Vec<_> = changes.accounts.iter().collect();
    rows::insert(
        tx,
        "INSERT INTO ledger_accounts (account, available, held) ",
        " ON CONFLICT (account) DO UPDATE SET available = excluded.available, held = excluded.held",
        &accounts,
        |row, (account, balance)| {
            row.push_bind(account_bytes(account))
                .push_bind(balance.available)
                .push_bind(balance.held);
        },
    )
    .await?;
    let open: Vec<_> = changes
        .holds
        .iter()
        .filter_map(|(id, hold)| Some((id, hold.as_ref()?)))
        .collect();
    rows::insert(
        tx,
        "INSERT INTO ledger_holds (number, payer, placed_by, amount, expires_at, subject) ",
        "",
        &open,
        |row, (id, hold)| {
            row.push_bind(integer(id.0))
                .push_bind(hold.payer.as_bytes().to_vec())
                .push_bind(hold.placed_by.as_bytes().to_vec())
                .push_bind(integer(hold.amount.0))
                .push_bind(integer(hold.expires_at.0))
                .push_bind(hold.subject.to_string());
        },
    )
    .await?;
    for id in changes.holds.iter().filter(|(_, hold)| hold.is_none()) {
        sqlx::query("DELETE FROM ledger_holds WHERE number = ?")
            .bind(integer(id.0.0))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn write_transactions(
    tx: &mut SqliteConnection,
    transactions: &[Transaction],
) -> Result<(), sqlx::Error> {
    rows::insert(
        tx,
        "INSERT INTO ledger_transactions (number, at, kind, caller, key, payer, payee, amount, hold, \
         lifetime_ms, subject) ",
        "",
        transactions,
        |row, transaction| {
            let columns = Columns::of(&transaction.why);
            row.push_bind(integer(transaction.number))
                .push_bind(integer(transaction.at.0))
                .push_bind(columns.kind)
                .push_bind(columns.caller)
                .push_bind(columns.key)
                .push_bind(columns.payer)
                .push_bind(columns.payee)
                .push_bind(columns.amount)
                .push_bind(columns.hold)
                .push_bind(columns.lifetime_ms)
                .push_bind(transaction.subject.to_string());
        },
    )
    .await?;
    let postings: Vec<_> = transactions
        .iter()
        .flat_map(|transaction| {
            let number = transaction.number;
            transaction
                .postings
                .iter()
                .map(move |posting| (number, posting))
        })
        .collect();
    rows::insert(
        tx,
        "INSERT INTO ledger_postings (account, number, available, held) ",
        "",
        &postings,
        |row, (number, posting)| {
            row.push_bind(account_bytes(&posting.account))
                .push_bind(integer(*number))
                .push_bind(posting.available)
                .push_bind(posting.held);
        },
    )
    .await
}

/// Why there is a transaction, in columns.
#[derive(Default)]
struct Columns {
    kind: i64,
    caller: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    payer: Option<Vec<u8>>,
    payee: Option<Vec<u8>>,
    amount: Option<i64>,
    hold: Option<i64>,
    lifetime_ms: Option<i64>,
}

impl Columns {
    fn of(why: &Why) -> Self {
        let (caller, key, ask) = match why {
            Why::Asked { caller, key, ask } => (caller, key, ask),
            Why::Expired { hold } => {
                return Self {
                    kind: EXPIRY,
                    hold: Some(integer(hold.0)),
                    ..Self::default()
                };
            }
        };
        let bytes = |peer: &embermesh_crypto::ids::PeerId| Some(peer.as_bytes().to_vec());
        let asked = Self {
            caller: bytes(caller),
            key: Some(key.as_bytes().to_vec()),
            amount: ask.amount().map(|amount| integer(amount.0)),
            ..Self::default()
        };
        match ask {
            Ask::Deposit { to, .. } => Self {
                kind: DEPOSIT,
                payee: bytes(to),
                ..asked
            },
            Ask::Transfer { from, to, .. } => Self {
                kind: TRANSFER,
                payer: bytes(from),
                payee: bytes(to),
                ..asked
            },
            Ask::Hold {
                from, lifetime_ms, ..
            } => Self {
                kind: HOLD,
                payer: bytes(from),
                lifetime_ms: Some(integer(*lifetime_ms)),
                ..asked
            },
            Ask::Capture { hold, to, .. } => Self {
                kind: CAPTURE,
                payee: bytes(to),
                hold: Some(integer(hold.0)),
                ..asked
            },
            Ask::Release { hold } => Self {
                kind: RELEASE,
                hold: Some(integer(hold.0)),
                ..asked
            },
        }
    }
}

/// What the rules go on from.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<LedgerSnapshot, StoreError> {
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM ledger_transactions")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let rows = sqlx::query(
        "SELECT account, available, held FROM ledger_accounts WHERE available != 0 OR held != 0",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut accounts = BTreeMap::new();
    for row in &rows {
        let bytes: Vec<u8> = row.try_get("account").map_err(failed)?;
        let balance = Balance {
            available: row.try_get("available").map_err(failed)?,
            held: row.try_get("held").map_err(failed)?,
        };
        accounts.insert(account(&bytes)?, balance);
    }
    let rows = sqlx::query(
        "SELECT number, payer, placed_by, amount, expires_at, subject FROM ledger_holds",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut holds = BTreeMap::new();
    for row in &rows {
        let id = HoldId(number(row.try_get("number").map_err(failed)?));
        holds.insert(id, hold(row, failed)?);
    }
    Ok(LedgerSnapshot {
        accounts,
        holds,
        last: number(last),
    })
}

fn hold(row: &SqliteRow, failed: &impl Fn(sqlx::Error) -> StoreError) -> Result<Hold, StoreError> {
    let bytes = |column: &str| row.try_get::<Vec<u8>, _>(column).map_err(failed);
    let subject: String = row.try_get("subject").map_err(failed)?;
    Ok(Hold {
        payer: peer(&bytes("payer")?, "ledger_holds")?,
        placed_by: peer(&bytes("placed_by")?, "ledger_holds")?,
        amount: MicroUnits(number(row.try_get("amount").map_err(failed)?)),
        subject: subject
            .parse()
            .map_err(|error| StoreError::bad_row("ledger_holds", error))?,
        expires_at: UnixMillis(number(row.try_get("expires_at").map_err(failed)?)),
    })
}

fn account_bytes(account: &Account) -> Vec<u8> {
    match account {
        Account::Issuance => Vec::new(),
        Account::Peer(peer) => peer.as_bytes().to_vec(),
    }
}

fn account(bytes: &[u8]) -> Result<Account, StoreError> {
    if bytes.is_empty() {
        return Ok(Account::Issuance);
    }
    peer(bytes, "ledger_accounts").map(Account::Peer)
}
