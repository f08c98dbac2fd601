//! What a job's budget is held in, and what its server is paid from it: the price of the
//! server for the time between its word that it takes the job and the job's end, as it was
//! seen here, and never more than the budget. What a server says of its time pays nothing,
//! and neither does an attempt that did not end the job, or a job that failed.

use std::time::Duration;

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{Principal, accounts::Accounts as _},
};
use embermesh_job::{lifecycle::JobState, units::MicroUnits};

use super::book::{Lease, Task};
use crate::Gateway;

/// How long a budget is held at most, from the moment when its job is taken on.
const HELD: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long to wait before an index is asked again that does not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// What a span costs at a price for an hour, rounded down, up to a budget.
fn cost(hourly: MicroUnits, span: Duration, budget: MicroUnits) -> MicroUnits {
    let whole = u128::from(hourly.0).saturating_mul(span.as_millis()) / 3_600_000;
    MicroUnits(u64::try_from(whole).unwrap_or(u64::MAX)).min(budget)
}

/// What a server has earned with a job that ends now.
fn earned(task: &Task, state: JobState, now: UnixMillis) -> MicroUnits {
    let taken = task.lease.as_ref().and_then(|lease| lease.taken);
    match (taken, task.budget, state) {
        (Some(taken), Some(budget), JobState::Succeeded | JobState::Cancelled) => {
            let span = Duration::from_millis(now.0.saturating_sub(taken.0));
            let price = task
                .lease
                .as_ref()
                .map_or(MicroUnits(0), |lease| lease.price);
            cost(price, span, budget)
        }
        _ => MicroUnits(0),
    }
}

impl Gateway {
    /// Sets a job's budget aside, if that is not done yet, and gives the hold that it is in.
    ///
    /// # Errors
    /// `Precondition` where its owner has not as much.
    pub(super) async fn hold_for(&self, task: &Task) -> Result<Option<String>, Failure> {
        let budget = match (&task.hold, task.budget) {
            (None, Some(budget)) if budget.0 > 0 => budget,
            (hold, _) => return Ok(hold.clone()),
        };
        let expires = UnixMillis::now().saturating_add(HELD);
        let key = format!("server/{}/budget", task.key);
        // A name of the job's owner may be longer than what the ledger notes.
        let subject: String = format!("job {}", task.id).chars().take(64).collect();
        let held = self.hold(&task.owner, budget.0, &subject, expires, &key);
        Ok(Some(held.await?.id))
    }

    /// Gives a budget back, so that the index can set the same aside.
    pub(super) async fn give_back(&self, task: &Task) -> Result<(), Failure> {
        let Some(hold) = &task.hold else {
            return Ok(());
        };
        let key = format!("server/{}/back", task.key);
        let settled = self.settle(&task.owner, hold, None, &key).await;
        settled.map(|_| ())
    }

    /// Settles a budget with the end of its job, however long the index does not answer:
    /// pays the server what it has earned and gives the rest back. Gives the transaction
    /// by which somebody was paid.
    pub(super) async fn settle_served(
        &self,
        task: &Task,
        state: JobState,
        now: UnixMillis,
    ) -> Option<String> {
        let hold = task.hold.as_ref()?;
        let amount = earned(task, state, now);
        let server = task.lease.as_ref();
        let to = server.and_then(|lease| self.payee(lease, &task.owner));
        let (to, amount) = match to {
            Some(to) if amount.0 > 0 => (Some(to), amount),
            _ => (None, MicroUnits(0)),
        };
        let key = format!("server/{}/end", task.key);
        loop {
            let settled = self
                .settle_part(&task.owner, hold, to.as_ref(), amount, &key)
                .await;
            match settled {
                Ok(done) => return to.is_some().then_some(done.id),
                Err(failure) if is_later(failure.code) => {
                    tracing::warn!(job = task.id, %failure, "a budget is not settled yet");
                }
                Err(failure) => {
                    tracing::error!(job = task.id, %failure, "a budget could not be settled");
                    return None;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Who is paid for what a server does; nobody where it is the payer's own.
    fn payee(&self, lease: &Lease, owner: &Principal) -> Option<Principal> {
        let book = self.inner.rack.book();
        let name = book.owner_of(&lease.server)?;
        (name != owner.name).then(|| Principal {
            dialect: owner.dialect,
            name: name.to_owned(),
        })
    }
}

/// Whether the same may come to another answer later.
const fn is_later(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unavailable | ErrorCode::Internal)
}

#[cfg(test)]
mod tests {
    use super::{super::book::tests, *};

    #[test]
    fn a_span_costs_its_share_of_an_hour_and_no_more_than_the_budget() {
        let (hour, enough) = (MicroUnits(3_600_000), MicroUnits(u64::MAX));
        assert_eq!(cost(hour, Duration::from_millis(1), enough).0, 1);
        assert_eq!(cost(hour, Duration::from_secs(60), enough).0, 60_000);
        assert_eq!(cost(hour, Duration::from_secs(60), MicroUnits(7)).0, 7);
        assert_eq!(cost(enough, Duration::MAX, MicroUnits(9)).0, 9);
    }

    #[test]
    fn a_server_earns_the_time_that_was_seen_and_nothing_with_what_failed() {
        let mut task = tests::task("t");
        task.budget = Some(MicroUnits(1_000_000));
        let mut lease = tests::lease("s", "t");
        (lease.price, lease.taken) = (MicroUnits(3_600_000), Some(UnixMillis(1_000)));
        task.lease = Some(lease);
        let now = UnixMillis(61_000);
        assert_eq!(earned(&task, JobState::Succeeded, now).0, 60_000);
        assert_eq!(earned(&task, JobState::Cancelled, now).0, 60_000);
        assert_eq!(earned(&task, JobState::Failed, now).0, 0);
        // One that has not said that it takes the job has done nothing.
        task.lease.as_mut().unwrap().taken = None;
        assert_eq!(earned(&task, JobState::Cancelled, now).0, 0);
        task.lease = None;
        assert_eq!(earned(&task, JobState::Cancelled, now).0, 0);
    }
}
