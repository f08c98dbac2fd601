//! The port: what dialects ask of provers and proofs.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        provers::{Hello, ProofRequest, ProofState, ProofView, Proofs, ProverView, Provers, Seat},
    },
};
use embermesh_job::plan::{
    NodeName,
    gang::NoGang,
    proving::{Proving, Terms},
};
use tokio::sync::oneshot;

use super::{
    Said, Shown,
    drive::{Driver, names},
    rows::KeptProof,
    seat::Place,
};
use crate::{Gateway, failure::store_failed, users::pins::PinKind};

/// Random bytes of the id of a proof.
const ID_BYTES: usize = 6;

impl Gateway {
    /// A proof as it is kept, and how it looked just before.
    async fn kept_proof(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<(KeptProof, Option<Shown>), Failure> {
        let shown = self.shown_proof(id);
        let found = self.inner.store.find_proof(who, id).await;
        let kept = found
            .map_err(|error| store_failed(&error))?
            .ok_or_else(|| Failure::not_found(format!("no job {id:?} of yours is known here")))?;
        Ok((kept, shown))
    }

    fn shown_proof(&self, id: &str) -> Option<Shown> {
        let open = self.inner.hall.open();
        open.get(id).map(|driven| driven.shown.borrow().clone())
    }
}

/// What a proof looks like, without the proof itself. What is kept was read after what it
/// looked like, so an end that is kept goes first.
fn view(kept: KeptProof, shown: Option<Shown>) -> ProofView {
    let (state, gang, message) = match (kept.ended_at, shown) {
        (Some(_), _) if kept.made => (ProofState::Made, kept.gang, kept.message),
        (Some(_), _) => (ProofState::Failed, kept.gang, kept.message),
        (None, Some(shown)) => (shown.state, shown.gang, shown.message),
        (None, None) => (ProofState::Waiting, kept.gang, kept.message),
    };
    let until = kept.ended_at.unwrap_or_else(UnixMillis::now);
    ProofView {
        id: kept.id,
        block: kept.block,
        state,
        provers: names(&gang),
        started_at: kept.submitted_at,
        took: Duration::from_millis(until.0.saturating_sub(kept.submitted_at.0)),
        message,
        proof: None,
    }
}

#[tonic::async_trait]
impl Provers for Gateway {
    async fn enter(&self, who: &Principal, hello: Hello) -> Result<Box<dyn Seat>, Failure> {
        if hello.capacity == 0 {
            let message = "compute_capacity: say how many units this prover can take";
            return Err(Failure::invalid(message));
        }
        let holder = &who.name;
        let users = &self.inner.users;
        users
            .pin(PinKind::Worker, who.dialect, &hello.id, holder)
            .await?;
        let id =
            NodeName::new(hello.id.clone()).map_err(|error| Failure::invalid(error.to_string()))?;
        let hall = &self.inner.hall;
        let since = UnixMillis::now();
        let entered = hall.roster().enter(&id, holder, &hello, since)?;
        // From here on the place is given back whenever this ends.
        let place = Place {
            gateway: self.clone(),
            id,
            stay: entered.stay,
            since,
            orders: entered.orders,
        };
        if let Some((proof, lost)) = entered.lost {
            let _ = proof.send(lost).await;
        }
        hall.free.send_replace(());
        Ok(Box::new(place))
    }

    fn provers(&self) -> Vec<ProverView> {
        self.inner.hall.roster().views()
    }

    fn open_proofs(&self) -> usize {
        self.inner.hall.open().len()
    }
}

#[tonic::async_trait]
impl Proofs for Gateway {
    async fn launch_proof(&self, who: &Principal, asked: ProofRequest) -> Result<String, Failure> {
        if self.open_proofs() >= self.inner.open_jobs {
            let message = "too many jobs are open here; try again when some have ended";
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| store_failed(&error))?;
        let hex = bytes.map(|byte| format!("{byte:02x}"));
        let id = format!("job_{}", hex.concat());
        let settings = self.inner.hall.settings;
        let terms = Terms {
            units: asked.units,
            rounds: settings.rounds,
            deal_wait: settings.deal_wait,
            // Whether a prover is there is seen by its heartbeats.
            lease: settings.phase,
            phase: settings.phase,
            round: settings.round,
        };
        let now = UnixMillis::now();
        let (proving, _) =
            Proving::start(terms, now).map_err(|error| Failure::invalid(error.to_string()))?;
        let kept = KeptProof {
            number: 0,
            owner: who.clone(),
            id: id.clone(),
            block: asked.block,
            input: asked.input,
            units: asked.units,
            gang: Vec::new(),
            submitted_at: now,
            ended_at: None,
            message: String::new(),
            made: false,
        };
        let mut driver = Driver::new(self.clone(), kept, proving);
        let outputs = driver.take_first().map_err(|error| match error {
            NoGang::Units(_) => Failure::invalid(format!("compute_capacity: {error}")),
            NoGang::TooSmall { .. } => Failure::new(ErrorCode::Unavailable, error.to_string()),
        })?;
        // The gang is taken: what becomes of it does not rest on whoever asked.
        let (told, kept) = oneshot::channel();
        driver.drive(outputs, Some(told));
        match kept.await {
            Ok(Ok(())) => Ok(id),
            Ok(Err(error)) => Err(store_failed(&error)),
            Err(_) => Err(Failure::new(
                ErrorCode::Unavailable,
                "the coordinator stops",
            )),
        }
    }

    async fn proof(&self, who: &Principal, id: &str) -> Result<ProofView, Failure> {
        let (kept, shown) = self.kept_proof(who, id).await?;
        let number = kept.made.then_some(kept.number);
        let mut view = view(kept, shown);
        if let Some(number) = number {
            let proof = self.inner.store.made_proof(number).await;
            view.proof = Some(Arc::new(proof.map_err(|error| store_failed(&error))?));
        }
        Ok(view)
    }

    async fn proofs(&self, who: &Principal, open: bool) -> Result<Vec<ProofView>, Failure> {
        let open_now = self.inner.hall.open().clone();
        let kept = self.inner.store.list_proofs(who, open).await;
        let kept = kept.map_err(|error| store_failed(&error))?.into_iter();
        let views = kept.map(|kept| {
            let driven = open_now.get(&kept.id);
            let shown = driven.map(|driven| driven.shown.borrow().clone());
            view(kept, shown)
        });
        Ok(views.collect())
    }

    async fn cancel_proof(&self, who: &Principal, id: &str) -> Result<ProofView, Failure> {
        self.kept_proof(who, id).await?;
        let driven = self.inner.hall.open().get(id).cloned();
        let over = || {
            let message = format!("the job {id:?} has ended already");
            Failure::new(ErrorCode::Precondition, message)
        };
        let mut driven = driven.ok_or_else(over)?;
        let ended = |state| matches!(state, ProofState::Made | ProofState::Failed);
        if ended(driven.shown.borrow().state) {
            return Err(over());
        }
        let _ = driven.said.send(Said::Cancel).await;
        // The driver ends with the gateway, and then nobody waits.
        let _ = driven.shown.wait_for(|shown| ended(shown.state)).await;
        let (kept, shown) = self.kept_proof(who, id).await?;
        Ok(view(kept, shown))
    }
}
