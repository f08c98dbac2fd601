//! The table of reservations: written whole as they change, read back at the start, and
//! by whoever asks for one.

use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use embermesh_job::{
    ledger::HoldId,
    reservation::{Kept, Reservation, ReservationId, ReservationState, book::KEYS_KEPT},
    units::{MicroUnits, Millis},
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{
    Reader, StoreError,
    issuer::peer,
    load::limit,
    rows::{self, integer, number},
};

/// The table that a row which means nothing is reported for.
const TABLE: &str = "reservations";

/// The number of the state of those that are open.
const OPEN: i64 = 1;

const COLUMNS: &str = "id, client, node, state, starts_at, ends_at, price, held, closed_at, paid, \
                       key, asked, holds";

/// Which reservations a list wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReservationFilter {
    /// Those of this client, or of this node.
    pub(crate) of: PeerId,
    /// Only those that are open.
    pub(crate) active: bool,
    /// Only those before this one.
    pub(crate) before: Option<ReservationId>,
    /// At most so many on a page.
    pub(crate) size: u32,
}

/// Writes reservations as they are now.
pub(super) async fn write(tx: &mut SqliteConnection, changed: &[Kept]) -> Result<(), sqlx::Error> {
    rows::insert(
        tx,
        "INSERT INTO reservations (id, client, node, state, starts_at, ends_at, price, held, \
         closed_at, paid, key, asked, holds) ",
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state, ends_at = excluded.ends_at, \
         held = excluded.held, closed_at = excluded.closed_at, paid = excluded.paid, \
         holds = excluded.holds",
        changed,
        |row, kept| {
            let reservation = &kept.reservation;
            row.push_bind(integer(reservation.id.0))
                .push_bind(reservation.client.as_bytes().to_vec())
                .push_bind(reservation.node.as_bytes().to_vec())
                .push_bind(state_number(reservation.state))
                .push_bind(integer(reservation.starts_at.0))
                .push_bind(integer(reservation.ends_at.0))
                .push_bind(integer(reservation.price.0))
                .push_bind(integer(reservation.held.0))
                .push_bind(reservation.closed_at.map(|at| integer(at.0)))
                .push_bind(integer(reservation.paid.0))
                .push_bind(kept.key.to_vec())
                .push_bind(integer(kept.asked.0))
                .push_bind(holds_bytes(&kept.holds));
        },
    )
    .await
}

/// Every open reservation, and the newest of those that are over, the oldest first.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    failed: &impl Fn(sqlx::Error) -> StoreError,
) -> Result<Vec<Kept>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query
        .push(COLUMNS)
        .push(" FROM reservations WHERE state = 1 OR id IN (SELECT id FROM reservations ORDER BY id DESC LIMIT ")
        .push_bind(limit(KEYS_KEPT))
        .push(") ORDER BY id");
    let rows = query.build().fetch_all(connection).await.map_err(failed)?;
    rows.iter().map(|row| kept(row, failed)).collect()
}

impl Reader {
    /// A reservation.
    pub(crate) async fn reservation(
        &self,
        id: ReservationId,
    ) -> Result<Option<Reservation>, StoreError> {
        let failed = |source| self.failed(source);
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query
            .push(COLUMNS)
            .push(" FROM reservations WHERE id = ")
            .push_bind(integer(id.0));
        let row = query.build().fetch_optional(self.pool()).await;
        row.map_err(failed)?
            .map(|row| kept(&row, &failed).map(|kept| kept.reservation))
            .transpose()
    }

    /// The newest reservations that a filter lets through, one more than a page holds.
    pub(crate) async fn reservations(
        &self,
        filter: &ReservationFilter,
    ) -> Result<Vec<Reservation>, StoreError> {
        let failed = |source| self.failed(source);
        let of = filter.of.as_bytes().to_vec();
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query
            .push(COLUMNS)
            .push(" FROM reservations WHERE (client = ")
            .push_bind(of.clone())
            .push(" OR node = ")
            .push_bind(of)
            .push(")");
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(integer(before.0));
        }
        if filter.active {
            query.push(" AND state = ").push_bind(OPEN);
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(i64::from(filter.size) + 1);
        let rows = query.build().fetch_all(self.pool()).await.map_err(failed)?;
        rows.iter()
            .map(|row| kept(row, &failed).map(|kept| kept.reservation))
            .collect()
    }
}

fn kept(row: &SqliteRow, failed: &impl Fn(sqlx::Error) -> StoreError) -> Result<Kept, StoreError> {
    let bytes = |column: &str| row.try_get::<Vec<u8>, _>(column).map_err(failed);
    let count = |column: &str| row.try_get(column).map(number).map_err(failed);
    let closed_at: Option<i64> = row.try_get("closed_at").map_err(failed)?;
    let key = bytes("key")?;
    Ok(Kept {
        reservation: Reservation {
            id: ReservationId(count("id")?),
            client: peer(&bytes("client")?, TABLE)?,
            node: peer(&bytes("node")?, TABLE)?,
            state: state(row.try_get("state").map_err(failed)?)?,
            starts_at: UnixMillis(count("starts_at")?),
            ends_at: UnixMillis(count("ends_at")?),
            price: MicroUnits(count("price")?),
            held: MicroUnits(count("held")?),
            closed_at: closed_at.map(|at| UnixMillis(number(at))),
            paid: MicroUnits(count("paid")?),
        },
        holds: holds(&bytes("holds")?)?,
        key: key
            .as_slice()
            .try_into()
            .map_err(|_| StoreError::bad_row(TABLE, "a key is not 16 bytes"))?,
        asked: Millis(count("asked")?),
    })
}

fn holds_bytes(holds: &[HoldId]) -> Vec<u8> {
    holds.iter().flat_map(|hold| hold.0.to_be_bytes()).collect()
}

fn holds(bytes: &[u8]) -> Result<Vec<HoldId>, StoreError> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(StoreError::bad_row(TABLE, "holds are not 8 bytes each"));
    }
    let read = |bytes: &[u8; 8]| HoldId(u64::from_be_bytes(*bytes));
    Ok(numbers.iter().map(read).collect())
}

const fn state_number(state: ReservationState) -> i64 {
    match state {
        ReservationState::Active => OPEN,
        ReservationState::Released => 2,
        ReservationState::Expired => 3,
        ReservationState::Lost => 4,
    }
}

fn state(number: i64) -> Result<ReservationState, StoreError> {
    Ok(match number {
        OPEN => ReservationState::Active,
        2 => ReservationState::Released,
        3 => ReservationState::Expired,
        4 => ReservationState::Lost,
        other => {
            return Err(StoreError::bad_row(
                TABLE,
                format!("there is no state {other}"),
            ));
        }
    })
}
