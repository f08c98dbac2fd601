//! The filter of a client's program in namespaces of its own.
//!
//! Unlike a worker, a program may start others: it is a script. What it may not do is
//! make namespaces, in which it would have powers again, look into other processes, or
//! use parts of the kernel that no script needs and that have been ways out before. Of
//! sockets it has those between its own processes. Memory that no ceiling sees (in
//! nameless files, System V segments) is denied too.

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompRule,
};

use super::denied::{ALWAYS, condition, none_of};
use super::{Rules, errno, every_abi, filter};

/// What a worker may not do and a program may.
const ALLOWED: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    // To lower its own; raising takes a capability that it does not have.
    libc::SYS_setrlimit,
    // Its own processes are all that it can see.
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    // Its own files are for itself; what the daemon takes is opened without following.
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
];

/// What a worker may do, or does not need to be told, and a program may not.
const DENIED: &[i64] = &[
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    libc::SYS_mount_setattr,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_vhangup,
];

/// The flags of `clone` that make a namespace.
const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    CLONE_NEWTIME,
];

/// Of Linux 5.6.
const CLONE_NEWTIME: i32 = 0x80;

/// The filters as bubblewrap reads them: instructions of eight bytes in the order of
/// this machine. A call that the first denies gives EPERM; the second gives ENOSYS for
/// `clone3`, whose flags no filter can see, and the C library takes that as a word to
/// use `clone`.
///
/// # Errors
/// When a filter cannot be made for this architecture.
pub(crate) fn of_programs() -> Result<[Vec<u8>; 2], BackendError> {
    let denied = filter(denied()?, SeccompAction::Allow, errno(libc::EPERM))?;
    let unseen = filter(
        every_abi([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        errno(libc::ENOSYS),
    )?;
    Ok([bytes(&denied), bytes(&unseen)])
}

fn bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |step: &seccompiler::sock_filter| {
        let code = step.code.to_ne_bytes();
        let k = step.k.to_ne_bytes();
        [code[0], code[1], step.jt, step.jf, k[0], k[1], k[2], k[3]]
    };
    program.iter().flat_map(instruction).collect()
}

fn denied() -> Result<Rules, BackendError> {
    let mut rules: Vec<_> = ALWAYS
        .iter()
        .filter(|call| !ALLOWED.contains(call))
        .chain(DENIED)
        .map(|&call| (call, Vec::new()))
        .collect();
    let local = u64::from(libc::AF_UNIX.unsigned_abs());
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.push((call, vec![none_of(0, &[local])?]));
    }
    let makes = |flag: i32| {
        let flag = u64::from(flag.unsigned_abs());
        let is = SeccompCmpOp::MaskedEq(flag);
        SeccompRule::new(vec![condition(0, SeccompCmpArgLen::Dword, is, flag)?])
    };
    let namespaces = NAMESPACES.into_iter().map(makes);
    rules.push((libc::SYS_clone, namespaces.collect::<Result<_, _>>()?));
    Ok(every_abi(rules))
}
