//! What a process takes of the machine's memory.

/// Bytes of memory that a process has resident now, as the kernel counts them.
/// `None` when it is gone, or where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Elsewhere the worker's own limits are the only ceiling.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident(_pid: u32) -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_some_and_none_has_pid_zero() {
        assert!(resident(std::process::id()).unwrap() > 100_000);
        assert_eq!(resident(0), None);
    }
}
