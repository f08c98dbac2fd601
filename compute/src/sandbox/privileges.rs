//! Capabilities: a worker has none, whoever started the daemon.
//!
//! A daemon that runs as root would have its workers run as root too. Without
//! capabilities that is a user like another: it mounts nothing, sets no clock, sends
//! no raw packet, reads no memory of the kernel, and cannot have any of it back.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// The one capability that is kept until the fences are raised: without it a process
/// of root cannot have itself mapped into a namespace of users, in which scripts run.
const UNTIL_FENCED: CapabilitySet = CapabilitySet::SETFCAP;

/// Gives up every capability but the one that makes a script's namespace, for this
/// thread and what it will start.
///
/// # Errors
/// When the kernel does not take them; a process without any has nothing to give.
pub(crate) fn limit() -> std::io::Result<()> {
    keep(UNTIL_FENCED)
}

/// Gives up the rest.
///
/// # Errors
/// When the kernel does not take them.
pub(crate) fn drop_all() -> std::io::Result<()> {
    keep(CapabilitySet::empty())
}

fn keep(kept: CapabilitySet) -> std::io::Result<()> {
    for capability in CapabilitySet::all().difference(kept).iter() {
        // Fails where there is none to give up, or where the kernel knows fewer.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let _ = clear_ambient_capability_set();
    let kept = kept & capabilities(None)?.permitted;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(std::io::Error::from)
}
