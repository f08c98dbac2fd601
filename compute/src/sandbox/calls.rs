//! seccomp: the calls that a computation has no business making.
//!
//! The list denies rather than allows, because an allocator, a thread pool and
//! a driver change what they call from release to release, and a worker that
//! dies of a new harmless call helps nobody. What matters is denied in every
//! form the kernel has for it: no network, no new program, no other process,
//! no wider limits, no change of the system. Denied calls return an error, so
//! that a library which only asks can go on.

mod programs;

use std::collections::BTreeMap;

pub(crate) use self::programs::of_programs;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The bit that marks a call of the x32 ABI, which reaches the same calls by
/// other numbers where a kernel still has it.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

/// Denied to every worker: other processes, new programs, the system.
const FORBIDDEN: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_setrlimit,
];

/// Denied to a worker without a driver: the network in every form, and signals
/// to a thread by its number alone.
const FORBIDDEN_WITHOUT_DRIVER: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_tkill,
];

/// Forms of `fork` that only some machines have.
#[cfg(target_arch = "x86_64")]
const FORKS: &[i64] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[i64] = &[];

/// Raises the fence for every thread of the process and says what was done.
pub(crate) fn restrict(driver: bool, watches: Option<u32>) -> String {
    match raise(driver, watches) {
        Ok(()) if driver => "seccomp: no internet, no other program or process".to_owned(),
        Ok(()) => "seccomp: no network, no other program or process".to_owned(),
        Err(error) => format!("absent: seccomp refused the filter ({error})"),
    }
}

fn raise(driver: bool, watches: Option<u32>) -> Result<(), seccompiler::Error> {
    let denied = filter(denied(driver, watches)?, libc::EPERM)?;
    seccompiler::apply_filter_all_threads(&denied)?;
    if !driver {
        // The flags of clone3 lie in memory, where a filter cannot see whether
        // a thread or a process is wanted. The C library takes ENOSYS as a
        // word to use clone, whose flags the first filter reads.
        let unseen = filter(every_abi([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?;
        seccompiler::apply_filter_all_threads(&unseen)?;
    }
    Ok(())
}

fn filter(rules: Rules, errno: i32) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

fn denied(driver: bool, watches: Option<u32>) -> Result<Rules, BackendError> {
    let own = std::process::id();
    let mut rules: Vec<(i64, Vec<SeccompRule>)> =
        FORBIDDEN.iter().map(|&call| (call, Vec::new())).collect();
    // Signals go to this process only, for a panic and an abort send one, and to the
    // one that it watches.
    let others = [Some(own), watches]
        .into_iter()
        .flatten()
        .map(|pid| is(0, SeccompCmpOp::Ne, pid.into()))
        .collect::<Result<Vec<_>, _>>()?;
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.push((call, vec![SeccompRule::new(others.clone())?]));
    }
    // Reading a limit is harmless; setting one is not.
    let sets = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.push((libc::SYS_prlimit64, vec![SeccompRule::new(vec![sets])?]));
    if driver {
        // A driver talks to its display server or its daemon over local
        // sockets; the internet is not for it.
        let internet = [
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_PACKET,
            libc::AF_VSOCK,
        ];
        let mut by_family = Vec::new();
        for family in internet {
            by_family.push(when(0, SeccompCmpOp::Eq, u64::from(family.unsigned_abs()))?);
        }
        rules.push((libc::SYS_socket, by_family));
    } else {
        rules.extend(
            FORBIDDEN_WITHOUT_DRIVER
                .iter()
                .map(|&call| (call, Vec::new())),
        );
        rules.extend(FORKS.iter().map(|&call| (call, Vec::new())));
        let thread = libc::CLONE_THREAD.unsigned_abs().into();
        rules.push((
            libc::SYS_clone,
            vec![when(0, SeccompCmpOp::MaskedEq(thread), 0)?],
        ));
    }
    Ok(every_abi(rules))
}

fn when(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![is(argument, op, value)?])
}

fn is(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

/// The rules under every number that reaches the same call.
fn every_abi(rules: impl IntoIterator<Item = (i64, Vec<SeccompRule>)>) -> Rules {
    let mut all = Rules::new();
    for (call, when) in rules {
        #[cfg(target_arch = "x86_64")]
        all.insert(call | X32, when.clone());
        all.insert(call, when);
    }
    all
}
