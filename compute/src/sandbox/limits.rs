//! Limits on what the process may take: memory, descriptors, the size of a file, core
//! files. Processor time is the daemon's to limit, who counts it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a worker may hold. It opens a handful of files, one after
/// another; a driver opens some tens.
const MAX_DESCRIPTORS: u64 = 256;

/// What a worker holds beside its job's data: stacks of its threads and the
/// slack of the allocator's arenas.
const OVERHEAD: u64 = 64 * 1024 * 1024;

/// Bytes that a file has beside a result or a state: the header of a safetensors file.
const FILE_OVERHEAD: u64 = 1024 * 1024;

/// Limits that every worker has from its first moment: no core file (it would
/// hold a client's data), few descriptors, and the first place when the system is
/// out of memory.
pub(crate) fn basic() -> Result<(), std::io::Error> {
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, MAX_DESCRIPTORS)?;
    #[cfg(target_os = "linux")]
    {
        lower(Resource::Msgqueue, 0)?;
        // Of all that could be ended for want of memory, a job is what can be done
        // again. Where this cannot be said the kernel chooses.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    Ok(())
}

/// Limits the size of a file. The largest honest ones are a result and a checkpoint,
/// which is a copy of a state that lies in memory. Who writes beyond it is ended by
/// the kernel.
pub(crate) fn file_size(output_bytes: u64, memory_bytes: u64) -> Result<(), std::io::Error> {
    let most = output_bytes.max(memory_bytes).saturating_add(FILE_OVERHEAD);
    lower(Resource::Fsize, most)
}

/// Limits private writable memory to what the process holds now plus `bytes`
/// and the process's own overhead, and says what was done. Address space as a whole
/// is not limited: an allocator reserves far more of it than it touches.
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
