//! The ports in memory: every verb keeps its promises over maps, so that the tests see
//! what the adapters make of them.

#![allow(dead_code, reason = "no test uses all of it")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis};
use embermesh_dialects::{
    Dialect, ErrorCode, Failure, Mount, Profile,
    port::{
        Principal,
        accounts::{Accounts, Balance, Hold, Micros, Movement},
        jobs::{JobFilter, JobPage, JobUpdate, JobView, Jobs, LogPiece, Submission},
        models::{Load, ModelView, Models},
        nodes::{NodeView, Nodes},
        users::{Credentials, Session, Users},
        workers::{OfTask, Offer, Reports, WorkerView, Workers},
    },
};
use embermesh_job::{
    ask::{Ask, Part},
    event::{Artifact, LogStream},
    lifecycle::JobState,
    spec::JobSpec,
};
use futures::stream::BoxStream;
use tonic::{
    service::Routes,
    transport::{Channel, Server, server::TcpIncoming},
};

/// Everything that is kept.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) now: u64,
    pub(crate) passwords: BTreeMap<String, String>,
    pub(crate) sessions: BTreeMap<String, (String, u64)>,
    pub(crate) jobs: Vec<(JobView, Submission)>,
    pub(crate) logs: BTreeMap<String, Vec<LogPiece>>,
    pub(crate) results: BTreeMap<(String, String), Bytes>,
    pub(crate) balances: BTreeMap<String, Micros>,
    pub(crate) nodes: Vec<NodeView>,
    /// Worker to its owner.
    pub(crate) workers: BTreeMap<String, (String, Offer)>,
    /// Task to the worker that was given it.
    pub(crate) given: BTreeMap<String, String>,
    /// What workers would be sent.
    pub(crate) packages: Vec<Bytes>,
    /// What workers have said of tasks.
    pub(crate) said: Vec<(String, String)>,
}

/// The ports.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Kept>);

impl Memory {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    /// Ends a job.
    pub(crate) fn end(&self, id: &str, state: JobState, message: &str) {
        let mut kept = self.kept();
        let job = kept.jobs.iter_mut().find(|(job, _)| job.id == id);
        let (job, _) = job.unwrap();
        job.state = state;
        message.clone_into(&mut job.message);
        job.ended_at = Some(UnixMillis(3500));
    }

    /// Gives a job a result.
    pub(crate) fn make(&self, id: &str, name: &str, bytes: &[u8]) {
        let mut kept = self.kept();
        let bytes = Bytes::copy_from_slice(bytes);
        let artifact = Artifact {
            name: name.to_owned(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        let job = kept.jobs.iter_mut().find(|(job, _)| job.id == id);
        job.unwrap().0.artifacts.push(artifact);
        kept.results.insert((id.to_owned(), name.to_owned()), bytes);
    }

    /// Lets a job write.
    pub(crate) fn write(&self, id: &str, stream: LogStream, text: &str) {
        let piece = LogPiece {
            at: UnixMillis(0),
            stream,
            text: text.to_owned(),
        };
        let mut kept = self.kept();
        kept.logs.entry(id.to_owned()).or_default().push(piece);
    }
}

fn fail(code: ErrorCode) -> Failure {
    Failure::new(code, "refused")
}

#[tonic::async_trait]
impl Users for Memory {
    async fn authenticate(
        &self,
        dialect: Dialect,
        credentials: Credentials,
    ) -> Result<Principal, Failure> {
        let kept = self.kept();
        let session = credentials
            .token
            .and_then(|token| kept.sessions.get(&token));
        let session = session.filter(|(_, ends)| *ends > kept.now);
        let (name, _) = session.ok_or_else(|| fail(ErrorCode::Unauthenticated))?;
        Ok(Principal {
            dialect,
            name: name.clone(),
        })
    }

    async fn register(
        &self,
        _: Dialect,
        name: &str,
        password: &str,
        remote: Option<IpAddr>,
    ) -> Result<(), Failure> {
        assert!(remote.is_some_and(|remote| remote.is_loopback()));
        let mut kept = self.kept();
        if kept.passwords.contains_key(name) {
            return Err(fail(ErrorCode::Exists));
        }
        if password.len() < 8 {
            return Err(fail(ErrorCode::Invalid));
        }
        kept.passwords.insert(name.to_owned(), password.to_owned());
        Ok(())
    }

    async fn login(
        &self,
        _: Dialect,
        name: &str,
        password: &str,
        _: Option<IpAddr>,
    ) -> Result<Session, Failure> {
        let mut kept = self.kept();
        let right = kept.passwords.get(name);
        if *right.ok_or_else(|| fail(ErrorCode::NotFound))? != password {
            return Err(fail(ErrorCode::Unauthenticated));
        }
        let token = format!("token-of-{name}");
        let ends = kept.now + 1000;
        kept.sessions.insert(token.clone(), (name.to_owned(), ends));
        Ok(Session {
            token,
            expires: UnixMillis(ends),
        })
    }
}

impl Kept {
    fn job(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        let mut jobs = self.jobs.iter().map(|(job, _)| job);
        let job = jobs.find(|job| job.owner == *who && job.id == id);
        job.cloned().ok_or_else(|| fail(ErrorCode::NotFound))
    }
}

#[tonic::async_trait]
impl Jobs for Memory {
    async fn submit(&self, who: &Principal, job: Submission) -> Result<JobView, Failure> {
        let valid = job.spec.validate();
        valid.map_err(|error| Failure::invalid(error.to_string()))?;
        let view = JobView {
            id: job.foreign_id.clone().unwrap(),
            owner: who.clone(),
            state: JobState::Queued,
            progress: 0.0,
            pass: (0, 0),
            metrics: BTreeMap::new(),
            node: None,
            submitted_at: UnixMillis(1500),
            started_at: None,
            ended_at: None,
            message: String::new(),
            artifacts: Vec::new(),
            receipt: None,
            assignment: None,
            notes: BTreeMap::new(),
        };
        self.kept().jobs.push((view.clone(), job));
        Ok(view)
    }

    async fn job(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        self.kept().job(who, id)
    }

    /// Two a page.
    async fn jobs(&self, who: &Principal, filter: JobFilter) -> Result<JobPage, Failure> {
        let kept = self.kept();
        let own = kept.jobs.iter().rev().map(|(job, _)| job);
        let own: Vec<_> = own.filter(|job| job.owner == *who).cloned().collect();
        let skip: usize = filter.after.map_or(0, |after| after.parse().unwrap());
        Ok(JobPage {
            jobs: own.iter().skip(skip).take(2).cloned().collect(),
            next: (skip + 2 < own.len()).then(|| (skip + 2).to_string()),
            total: own.len() as u64,
        })
    }

    async fn watch(
        &self,
        _: &Principal,
        _: &str,
    ) -> Result<BoxStream<'static, Result<JobUpdate, Failure>>, Failure> {
        Err(fail(ErrorCode::Unimplemented))
    }

    async fn cancel(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        self.kept().job(who, id)?;
        self.end(id, JobState::Cancelled, "stopped by its owner");
        self.kept().job(who, id)
    }

    async fn forget(&self, _: &Principal, _: &str) -> Result<(), Failure> {
        panic!("a result can be fetched again, so nothing is forgotten")
    }

    async fn log(&self, who: &Principal, id: &str) -> Result<Vec<LogPiece>, Failure> {
        let kept = self.kept();
        kept.job(who, id)?;
        Ok(kept.logs.get(id).cloned().unwrap_or_default())
    }

    async fn artifact(
        &self,
        who: &Principal,
        id: &str,
        name: &str,
        range: Range<u64>,
    ) -> Result<Bytes, Failure> {
        let kept = self.kept();
        kept.job(who, id)?;
        let bytes = kept.results.get(&(id.to_owned(), name.to_owned()));
        let bytes = bytes.ok_or_else(|| fail(ErrorCode::NotFound))?;
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        Ok(bytes.slice(range))
    }
}

#[tonic::async_trait]
impl Accounts for Memory {
    async fn balance(&self, who: &Principal) -> Result<Balance, Failure> {
        let available = self.kept().balances.get(&who.name).copied();
        Ok(Balance {
            available: available.unwrap_or_default(),
            held: 0,
        })
    }

    async fn hold(
        &self,
        _: &Principal,
        _: Micros,
        _: &str,
        _: UnixMillis,
        _: &str,
    ) -> Result<Hold, Failure> {
        Err(fail(ErrorCode::Unimplemented))
    }

    async fn settle(
        &self,
        _: &Principal,
        _: &str,
        _: Option<&Principal>,
        _: &str,
    ) -> Result<Movement, Failure> {
        Err(fail(ErrorCode::Unimplemented))
    }

    async fn transfer(
        &self,
        who: &Principal,
        to: &Principal,
        amount: Micros,
        key: &str,
    ) -> Result<Movement, Failure> {
        let mut kept = self.kept();
        if !kept.passwords.contains_key(&to.name) {
            return Err(fail(ErrorCode::NotFound));
        }
        let has = kept.balances.entry(who.name.clone()).or_default();
        *has = has
            .checked_sub(amount)
            .ok_or_else(|| fail(ErrorCode::Exhausted))?;
        *kept.balances.entry(to.name.clone()).or_default() += amount;
        Ok(Movement {
            id: key.to_owned(),
            at: UnixMillis(0),
            amount: -i64::try_from(amount).unwrap(),
            kind: "transfer",
            subject: to.name.clone(),
        })
    }

    async fn history(
        &self,
        _: &Principal,
        _: usize,
        _: usize,
    ) -> Result<(Vec<Movement>, u64), Failure> {
        Err(fail(ErrorCode::Unimplemented))
    }

    async fn quote(&self, _: &JobSpec) -> Result<Micros, Failure> {
        Err(fail(ErrorCode::Unimplemented))
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
    fn load(&self, _: &str) -> Load {
        Load::default()
    }

    async fn models(&self, _: &Principal) -> Result<Vec<ModelView>, Failure> {
        Ok(Vec::new())
    }

    async fn ask(
        &self,
        _: &Principal,
        _: &str,
        _: Ask,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure> {
        Err(fail(ErrorCode::Unimplemented))
    }
}

impl Kept {
    /// Whether a caller's worker was given a task.
    fn given(&self, who: &Principal, of: &OfTask) -> Result<(), Failure> {
        let worker = self
            .given
            .get(&of.task)
            .ok_or_else(|| fail(ErrorCode::NotFound))?;
        let named = of.worker.as_ref().is_none_or(|named| named == worker);
        let owned = self
            .workers
            .get(worker)
            .is_some_and(|(owner, _)| *owner == who.name);
        if named && owned {
            Ok(())
        } else {
            Err(fail(ErrorCode::Denied))
        }
    }
}

#[tonic::async_trait]
impl Workers for Memory {
    async fn enroll(
        &self,
        dialect: Dialect,
        credentials: Credentials,
        offer: Offer,
    ) -> Result<(), Failure> {
        let who = self.authenticate(dialect, credentials).await?;
        let mut kept = self.kept();
        if kept
            .workers
            .get(&offer.id)
            .is_some_and(|(owner, _)| *owner != who.name)
        {
            return Err(fail(ErrorCode::Denied));
        }
        kept.workers.insert(offer.id.clone(), (who.name, offer));
        Ok(())
    }

    async fn alive(&self, who: &Principal, worker: &str, _: &str) -> Result<(), Failure> {
        let kept = self.kept();
        let (owner, _) = kept
            .workers
            .get(worker)
            .ok_or_else(|| fail(ErrorCode::NotFound))?;
        if *owner == who.name {
            Ok(())
        } else {
            Err(fail(ErrorCode::Denied))
        }
    }

    async fn workers(&self, _: Dialect) -> Result<Vec<WorkerView>, Failure> {
        let kept = self.kept();
        let workers = kept.workers.values().map(|(_, offer)| WorkerView {
            offer: offer.clone(),
            live: true,
            last_heard: Some(UnixMillis(4500)),
        });
        Ok(workers.collect())
    }

    async fn take_on(
        &self,
        who: &Principal,
        job: Submission,
        package: Bytes,
    ) -> Result<JobView, Failure> {
        let view = self.submit(who, job).await?;
        self.kept().packages.push(package);
        Ok(view)
    }
}

#[tonic::async_trait]
impl Reports for Memory {
    async fn wrote(&self, who: &Principal, of: OfTask, text: String) -> Result<(), Failure> {
        let mut kept = self.kept();
        kept.given(who, &of)?;
        kept.said.push((of.task, text));
        Ok(())
    }

    async fn made(&self, who: &Principal, of: OfTask, result: Bytes) -> Result<(), Failure> {
        let mut kept = self.kept();
        kept.given(who, &of)?;
        kept.said.push((of.task, format!("{} bytes", result.len())));
        Ok(())
    }

    async fn ended(&self, who: &Principal, of: OfTask, well: bool) -> Result<(), Failure> {
        let mut kept = self.kept();
        kept.given(who, &of)?;
        kept.said.push((of.task, format!("well: {well}")));
        Ok(())
    }
}

/// A pool on a port of its own, with the users ada and bob logged in, and a way to it.
pub(crate) async fn pool(profile: Profile) -> (Arc<Memory>, Channel) {
    let memory = Arc::new(Memory::default());
    for name in ["ada", "bob"] {
        let mut kept = memory.kept();
        kept.passwords
            .insert(name.to_owned(), "password123".to_owned());
        kept.sessions
            .insert(format!("token-of-{name}"), (name.to_owned(), 1000));
    }
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let mount = Mount::default().hivemind(&memory, profile);
    let routes = mount.onto(Routes::default());
    // It ends with the runtime of the test.
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    (memory, channel.connect().await.unwrap())
}

/// A request of somebody's, by the metadata.
pub(crate) fn by<T>(name: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer token-of-{name}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}
