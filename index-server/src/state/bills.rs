//! What jobs cost: a budget is set aside as the job is taken on, the price is agreed as
//! an attempt is placed, and at the job's end its node is paid and the rest goes back.
//! Each is in the transaction of what it belongs to.

use embermesh_crypto::{
    ids::{JobId, PeerId},
    statement::{Receipt, Signed},
    time::UnixMillis,
};
use embermesh_job::{
    bill::{Bill, Quote, Terms},
    event::EventKind,
    ledger::{self, Ask, Caller, HoldId, Key, Request, Seen, Subject, Transaction, UNTIL_SETTLED},
    lifecycle::Job,
    place::{Buyer, NodeView, Pays, Takes, Wanted, Why, place_as},
    price::cost,
    spec::JobSpec,
    units::{MicroUnits, Millis},
    wire::{Charge, Quoted},
};

use super::{
    Refused, Reply, State, Submit,
    record::Record,
    settings::{HOLDS_PER_PASS, PASSED_OVER_SHOWN},
};

impl State {
    /// Sets a job's budget aside, where it has one.
    pub(super) fn open_bill(
        &mut self,
        id: JobId,
        submit: &Submit,
        now: UnixMillis,
    ) -> Result<Option<Bill>, Refused> {
        let Some(budget) = submit.budget else {
            return Ok(None);
        };
        self.ledger.expire(now, HOLDS_PER_PASS);
        let hold = self.set_aside(
            submit.client,
            budget,
            &format!("job {id}"),
            job_key(&id, "hold")?,
            now,
        )?;
        Ok(Some(Bill {
            budget,
            hold,
            charged: None,
        }))
    }

    /// How a job's owner pays for a node.
    pub(super) fn buyer(record: &Record) -> Buyer {
        Buyer {
            client: record.job.owner,
            pays: match &record.bill {
                Some(bill) => Pays::AtMost(bill.budget),
                None => Pays::Nothing,
            },
        }
    }

    /// What is agreed when a job is given to a node; nothing where neither money nor a
    /// reservation is in it.
    pub(super) fn agree(&self, id: JobId, node: &PeerId, now: UnixMillis) -> Option<Terms> {
        let record = self.jobs.get(&id)?;
        let view = self.registry.view(node)?;
        let owner = &record.job.owner;
        let under = self.reservations.of_node(node);
        let under = under.filter(|one| one.client == *owner).map(|one| one.id);
        if under.is_none() && record.bill.is_none() {
            return None;
        }
        let price = view.price_for(owner);
        Some(Terms {
            epoch: record.job.epoch.next(),
            at: now,
            price,
            at_most: cost(price, wall(record)),
            under,
        })
    }

    /// Pays for a job that has ended, and gives back what is left of its budget.
    pub(super) fn settle_bill(&mut self, id: JobId, now: UnixMillis) {
        let Some(record) = self.jobs.get(&id) else {
            return;
        };
        let Some(bill) = record.bill.as_ref().filter(|bill| bill.charged.is_none()) else {
            return;
        };
        let (budget, hold) = (bill.budget, bill.hold);
        let owed = record.terms.as_ref().and_then(|terms| {
            terms.owed(&record.job, budget, wall(record), signed_time(&record.job))
        });
        let charged = match job_key(&id, "end") {
            Ok(key) => self.settle_hold(hold, owed, key, now),
            Err(_) => MicroUnits(0),
        };
        if let Some(bill) = self
            .jobs
            .get_mut(&id)
            .and_then(|record| record.bill.as_mut())
        {
            bill.charged = Some(charged);
        }
    }

    /// What a job may cost, by the prices of the nodes that could run it if they were
    /// free.
    pub(super) fn quote(&self, client: PeerId, spec: &JobSpec) -> Reply {
        let mut nodes: Vec<NodeView> = self.registry.views().to_vec();
        for node in &mut nodes {
            node.free_slots = node.slots;
        }
        let wanted = Wanted {
            takes: Takes::of(&spec.work),
            requires: &spec.requires,
            limits: &spec.limits,
            runtime: spec.runtime(),
            buyer: Some(Buyer {
                client,
                pays: Pays::Uncounted,
            }),
        };
        let placement = place_as(&wanted, &nodes, &[], 0);
        let mut quote = Quote::default();
        for ranked in &placement.ranked {
            if let Some(view) = self.registry.view(&ranked.peer) {
                quote.add(view.price_for(&client), spec.limits.wall);
            }
        }
        let passed = placement.passed_over.into_iter();
        let passed = passed.filter(|passed| passed.why != Why::NotLive);
        Reply::Quoted(Box::new(Quoted {
            quote,
            passed_over: passed
                .take(PASSED_OVER_SHOWN)
                .map(|one| (one.peer, one.why.code().to_owned(), one.why.to_string()))
                .collect(),
        }))
    }

    /// Sets an amount aside in somebody's account, until the index settles it.
    pub(super) fn set_aside(
        &mut self,
        from: PeerId,
        amount: MicroUnits,
        subject: &str,
        key: Key,
        now: UnixMillis,
    ) -> Result<HoldId, Refused> {
        let ask = Ask::Hold {
            from,
            amount,
            subject: subject.parse::<Subject>().unwrap_or_default(),
            lifetime_ms: UNTIL_SETTLED,
        };
        Ok(HoldId(self.enter_own(key, ask, now)?.number))
    }

    /// Pays from a hold of the index to somebody and gives the rest back, or all of it;
    /// says what was paid.
    pub(super) fn settle_hold(
        &mut self,
        hold: HoldId,
        to: Option<(PeerId, MicroUnits)>,
        key: Key,
        now: UnixMillis,
    ) -> MicroUnits {
        if let Some((to, amount)) = to {
            let capture = Ask::Capture { hold, to, amount };
            match self.enter_own(key.clone(), capture, now) {
                Ok(_) => return amount,
                Err(error) => tracing::error!(%hold, %to, %error, "what is owed cannot be paid"),
            }
        }
        // An administrator may have settled it; then there is nothing to give back.
        if let Err(error) = self.enter_own(key, Ask::Release { hold }, now) {
            tracing::warn!(%hold, %error, "what was set aside is not there any more");
        }
        MicroUnits(0)
    }

    /// Moves money by the index's own key, which nobody else can use.
    fn enter_own(
        &mut self,
        key: Key,
        ask: Ask,
        now: UnixMillis,
    ) -> Result<Transaction, ledger::Refused> {
        let request = Request {
            caller: Caller {
                peer: self.issuer.identity(),
                administrator: true,
            },
            key,
            ask,
            // Its keys are made of numbers that are used once, so none is on disk.
            seen: Seen::NotUpTo(self.ledger.last()),
        };
        self.ledger.apply(request, now)
    }
}

/// What a job costs, as it is shown; nothing where no money is in it.
pub(crate) fn charge(bill: Option<&Bill>, terms: Option<&Terms>) -> Option<Charge> {
    if bill.is_none() && terms.is_none() {
        return None;
    }
    Some(Charge {
        budget: bill.map(|bill| bill.budget),
        price: terms.map(|terms| terms.price),
        at_most: terms.map(|terms| terms.at_most).unwrap_or_default(),
        charged: bill.and_then(|bill| bill.charged),
        reservation: terms.and_then(|terms| terms.under),
    })
}

/// The time that an attempt may take.
fn wall(record: &Record) -> Millis {
    let open = record.open.as_ref();
    open.map_or(Millis(u64::MAX), |open| open.limits.wall)
}

/// How long the node of the last attempt has signed that it ran.
fn signed_time(job: &Job) -> Option<Millis> {
    let finished = job.finished.as_ref()?;
    let EventKind::Finished { receipt, .. } = &finished.kind else {
        return None;
    };
    let receipt = Signed::<Receipt>::from_bytes(receipt.clone()).and_then(|signed| signed.open());
    let receipt = receipt.ok()?;
    Some(Millis(
        receipt.ended_at.0.saturating_sub(receipt.started_at.0),
    ))
}

/// The index's own key for one movement of a job's money.
fn job_key(id: &JobId, what: &str) -> Result<Key, Refused> {
    own_key(&format!("job/{id}/{what}"))
}

/// A key of the index's own.
pub(super) fn own_key(name: &str) -> Result<Key, Refused> {
    Key::new(name.as_bytes()).map_err(|_| Refused::Ledger(ledger::Refused::Overflow))
}
