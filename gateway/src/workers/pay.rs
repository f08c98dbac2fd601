//! What a worker is paid: its time, by whole minutes while it works and by the rest of a
//! minute at the end. Each minute of an attempt is one request of the ledger, so that none
//! is paid twice, whoever is asked again.

use std::time::Duration;

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::accounts::{Accounts as _, Micros},
};
use embermesh_job::units::MicroUnits;

use super::book::Task;
use crate::Gateway;

/// What is paid at once while a task runs.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// What a span costs at a price for an hour, rounded down: no more than it is worth.
fn cost(hourly: MicroUnits, span: Duration) -> Micros {
    let whole = u128::from(hourly.0).saturating_mul(span.as_millis()) / 3_600_000;
    u64::try_from(whole).unwrap_or(u64::MAX)
}

impl Gateway {
    /// Whether the owner of a task has what its first minute costs.
    pub(super) async fn can_pay(&self, task: &Task) -> Result<bool, Failure> {
        let minute = cost(self.inner.desk.price, MINUTE);
        if minute == 0 {
            return Ok(true);
        }
        Ok(self.balance(&task.owner).await?.available >= minute)
    }

    /// Pays for what a worker has done of a task that it has: whole minutes, or all at
    /// the end. Nothing that was paid is paid again.
    ///
    /// # Errors
    /// `Precondition` when the owner of the task has not enough.
    pub(super) async fn pay(
        &self,
        number: i64,
        task: &Task,
        now: UnixMillis,
        all: bool,
    ) -> Result<(), Failure> {
        let Some(lease) = &task.lease else {
            return Ok(());
        };
        let Some(to) = self.inner.desk.book().owner_of_worker(task) else {
            return Ok(());
        };
        let price = self.inner.desk.price;
        if price.0 == 0 || to == task.owner {
            return Ok(());
        }
        let done = Duration::from_millis(now.0.saturating_sub(lease.given.0));
        let mut paid = lease.paid;
        while paid < done {
            let span = MINUTE.min(done - paid);
            if span < MINUTE && !all {
                break;
            }
            let key = format!(
                "{}:{}",
                super::book::name(number, task.attempt),
                paid.as_secs()
            );
            let amount = cost(price, span);
            if amount > 0 {
                let moved = self.transfer(&task.owner, &to, amount, &key).await;
                match moved {
                    Ok(_) => {}
                    // It was paid before, and the word of that was lost.
                    Err(failure) if failure.code == ErrorCode::Exists => {}
                    Err(failure) => return Err(failure),
                }
            }
            paid += span;
            let task = {
                let mut book = self.inner.desk.book();
                book.paid(number, task.attempt, paid);
                book.task(number).cloned()
            };
            if let Some(task) = task
                && let Err(error) = self.inner.store.keep_task(number, &task).await
            {
                tracing::warn!(job = number, %error, "what was paid could not be noted");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_costs_its_share_of_an_hour() {
        let hour = MicroUnits(3_600_000);
        assert_eq!(cost(hour, MINUTE), 60_000);
        assert_eq!(cost(hour, Duration::from_millis(1)), 1);
        assert_eq!(cost(hour, Duration::from_secs(1)) * 3600, 3_600_000);
        assert_eq!(cost(MicroUnits(1), MINUTE), 0);
        assert_eq!(cost(MicroUnits(u64::MAX), Duration::MAX), u64::MAX);
    }
}
