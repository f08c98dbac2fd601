//! Why no slot, and no place for a resident model, can be had.

use embermesh_crypto::statement::{DeviceKind, Runtime};
use embermesh_job::units::Bytes;
use thiserror::Error;

/// Why no slot can be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoSlot {
    /// The node is about to stop.
    #[error("this node is about to stop and takes no new jobs: ask another")]
    Draining,
    /// No device of the kind works.
    #[error("this node has no working {}: ask a node that has one", wants.map_or("device", DeviceKind::as_str))]
    NoDevice {
        /// The kind, where one is asked for.
        wants: Option<DeviceKind>,
    },
    /// The devices are too small.
    #[error(
        "this node gives a job {has} of memory at most and this one needs {needs}: ask a larger one, or lower `limits.memory`"
    )]
    TooLittleMemory {
        /// The most it gives.
        has: Bytes,
        /// What is needed.
        needs: Bytes,
    },
    /// The owner does not let such programs run.
    #[error(
        "this node runs no {wants} programs, because its owner has not allowed them: ask another"
    )]
    RuntimeOff {
        /// The runtime that is asked for.
        wants: Runtime,
    },
    /// They are allowed and do not work.
    #[error("this node cannot run {wants} programs: {fault}; ask another")]
    RuntimeFault {
        /// The runtime that is asked for.
        wants: Runtime,
        /// Why it does not work.
        fault: String,
    },
    /// As many models are resident as may be.
    #[error(
        "this node keeps {most} resident models at most: undeploy one, ask another node, or raise `residents` there"
    )]
    NoResidence {
        /// The most it keeps.
        most: u32,
    },
    /// The memory is taken for now, though the slots are not.
    #[error(
        "this node has {left} of memory left beside what runs on it, and this job needs {needs}: try again later, ask another, or lower `limits.memory`"
    )]
    MemoryTaken {
        /// What is left.
        left: Bytes,
        /// What is needed.
        needs: Bytes,
    },
    /// Every slot is taken.
    #[error("every slot of this node is taken: try again later, or ask another")]
    Busy,
}

impl NoSlot {
    /// Whether there may be one once something here has ended.
    pub(crate) const fn passes(&self) -> bool {
        match self {
            Self::Busy | Self::MemoryTaken { .. } => true,
            Self::NoResidence { most } => *most > 0,
            _ => false,
        }
    }

    /// A stable word.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NoDevice { .. } => "no_device",
            Self::TooLittleMemory { .. } => "too_little_memory",
            Self::RuntimeOff { .. } | Self::RuntimeFault { .. } => "no_runtime",
            Self::NoResidence { .. } => "no_residents",
            Self::MemoryTaken { .. } => "memory_taken",
            Self::Busy => "busy",
        }
    }
}
