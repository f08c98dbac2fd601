//! A port in memory. A token is the name of its bearer.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Dialect, ErrorCode, Failure, Mount, Profile,
    port::{
        Principal,
        accounts::{Accounts, Balance, Hold, Micros, Movement},
        jobs::{
            BUDGET, JobFilter, JobPage, JobUpdate, JobView, Jobs, LogPiece, Payment, Submission,
        },
        models::{Load, ModelView, Models},
        nodes::{NodeView, Nodes},
        users::{Credentials, Session, Users},
    },
};
use embermesh_job::{
    ask::{Ask, Part},
    lifecycle::JobState,
    spec::JobSpec,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::broadcast;
use tonic::{
    Request,
    transport::{Channel, Server, server::TcpIncoming},
};

use crate::{rooms::Rooms, servers::Rack};

/// What the port has been told.
#[derive(Default)]
pub(crate) struct Kept {
    /// Jobs in the order in which they came, each with what it was submitted as.
    pub(crate) jobs: Vec<(JobView, Submission)>,
    /// Accounts by name.
    pub(crate) funds: BTreeMap<String, Balance>,
    /// Open holds: whose, and how much.
    pub(crate) holds: BTreeMap<String, (String, Micros)>,
    /// What moved, by whose history it is in.
    pub(crate) moved: Vec<(String, Movement)>,
    /// What each key has done.
    pub(crate) keys: BTreeMap<String, String>,
    /// Nodes.
    pub(crate) nodes: Vec<NodeView>,
    /// Whether a name is believed without a token.
    pub(crate) legacy: bool,
    /// What the next submit comes to, where that is no job.
    pub(crate) refusal: Option<Failure>,
    /// The names that calls without a token have given.
    pub(crate) claimed: Vec<Option<String>>,
    /// Models, deployments and reservations.
    pub(crate) rooms: Rooms,
    /// Server nodes.
    pub(crate) rack: Rack,
}

/// The port.
pub(crate) struct Memory {
    kept: Mutex<Kept>,
    news: broadcast::Sender<(String, JobUpdate)>,
}

impl Memory {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// Changes a job, and tells whoever watches it.
    pub(crate) fn change(&self, id: &str, how: impl FnOnce(&mut JobView)) {
        let mut kept = self.kept();
        let job = kept.jobs.iter_mut().find(|(job, _)| job.id == id);
        let (job, _) = job.unwrap();
        how(job);
        let said = JobUpdate::Changed(Box::new(job.clone()));
        let _ = self.news.send((id.to_owned(), said));
    }

    /// How many watch a job.
    pub(crate) fn watched(&self) -> usize {
        self.news.receiver_count()
    }

    /// Says a word of a job to whoever watches it.
    pub(crate) fn say(&self, id: &str, word: JobUpdate) {
        self.news.send((id.to_owned(), word)).unwrap();
    }

    fn find(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        let kept = self.kept();
        let mut jobs = kept.jobs.iter();
        let job = jobs.find(|(job, _)| job.owner == *who && job.id == id);
        let unknown = || Failure::not_found(format!("no job {id:?} of yours"));
        Ok(job.ok_or_else(unknown)?.0.clone())
    }
}

/// Serves CyxWiz in one form of its wire.
pub(crate) async fn serve(profile: Profile) -> (Arc<Memory>, Channel) {
    let memory = Arc::new(Memory {
        kept: Mutex::default(),
        news: broadcast::channel(64).0,
    });
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let mount = Mount::default().cyxwiz(&memory, profile);
    let mount = mount.cyxwiz_models(&memory, profile);
    let routes = mount.cyxwiz_reservations(&memory, profile);
    let routes = routes.onto(tonic::service::Routes::default());
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    (memory, channel.connect().await.unwrap())
}

/// A call by somebody.
pub(crate) fn by<T>(name: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {name}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

pub(crate) fn who(name: &str) -> Principal {
    Principal {
        dialect: Dialect::CyxWiz,
        name: name.to_owned(),
    }
}

#[tonic::async_trait]
impl Users for Memory {
    async fn authenticate(&self, _: Dialect, said: Credentials) -> Result<Principal, Failure> {
        if let Some(token) = said.token {
            return Ok(who(&token));
        }
        let mut kept = self.kept();
        kept.claimed.push(said.claimed.clone());
        match said.claimed {
            Some(name) if kept.legacy && said.remote.is_some() => Ok(who(&name)),
            _ => Err(Failure::new(ErrorCode::Unauthenticated, "send a token")),
        }
    }

    async fn register(
        &self,
        _: Dialect,
        _: &str,
        _: &str,
        _: Option<IpAddr>,
    ) -> Result<(), Failure> {
        unreachable!("the system has no such call")
    }

    async fn login(
        &self,
        _: Dialect,
        _: &str,
        _: &str,
        _: Option<IpAddr>,
    ) -> Result<Session, Failure> {
        unreachable!("the system has no such call")
    }
}

#[tonic::async_trait]
impl Jobs for Memory {
    async fn submit(&self, who: &Principal, job: Submission) -> Result<JobView, Failure> {
        let mut kept = self.kept();
        if let Some(refusal) = kept.refusal.take() {
            return Err(refusal);
        }
        let budget = match &job.payment {
            None => None,
            Some(Payment::AtMost(budget)) => Some(*budget),
            Some(Payment::Hold(hold)) => {
                let held = kept.holds.get(hold).filter(|(of, _)| *of == who.name);
                let held = held.cloned();
                let (_, budget) = held.ok_or_else(|| Failure::not_found("no such hold"))?;
                kept.holds.remove(hold);
                Some(budget)
            }
        };
        let mut notes = job.notes.clone();
        notes.extend(budget.map(|budget| (BUDGET.to_owned(), budget.to_string())));
        let number = kept.jobs.len();
        let id = job.foreign_id.clone();
        let view = JobView {
            id: id.unwrap_or_else(|| format!("job-{number}")),
            owner: who.clone(),
            state: JobState::Queued,
            progress: 0.0,
            pass: (0, 0),
            metrics: BTreeMap::new(),
            node: None,
            submitted_at: UnixMillis(1_000),
            started_at: None,
            ended_at: None,
            message: String::new(),
            artifacts: Vec::new(),
            receipt: None,
            assignment: None,
            notes,
        };
        kept.jobs.push((view.clone(), job));
        Ok(view)
    }

    async fn job(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        self.find(who, id)
    }

    async fn jobs(&self, who: &Principal, filter: JobFilter) -> Result<JobPage, Failure> {
        let kept = self.kept();
        let meant = |job: &JobView| {
            job.owner == *who
                && (filter.states.is_empty() || filter.states.contains(&job.state))
                && filter
                    .note
                    .as_ref()
                    .is_none_or(|(name, value)| job.notes.get(name) == Some(value))
        };
        let mut found: Vec<(usize, &JobView)> = kept
            .jobs
            .iter()
            .map(|(job, _)| job)
            .enumerate()
            .filter(|(_, job)| meant(job))
            .collect();
        let total = found.len() as u64;
        found.reverse();
        let before: usize = filter
            .after
            .map_or(usize::MAX, |after| after.parse().unwrap());
        found.retain(|(place, _)| *place < before);
        let most = if filter.most == 0 { 50 } else { filter.most };
        let page = &found[..most.min(found.len())];
        let next = page.last().filter(|_| found.len() > most);
        Ok(JobPage {
            jobs: page.iter().map(|(_, job)| (*job).clone()).collect(),
            next: next.map(|(place, _)| place.to_string()),
            total,
        })
    }

    async fn watch(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<BoxStream<'static, Result<JobUpdate, Failure>>, Failure> {
        self.find(who, id)?;
        let id = id.to_owned();
        // Nothing is said until there is news, so that a test sees what the answer waits for.
        let news = stream::unfold(self.news.subscribe(), move |mut news| {
            let id = id.clone();
            async move {
                loop {
                    let (of, word) = news.recv().await.ok()?;
                    if of == id {
                        return Some((Ok(word), news));
                    }
                }
            }
        });
        Ok(news.boxed())
    }

    async fn cancel(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        self.find(who, id)?;
        self.change(id, |job| job.state = JobState::Cancelled);
        self.find(who, id)
    }

    async fn forget(&self, who: &Principal, id: &str) -> Result<(), Failure> {
        let job = self.find(who, id)?;
        if !job.state.is_final() {
            return Err(Failure::new(ErrorCode::Precondition, "cancel it first"));
        }
        self.kept().jobs.retain(|(kept, _)| kept.id != job.id);
        Ok(())
    }

    async fn log(&self, _: &Principal, _: &str) -> Result<Vec<LogPiece>, Failure> {
        unreachable!("the system has no such call")
    }

    async fn artifact(
        &self,
        _: &Principal,
        id: &str,
        name: &str,
        range: Range<u64>,
    ) -> Result<Bytes, Failure> {
        // Every artifact is its job's and its own name, again and again.
        let bytes = format!("{id}/{name} ").into_bytes().into_iter().cycle();
        let length = usize::try_from(range.end - range.start).unwrap();
        Ok(bytes.take(length).collect())
    }
}

impl Kept {
    fn moves(&mut self, name: &str, kind: &'static str, amount: i64, subject: &str) -> Movement {
        let movement = Movement {
            id: format!("{}", self.moved.len() + 1),
            at: UnixMillis(7_000),
            amount,
            kind,
            subject: subject.to_owned(),
        };
        self.moved.push((name.to_owned(), movement.clone()));
        movement
    }
}

#[tonic::async_trait]
impl Accounts for Memory {
    async fn balance(&self, who: &Principal) -> Result<Balance, Failure> {
        Ok(self
            .kept()
            .funds
            .get(&who.name)
            .copied()
            .unwrap_or_default())
    }

    async fn hold(
        &self,
        who: &Principal,
        amount: Micros,
        subject: &str,
        expires: UnixMillis,
        key: &str,
    ) -> Result<Hold, Failure> {
        let mut kept = self.kept();
        let key = format!("{}/{key}", who.name);
        if let Some(id) = kept.keys.get(&key).cloned() {
            return Ok(Hold {
                id,
                amount,
                expires,
            });
        }
        let funds = kept.funds.entry(who.name.clone()).or_default();
        if funds.available < amount {
            return Err(Failure::new(ErrorCode::Precondition, "there is too little"));
        }
        funds.available -= amount;
        funds.held += amount;
        let out = -i64::try_from(amount).unwrap();
        let id = kept.moves(&who.name, "hold", out, subject).id;
        kept.holds.insert(id.clone(), (who.name.clone(), amount));
        kept.keys.insert(key, id.clone());
        Ok(Hold {
            id,
            amount,
            expires,
        })
    }

    async fn settle(
        &self,
        who: &Principal,
        hold: &str,
        to: Option<&Principal>,
        key: &str,
    ) -> Result<Movement, Failure> {
        let mut kept = self.kept();
        let key = format!("{}/{key}", who.name);
        if let Some(id) = kept.keys.get(&key) {
            let mut moved = kept.moved.iter();
            return Ok(moved.find(|(_, one)| one.id == *id).unwrap().1.clone());
        }
        let open = kept.holds.get(hold).cloned();
        let Some((_, amount)) = open.filter(|(payer, _)| *payer == who.name) else {
            return Err(Failure::not_found("there is no such hold of yours"));
        };
        kept.holds.remove(hold);
        kept.funds.get_mut(&who.name).unwrap().held -= amount;
        let heir = to.unwrap_or(who).name.clone();
        kept.funds.entry(heir).or_default().available += amount;
        let movement = match to {
            None => kept.moves(&who.name, "release", i64::try_from(amount).unwrap(), ""),
            Some(_) => kept.moves(&who.name, "capture", 0, ""),
        };
        kept.keys.insert(key, movement.id.clone());
        Ok(movement)
    }

    async fn transfer(
        &self,
        _: &Principal,
        _: &Principal,
        _: Micros,
        _: &str,
    ) -> Result<Movement, Failure> {
        unreachable!("the system has no such call")
    }

    async fn history(
        &self,
        who: &Principal,
        skip: usize,
        most: usize,
    ) -> Result<(Vec<Movement>, u64), Failure> {
        let kept = self.kept();
        let own = kept
            .moved
            .iter()
            .rev()
            .filter(|(name, _)| *name == who.name);
        let own: Vec<Movement> = own.map(|(_, one)| one.clone()).collect();
        let total = own.len() as u64;
        Ok((own.into_iter().skip(skip).take(most).collect(), total))
    }

    async fn quote(&self, spec: &JobSpec) -> Result<Micros, Failure> {
        // A unit an hour.
        Ok(spec.limits.wall.0 * 1_000 / 3_600)
    }
}

#[tonic::async_trait]
impl Nodes for Memory {
    async fn nodes(&self) -> Result<Vec<NodeView>, Failure> {
        Ok(self.kept().nodes.clone())
    }
}

#[tonic::async_trait]
impl Models for Memory {
    async fn models(&self, _: &Principal) -> Result<Vec<ModelView>, Failure> {
        unreachable!("no service asks")
    }

    fn load(&self, _: &str) -> Load {
        Load::default()
    }

    async fn ask(
        &self,
        _: &Principal,
        _: &str,
        _: Ask,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure> {
        unreachable!("no service asks")
    }
}
