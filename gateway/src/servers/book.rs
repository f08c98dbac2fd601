//! Which servers there are, which job each has, and who may speak of a job. Pure: no IO,
//! no clock.
//!
//! A job is called at a server what its owner calls it, so that he can come there and ask
//! for it, unless that server has heard the name before: then it has a name that is new
//! there. So a name is of one attempt at one server, and a late word of an earlier one is
//! known by it.
//!
//! - `words`: what it holds.

mod words;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    cyxwiz::server::Server,
    port::{
        Principal,
        servers::{OfServed, ServerBeat, ServerView},
    },
};
use embermesh_job::units::MicroUnits;

use self::words::since;
pub(crate) use self::words::{Given, Grant, Known, Lapsed, Lease, Spoken, Task};

/// A server that was not heard of for so long is gone, and what it had is given to another.
/// They report every 10 seconds.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// A job of which a server that is there has said nothing for so long is not with it any
/// more.
pub(crate) const UNHEARD: Duration = Duration::from_secs(300);
/// How long a name is remembered: longer than any word of it is late.
pub(crate) const NAMES_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often it is written down that a server lives.
const KEPT_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How long a server is left alone that could not be called or did not take a job.
pub(crate) const SHUN: Duration = Duration::from_secs(60);
/// For how long a server is told with each sign of life to stop a job.
pub(crate) const STOPPING: Duration = Duration::from_secs(600);
/// The most servers that may be lost with one job.
pub(crate) const MAX_LOST: u32 = 3;
/// Jobs that a server is given side by side: the system counts it as full with four.
pub(crate) const PLACES: u32 = 4;
/// The most servers that are known.
const MAX_SERVERS: usize = 4096;
/// The most names that are remembered; with as many no job is given away.
const MAX_NAMES: usize = 200_000;
/// The most jobs that a sign of life is read for.
const MAX_BEAT: usize = 64;

type Name = (String, String);

/// Servers and jobs.
#[derive(Debug, Default)]
pub(crate) struct Book {
    servers: BTreeMap<String, Known>,
    tasks: BTreeMap<i64, Task>,
    names: BTreeMap<Name, Given>,
}

impl Book {
    /// Makes a server known, or known anew; whose it is has been seen to before.
    pub(crate) fn enroll(&mut self, id: String, mut known: Known) -> Result<(), Failure> {
        if let Some(before) = self.servers.get(&id) {
            known.stops.clone_from(&before.stops);
        } else if self.servers.len() >= MAX_SERVERS {
            let message = format!("{MAX_SERVERS} servers are known: there is no room for more");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        self.servers.insert(id, known);
        Ok(())
    }

    /// Whether any server is known, there or not.
    pub(crate) fn knows_any(&self) -> bool {
        !self.servers.is_empty()
    }

    /// The id of the server that somebody has at an address.
    pub(crate) fn at(&self, owner: &str, host: IpAddr, port: u16) -> Option<String> {
        let mut servers = self.servers.iter();
        let found = servers.find(|(_, known)| {
            known.owner == owner && known.host == host && known.offer.port == port
        });
        found.map(|(id, _)| id.clone())
    }

    /// A server of somebody's, which has said something now.
    fn heard(&mut self, who: &Principal, id: &str, now: UnixMillis) -> Result<(), Failure> {
        let known = self.servers.get_mut(id).ok_or_else(|| {
            Failure::not_found(format!("no server {id:?} is known: register it first"))
        })?;
        if known.owner != who.name {
            return Err(not_yours(id));
        }
        known.heard = Some(now);
        Ok(())
    }

    /// Takes a sign of life, and says which jobs that server shall stop.
    pub(crate) fn beat(
        &mut self,
        who: &Principal,
        id: &str,
        beat: ServerBeat,
        now: UnixMillis,
    ) -> Result<Vec<String>, Failure> {
        self.heard(who, id, now)?;
        let mut stops = BTreeMap::new();
        for name in beat.jobs.into_iter().take(MAX_BEAT) {
            if let Some(lease) = self.lease_mut(id, &name) {
                lease.seen = now;
            } else if self.has_heard(id, &name) {
                // What was never given from here is of no concern here.
                stops.insert(name, now);
            }
        }
        let Some(known) = self.servers.get_mut(id) else {
            return Ok(Vec::new());
        };
        known.free_memory = beat.free_memory;
        known.stops.retain(|_, told| since(now, *told) <= STOPPING);
        stops.extend(known.stops.clone());
        Ok(stops.into_keys().collect())
    }

    /// A server whose life has not been written down for long; it counts as written now.
    pub(crate) fn unwritten(&mut self, id: &str, now: UnixMillis) -> Option<Known> {
        let known = self.servers.get_mut(id)?;
        if since(now, known.kept) <= KEPT_EVERY {
            return None;
        }
        known.kept = now;
        Some(known.clone())
    }

    fn lease_mut(&mut self, server: &str, name: &str) -> Option<&mut Lease> {
        let number = self
            .names
            .get(&(server.to_owned(), name.to_owned()))?
            .number;
        let lease = self.tasks.get_mut(&number)?.lease.as_mut()?;
        (lease.server == server && lease.name == name).then_some(lease)
    }

    /// Every server.
    pub(crate) fn servers(&self, usual: MicroUnits, now: UnixMillis) -> Vec<ServerView> {
        let views = self.servers.iter().map(|(id, known)| {
            let running = u32::try_from(self.with(id).count()).unwrap_or(u32::MAX);
            ServerView {
                offer: known.offer.clone(),
                host: known.host.to_string(),
                price: known.price(usual).0,
                live: known.live(now),
                heard_at: known.heard,
                free_memory: known.free_memory,
                running,
                free_places: PLACES.saturating_sub(running),
            }
        });
        views.collect()
    }

    /// Takes a job in, a new one or one that was kept.
    pub(crate) fn add(&mut self, number: i64, mut task: Task, now: UnixMillis) {
        // Its server has the usual time to be heard of, whoever was away until now; what it
        // was asked for when this end stopped it may have begun.
        if let Some(lease) = &mut task.lease {
            lease.taken.get_or_insert(lease.given);
            lease.seen = now;
            if let Some(known) = self.servers.get_mut(&lease.server) {
                known.heard = Some(now);
            }
        }
        self.tasks.insert(number, task);
    }

    /// Remembers a name that was kept.
    pub(crate) fn remember(&mut self, name: Name, given: Given) {
        self.names.insert(name, given);
    }

    /// A job, as it stands.
    pub(crate) fn task(&self, number: i64) -> Option<&Task> {
        self.tasks.get(&number)
    }

    /// The hold of a job's budget.
    pub(crate) fn held(&mut self, number: i64, hold: String) {
        if let Some(task) = self.tasks.get_mut(&number) {
            task.hold = Some(hold);
        }
    }

    /// The jobs that nobody has, the oldest first.
    pub(crate) fn waiting(&self) -> Vec<i64> {
        let free = self.tasks.iter().filter(|(_, task)| task.lease.is_none());
        free.map(|(number, _)| *number).collect()
    }

    /// The jobs that are with servers.
    pub(crate) fn given(&self) -> Vec<(i64, Task)> {
        let given = self.tasks.iter().filter(|(_, task)| task.lease.is_some());
        given
            .map(|(number, task)| (*number, task.clone()))
            .collect()
    }

    /// Whom a server belongs to.
    pub(crate) fn owner_of(&self, server: &str) -> Option<&str> {
        Some(&self.servers.get(server)?.owner)
    }

    /// Where a server is.
    pub(crate) fn host_of(&self, server: &str) -> Option<IpAddr> {
        Some(self.servers.get(server)?.host)
    }

    /// Gives a job to a server that can take it: to one that has not heard its name, if
    /// there is one, with the least to do.
    pub(crate) fn grant(
        &mut self,
        number: i64,
        usual: MicroUnits,
        now: UnixMillis,
    ) -> Option<Grant> {
        if self.names.len() >= MAX_NAMES {
            let tasks = &self.tasks;
            self.names.retain(|_, given| {
                tasks.contains_key(&given.number) || since(now, given.at) <= NAMES_KEPT
            });
        }
        let task = self.tasks.get(&number)?;
        if task.lease.is_some() || self.names.len() >= MAX_NAMES {
            return None;
        }
        let servers = self.servers.iter();
        let fit = servers.filter(|(id, known)| self.fits(id, known, task, usual, now));
        let rank = |id: &String| {
            (
                self.has_heard(id, &task.id),
                self.with(id).count(),
                id.clone(),
            )
        };
        let (id, known) = fit.min_by_key(|(id, _)| rank(id))?;
        let (id, known) = (id.clone(), known.clone());
        let plain = !self.has_heard(&id, &task.id);
        let task = self.tasks.get_mut(&number)?;
        task.attempt += 1;
        let name = if plain {
            task.id.clone()
        } else {
            format!("{}.{number}.{}", task.id, task.attempt)
        };
        let lease = Lease {
            server: id.clone(),
            name: name.clone(),
            given: now,
            taken: None,
            seen: now,
            port: known.offer.port,
            price: known.price(usual),
        };
        task.lease = Some(lease.clone());
        let (attempt, task) = (task.attempt, task.clone());
        let given = Given {
            number,
            at: now,
            end: None,
        };
        self.names.insert((id.clone(), name), given);
        Some(Grant {
            server: Server {
                assign: SocketAddr::new(known.host, known.offer.assign_port),
                entry: SocketAddr::new(known.host, known.offer.port),
                form: known.offer.form,
                id,
            },
            attempt,
            task,
            lease,
        })
    }

    fn has_heard(&self, server: &str, name: &str) -> bool {
        let name = (server.to_owned(), name.to_owned());
        self.names.contains_key(&name)
    }

    fn with<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Task> {
        let has = move |task: &&Task| task.lease.as_ref().is_some_and(|lease| lease.server == id);
        self.tasks.values().filter(has)
    }

    /// Whether a server can take a job beside those that it has, by what it says of itself.
    fn fits(
        &self,
        id: &str,
        known: &Known,
        task: &Task,
        usual: MicroUnits,
        now: UnixMillis,
    ) -> bool {
        let requires = &task.spec.requires;
        let has = self.with(id).count();
        let taken: u64 = self.with(id).map(|task| task.spec.limits.memory.0).sum();
        let room = known.offer.memory;
        let price = known.price(usual);
        let is_paid = price.0 == 0
            || (task.budget.is_some() && requires.max_price.is_some_and(|most| price <= most));
        let device = requires.device.is_none_or(|kind| {
            let mut devices = known.offer.devices.iter();
            devices
                .any(|device| device.kind == Some(kind) && device.memory >= requires.min_memory.0)
        });
        let region = requires.region.as_ref();
        known.live(now)
            && known.shunned.is_none_or(|until| until <= now)
            && has < PLACES as usize
            && (room == 0 || taken.saturating_add(task.spec.limits.memory.0) <= room)
            && is_paid
            && device
            && region.is_none_or(|region| *region == known.offer.region)
    }

    /// A server has taken what it was asked to. Says no where that attempt is over.
    pub(crate) fn took(&mut self, number: i64, attempt: u32, now: UnixMillis) -> bool {
        let task = self.tasks.get_mut(&number);
        let task = task.filter(|task| task.attempt == attempt);
        let Some(lease) = task.and_then(|task| task.lease.as_mut()) else {
            return false;
        };
        lease.taken.get_or_insert(now);
        lease.seen = now;
        true
    }

    /// An attempt did not begin: the job waits again, and its server is left alone for a
    /// while. Says whether it was still that attempt. Where the server has said no, it has
    /// not taken the name either.
    pub(crate) fn refused(
        &mut self,
        number: i64,
        attempt: u32,
        said_no: bool,
        now: UnixMillis,
    ) -> bool {
        let task = self.tasks.get_mut(&number);
        let task = task.filter(|task| task.attempt == attempt);
        let Some(lease) = task.and_then(|task| task.lease.take()) else {
            return false;
        };
        if let Some(known) = self.servers.get_mut(&lease.server) {
            known.shunned = Some(now.saturating_add(SHUN));
        }
        if said_no {
            self.names.remove(&(lease.server, lease.name));
        } else {
            // It may have begun, and only the answer was lost.
            self.stop(&lease, now);
        }
        true
    }

    /// A server shall stop what it has by a lease.
    pub(crate) fn stop(&mut self, lease: &Lease, now: UnixMillis) {
        if let Some(known) = self.servers.get_mut(&lease.server) {
            known.stops.insert(lease.name.clone(), now);
        }
    }

    /// What somebody speaks of, if it is or was with that server of his: the server has
    /// been heard of with it.
    pub(crate) fn speaks(
        &mut self,
        who: &Principal,
        of: &OfServed,
        now: UnixMillis,
    ) -> Result<Spoken, Failure> {
        self.heard(who, &of.server, now)?;
        let name = (of.server.clone(), of.job.clone());
        let given = self.names.get(&name).ok_or_else(|| {
            let message = format!("the server {:?} was given no job {:?}", of.server, of.job);
            Failure::not_found(message)
        })?;
        let (number, end) = (given.number, given.end.clone());
        if let Some(lease) = self.lease_mut(&of.server, &of.job) {
            lease.seen = now;
            lease.taken.get_or_insert(now);
            return Ok(Spoken::Has(number));
        }
        end.map(Spoken::Ended).ok_or_else(|| {
            let message = format!(
                "the job {:?} is not with the server {:?} any more: stop it",
                of.job, of.server
            );
            Failure::new(ErrorCode::Precondition, message)
        })
    }

    /// Its client reaches a job's server at another port than it said.
    pub(crate) fn moved(&mut self, number: i64, port: u16) {
        let task = self.tasks.get_mut(&number);
        if let Some(lease) = task.and_then(|task| task.lease.as_mut()) {
            lease.port = port;
        }
    }

    /// Takes the jobs back whose servers are gone, or have lost them.
    pub(crate) fn lapse(&mut self, now: UnixMillis) -> Vec<Lapsed> {
        let mut lapsed = Vec::new();
        for (number, task) in &mut self.tasks {
            let Some(lease) = &task.lease else { continue };
            let known = self.servers.get_mut(&lease.server);
            let is_there = known.as_ref().is_some_and(|known| known.live(now));
            let is_said = lease.taken.is_none() || since(now, lease.seen) <= UNHEARD;
            if is_there && is_said {
                continue;
            }
            if let Some(known) = known {
                known.stops.insert(lease.name.clone(), now);
            }
            let server = lease.server.clone();
            task.lease = None;
            task.lost += 1;
            lapsed.push(Lapsed {
                number: *number,
                server,
                again: task.lost < MAX_LOST,
            });
        }
        lapsed
    }

    /// A job is over, or goes to the mesh.
    pub(crate) fn close(&mut self, number: i64) -> Option<Task> {
        self.tasks.remove(&number)
    }

    /// A server has ended a job, and was paid so.
    pub(crate) fn ended(&mut self, lease: &Lease, paid: Option<String>) {
        let name = (lease.server.clone(), lease.name.clone());
        if let Some(given) = self.names.get_mut(&name) {
            given.end = Some(paid);
        }
    }
}

fn not_yours(what: &str) -> Failure {
    Failure::new(
        ErrorCode::Denied,
        format!("{what:?} is not yours: you may speak for your own servers"),
    )
}

#[cfg(test)]
impl Book {
    fn stops(&self, id: &str) -> Vec<String> {
        self.servers[id].stops.keys().cloned().collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
