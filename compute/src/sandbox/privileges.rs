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
    for capability in CapabilitySet::all().iter() {
        // Fails where there is none to give up, or where the kernel knows fewer.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let _ = clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(std::io::Error::from)
}
