//! Why an ask waits, and why it is not taken.

use thiserror::Error;

use crate::units::{Bytes, Millis};

/// Why an ask waits. It is taken once this has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Waits {
    /// Nothing is free.
    #[error("everything that fits this job is taken")]
    Busy,
    /// What is free is for those who go first.
    #[error("what is free goes to others first")]
    Behind,
    /// The client has as many tasks here as it may.
    #[error("this client has {has} tasks here and may have {most} at once")]
    TooMany {
        /// How many it has.
        has: u32,
        /// How many it may have.
        most: u32,
    },
    /// The client has used its time.
    #[error(
        "the job may take {asks}, and this client has {left} left of the {most} that it may use here in {window}: lower `limits.wall`, or wait"
    )]
    TimeSpent {
        /// What the job may take.
        asks: Millis,
        /// What is left.
        left: Millis,
        /// All that the client may use.
        most: Millis,
        /// In how long.
        window: Millis,
    },
}

impl Waits {
    /// The stable word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Behind => "behind",
            Self::TooMany { .. } => "too_many_tasks",
            Self::TimeSpent { .. } => "time_spent",
        }
    }
}

/// Why an ask is not taken and has no place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotTaken {
    /// A guest's job may take more time than the guest ever has.
    #[error(
        "the job may take {asks}, and the owner of this node lets a guest use {most} in {window}: lower `limits.wall`, or ask the owner to allow your key"
    )]
    TooLong {
        /// What the job may take.
        asks: Millis,
        /// What a guest may use.
        most: Millis,
        /// In how long.
        window: Millis,
    },
    /// A guest's job may use more memory than guests may.
    #[error(
        "the job asks for {asks} of memory, and the owner of this node gives a guest {most}: lower `limits.memory`, or ask the owner to allow your key"
    )]
    TooMuchMemory {
        /// What the job may use.
        asks: Bytes,
        /// What guests may use.
        most: Bytes,
    },
    /// As many asks wait as may.
    #[error("{most} jobs wait here already: ask again later, or another node")]
    QueueFull {
        /// How many.
        most: usize,
    },
    /// As many asks of this client wait as may.
    #[error("{most} jobs of this client wait here already: ask again when one has started")]
    YourQueueFull {
        /// How many.
        most: usize,
    },
}

impl NotTaken {
    /// The stable word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::TooMuchMemory { .. } => "too_much_memory",
            Self::QueueFull { .. } | Self::YourQueueFull { .. } => "queue_full",
        }
    }

    /// Whether the same ask may be taken a moment later.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::QueueFull { .. } | Self::YourQueueFull { .. })
    }
}
