//! The port: servers, and jobs for them.

use std::{net::IpAddr, sync::Arc};

use embermesh_crypto::{JobId, UnixMillis};
use embermesh_dialects::{
    Dialect, Failure,
    port::{
        Principal,
        jobs::{JobView, Jobs, Payment, Submission},
        reservations::{ReservationFilter, Reservations as _},
        servers::{Enrolled, Entry, Package, ServerBeat, ServerOffer, ServerView, Servers},
    },
};
use embermesh_job::{place::Pays, units::MicroUnits};

use super::{
    book::{Known, Task},
    token,
};
use crate::{Gateway, failure::store_failed, users::pins::PinKind};

/// What a job is told that nobody takes yet.
pub(super) const WAITS: &str =
    "it waits for a node that takes it, or for a server that is there and fits it";

/// A hexadecimal name of 16 random bytes.
fn drawn() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| store_failed(&error))?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

/// An id for a job whose owner does not call it anything.
fn unnamed() -> Result<String, Failure> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| store_failed(&error))?;
    Ok(JobId::v7(UnixMillis::now(), random).to_string())
}

/// How somebody pays who has such a budget.
pub(super) fn pays(budget: Option<MicroUnits>) -> Pays {
    budget.map_or(Pays::Nothing, Pays::AtMost)
}

impl Gateway {
    /// The id of a server that joins: the one that it says, which must be its owner's, else
    /// the one that it has had at its address, else a new one.
    async fn server_id(
        &self,
        who: &Principal,
        host: IpAddr,
        offer: &ServerOffer,
    ) -> Result<String, Failure> {
        let id = if offer.id.is_empty() {
            let known = self.inner.rack.book().at(&who.name, host, offer.port);
            match known {
                Some(id) => id,
                None => drawn()?,
            }
        } else {
            offer.id.clone()
        };
        if id.parse::<embermesh_crypto::PeerId>().is_ok() {
            let message = "node_id: it is that of a node of the mesh: choose another";
            return Err(Failure::invalid(message));
        }
        let holder = format!("user:{}", who.name);
        let users = &self.inner.users;
        users
            .pin(PinKind::Worker, Dialect::CyxWiz, &id, &holder)
            .await?;
        Ok(id)
    }

    /// What a job may cost.
    async fn budget_of(
        &self,
        who: &Principal,
        job: &Submission,
    ) -> Result<Option<MicroUnits>, Failure> {
        Ok(match &job.payment {
            None => None,
            Some(Payment::AtMost(most)) => Some(MicroUnits(*most)),
            Some(Payment::Hold(hold)) => Some(MicroUnits(self.held(who, hold).await?)),
        })
    }

    /// Whether somebody has a node of the mesh for himself, which takes what no other does.
    async fn has_reserved(&self, who: &Principal) -> bool {
        let filter = ReservationFilter {
            open_only: true,
            most: 1,
            ..ReservationFilter::default()
        };
        let found = self.reservations(who, filter).await;
        found.is_ok_and(|found| found.total > 0)
    }

    /// Writes down how a job stands.
    pub(super) async fn keep_served(&self, number: i64, task: &Task) -> Result<(), Failure> {
        let kept = self.inner.store.keep_served(number, task).await;
        kept.map_err(|error| store_failed(&error))
    }

    /// Takes a job on that waits here, for the mesh or for a server.
    async fn wait_for_servers(
        &self,
        who: &Principal,
        mut job: Submission,
        package: Package,
        budget: Option<MicroUnits>,
    ) -> Result<JobView, Failure> {
        let id = match job.foreign_id.take() {
            Some(id) => id,
            None => unnamed()?,
        };
        job.foreign_id = Some(id.clone());
        let task = Task {
            owner: who.clone(),
            id,
            spec: Arc::new(job.spec.clone()),
            package,
            budget,
            hold: None,
            key: drawn()?,
            attempt: 0,
            lost: 0,
            lease: None,
        };
        let escrow = self.note_budget(who, &mut job).await?;
        let (kept, live) = self.keep(who, job).await?;
        let number = kept.number;
        live.change(|view| WAITS.clone_into(&mut view.message));
        if let Err(failure) = self.begin_waiting(number, task, escrow).await {
            self.inner.rack.book().close(number);
            self.drop_kept(number).await?;
            return Err(failure);
        }
        self.inner.rack.wake.notify_one();
        Ok(live.view())
    }

    /// Has a kept job wait, once its budget is set aside.
    async fn begin_waiting(
        &self,
        number: i64,
        task: Task,
        escrow: Option<String>,
    ) -> Result<(), Failure> {
        // First its row: what is set aside is found again by what names it there.
        self.keep_served(number, &task).await?;
        if let Some(escrow) = escrow {
            self.free(&task.owner, &escrow).await?;
        }
        let held = self.hold_for(&task).await?;
        let task = Task { hold: held, ..task };
        self.keep_served(number, &task).await?;
        let mut book = self.inner.rack.book();
        book.add(number, task, UnixMillis::now());
        Ok(())
    }
}

#[tonic::async_trait]
impl Servers for Gateway {
    async fn enroll(
        &self,
        who: &Principal,
        remote: Option<IpAddr>,
        mut offer: ServerOffer,
    ) -> Result<Enrolled, Failure> {
        let host = remote.ok_or_else(|| {
            Failure::invalid("a server registers from where it can be called: by TCP")
        })?;
        let host = host.to_canonical();
        let id = self.server_id(who, host, &offer).await?;
        offer.id.clone_from(&id);
        let now = UnixMillis::now();
        let known = Known {
            owner: who.name.clone(),
            offer,
            host,
            heard: Some(now),
            kept: now,
            shunned: None,
            free_memory: None,
            stops: std::collections::BTreeMap::new(),
        };
        self.inner.rack.book().enroll(id.clone(), known.clone())?;
        let kept = self.inner.store.keep_server(&id, &known, now).await;
        kept.map_err(|error| store_failed(&error))?;
        tracing::info!(server = id, %host, %who, "a server has joined");
        self.inner.rack.wake.notify_one();
        let key = self.inner.clients.server_key(&id);
        Ok(Enrolled { id, key })
    }

    async fn alive(
        &self,
        who: &Principal,
        server: &str,
        beat: ServerBeat,
    ) -> Result<Vec<String>, Failure> {
        let now = UnixMillis::now();
        let (stops, stale) = {
            let mut book = self.inner.rack.book();
            let stops = book.beat(who, server, beat, now)?;
            (stops, book.unwritten(server, now))
        };
        if let Some(known) = stale {
            let kept = self.inner.store.keep_server(server, &known, now).await;
            kept.map_err(|error| store_failed(&error))?;
        }
        Ok(stops)
    }

    async fn servers(&self) -> Result<Vec<ServerView>, Failure> {
        let rack = &self.inner.rack;
        Ok(rack.book().servers(rack.price, UnixMillis::now()))
    }

    async fn take_on(
        &self,
        who: &Principal,
        job: Submission,
        package: Option<Package>,
    ) -> Result<JobView, Failure> {
        let package = package.filter(|_| job.spec.requires.nodes.is_empty());
        let known = self.inner.rack.book().knows_any();
        let Some(package) = package.filter(|_| known) else {
            return Jobs::submit(self, who, job).await;
        };
        let budget = self.budget_of(who, &job).await?;
        let nodes = self.nodes_that_could().await;
        if self.takes(&job.spec, who, pays(budget), &nodes) || self.has_reserved(who).await {
            return Jobs::submit(self, who, job).await;
        }
        self.wait_for_servers(who, job, package, budget).await
    }

    async fn entry(&self, who: &Principal, job: &str) -> Result<Option<Entry>, Failure> {
        let kept = self.inner.store.find(who, job).await;
        let Some(kept) = kept.map_err(|error| store_failed(&error))? else {
            return Ok(None);
        };
        let found = {
            let book = self.inner.rack.book();
            book.task(kept.number).and_then(|task| {
                let lease = task.lease.as_ref().filter(|lease| lease.taken.is_some())?;
                // Under another name its owner would not find it there.
                let is_his = lease.name == task.id;
                let host = book.host_of(&lease.server).filter(|_| is_his)?;
                Some((lease.clone(), host))
            })
        };
        let Some((lease, host)) = found else {
            return Ok(None);
        };
        let key = self.inner.clients.server_key(&lease.server);
        let now = UnixMillis::now();
        let issued = token::issue(&key, &who.name, &lease.server, &lease.name, now);
        let (token, expires_at) = issued.map_err(|error| store_failed(&error))?;
        let endpoint = std::net::SocketAddr::new(host, lease.port).to_string();
        Ok(Some(Entry {
            server: lease.server,
            endpoint,
            token,
            expires_at,
        }))
    }
}
