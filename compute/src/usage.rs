//! What a process has taken of the machine, as the kernel counts it.

use serde::{Deserialize, Serialize};

/// What a process has taken since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of all its threads together, in milliseconds.
    pub cpu_ms: u64,
    /// Bytes of memory that it has resident now.
    pub resident_bytes: u64,
    /// The most bytes that it ever had resident.
    pub peak_bytes: u64,
    /// Threads that it has now.
    pub threads: u64,
}

impl Usage {
    /// The usage of this process; `None` where the system does not say.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        read("self", 0)
    }

    /// The usage of a process; `None` when it is gone, or where the system does not
    /// say. Of one that has ended and was not waited for the time alone is known.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        read(&pid.to_string(), pid.cast_signed())
    }

    /// The larger of each, for numbers that only grow; the newer of the others.
    #[must_use]
    pub fn then(self, newer: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.max(newer.cpu_ms),
            peak_bytes: self
                .peak_bytes
                .max(newer.peak_bytes)
                .max(newer.resident_bytes),
            ..newer
        }
    }
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
#[cfg(target_os = "linux")]
fn read(process: &str, pid: i32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // A process's name may hold spaces and brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)?.saturating_add(number(12)?);
    let by_ticks = ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1);
    let resident = number(21)?.saturating_mul(rustix::param::page_size() as u64);
    Some(Usage {
        cpu_ms: by_clock(pid).unwrap_or(by_ticks),
        resident_bytes: resident,
        peak_bytes: peak(process).unwrap_or(resident),
        threads: number(17)?,
    })
}

/// Processor time by the clock of the process, which is finer than the ticks of ten
/// milliseconds that its files count in. Zero is this process.
#[cfg(target_os = "linux")]
fn by_clock(pid: i32) -> Option<u64> {
    let clock = nix::time::ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(pid)).ok()?;
    let taken = std::time::Duration::from(clock.now().ok()?);
    u64::try_from(taken.as_millis()).ok()
}

#[cfg(target_os = "linux")]
fn peak(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Elsewhere the worker's own limits are the only ceilings.
#[cfg(not(target_os = "linux"))]
fn read(_process: &str, _pid: i32) -> Option<Usage> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_taken_some_and_none_has_pid_zero() {
        let held = vec![1_u8; 32 << 20];
        std::hint::black_box(&held);
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 32 << 20, "{usage:?}");
        assert!(
            usage.peak_bytes >= 32 << 20 && usage.threads >= 1,
            "{usage:?}"
        );
        assert!(Usage::of_this_process().unwrap().peak_bytes > 0);
        assert_eq!(Usage::of(0), None);
        let before = Usage {
            cpu_ms: 7,
            peak_bytes: 9,
            ..Usage::default()
        };
        let after = before.then(Usage::default());
        assert_eq!((after.cpu_ms, after.peak_bytes), (7, 9));
    }
}
