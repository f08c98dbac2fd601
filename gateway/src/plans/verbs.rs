//! The port: what dialects ask of plans.

use embermesh_crypto::{Epoch, UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        plans::{PlanSubmission, PlanView, Plans, Question, TaskView},
    },
};
use embermesh_job::{
    lifecycle::JobState,
    plan::{
        Ended, Run,
        run::{Input, What},
    },
};

use super::rows::{KeptPlan, state};
use crate::{Gateway, failure::store_failed};

/// The longest name that a client may give a plan, in bytes.
const MAX_ID: usize = 256;
/// Random bytes of the name of a plan that has none.
const ID_BYTES: usize = 6;

impl Gateway {
    async fn kept_plan(&self, who: &Principal, id: &str) -> Result<KeptPlan, Failure> {
        let found = self.inner.store.find_plan(who, id).await;
        found
            .map_err(|error| store_failed(&error))?
            .ok_or_else(|| Failure::not_found(format!("no job {id:?} of yours is known here")))
    }

    /// What a kept plan looks like now.
    fn present_plan(&self, kept: KeptPlan) -> PlanView {
        match self.inner.plans.get(kept.number) {
            Some(driven) => {
                let run = driven.run.borrow().clone();
                view(kept, &run)
            }
            None => {
                let run = kept.run.clone();
                view(kept, &run)
            }
        }
    }
}

fn view(kept: KeptPlan, run: &Run<Question>) -> PlanView {
    let moment = |task, epoch, which: fn(&What) -> bool| {
        run.trace()
            .iter()
            .rev()
            .find(|moment| moment.task == task && moment.epoch == epoch && which(&moment.what))
            .map(|moment| moment.at)
    };
    let tasks = run.findings().map(|finding| TaskView {
        name: finding.name.to_owned(),
        node: finding.node.map(|node| node.as_str().to_owned()),
        state: finding.state,
        value: finding.value.cloned(),
        reason: finding.reason.map(str::to_owned),
        started_at: moment(finding.task, finding.epoch, |what| {
            matches!(what, What::Started(_))
        }),
        ended_at: moment(finding.task, finding.epoch, |what| {
            matches!(what, What::Done | What::Failed(_))
        }),
    });
    let (combined, message) = match run.ended() {
        Some(Ended::Done(combined)) => (Some(combined.clone()), String::new()),
        Some(Ended::Failed(failure)) => (None, failure.to_string()),
        Some(Ended::Cancelled { reason }) => (None, reason.clone()),
        None => (None, String::new()),
    };
    PlanView {
        state: state(run),
        tasks: tasks.collect(),
        combined,
        message,
        id: kept.id,
        owner: kept.owner,
        submitted_at: kept.submitted_at,
        ended_at: kept.ended_at.or_else(|| {
            run.ended()
                .and_then(|_| run.trace().last().map(|moment| moment.at))
        }),
        notes: kept.notes,
    }
}

#[tonic::async_trait]
impl Plans for Gateway {
    async fn submit_plan(
        &self,
        who: &Principal,
        plan: PlanSubmission,
    ) -> Result<PlanView, Failure> {
        let random =
            |bytes: &mut [u8]| getrandom::fill(bytes).map_err(|error| store_failed(&error));
        let id = match plan.foreign_id {
            Some(id) if id.len() <= MAX_ID && !id.chars().any(char::is_control) => id,
            Some(_) => {
                let reason =
                    format!("a job's name has {MAX_ID} bytes at most and no control characters");
                return Err(Failure::invalid(reason));
            }
            None => {
                let mut bytes = [0; ID_BYTES];
                random(&mut bytes)?;
                let hex = bytes.map(|byte| format!("{byte:02x}"));
                format!("job-{}", hex.concat())
            }
        };
        if self.inner.plans.len() >= self.inner.open_jobs {
            let message = "too many jobs are open here; try again when some have ended";
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        let mut seed = [0; 32];
        random(&mut seed)?;
        let now = UnixMillis::now();
        let (run, outputs) = Run::start(plan.plan, Epoch(0), seed, now);
        let mut kept = KeptPlan {
            number: 0,
            owner: who.clone(),
            id,
            run,
            notes: plan.notes,
            submitted_at: now,
            ended_at: None,
        };
        let added = self.inner.store.add_plan(&kept).await;
        let Some(number) = added.map_err(|error| store_failed(&error))? else {
            let message = format!("a job {:?} of yours exists; give it another name", kept.id);
            return Err(Failure::new(ErrorCode::Exists, message));
        };
        kept.number = number;
        self.drive(number, who.clone(), kept.run.clone(), outputs);
        Ok(self.present_plan(kept))
    }

    async fn plan(&self, who: &Principal, id: &str) -> Result<PlanView, Failure> {
        Ok(self.present_plan(self.kept_plan(who, id).await?))
    }

    async fn plans(
        &self,
        who: &Principal,
        states: &[JobState],
        skip: usize,
        most: usize,
    ) -> Result<(Vec<PlanView>, u64), Failure> {
        let page = self.inner.store.page_plans(who, states, skip, most).await;
        let (plans, total) = page.map_err(|error| store_failed(&error))?;
        let plans = plans.into_iter().map(|kept| self.present_plan(kept));
        Ok((plans.collect(), total))
    }

    async fn plan_ended(&self, who: &Principal, id: &str) -> Result<PlanView, Failure> {
        let kept = self.kept_plan(who, id).await?;
        if let Some(mut driven) = self.inner.plans.get(kept.number) {
            // The driver ends with the gateway, and then nobody waits.
            let _ = driven.run.wait_for(|run| run.ended().is_some()).await;
        }
        self.plan(who, id).await
    }

    async fn cancel_plan(&self, who: &Principal, id: &str) -> Result<PlanView, Failure> {
        let kept = self.kept_plan(who, id).await?;
        let over = |state: JobState| {
            let message = format!("the job {id:?} has ended already: {state}");
            Failure::new(ErrorCode::Precondition, message)
        };
        let Some(driven) = self.inner.plans.get(kept.number) else {
            return Err(over(state(&kept.run)));
        };
        if driven.run.borrow().ended().is_some() {
            return Err(over(state(&driven.run.borrow())));
        }
        let reason = "cancelled by its owner".to_owned();
        let _ = driven.inputs.send(Input::Cancel { reason }).await;
        self.plan_ended(who, id).await
    }
}
