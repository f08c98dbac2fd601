//! Provers that dial in, and the proofs that gangs of them make.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::UnixMillis;
use embermesh_job::plan::{Row, proving::Phase};

use super::Principal;
use crate::Failure;

/// What a prover says when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it calls itself.
    pub id: String,
    /// How many units it can take.
    pub capacity: u32,
    /// The job that it still works on, if it was here before.
    pub last_job: Option<String>,
}

/// What a prover says later. `prover` is who it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is there.
    Alive {
        /// Who.
        prover: String,
    },
    /// It cannot go on with a job.
    Error {
        /// Who.
        prover: String,
        /// With which, as the order called it.
        job: String,
        /// Why.
        reason: String,
    },
    /// It has done what it was told, or could not.
    Answer {
        /// Who.
        prover: String,
        /// For which job, as the order called it.
        job: String,
        /// For which phase.
        phase: Phase,
        /// What it gives, or why it gives nothing.
        given: Result<Vec<Row>, String>,
    },
}

/// What a prover is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Say that you are there.
    Beat(UnixMillis),
    /// Do a part of a job.
    Execute {
        /// Which. A round that is dealt again has another name.
        job: Arc<str>,
        /// What.
        what: Part,
    },
    /// Nobody waits for this job any more.
    Cancelled {
        /// Which, as its orders called it.
        job: Arc<str>,
        /// Why.
        reason: String,
    },
    /// This side goes away.
    Leave {
        /// Why.
        reason: String,
        /// How long the prover may take to end what it does.
        grace: Duration,
    },
}

/// A part of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Commit to some units.
    Contribute {
        /// The block.
        block: Arc<str>,
        /// Where the prover finds the input.
        input: Arc<str>,
        /// Its place in the gang.
        rank: u32,
        /// How many are in it.
        workers: u32,
        /// Which units are its own.
        units: Vec<u32>,
        /// How many there are in all.
        all_units: u32,
    },
    /// Prove them under the contributions of all, by rank.
    Prove(Arc<Vec<Vec<Row>>>),
    /// Take in the proofs of one of the gang; with the last, make one proof of all.
    Aggregate {
        /// Whose.
        rank: u32,
        /// None for its own, which it has.
        proofs: Vec<Row>,
        /// Whether it is the last.
        last: bool,
    },
}

/// A prover's place while its stream is open. Dropped, it may be taken again for a while
/// by the prover that had it.
#[tonic::async_trait]
pub trait Seat: Send + 'static {
    /// When it was given.
    fn since(&self) -> UnixMillis;

    /// Hears the prover.
    ///
    /// # Errors
    /// When its stream is to end.
    async fn hear(&mut self, word: Word) -> Result<(), Failure>;

    /// The next order, as soon as there is one; nothing when the stream is to end.
    async fn order(&mut self) -> Option<Box<Order>>;

    /// The prover goes, and does not come back to what it did.
    async fn leave(&mut self);
}

/// A prover as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProverView {
    /// What it calls itself.
    pub id: String,
    /// How many units it can take.
    pub capacity: u32,
    /// The phase that it works on; nothing when it is free.
    pub busy: Option<Phase>,
    /// Whether its stream is open.
    pub here: bool,
    /// When it came.
    pub since: UnixMillis,
    /// When it last said anything.
    pub heard_at: UnixMillis,
}

/// The verbs over provers.
#[tonic::async_trait]
pub trait Provers: Send + Sync + 'static {
    /// A prover comes, or comes back.
    ///
    /// # Errors
    /// `Exists` for an id whose prover is there, `Denied` for one that belongs to somebody
    /// else, `Invalid` for what is no id or no capacity, `Exhausted` when all places are
    /// taken.
    async fn enter(&self, who: &Principal, hello: Hello) -> Result<Box<dyn Seat>, Failure>;

    /// Every prover, by id.
    fn provers(&self) -> Vec<ProverView>;

    /// How many proofs are under way.
    fn open_proofs(&self) -> usize;
}

/// A proof to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRequest {
    /// Of which block, in the caller's words.
    pub block: String,
    /// Where provers find the input.
    pub input: String,
    /// Of how many units it is.
    pub units: u32,
}

/// Where a proof stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofState {
    /// No gang works on it.
    Waiting,
    /// A gang is in a phase of it.
    Running(Phase),
    /// It is made.
    Made,
    /// It is not, and will not be.
    Failed,
}

/// A proof at one moment.
#[derive(Clone, Debug)]
pub struct ProofView {
    /// Its id.
    pub id: String,
    /// As it was asked for.
    pub block: String,
    /// Where it stands.
    pub state: ProofState,
    /// The gang of its latest round, by rank.
    pub provers: Vec<String>,
    /// When it was asked for.
    pub started_at: UnixMillis,
    /// For how long it has run, or ran.
    pub took: Duration,
    /// Why it failed, or why its latest round was dealt again.
    pub message: String,
    /// The proof, once it is made.
    pub proof: Option<Arc<Vec<Row>>>,
}

/// The verbs over proofs. Each caller has his own.
#[tonic::async_trait]
pub trait Proofs: Send + Sync + 'static {
    /// Has a proof made. A gang has been taken and the proof is durable when this returns.
    ///
    /// # Errors
    /// `Unavailable` when the free provers have too little room together: none of them is
    /// taken then.
    async fn launch_proof(&self, who: &Principal, asked: ProofRequest) -> Result<String, Failure>;

    /// A proof of the caller's.
    async fn proof(&self, who: &Principal, id: &str) -> Result<ProofView, Failure>;

    /// Proofs of the caller's without the proofs themselves, the newest first; `open` for
    /// those alone that are under way.
    async fn proofs(&self, who: &Principal, open: bool) -> Result<Vec<ProofView>, Failure>;

    /// Ends the work on a proof.
    async fn cancel_proof(&self, who: &Principal, id: &str) -> Result<ProofView, Failure>;
}
