//! Reads transactions back: by their caller's key, and by account in pages.

use std::collections::BTreeMap;

use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use embermesh_job::{
    ledger::{Account, Ask, HoldId, Key, Posting, Seen, Subject, Transaction, Why},
    units::MicroUnits,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, sqlite::SqliteRow};

use super::{CAPTURE, DEPOSIT, EXPIRY, HOLD, RELEASE, TRANSFER, account};
use crate::store::{
    Reader, StoreError,
    issuer::peer,
    rows::{integer, number},
};

/// The table that a row which means nothing is reported for.
const TABLE: &str = "ledger_transactions";

const COLUMNS: &str = "t.number, t.at, t.kind, t.caller, t.key, t.payer, t.payee, t.amount, t.hold, t.lifetime_ms, t.subject";

impl Reader {
    /// What the disk knows of a caller's key. One statement sees one state of the
    /// database, so the number it names is that of what it has looked through.
    pub(crate) async fn ledger_key(&self, caller: PeerId, key: &Key) -> Result<Seen, StoreError> {
        let failed = |source| self.failed(source);
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT (SELECT COALESCE(MAX(number), 0) FROM ledger_transactions) AS last, ",
        );
        query
            .push(COLUMNS)
            .push(" FROM (SELECT 1) LEFT JOIN ledger_transactions AS t ON t.caller = ")
            .push_bind(caller.as_bytes().to_vec())
            .push(" AND t.key = ")
            .push_bind(key.as_bytes().to_vec());
        let row = query.build().fetch_one(self.pool()).await.map_err(failed)?;
        let found: Option<i64> = row.try_get("number").map_err(failed)?;
        if found.is_none() {
            let last: i64 = row.try_get("last").map_err(failed)?;
            return Ok(Seen::NotUpTo(number(last)));
        }
        let mut found = vec![transaction(&row, &failed)?];
        self.add_postings(&mut found).await?;
        match found.pop() {
            Some(earlier) => Ok(Seen::Earlier(Box::new(earlier))),
            None => Err(StoreError::bad_row(TABLE, "a transaction is gone")),
        }
    }

    /// The newest transactions of an account that are older than `before`, one more
    /// than a page holds.
    pub(crate) async fn ledger_page(
        &self,
        of: PeerId,
        before: Option<u64>,
        size: u32,
    ) -> Result<Vec<Transaction>, StoreError> {
        let failed = |source| self.failed(source);
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query
            .push(COLUMNS)
            .push(" FROM ledger_postings AS p JOIN ledger_transactions AS t ON t.number = p.number WHERE p.account = ")
            .push_bind(of.as_bytes().to_vec())
            .push(" AND p.number < ")
            .push_bind(before.map_or(i64::MAX, integer))
            .push(" ORDER BY p.number DESC LIMIT ")
            .push_bind(i64::from(size) + 1);
        let rows = query.build().fetch_all(self.pool()).await.map_err(failed)?;
        let mut page = rows
            .iter()
            .map(|row| transaction(row, &failed))
            .collect::<Result<Vec<_>, _>>()?;
        self.add_postings(&mut page).await?;
        Ok(page)
    }

    /// Reads the postings of transactions, which never change.
    async fn add_postings(&self, transactions: &mut [Transaction]) -> Result<(), StoreError> {
        if transactions.is_empty() {
            return Ok(());
        }
        let failed = |source| self.failed(source);
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT number, account, available, held FROM ledger_postings WHERE number IN (",
        );
        let mut list = query.separated(", ");
        for transaction in transactions.iter() {
            list.push_bind(integer(transaction.number));
        }
        query.push(") ORDER BY number, account");
        let rows = query.build().fetch_all(self.pool()).await.map_err(failed)?;
        let mut postings: BTreeMap<u64, Vec<Posting>> = BTreeMap::new();
        for row in &rows {
            let bytes: Vec<u8> = row.try_get("account").map_err(failed)?;
            let posting = Posting {
                account: account(&bytes)?,
                available: row.try_get("available").map_err(failed)?,
                held: row.try_get("held").map_err(failed)?,
            };
            let of = number(row.try_get("number").map_err(failed)?);
            postings.entry(of).or_default().push(posting);
        }
        for transaction in transactions {
            transaction.postings = postings.remove(&transaction.number).unwrap_or_default();
            // As the rules have them: who loses first. An account is in it once.
            let lost =
                |posting: &Posting| (posting.account != Account::Issuance, posting.available);
            transaction.postings.sort_by_key(lost);
        }
        Ok(())
    }
}

/// A transaction without its postings.
fn transaction(
    row: &SqliteRow,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Transaction, StoreError> {
    let bad = |detail: &dyn std::fmt::Display| StoreError::bad_row(TABLE, detail);
    let missing = || bad(&"a column is null that its kind has");
    let count = |column: &str| -> Result<u64, StoreError> {
        let found: Option<i64> = row.try_get(column).map_err(failed)?;
        found.map(number).ok_or_else(missing)
    };
    let bytes = |column: &str| -> Result<Vec<u8>, StoreError> {
        let found: Option<Vec<u8>> = row.try_get(column).map_err(failed)?;
        found.ok_or_else(missing)
    };
    let who = |column: &str| peer(&bytes(column)?, TABLE);
    let subject: String = row.try_get("subject").map_err(failed)?;
    let subject: Subject = subject.parse().map_err(|error| bad(&error))?;
    let kind: i64 = row.try_get("kind").map_err(failed)?;
    let amount = || count("amount").map(MicroUnits);
    let hold = || count("hold").map(HoldId);
    let ask = match kind {
        DEPOSIT => Some(Ask::Deposit {
            to: who("payee")?,
            amount: amount()?,
            subject: subject.clone(),
        }),
        TRANSFER => Some(Ask::Transfer {
            from: who("payer")?,
            to: who("payee")?,
            amount: amount()?,
            subject: subject.clone(),
        }),
        HOLD => Some(Ask::Hold {
            from: who("payer")?,
            amount: amount()?,
            subject: subject.clone(),
            lifetime_ms: count("lifetime_ms")?,
        }),
        CAPTURE => Some(Ask::Capture {
            hold: hold()?,
            to: who("payee")?,
            amount: amount()?,
        }),
        RELEASE => Some(Ask::Release { hold: hold()? }),
        EXPIRY => None,
        other => return Err(bad(&format!("there is no kind {other}"))),
    };
    let why = match ask {
        Some(ask) => Why::Asked {
            caller: who("caller")?,
            key: Key::new(&bytes("key")?).map_err(|error| bad(&error))?,
            ask,
        },
        None => Why::Expired { hold: hold()? },
    };
    Ok(Transaction {
        number: count("number")?,
        at: UnixMillis(count("at")?),
        why,
        subject,
        postings: Vec::new(),
    })
}
