//! Descriptors: a worker has those of its pipe, whatever the daemon was started with.
//!
//! What the daemon opens is closed in what it starts. What was open when the daemon
//! itself was started, by a shell or a service manager, is not, and goes on to its
//! workers unawares.

/// The first descriptor that is not one of the pipe's.
const FIRST: i32 = 3;

/// Closes every descriptor but those of the pipe. To be called before anything else is
/// opened, while the process has one thread.
///
/// # Errors
/// When the system does not list them.
pub(crate) fn close_inherited() -> std::io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor >= FIRST)
        .collect();
    for descriptor in open {
        // The list's own is among them, and closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}
