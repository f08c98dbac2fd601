//! Calls a server node of the system, in the form that it speaks: its `NodeService`, and
//! its `JobExecutionService` where a job's data came with the job.
//!
//! Each call has a connection of its own. A server is a stranger: what it is sent is a job
//! and no secret.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::{documented, shipped};
use crate::{ErrorCode, Failure, Profile};

/// How long it may take to reach a server.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may take to answer, and for each million bytes that it is sent more,
/// and how long at most.
const ANSWER: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_secs(2),
    Duration::from_secs(300),
];
/// The most of a server's own words that is passed on, in characters.
const MAX_WORDS: usize = 200;

/// Where a server is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What it is called.
    pub id: String,
    /// Where it is assigned jobs.
    pub assign: SocketAddr,
    /// Where clients come to it.
    pub entry: SocketAddr,
    /// The form of the wire that it speaks.
    pub form: Profile,
}

/// A job for a server.
#[derive(Clone)]
pub struct Job {
    /// What it is called at this server.
    pub name: String,
    /// What opens the server's door for it.
    pub token: String,
    /// What it is, as [`Package::config`](crate::port::servers::Package::config) has it.
    pub config: Bytes,
    /// The data that came with it.
    pub data: Option<Bytes>,
}

impl Server {
    /// Gives a job to the server. It says whether it takes it, and works on then.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached or does not answer, `Precondition` when it
    /// does not take the job, `Internal` for a job that cannot be read.
    pub async fn assign(&self, job: Job) -> Result<(), Failure> {
        match self.form {
            Profile::Documented => documented::assign(self, job).await,
            Profile::Shipped => shipped::assign(self, job).await,
        }
    }

    /// A connection to one of its ports, for a call that sends so many bytes.
    pub(super) async fn connect(&self, at: SocketAddr, bytes: usize) -> Result<Channel, Failure> {
        let megabytes = u32::try_from(bytes / 1_000_000).unwrap_or(u32::MAX);
        let most = ANSWER[0] + ANSWER[1].saturating_mul(megabytes);
        let endpoint = Endpoint::from_shared(format!("http://{at}"));
        let endpoint = endpoint.map_err(|error| Failure::invalid(error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .timeout(most.min(ANSWER[2]));
        endpoint.connect().await.map_err(|error| {
            let message = format!(
                "the server {:?} cannot be reached at {at}: {error}",
                self.id
            );
            Failure::new(ErrorCode::Unavailable, message)
        })
    }

    /// It did not answer.
    #[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    pub(super) fn unreached(&self, status: Status) -> Failure {
        let words: String = status.message().chars().take(MAX_WORDS).collect();
        let message = format!("the server {:?} did not answer: {words}", self.id);
        Failure::new(ErrorCode::Unavailable, message)
    }

    /// What its answer comes to.
    pub(super) fn taken(&self, accepted: bool, words: &str) -> Result<(), Failure> {
        if accepted {
            return Ok(());
        }
        let words: String = words.chars().take(MAX_WORDS).collect();
        let message = format!("the server {:?} says no: {words}", self.id);
        Err(Failure::new(ErrorCode::Precondition, message))
    }
}
