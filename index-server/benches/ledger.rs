//! Durable transfers per second through the index, beside plain SQLite.
//!
//! The index is called over mutual TLS: each transfer is parsed, its key is looked
//! up on disk, the rules move the money, and the answer comes after its transaction
//! is synced. Plain SQLite does the least that a transfer can be, two updates and
//! one row of history with its key, in one transaction for each transfer, with the
//! same settings of the database. Both take turns within one run, on one disk.
//!
//! `cargo bench -p embermesh-index-server --bench ledger`; `EMBERMESH_BENCH_SECONDS`
//! and `EMBERMESH_BENCH_IN_FLIGHT` change how long and how hard.

#[path = "../tests/grpc/support.rs"]
#[allow(dead_code)]
mod support;

use std::{
    env,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use embermesh_proto::v1::{self, ledger_client::LedgerClient};
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use support::{World, key};
use tonic::transport::Channel;

/// How often the two take turns.
const ROUNDS: usize = 3;

/// What the payer begins with, in millionths of a unit.
const FUNDS: i64 = 1_000_000_000;

/// The payer's number among the keys of the tests.
const PAYER: u8 = 1;

/// The next idempotency key, of either side.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn setting(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn fresh_key() -> [u8; 8] {
    NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()
}

/// Transfers per second with so many calls in flight.
async fn index_turn(client: &LedgerClient<Channel>, in_flight: u64, span: Duration) -> f64 {
    let payee = key(2).peer_id().to_string();
    let began = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (mut client, to) = (client.clone(), payee.clone());
            tokio::spawn(async move {
                let mut done = 0u32;
                while began.elapsed() < span {
                    let request = v1::TransferRequest {
                        idempotency_key: fresh_key().to_vec().into(),
                        to: to.clone(),
                        amount_micros: 1,
                        ..v1::TransferRequest::default()
                    };
                    client.transfer(request).await.expect("a transfer succeeds");
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("a caller ends");
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

/// A database with the settings of the index's.
async fn plain_database(path: &Path) -> SqliteConnection {
    let mut database = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "8192")
        .connect()
        .await
        .expect("a database");
    for sql in [
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0))",
        "CREATE TABLE history (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, amount INTEGER NOT NULL)",
    ] {
        sqlx::query(sql)
            .execute(&mut database)
            .await
            .expect("a table");
    }
    sqlx::query("INSERT INTO accounts VALUES (1, ?), (2, 0)")
        .bind(FUNDS)
        .execute(&mut database)
        .await
        .expect("accounts");
    database
}

async fn plain_transfer(database: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    sqlx::query("UPDATE accounts SET balance = balance - 1 WHERE id = 1")
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE accounts SET balance = balance + 1 WHERE id = 2")
        .execute(&mut *tx)
        .await?;
    sqlx::query("INSERT INTO history (key, amount) VALUES (?, 1)")
        .bind(fresh_key().as_slice())
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Transfers per second, one transaction each.
async fn plain_turn(database: &mut SqliteConnection, span: Duration) -> f64 {
    let began = Instant::now();
    let mut done = 0u32;
    while began.elapsed() < span {
        plain_transfer(database).await.expect("a transfer succeeds");
        done += 1;
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    // Under `cargo test` a benchmark only has to start.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let span = Duration::from_secs(setting("EMBERMESH_BENCH_SECONDS", 5));
    let in_flight = setting("EMBERMESH_BENCH_IN_FLIGHT", 64);
    let operator = key(90);
    let world = World::with(|config| {
        config.issuer.administrators = vec![operator.peer_id()];
    })
    .await;
    let deposit = v1::DepositRequest {
        idempotency_key: fresh_key().to_vec().into(),
        to: key(PAYER).peer_id().to_string(),
        amount_micros: FUNDS.unsigned_abs(),
        subject: String::new(),
    };
    LedgerClient::new(world.peer(90).await.channel)
        .deposit(deposit)
        .await
        .expect("a deposit succeeds");
    let payer = LedgerClient::new(world.peer(PAYER).await.channel);
    let dir = tempfile::tempdir().expect("a folder");
    let mut plain = plain_database(&dir.path().join("plain.db")).await;

    println!("{in_flight} calls in flight, {} s a turn", span.as_secs());
    let mut rates = [0.0; 2];
    for _ in 0..ROUNDS {
        let index = index_turn(&payer, in_flight, span).await;
        let sqlite = plain_turn(&mut plain, span).await;
        println!("index {index:>10.0} per second, plain SQLite {sqlite:>10.0} per second");
        rates[0] += index / ROUNDS as f64;
        rates[1] += sqlite / ROUNDS as f64;
    }
    println!(
        "index / plain SQLite = {:.2} ({:.0} / {:.0} per second)",
        rates[0] / rates[1],
        rates[0],
        rates[1]
    );
    let alone = index_turn(&payer, 1, span).await;
    println!("one caller alone: {alone:.0} per second");
    world.index.stop().await.expect("the index stops");
}
