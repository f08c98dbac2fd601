//! The configuration of a node, its log, and its account at the indexes.

use embermesh_crypto::UnixMillis;
use futures::stream::BoxStream;

use super::super::{super::accounts::Micros, Call};
use crate::Failure;

/// What of the configuration can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the node is called: its id.
    pub name: String,
    /// Where its indexes are, with commas between them.
    pub indexes: String,
    /// Folders whose model files can be deployed.
    pub folders: Vec<String>,
    /// Tasks that run at once on one device.
    pub slots: u32,
    /// Tokens of a prompt and its answer together, where a deployment does not say.
    pub context: u32,
    /// The least level that the log keeps: "error" to "trace".
    pub log_level: String,
}

/// What the account of the node's key has been paid, in micro-units, over all indexes
/// that answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    /// Since midnight, in UTC.
    pub today: Micros,
    /// In the last seven days.
    pub week: Micros,
    /// In the last thirty days.
    pub month: Micros,
    /// Since the moment that was asked for, as far as the newest transactions tell.
    pub all: Micros,
    /// Tasks that ended well here, of those that the node remembers.
    pub completed: u64,
    /// Tokens and rows that models which are resident now have made.
    pub made: u64,
}

/// The account of the node's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// The key.
    pub account: String,
    /// What can be spent, over all indexes that answer.
    pub available: Micros,
    /// What holds have set aside.
    pub held: Micros,
    /// Whether an index has answered.
    pub reached: bool,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: UnixMillis,
    /// How grave: "ERROR" to "TRACE".
    pub level: &'static str,
    /// What part of the program.
    pub source: String,
    /// What happened.
    pub message: String,
}

/// The verbs over what is written down.
#[tonic::async_trait]
pub trait Records: Send + Sync + 'static {
    /// The configuration.
    fn settings(&self, call: &Call) -> Result<Settings, Failure>;

    /// Makes the configuration be that, as far as a node that runs can. Changes all that
    /// is asked or nothing.
    fn change(&self, call: &Call, settings: Settings) -> Result<(), Failure>;

    /// What the account has been paid.
    async fn earned(&self, call: &Call, since: UnixMillis) -> Result<Earned, Failure>;

    /// The account.
    async fn wallet(&self, call: &Call) -> Result<Wallet, Failure>;

    /// The newest lines of the log since a moment that are as grave as `level` at least,
    /// the oldest first. An empty level is any.
    fn log(
        &self,
        call: &Call,
        level: &str,
        since: UnixMillis,
        most: usize,
    ) -> Result<Vec<LogLine>, Failure>;

    /// Lines as they are written, until the node stops.
    fn follow_log(
        &self,
        call: &Call,
        level: &str,
    ) -> Result<BoxStream<'static, Result<LogLine, Failure>>, Failure>;
}
