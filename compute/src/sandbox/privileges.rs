//! Capabilities: a worker has none, whoever started the daemon.
//!
//! A daemon that runs as root would have its workers run as root too. Without
//! capabilities that is a user like another: it mounts nothing, sets no clock, sends
//! no raw packet, reads no memory of the kernel, and cannot have any of it back.

use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// Gives up every capability of this thread and of what it will start.
///
/// # Errors
/// When the kernel does not take them; a process without any has nothing to give.
pub(crate) fn drop_all() -> std::io::Result<()> {
    drop_but(CapabilitySet::empty())
}

/// The same, but for what root needs to start a program in namespaces of its own: to
/// map itself into them, which the kernel counts as setting capabilities, and to give
/// up the rest later.
///
/// # Errors
/// As [`drop_all`].
pub(crate) fn drop_for_a_script() -> std::io::Result<()> {
    let had = rustix::thread::capabilities(None)
        .map_err(std::io::Error::from)?
        .permitted;
    drop_but(had & (CapabilitySet::SETFCAP | CapabilitySet::SETPCAP))
}

fn drop_but(kept: CapabilitySet) -> std::io::Result<()> {
    for capability in CapabilitySet::all().difference(kept).iter() {
        // Fails where there is none to give up, or where the kernel knows fewer.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let _ = clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(std::io::Error::from)
}
