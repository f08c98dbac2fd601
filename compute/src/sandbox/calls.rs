//! seccomp: what a worker may ask of the kernel.
//!
//! A worker on the processor has an allow-list ([`allowed`]): memory, threads,
//! files and time, and nothing else of the several hundred calls, whatever a later
//! kernel adds. What is not on it answers "not implemented", which every library
//! takes as a word to do without; it does not kill, because a worker that dies of
//! a new harmless call helps nobody.
//!
//! A GPU's driver calls what its vendor pleases, from release to release, so a
//! worker with a driver has no such list: it is denied what matters, in every form
//! that the kernel has for it ([`denied`]). The other kind is denied that too, so
//! that a refusal says "not permitted" and the two lists check each other.

mod allowed;
mod denied;
mod programs;

use std::collections::BTreeMap;

pub(crate) use self::programs::of_programs;

use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The bit that marks a call of the x32 ABI, which reaches the same calls by
/// other numbers where a kernel still has it.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

/// Numbers that x32 alone has, for calls whose arguments lie otherwise in memory:
/// among them other ways to start a program and to look into a process.
#[cfg(target_arch = "x86_64")]
const OF_X32: std::ops::RangeInclusive<i64> = 512..=547;

/// Raises the fence for every thread of the process and says what was done.
pub(crate) fn restrict(driver: bool, watches: Option<u32>) -> String {
    match raise(driver, watches) {
        Ok(()) if driver => {
            "seccomp: no network, no other program or process; the rest is a driver's to call"
                .to_owned()
        }
        Ok(()) => {
            "seccomp: memory, threads, files and time only (the rest is not there)".to_owned()
        }
        Err(error) => format!("absent: seccomp refused the filter ({error})"),
    }
}

/// Of several filters the strictest word counts, and of equal ones the newest: what
/// both refuse is "not permitted", what only the allow-list lacks "not implemented".
fn raise(driver: bool, watches: Option<u32>) -> Result<(), seccompiler::Error> {
    if !driver {
        // clone3 is not on it: its flags lie in memory, where a filter cannot see
        // whether a thread or a process is wanted. The C library takes ENOSYS as a
        // word to use clone, whose flags the other filter reads.
        let allowed = allowed::CALLS.iter().chain(allowed::OF_THIS_MACHINE);
        let rules = allowed.map(|&call| (call, Vec::new())).collect();
        let only = filter(rules, errno(libc::ENOSYS), SeccompAction::Allow)?;
        seccompiler::apply_filter_all_threads(&only)?;
    }
    let rules = every_abi(denied::rules(driver, watches)?);
    let denied = filter(rules, SeccompAction::Allow, errno(libc::EPERM))?;
    seccompiler::apply_filter_all_threads(&denied)?;
    Ok(())
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// A filter that kills what calls by the numbers of another machine, such as the
/// 32-bit ones of this one.
fn filter(
    rules: Rules,
    otherwise: SeccompAction,
    where_they_fit: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(
        rules,
        otherwise,
        where_they_fit,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// Whether a call is on the list of what a worker on the processor may make, and so
/// may do something.
#[cfg(test)]
pub(super) fn allows(call: i64) -> bool {
    let mut listed = allowed::CALLS.iter().chain(allowed::OF_THIS_MACHINE);
    listed.any(|allowed| *allowed == call)
}

/// The rules under every number that reaches the same call.
fn every_abi(rules: impl IntoIterator<Item = (i64, Vec<SeccompRule>)>) -> Rules {
    let mut all = Rules::new();
    #[cfg(target_arch = "x86_64")]
    all.extend(OF_X32.map(|call| (call | X32, Vec::new())));
    for (call, when) in rules {
        #[cfg(target_arch = "x86_64")]
        all.insert(call | X32, when.clone());
        all.insert(call, when);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_that_is_denied_without_a_condition() {
        for (call, when) in denied::rules(false, None).unwrap() {
            if !when.is_empty() {
                continue;
            }
            // The newer filter's own installation needs this one.
            assert!(!allows(call) || call == libc::SYS_seccomp, "call {call}");
        }
    }
}
