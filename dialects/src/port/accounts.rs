//! Money, in integer micro-units: a million of them are one unit of whatever a dialect
//! calls its own.

use embermesh_crypto::UnixMillis;
use embermesh_job::spec::JobSpec;

use super::Principal;
use crate::Failure;

/// Micro-units.
pub type Micros = u64;

/// What somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What can be spent.
    pub available: Micros,
    /// What is held for something that is not settled.
    pub held: Micros,
}

/// A movement, as one side sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Its id.
    pub id: String,
    /// When.
    pub at: UnixMillis,
    /// How much more there is to spend; a hold takes it away, a release gives it back.
    pub amount: i64,
    /// A stable word: "deposit", "hold", "capture", "release", "transfer".
    pub kind: &'static str,
    /// What for: a job's id, a name.
    pub subject: String,
}

/// An amount that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// How much.
    pub amount: Micros,
    /// Until when, unless it is settled before.
    pub expires: UnixMillis,
}

/// The verbs over accounts. Each call that moves something has a key: the same call with
/// the same key moves it once.
#[tonic::async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// What somebody has.
    async fn balance(&self, who: &Principal) -> Result<Balance, Failure>;

    /// Sets an amount aside.
    async fn hold(
        &self,
        who: &Principal,
        amount: Micros,
        subject: &str,
        expires: UnixMillis,
        key: &str,
    ) -> Result<Hold, Failure>;

    /// Gives what was set aside to somebody, or back when `to` is nobody.
    async fn settle(
        &self,
        who: &Principal,
        hold: &str,
        to: Option<&Principal>,
        key: &str,
    ) -> Result<Movement, Failure>;

    /// Gives an amount to somebody.
    async fn transfer(
        &self,
        who: &Principal,
        to: &Principal,
        amount: Micros,
        key: &str,
    ) -> Result<Movement, Failure>;

    /// What moved, the newest first: `most` of it after leaving out `skip`, and how much
    /// there is in all.
    async fn history(
        &self,
        who: &Principal,
        skip: usize,
        most: usize,
    ) -> Result<(Vec<Movement>, u64), Failure>;

    /// What a job may cost at most, by the prices of the nodes that could run it.
    async fn quote(&self, spec: &JobSpec) -> Result<Micros, Failure>;
}
