//! What no worker may call, or not with these arguments: the network, other
//! programs and processes, wider limits, the system.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// Denied to every worker.
pub(super) const ALWAYS: &[i64] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: their memory, their descriptors, their signals.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The group by which the daemon ends it.
    libc::SYS_setpgid,
    libc::SYS_setsid,
    // Parts of the kernel with a history.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_vmsplice,
    libc::SYS_personality,
    libc::SYS_seccomp,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_lookup_dcookie,
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Files of other kinds and under other names: what the daemon takes from the
    // folder is to be what it looked at.
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
    // The system.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // Who it is, and what it may take.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_setrlimit,
];

/// Denied beside to a worker without a driver: the network in every form, memory
/// that outlives it or is not counted as its own.
const WITHOUT_DRIVER: &[i64] = &[
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
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
];

/// Forms that only some machines have, denied to every worker.
#[cfg(target_arch = "x86_64")]
const OF_THIS_MACHINE: &[i64] = &[
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_MACHINE: &[i64] = &[];

/// The same, denied to a worker without a driver.
#[cfg(target_arch = "x86_64")]
const OF_THIS_MACHINE_WITHOUT_DRIVER: &[i64] =
    &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_inotify_init];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_MACHINE_WITHOUT_DRIVER: &[i64] = &[];

/// `prctl`: the name of a thread and of a piece of memory; what is asked and not set.
const PRCTL: &[u64] = &[
    libc::PR_SET_NAME.unsigned_abs() as u64,
    libc::PR_GET_NAME.unsigned_abs() as u64,
    libc::PR_GET_DUMPABLE.unsigned_abs() as u64,
    libc::PR_GET_SECCOMP.unsigned_abs() as u64,
    libc::PR_GET_NO_NEW_PRIVS.unsigned_abs() as u64,
    libc::PR_SET_VMA.unsigned_abs() as u64,
    libc::PR_CAPBSET_READ.unsigned_abs() as u64,
];

/// `fcntl`: duplicates, flags and locks; no owner who would be sent a signal.
const FCNTL: &[u64] = &[
    libc::F_DUPFD.unsigned_abs() as u64,
    libc::F_DUPFD_CLOEXEC.unsigned_abs() as u64,
    libc::F_GETFD.unsigned_abs() as u64,
    libc::F_SETFD.unsigned_abs() as u64,
    libc::F_GETFL.unsigned_abs() as u64,
    libc::F_SETFL.unsigned_abs() as u64,
    libc::F_GETLK.unsigned_abs() as u64,
    libc::F_SETLK.unsigned_abs() as u64,
    libc::F_SETLKW.unsigned_abs() as u64,
    libc::F_OFD_GETLK.unsigned_abs() as u64,
    libc::F_OFD_SETLK.unsigned_abs() as u64,
    libc::F_OFD_SETLKW.unsigned_abs() as u64,
];

/// `ioctl`: flags of a descriptor, and whether it is a terminal.
#[allow(clippy::unnecessary_cast, reason = "their type differs by C library")]
const IOCTL: &[u64] = &[
    libc::FIOCLEX as u64,
    libc::FIONCLEX as u64,
    libc::FIONBIO as u64,
    libc::FIONREAD as u64,
    libc::TCGETS as u64,
    libc::TIOCGWINSZ as u64,
];

/// Ways to type into a terminal that others read, denied beside a driver too.
#[allow(clippy::unnecessary_cast, reason = "their type differs by C library")]
const TYPES_FOR_OTHERS: &[u64] = &[libc::TIOCSTI as u64, libc::TIOCLINUX as u64];

/// Ways to have the kernel send a signal to others.
const OWNER: &[u64] = &[
    libc::F_SETOWN.unsigned_abs() as u64,
    15, // F_SETOWN_EX
    10, // F_SETSIG
];

/// Calls and when they are denied; no condition means always.
pub(super) fn rules(
    driver: bool,
    watches: Option<u32>,
) -> Result<Vec<(i64, Vec<SeccompRule>)>, BackendError> {
    let always = ALWAYS.iter().chain(OF_THIS_MACHINE);
    let mut rules: Vec<(i64, Vec<SeccompRule>)> = always.map(|&call| (call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    // Signals go to this process only, for a panic and an abort send one, and to the
    // one that it watches.
    let mut heard = vec![own];
    heard.extend(watches.map(u64::from));
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.push((call, vec![none_of(0, &heard)?]));
    }
    // Reading its own limits is harmless; setting one is not, nor is another's.
    let sets = condition(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.push((
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![sets])?, none_of(0, &[0, own])?],
    ));
    if driver {
        // A driver may talk to a daemon of its own over a local socket; the
        // internet, the kernel's tables and raw packets are not for it.
        let local = [libc::AF_UNIX.unsigned_abs() as u64];
        rules.push((libc::SYS_socket, vec![none_of(0, &local)?]));
        rules.push((libc::SYS_ioctl, any_of(1, TYPES_FOR_OTHERS)?));
        rules.push((libc::SYS_fcntl, any_of(1, OWNER)?));
        // Its own threads may be slowed down or moved, nobody else's.
        for (call, whose) in [
            (libc::SYS_setpriority, 1),
            (libc::SYS_ioprio_set, 1),
            (libc::SYS_sched_setattr, 0),
            (libc::SYS_sched_setparam, 0),
            (libc::SYS_sched_setscheduler, 0),
        ] {
            rules.push((call, vec![none_of(whose, &[0])?]));
        }
        let privileges = [
            libc::PR_SET_SECCOMP,
            libc::PR_SET_PTRACER,
            libc::PR_SET_PDEATHSIG,
            libc::PR_SET_DUMPABLE,
            libc::PR_SET_CHILD_SUBREAPER,
            libc::PR_SET_SECUREBITS,
            libc::PR_SET_MM,
            libc::PR_CAP_AMBIENT,
        ];
        let privileges = privileges.map(|option| u64::from(option.unsigned_abs()));
        rules.push((libc::SYS_prctl, any_of(0, &privileges)?));
    } else {
        let calls = WITHOUT_DRIVER.iter().chain(OF_THIS_MACHINE_WITHOUT_DRIVER);
        rules.extend(calls.map(|&call| (call, Vec::new())));
        rules.push((libc::SYS_prctl, vec![none_of(0, PRCTL)?]));
        rules.push((libc::SYS_fcntl, vec![none_of(1, FCNTL)?]));
        rules.push((libc::SYS_ioctl, vec![none_of(1, IOCTL)?]));
        // A thread shares memory and descriptors with its process; whatever does
        // not is a process.
        let thread = libc::CLONE_THREAD.unsigned_abs().into();
        let is = SeccompCmpOp::MaskedEq(thread);
        let process = condition(0, SeccompCmpArgLen::Dword, is, 0)?;
        rules.push((libc::SYS_clone, vec![SeccompRule::new(vec![process])?]));
        // Shared memory without a file is not counted as the process's data.
        let shared = u64::from((libc::MAP_SHARED | libc::MAP_ANONYMOUS).unsigned_abs());
        let is = SeccompCmpOp::MaskedEq(shared);
        let shares = condition(3, SeccompCmpArgLen::Dword, is, shared)?;
        rules.push((libc::SYS_mmap, vec![SeccompRule::new(vec![shares])?]));
    }
    Ok(rules)
}

/// An argument that is none of these.
pub(super) fn none_of(argument: u8, values: &[u64]) -> Result<SeccompRule, BackendError> {
    let conditions = values
        .iter()
        .map(|value| condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *value))
        .collect::<Result<Vec<_>, _>>()?;
    SeccompRule::new(conditions)
}

/// An argument that is one of these.
fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let is = |value: &u64| {
        let equal = condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *value)?;
        SeccompRule::new(vec![equal])
    };
    values.iter().map(is).collect()
}

pub(super) fn condition(
    argument: u8,
    width: SeccompCmpArgLen,
    is: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, width, is, value)
}
