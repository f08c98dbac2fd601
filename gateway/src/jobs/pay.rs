//! What a job is paid from: a budget, which the index sets aside with the submit and
//! settles at the end.

use embermesh_dialects::{
    Failure,
    port::{
        Principal,
        accounts::Accounts as _,
        jobs::{BUDGET, Payment, Submission},
    },
};
use embermesh_job::units::MicroUnits;

use crate::{Gateway, store::Kept};

impl Gateway {
    /// Notes the budget of a job, and gives the hold that it comes from, if there is one.
    pub(crate) async fn note_budget(
        &self,
        who: &Principal,
        job: &mut Submission,
    ) -> Result<Option<String>, Failure> {
        let (budget, hold) = match job.payment.take() {
            None => return Ok(None),
            Some(Payment::AtMost(budget)) => (budget, None),
            Some(Payment::Hold(hold)) => (self.held(who, &hold).await?, Some(hold)),
        };
        job.notes.insert(BUDGET.to_owned(), budget.to_string());
        Ok(hold)
    }

    /// Gives a hold back, so that the index can set the same aside for the job.
    pub(crate) async fn free(&self, who: &Principal, hold: &str) -> Result<(), Failure> {
        let key = format!("job/hold/{hold}");
        self.settle(who, hold, None, &key).await.map(|_| ())
    }
}

/// The budget of a kept job.
pub(super) fn budget(kept: &Kept) -> Option<MicroUnits> {
    kept.notes.get(BUDGET)?.parse().ok().map(MicroUnits)
}
