//! What can happen in a world, and what of it goes into the trace.

use std::{
    fmt::{self, Write as _},
    ops::RangeInclusive,
    sync::Arc,
};

use embermesh_crypto::{JobId, PeerId};
use embermesh_index_server::state::{Command, Reply};
use embermesh_job::{assignment::NodeAssignment, order::Order, units::MicroUnits};
use embermesh_mesh::protocol::{Known, Summary};

use crate::world::PeerIndex;

/// Whoever is at one end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A node.
    Node(PeerIndex),
    /// The index.
    Index,
    /// Who submits.
    Client,
}

/// What a command to the index is for, so that its answer finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A node introduces itself.
    Register,
    /// A node is alive.
    Heartbeat,
    /// A node asks what it has to do.
    Orders,
    /// A report in a node's outbox, by its number there.
    Report(u64),
    /// The client's submit of this number.
    Submit(u64),
    /// The client asks after a job.
    Watch(JobId),
    /// The client's payment of this number.
    Payment(u64),
    /// What no honest peer asks; nothing of it may be granted.
    Lie,
    /// Time has passed.
    Tick,
}

/// A command on its way to the index.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub from: Place,
    /// How many lives the asker has had; an answer is for the one that asked.
    pub life: u32,
    /// What for.
    pub about: About,
    /// What.
    pub command: Command,
}

/// What the index answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How many lives the asker had had.
    pub life: u32,
    /// What it had asked for.
    pub about: About,
    /// The answer, or why there is none.
    pub reply: Result<Reply, String>,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A node starts and dials whom it is to join through.
    Join(PeerIndex),
    /// A node's table wants to be woken.
    Wake(PeerIndex, u32),
    /// A node dials whom it is to join through, where it is not connected with them.
    Redial(PeerIndex, u32),
    /// A connection over which nothing comes any more is noticed.
    LinkLost(PeerIndex, PeerIndex),
    /// Gossip arrives.
    Gossip {
        /// At whom.
        to: PeerIndex,
        /// From whom.
        from: PeerIndex,
        /// The signed advert.
        bytes: Arc<[u8]>,
    },
    /// A node passes on what it learned late.
    Repeat(PeerIndex, u32, Arc<[u8]>),
    /// A table is asked for.
    TableRequest {
        /// Of whom.
        to: PeerIndex,
        /// By whom.
        from: PeerIndex,
        /// What the asker has.
        summary: Summary,
    },
    /// A table arrives; nothing where it was refused.
    Table {
        /// At whom.
        to: PeerIndex,
        /// From whom.
        from: PeerIndex,
        /// The adverts, if the peer answered.
        adverts: Option<Vec<Known>>,
    },
    /// A node sends its heartbeat.
    Heartbeat(PeerIndex, u32),
    /// A node sends the oldest report of its outbox, again where it was not answered.
    Outbox(PeerIndex, u32),
    /// A command reaches the index.
    Command(Box<Question>),
    /// The oldest commit under way is durable.
    Commit(u32),
    /// An answer of the index arrives.
    Answer(Place, Box<Answer>),
    /// The index wakes for what is due.
    IndexTick(u32),
    /// An order reaches a node.
    Order(PeerIndex, Box<Order>),
    /// Somebody holds out a token to a node, and wants to hear of the task.
    Present {
        /// The node.
        to: PeerIndex,
        /// Whose key the transport has proven.
        bearer: PeerId,
        /// The permission.
        assignment: Box<NodeAssignment>,
        /// The stream that begins by it.
        stream: u64,
    },
    /// The client joins a task that runs.
    Attach {
        /// The node.
        to: PeerIndex,
        /// The job.
        job: JobId,
        /// The last event that the client has.
        after: u64,
        /// The stream that begins by it.
        stream: u64,
    },
    /// A task makes one step.
    Step(PeerIndex, u32, JobId),
    /// The client submits its next job, with the most that it may cost.
    Submit(Option<MicroUnits>),
    /// The client submits again what was not answered.
    SubmitAgain(u64),
    /// The client pays somebody, or does so again where it was not answered.
    Pay(u64),
    /// The client looks whether it still hears of a job.
    Follow(JobId),
    /// Numbered events of one stream reach the client, in order.
    Seen {
        /// The job.
        job: JobId,
        /// The stream.
        stream: u64,
        /// Their numbers.
        events: RangeInclusive<u64>,
    },
    /// A third of the nodes dies, for good or for a while.
    Kill,
    /// A node that was silent for a while is back.
    Revive(PeerIndex),
    /// A node's process dies; what it had written down is there when it starts again.
    Crash(PeerIndex),
    /// The index's process dies.
    IndexCrash,
    /// The index goes on from what it had committed.
    IndexRestart,
    /// The network falls into two halves.
    Partition,
    /// It is one again.
    Heal,
    /// A lying peer does something that no honest one does.
    Lie(PeerIndex),
}

/// Formats into a hash, so that no text is built.
struct IntoHash<'a>(&'a mut blake3::Hasher);

impl fmt::Write for IntoHash<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

impl Happening {
    /// Adds it to the trace: all of it, and of long bytes their hash.
    pub(crate) fn record(&self, trace: &mut blake3::Hasher) {
        match self {
            Self::Gossip { to, from, bytes } => {
                trace.update(b"gossip");
                trace.update(&(*to as u64).to_le_bytes());
                trace.update(&(*from as u64).to_le_bytes());
                trace.update(blake3::hash(bytes).as_bytes());
            }
            Self::Repeat(peer, _, bytes) => {
                trace.update(b"repeat");
                trace.update(&(*peer as u64).to_le_bytes());
                trace.update(blake3::hash(bytes).as_bytes());
            }
            other => {
                // A hash takes whatever it is given.
                let _ = write!(IntoHash(trace), "{other:?}");
            }
        }
    }
}
