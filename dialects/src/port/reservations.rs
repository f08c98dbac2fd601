//! Nodes that are taken for a time.

use std::{collections::BTreeMap, time::Duration};

use embermesh_crypto::{PeerId, UnixMillis};
use embermesh_job::{address::PeerAddress, assignment::NodeAssignment};

use super::{Principal, accounts::Micros, jobs::Submission};
use crate::Failure;

/// For how long something is silent before it counts as away.
pub const AWAY_AFTER: Duration = Duration::from_secs(60);

/// A node to be taken.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// Which.
    pub node: PeerId,
    /// For how long.
    pub length: Duration,
    /// What is to run there at once.
    pub job: Option<Submission>,
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationState {
    /// The node is taken, and whoever has taken it has not been heard of yet.
    Pending,
    /// The node is taken, and used.
    Active,
    /// Whoever has taken it says that he is done.
    Completed,
    /// It was given back.
    Cancelled,
    /// Its time is over.
    Expired,
    /// Its node fell silent for good.
    Lost,
}

impl ReservationState {
    /// Whether the node is still taken.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }
}

/// A reservation at one moment.
#[derive(Clone, Debug)]
pub struct ReservationView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: Principal,
    /// The node.
    pub node: PeerId,
    /// Where the node is.
    pub address: Option<PeerAddress>,
    /// Where it stands.
    pub state: ReservationState,
    /// When it began.
    pub starts_at: UnixMillis,
    /// When it is over.
    pub ends_at: UnixMillis,
    /// What is left of it.
    pub left: Duration,
    /// For how long the node was taken, once it is not any more.
    pub used: Option<Duration>,
    /// What an hour costs.
    pub price: Micros,
    /// All that was set aside for it.
    pub held: Micros,
    /// What of that the node's owner was paid, at the end.
    pub paid: Micros,
    /// What went back, at the end.
    pub refunded: Micros,
    /// What the ledger did for it, by kind, newest first: "hold", "capture", "release".
    /// Only where something was done just now.
    pub movements: Vec<(&'static str, String)>,
    /// The job that runs there, as far as its owner says.
    pub job: Option<String>,
    /// How far that is, as its owner says, from 0 to 1.
    pub progress: f64,
    /// Its measures, as its owner says.
    pub metrics: BTreeMap<String, f64>,
    /// Jobs that ended well there, and that its owner has confirmed.
    pub jobs_completed: u64,
    /// Whether its owner has been heard of within [`AWAY_AFTER`].
    pub is_attended: bool,
}

/// A node that was taken just now.
#[derive(Clone, Debug)]
pub struct Reserved {
    /// The reservation.
    pub reservation: ReservationView,
    /// The permission to run its job there, where there is one.
    pub assignment: Option<NodeAssignment>,
}

/// A sign of life of whoever has taken a node.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// What he runs there; nothing changes what is known where he does not say it.
    pub job: Option<String>,
    /// How far that is.
    pub progress: f64,
    /// Its measures.
    pub metrics: BTreeMap<String, f64>,
}

/// How a reservation is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It is given back.
    Release,
    /// All is done.
    Done,
}

/// Some reservations, the newest first.
#[derive(Clone, Debug, Default)]
pub struct ReservationPage {
    /// The reservations.
    pub reservations: Vec<ReservationView>,
    /// Where the next page begins; nothing when this is the last.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: u64,
}

/// Which reservations to list, and from where.
#[derive(Clone, Debug, Default)]
pub struct ReservationFilter {
    /// Only those whose node is still taken.
    pub open_only: bool,
    /// Those that come after this place, as an earlier page gave it.
    pub after: Option<String>,
    /// At most so many; 0 is the usual number.
    pub most: usize,
}

/// The verbs over reservations. Somebody else's are not there.
#[tonic::async_trait]
pub trait Reservations: Send + Sync + 'static {
    /// Takes a node for a time, and sets aside what that costs. With a job, nothing is
    /// taken unless that is submitted too.
    ///
    /// # Errors
    /// `Precondition` for a node that is taken or busy, or where there is too little
    /// money; `Invalid` for a length that cannot be.
    async fn reserve(&self, who: &Principal, what: Reserve) -> Result<Reserved, Failure>;

    /// A reservation.
    async fn reservation(&self, who: &Principal, id: &str) -> Result<ReservationView, Failure>;

    /// Some reservations. Pages hold while reservations are added.
    async fn reservations(
        &self,
        who: &Principal,
        filter: ReservationFilter,
    ) -> Result<ReservationPage, Failure>;

    /// Hears a sign of life.
    ///
    /// # Errors
    /// `Precondition` for a reservation that is over.
    async fn attend(
        &self,
        who: &Principal,
        id: &str,
        beat: Beat,
    ) -> Result<ReservationView, Failure>;

    /// Makes a reservation last longer by so much, and sets aside what that costs.
    async fn extend(
        &self,
        who: &Principal,
        id: &str,
        by: Duration,
    ) -> Result<ReservationView, Failure>;

    /// Ends a reservation: what has passed is paid, the rest goes back. One that is over
    /// stays as it is.
    async fn leave(
        &self,
        who: &Principal,
        id: &str,
        how: Leave,
    ) -> Result<ReservationView, Failure>;

    /// Counts a job of the caller's that has ended well on the reserved node, once.
    ///
    /// # Errors
    /// `Precondition` for one that has not, or that ran elsewhere.
    async fn confirm(
        &self,
        who: &Principal,
        id: &str,
        job: &str,
    ) -> Result<ReservationView, Failure>;

    /// A fresh permission to run what runs on the reserved node.
    ///
    /// # Errors
    /// `Precondition` where nothing runs there.
    async fn readmit(&self, who: &Principal, id: &str) -> Result<Reserved, Failure>;
}
