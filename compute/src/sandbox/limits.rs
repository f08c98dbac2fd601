//! Limits on what the process may take: memory, descriptors, core files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a worker may hold. It opens a handful of files, one after
/// another; a driver opens some tens.
const MAX_DESCRIPTORS: u64 = 256;

/// What a worker holds beside its job's data: stacks of its threads and the
/// slack of the allocator's arenas.
const OVERHEAD: u64 = 64 * 1024 * 1024;

/// Limits that every worker has from its first moment: no core file (it would
/// hold a client's data) and few descriptors.
pub(crate) fn basic() -> Result<(), std::io::Error> {
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, MAX_DESCRIPTORS)?;
    Ok(())
}

/// Limits private writable memory to what the process holds now plus `bytes`
/// and the process's own overhead, and says what was done. Address space as a whole is not limited: an
/// allocator reserves far more of it than it touches.
pub(crate) fn memory(bytes: u64) -> String {
    let held = data_bytes().unwrap_or(0);
    let ceiling = held.saturating_add(OVERHEAD).saturating_add(bytes);
    match lower(Resource::Data, ceiling) {
        Ok(()) => format!("limited to {ceiling} bytes of data"),
        Err(error) => format!("absent: the limit on data was refused ({error})"),
    }
}

/// Sets both values of a limit, never above what the process was given.
pub(crate) fn lower(resource: Resource, to: u64) -> Result<(), std::io::Error> {
    let given = getrlimit(resource);
    let to = given.maximum.map_or(to, |maximum| maximum.min(to));
    let limit = Rlimit {
        current: Some(to),
        maximum: Some(to),
    };
    setrlimit(resource, limit).map_err(std::io::Error::from)
}

/// Bytes that count against the limit on data, as the kernel counts them.
fn data_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmData:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}
