//! Landlock: the worker reads its inputs and writes its folder, nothing else.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

use super::Needs;

/// The newest Landlock whose rights are asked for; an older kernel gets the
/// part that it knows.
const NEWEST: ABI = ABI::V7;

/// Folders that the C library and a CPU computation read at run time: the
/// processor's topology and the process's own status.
const SYSTEM_READ: [&str; 3] = ["/proc/self", "/sys/devices/system", "/proc/meminfo"];

/// What a GPU's driver reads beside that: its libraries, its settings, the
/// description of the device. Of `/etc` only what drivers look for: the rest tells
/// of people and passwords; and of `/proc` nothing of other processes.
const DRIVER_READ: [&str; 29] = [
    "/usr",
    "/lib",
    "/lib64",
    "/proc/bus",
    "/proc/cpuinfo",
    "/proc/devices",
    "/proc/driver",
    "/proc/filesystems",
    "/proc/modules",
    "/proc/stat",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/version",
    "/sys",
    "/opt",
    "/run/udev",
    "/run/nvidia",
    "/run/nvidia-persistenced",
    "/run/opengl-driver",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/vulkan",
    "/etc/glvnd",
    "/etc/egl",
    "/etc/OpenCL",
    "/etc/nvidia",
    "/etc/drirc",
    "/etc/alternatives",
];

/// What a GPU's driver writes to: its scratch files and caches.
const DRIVER_SCRATCH: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The folder of device nodes, in which a driver finds its own.
const DEVICES: &str = "/dev";

/// How the names of nodes begin that a driver opens. The others are disks, memory
/// and terminals.
const DRIVER_DEVICES: [&str; 12] = [
    "dri", "nvidia", "kfd", "dxg", "mali", "udmabuf", "dma_heap", "null", "zero", "full", "random",
    "urandom",
];

/// Restricts this thread and all that it will spawn, and says what was done.
pub(crate) fn restrict(needs: &Needs) -> String {
    match raise(needs) {
        Ok(word) => word,
        Err(error) => format!("absent: landlock refused the rules ({error})"),
    }
}

fn raise(needs: &Needs) -> Result<String, RulesetError> {
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    // Plain files and folders: a link, a pipe or a node in a name's place would have
    // the daemon open something else than what it looked at.
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::AbstractUnixSocket)?;
    // A script is outside of these fences; seccomp lets signals go to it alone.
    if needs.watches.is_none() {
        rules = rules.scope(Scope::Signal)?;
    }
    let mut rules = rules.create()?;
    for path in &needs.read {
        rules = allow(rules, path, read)?;
    }
    rules = allow(rules, &needs.write, write)?;
    for path in SYSTEM_READ {
        rules = allow(rules, Path::new(path), read)?;
    }
    if needs.watches.is_some() {
        // What its processes take.
        rules = allow(rules, Path::new("/proc"), read)?;
    }
    if needs.driver {
        let own = needs.write.canonicalize();
        // A tree that holds this worker's folder holds those of others and the
        // daemon's own files: a data folder under /tmp or /opt is no driver's.
        let foreign = |path: &&str| {
            let path = Path::new(path).canonicalize();
            !matches!((&own, path), (Ok(own), Ok(path)) if own.starts_with(&path))
        };
        for path in DRIVER_READ.into_iter().filter(foreign) {
            // A driver loads parts of itself late.
            rules = allow(rules, Path::new(path), AccessFs::from_read(NEWEST))?;
        }
        for path in DRIVER_SCRATCH.into_iter().filter(foreign) {
            rules = allow(rules, Path::new(path), write)?;
        }
        for path in driver_devices() {
            rules = allow(
                rules,
                &path,
                read | AccessFs::WriteFile | AccessFs::IoctlDev,
            )?;
        }
    }
    // A driver's threads are there already: a kernel that can restrict them
    // too does so.
    let status = rules.all_threads(needs.driver)?.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => "landlock, in full".to_owned(),
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            format!(
                "landlock in part: this kernel knows ABI {}",
                effective_abi as i32
            )
        }
        (RulesetStatus::PartiallyEnforced, _) => "landlock in part".to_owned(),
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            "absent: landlock is not enabled; add it to the kernel's `lsm=` list".to_owned()
        }
        (RulesetStatus::NotEnforced, _) => {
            "absent: this kernel has no landlock; it needs Linux 5.13 or later".to_owned()
        }
    })
}

/// The device nodes of drivers.
fn driver_devices() -> Vec<PathBuf> {
    let Ok(nodes) = std::fs::read_dir(DEVICES) else {
        return Vec::new();
    };
    let of_driver = |name: &str| {
        DRIVER_DEVICES.iter().any(|known| {
            let rest = name.strip_prefix(known);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_lowercase()))
        })
    };
    nodes
        .flatten()
        .filter(|node| node.file_name().to_str().is_some_and(of_driver))
        .map(|node| node.path())
        .collect()
}

/// Adds a rule for a path that exists; one that does not needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(at) = PathFd::new(path) else {
        return Ok(rules);
    };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    };
    rules.add_rule(PathBeneath::new(at, access))
}
